"""What layers put out is what they put out, Keras' to 1e-5, and the network is afterwards as it was."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.errors import UsageError
from pellucid.explanation import activations
from pellucid.explanation.activations import (
    Grid,
    layer_grids,
    possible_grids,
    record,
    recordable,
)
from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.places import evidence_place
from pellucid.models import build
from tests.golden.weights import channels_first, fingerprint, keras_weights, torch_weights
from tests.networks import seeded

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "keras_maps.npz")
LAYERS = ("conv1", "pool1", "conv2", "pool2", "dense1", "dense2")


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


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """The tutorial network with the fixed weights of the golden maps."""
    network = build("tutorial", 1, 10, (28, 28))
    weights = {name: torch.from_numpy(value) for name, value in torch_weights(keras_weights()).items()}
    network.load_state_dict(weights)
    return network


@pytest.fixture(scope="module")
def maps(network: nn.Module) -> dict[str, Tensor]:
    return record(network, torch.from_numpy(GOLDEN["images"]) / 255)


def test_the_weights_are_those_the_golden_maps_were_made_from() -> None:
    assert fingerprint(keras_weights()) == str(GOLDEN["weights_sha256"]), (
        "run tests/golden/make_keras_maps.py"
    )


@pytest.mark.parametrize("layer", LAYERS)
def test_feature_maps_equal_those_of_keras(maps: dict[str, Tensor], layer: str) -> None:
    found = maps[layer].softmax(dim=1) if layer == "dense2" else maps[layer]
    expected = torch.from_numpy(channels_first(GOLDEN[layer]))
    assert found.shape == expected.shape
    assert float(expected.abs().max()) > 0.1  # a comparison of nothings would always hold
    assert float((found - expected).abs().max()) <= 1e-5


@pytest.mark.parametrize("layer", LAYERS)
def test_feature_maps_equal_those_of_an_independent_forward_pass(maps: dict[str, Tensor], layer: str) -> None:
    weights = {
        name: torch.from_numpy(value).double() for name, value in torch_weights(keras_weights()).items()
    }
    expected = independent(torch.from_numpy(GOLDEN["images"]).double() / 255, weights)[layer]
    assert float((maps[layer] - expected).abs().max()) <= 1e-5


@pytest.mark.parametrize("channel", [0, 7, 15])
def test_a_map_is_its_kernel_moved_over_the_picture(
    network: nn.Module, maps: dict[str, Tensor], channel: int
) -> None:
    """The first convolution once more as sums of products, pixel by pixel."""
    image = np.pad(GOLDEN["images"][0, 0] / 255, 1)
    kernel = network.get_parameter("conv1.weight").detach()[channel, 0].numpy()
    bias = float(network.get_parameter("conv1.bias").detach()[channel])
    for row, column in [(0, 0), (5, 16), (14, 10), (20, 17), (27, 27)]:
        value = float((image[row : row + 3, column : column + 3] * kernel).sum()) + bias
        assert float(maps["conv1"][0, channel, row, column]) == pytest.approx(max(0, value), abs=1e-5)


def test_layers_come_in_order_of_execution_with_every_channel(maps: dict[str, Tensor]) -> None:
    assert list(maps) == ["conv1", "pool1", "conv2", "pool2", "dense1", "dropout", "dense2"]
    shapes = {name: tuple(values.shape[1:]) for name, values in maps.items()}
    assert (shapes["conv1"], shapes["conv2"]) == ((16, 28, 28), (32, 14, 14))


def independent(images: Tensor, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """What each layer puts out, by torch.nn.functional alone and in double precision."""
    conv1 = functional.conv2d(images, weights["conv1.weight"], weights["conv1.bias"], padding="same").relu()
    pool1 = functional.max_pool2d(conv1, 2)
    conv2 = functional.conv2d(pool1, weights["conv2.weight"], weights["conv2.bias"], padding="same").relu()
    pool2 = functional.max_pool2d(conv2, 2)
    flat = pool2.reshape(len(images), -1)
    dense1 = (flat @ weights["dense1.weight"].T + weights["dense1.bias"]).relu()
    dense2 = dense1 @ weights["dense2.weight"].T + weights["dense2.bias"]
    return dict(zip(LAYERS, (conv1, pool1, conv2, pool2, dense1, dense2), strict=True))


@pytest.mark.parametrize(
    ("shape", "size", "kind", "sides"),
    [
        ((1, 64, 7, 7), (28, 28), "channels first", (7, 7)),
        ((1, 7, 7, 768), (224, 224), "channels last", (7, 7)),
        ((1, 768, 7, 7), (224, 224), "channels first", (7, 7)),
        ((1, 16, 10, 2), (28, 20), "channels first", (10, 2)),
        ((1, 197, 192), (224, 224), "tokens", (14, 14)),
        ((1, 198, 192), (224, 224), "tokens", (14, 14)),
        ((1, 50, 32), (56, 112), "tokens", (5, 10)),
    ],
)
def test_the_ways_to_lay_an_output_over_the_picture_have_the_right_one_among_them(
    shape: tuple[int, ...], size: tuple[int, int], kind: str, sides: tuple[int, int]
) -> None:
    grids = [grid for grid in possible_grids(shape, size) if grid[:3] == (kind, *sides)]
    assert grids
    assert {tuple(grid.maps(torch.rand(shape)).shape[-2:]) for grid in grids} == {sides}


class Tokens(nn.Module):
    """8 x 8 tokens with others before and behind, through two blocks of attention."""

    def __init__(self, before: int, behind: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.before, self.behind = (nn.Parameter(torch.randn(1, count, 16)) for count in (before, behind))
        self.blocks = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2)
        self.head = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).mT
        special = [part.expand(len(images), -1, -1) for part in (self.before, self.behind)]
        return self.head(self.blocks(torch.cat([special[0], tokens, special[1]], dim=1)).mean(1))


@pytest.mark.parametrize(("before", "behind"), [(0, 0), (1, 0), (0, 1), (5, 0), (0, 4), (1, 4)])
def test_tokens_lie_where_a_spot_in_the_picture_moves_them_whatever_stands_before_or_behind(
    before: int, behind: int
) -> None:
    network, images = seeded(lambda: Tokens(before, behind)), torch.rand(1, 3, 32, 32)
    shapes = {key: tuple(output.shape) for key, output in record(network, images).items()}
    grids = layer_grids(network, images, shapes)
    assert grids.pop("patches").kind == "channels first"
    assert set(grids.values()) == {Grid("tokens", 8, 8, before)}
    assert len(grids) == 2 * 8  # every layer of both blocks


class Rows(nn.Module):
    """28 rows of a picture as 28 steps in time."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(28, 30, batch_first=True)
        self.head = nn.Linear(30, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.recurrent(images[:, 0])[0][:, -1])


class Sequence(nn.Module):
    """Tokens with the sequence first (T, B, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 4, 4)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.patches(images).flatten(2).permute(2, 0, 1)).mean(0))


class Features(nn.Module):
    """64 channels with 6 numbers each, which are no places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 64, 3, padding=1)
        self.mixed, self.head = nn.Linear(784, 6), nn.Linear(384, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.mixed(self.conv(images).flatten(2)).flatten(1))


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (Rows, "recurrent"),
        (Sequence, "norm"),
        (Features, "mixed"),
        (lambda: nn.Sequential(nn.Linear(28, 16), nn.ReLU(), nn.Flatten(), nn.Linear(448, 10)), "0"),
    ],
)
def test_what_does_not_follow_the_picture_is_no_grid(make: Callable[[], nn.Module], layer: str) -> None:
    network, images = seeded(make), torch.rand(1, 1, 28, 28)
    shape = tuple(record(network, images, [layer])[layer].shape)
    assert layer_grids(network, images, {layer: shape}) == {}
    with pytest.raises(UsageError, match="does not lie over the picture"):
        EXPLAINERS["grad-cam"](network, images, 0, layer=layer)


def test_channels_that_are_fewer_than_the_rows_may_come_last() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.mix, self.head = nn.Conv2d(1, 4, 1), nn.Linear(4, 4), nn.Linear(4, 10)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(functional.gelu(self.mix(self.stem(images).permute(0, 2, 3, 1))).mean((1, 2)))

    network, images = seeded(Last), torch.rand(1, 1, 28, 28)
    grids = layer_grids(network, images, {"stem": (1, 4, 28, 28), "mix": (1, 28, 28, 4)})
    assert grids == {"stem": Grid("channels first", 28, 28), "mix": Grid("channels last", 28, 28)}
    assert evidence_place(network, images).name == "mix"


def test_fewer_pictures_are_recorded_at_once_where_their_outputs_are_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = build("tutorial", 1, 10, (28, 28), seed=0)
    images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    held = sum(4 * output.numel() for output in record(network, images[:1]).values())
    monkeypatch.setattr(activations, "RECORD_BYTES", 7 * held + 1)
    assert recordable(network, images, 50) == 7
    assert recordable(network, images, 5) == 5
    monkeypatch.setattr(activations, "RECORD_BYTES", 1)
    assert recordable(network, images, 50) == 1
