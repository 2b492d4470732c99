"""What layers put out is what they put out, and the network is afterwards as it was."""

from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.errors import UsageError
from pellucid.explanation.activations import last_spatial_layer, record
from pellucid.explanation.explanation import explain
from pellucid.models import build


class Twice(nn.Module):
    """One convolution used twice, an in-place ReLU after it, and a tuple on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pair = Pair()
        self.head = nn.Linear(2, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu(self.conv(self.conv(images)))
        return self.head(self.pair(maps)[0].mean(dim=(2, 3)))


class Pair(nn.Module):
    def forward(self, maps: Tensor) -> tuple[Tensor, int]:
        return maps * 2, 7


class Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.drop = nn.Dropout()

    def forward(self, images: Tensor) -> Tensor:
        self.drop(self.conv(images))
        torch.rand(1)
        raise RuntimeError("the model itself")


def state(network: nn.Module) -> tuple[object, ...]:
    hooks = [len(module._forward_hooks) + len(module._backward_hooks) for module in network.modules()]
    modes = [module.training for module in network.modules()]
    gradients = [None if weight.grad is None else weight.grad.clone() for weight in network.parameters()]
    return hooks, modes, gradients, torch.get_rng_state().tolist()


def test_the_tutorial_network_answers_by_the_usual_names_of_its_layers() -> None:
    network = build("tutorial", 1, 10, (28, 28), seed=1)
    recorded = record(network, torch.rand(2, 1, 28, 28))
    assert {name: tuple(maps.shape) for name, maps in recorded.items()} == {
        "conv1": (2, 16, 28, 28),
        "pool1": (2, 16, 14, 14),
        "conv2": (2, 32, 14, 14),
        "pool2": (2, 32, 7, 7),
        "dense1": (2, 80),
        "dropout": (2, 80),
        "dense2": (2, 10),
    }


def test_recorded_values_are_those_of_an_independent_pass() -> None:
    network = build("tutorial", 3, 5, (11, 9), seed=2)
    images, weights = torch.rand(3, 3, 11, 9), network.state_dict()
    recorded = record(network, images)
    conv1 = functional.relu(
        functional.conv2d(images, weights["conv1.weight"], weights["conv1.bias"], padding=1)
    )
    pool1 = functional.max_pool2d(conv1, 2)
    conv2 = functional.relu(
        functional.conv2d(pool1, weights["conv2.weight"], weights["conv2.bias"], padding=1)
    )
    pool2 = functional.max_pool2d(conv2, 2)
    dense1 = functional.relu(pool2.flatten(1) @ weights["dense1.weight"].T + weights["dense1.bias"])
    for name, maps in {
        "conv1": conv1,
        "pool1": pool1,
        "conv2": conv2,
        "pool2": pool2,
        "dense1": dense1,
    }.items():
        torch.testing.assert_close(recorded[name], maps, atol=1e-5, rtol=0)


def test_a_module_used_twice_is_recorded_twice_and_before_an_in_place_change() -> None:
    network = Twice().eval()
    images = torch.randn(1, 2, 5, 5)
    recorded = record(network, images)
    first = network.conv(images)
    assert list(recorded) == ["conv", "conv#2", "relu", "pair", "head"]
    torch.testing.assert_close(recorded["conv"], first)
    torch.testing.assert_close(recorded["conv#2"], network.conv(first))
    assert recorded["conv#2"].min() < 0 <= recorded["relu"].min()


def test_lower_precision_and_channels_last_are_recorded_as_float32() -> None:
    network = build("tutorial", 1, 10, (8, 8), seed=1).to(torch.bfloat16)
    images = torch.rand(2, 1, 8, 8).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    assert {maps.dtype for maps in record(network, images).values()} == {torch.float32}


def test_layers_can_be_named_and_a_wrong_name_lists_them() -> None:
    network = build("tutorial", 1, 10, (8, 8), seed=1)
    assert list(record(network, torch.rand(1, 1, 8, 8), ["conv2"])) == ["conv2"]
    with pytest.raises(
        UsageError, match=r"No layer 'conv9' in this network. Its layers: conv1, pool1, conv2"
    ):
        record(network, torch.rand(1, 1, 8, 8), ["conv9"])


def test_a_module_without_parts_is_recorded_itself() -> None:
    assert list(record(nn.Identity(), torch.rand(1, 1, 2, 2))) == ["network"]


@pytest.mark.parametrize("mode", [True, False])
def test_the_network_is_as_before_after_success_a_bad_layer_and_an_error_of_its_own(mode: bool) -> None:
    for network, images, layers in [
        (Twice(), torch.randn(1, 2, 5, 5), None),
        (Twice(), torch.randn(1, 2, 5, 5), ["nowhere"]),
        (Broken(), torch.randn(1, 1, 5, 5), None),
    ]:
        network.train(mode)
        next(iter(network.modules())).training = not mode  # a mode of its own, not the children's
        for weight in network.parameters():
            weight.grad = torch.ones_like(weight)
        before = state(network)
        with suppress(UsageError, RuntimeError):
            record(network, images, layers)
        after = state(network)
        assert before[:2] == after[:2]
        assert all(torch.equal(a, b) for a, b in zip(before[2], after[2], strict=True))  # type: ignore[call-overload]
        assert before[3] == after[3]


def test_the_last_layer_with_maps_is_found_and_its_absence_said() -> None:
    assert last_spatial_layer(build("tutorial", 1, 10, (28, 28), seed=1), torch.rand(1, 1, 28, 28)) == "conv2"
    with pytest.raises(UsageError, match="No layer of this network has maps"):
        last_spatial_layer(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.rand(1, 1, 2, 2))


def test_containers_and_single_runs_can_be_named() -> None:
    network = nn.Sequential(Twice())
    images = torch.randn(1, 2, 5, 5)
    assert list(record(network, images, ["0"])) == ["0"]
    assert list(record(network, images, ["0.conv"])) == ["0.conv", "0.conv#2"]
    assert list(record(network, images, ["0.conv#2"])) == ["0.conv#2"]
    with pytest.raises(UsageError, match=r"'0.conv#3' has no output for these pictures"):
        record(network, images, ["0.conv#3"])


def test_pictures_of_bytes_are_scaled_and_weights_of_a_parent_are_seen() -> None:
    class Scaling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Identity()
            self.factor = nn.Parameter(torch.tensor(2.0))

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images) * self.factor

    bytes_ = torch.full((1, 1, 2, 2), 255, dtype=torch.uint8)
    recorded = record(nn.Sequential(Scaling()), bytes_)
    assert list(recorded) == ["0.inner", "0"]
    assert recorded["0"].unique().tolist() == [2.0]


def test_a_wrong_method_class_or_picture_is_refused() -> None:
    from pellucid.classifier import Classifier
    from pellucid.data.preprocess import Preprocess
    from tests.toys import toy_splits

    splits = toy_splits()
    size, classes = splits.train.size, splits.train.classes
    network = build("tutorial", 1, len(classes), size, seed=1)
    classifier = Classifier(network, classes, Preprocess(1, *size), "tutorial")
    image = splits.train.images[0]
    assert explain(classifier, image).probabilities.sum() == pytest.approx(1)
    with pytest.raises(UsageError, match="Unknown method 'grad cam'"):
        explain(classifier, image, methods=["grad cam"])
    with pytest.raises(UsageError, match=r"Expected a class from 0 to \d+; got 99"):
        explain(classifier, image, 99)
    with pytest.raises(UsageError, match="Expected pictures as uint8"):
        explain(classifier, image[:, :3])
