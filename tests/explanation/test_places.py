"""Evidence is looked at where nothing of the picture passes by; else the share that does is told."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from pellucid.explanation.attribution import EXPLAINERS, evidence_at
from pellucid.explanation.explanation import explain
from pellucid.explanation.faithfulness import evaluate_maps
from pellucid.explanation.places import evidence_place, place_named
from pellucid.models import build
from tests.networks import Seeing, SmallResidual, seeded, unchanged
from tests.toys import toy_splits

IMAGES = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(3))


class Branches(nn.Module):
    """Two parallel branches that are joined by a function, and pooled."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.left, self.right = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.head, self.join = nn.LazyLinear(3), join

    def forward(self, images: Tensor) -> Tensor:
        maps = functional.relu(self.stem(images))
        scores: Tensor = self.head(self.join(self.left(maps), self.right(maps)).mean(dim=(2, 3)))
        return scores


def branches(join: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
    torch.manual_seed(5)
    network = Branches(join).eval()
    network(IMAGES)
    return network


def in_place(left: Tensor, right: Tensor) -> Tensor:
    left += right
    left.relu_()
    return left


JOINS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], str]] = {
    "addition": (lambda left, right: left + right, "add"),
    "concatenation": (lambda left, right: torch.cat([left, right], dim=1), "cat"),
    "rectified addition": (lambda left, right: functional.relu(left + right), "relu#2"),
    "in place": (in_place, "relu#2"),
}


@pytest.mark.parametrize("name", JOINS)
def test_where_branches_are_joined_by_a_function_it_is_the_place(name: str) -> None:
    join, expected = JOINS[name]
    network = branches(join)
    with unchanged(network, IMAGES):
        place = evidence_place(network, IMAGES)
    assert (place.name, place.bypass) == (expected, 0)
    explanation = explain(network, IMAGES[0], target=1)
    assert explanation.layer == expected
    assert explanation.notes == ()
    # only a mean and a linear layer follow, so all that speaks for the class but the bias is in the map
    score = network(IMAGES)[0, 1] - network.head.bias[1]
    assert float(explanation.heatmaps["gradient x activation"].sum()) == pytest.approx(
        float(score.detach()), abs=1e-4
    )


def held_output_leaves_no_gradient(network: nn.Module, name: str) -> bool:
    """Whether the scores no longer depend on the picture once a module's output is held: by a hook of the
    test's own."""
    module, images = network.get_submodule(name), IMAGES.clone().requires_grad_()
    handle = module.register_forward_hook(lambda module, inputs, output: output.detach())
    scores = network(images).sum()
    handle.remove()
    if not scores.requires_grad:
        return True
    (gradient,) = torch.autograd.grad(scores, images, allow_unused=True)
    return gradient is None or not bool(gradient.any())


@pytest.mark.parametrize(
    "make",
    [
        SmallResidual,
        Seeing,
        lambda: build("tutorial", 1, 3, (8, 8), seed=1),
        lambda: build("compact", 1, 3, (8, 8), seed=1),
        lambda: build("resnet", 1, 3, (8, 8), seed=1),
    ],
)
def test_once_the_place_is_held_the_scores_do_not_depend_on_the_picture(
    make: Callable[[], nn.Module],
) -> None:
    network = seeded(make)
    place = evidence_place(network, IMAGES)
    assert place.bypass == 0
    if "#" not in place.name:
        assert held_output_leaves_no_gradient(network, place.name)


class Outside(nn.Module):
    """Residual additions in the network's own forward: no module but the first is a cut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        for block in self.blocks:
            maps = maps + functional.gelu(block(maps))
        scores: Tensor = self.head(maps.mean(dim=(2, 3)))
        return scores


def test_a_branch_beside_a_residual_addition_is_not_chosen_silently() -> None:
    network = seeded(Outside)
    assert evidence_place(network, IMAGES).name == "add#2"
    assert evidence_place(network, IMAGES, modules=True).name == "stem"
    branch = place_named(network, IMAGES, "blocks.1")
    assert 0 < branch.bypass < 1
    assert not held_output_leaves_no_gradient(network, "blocks.1")
    explanation = explain(network, IMAGES[0], layer="blocks.1")
    said = f"{100 * branch.bypass:.1f} % of the gradient bypasses it"
    assert said in str(explanation.notes[0])


@pytest.mark.parametrize("part", ["block2.self_attn", "block2.norm1", "block2.linear1"])
def test_inside_an_attention_block_most_of_the_gradient_passes_by(part: str) -> None:
    network = seeded(Seeing)
    if part == "block2.linear1":
        assert place_named(network, IMAGES, part).bypass > 0
    else:
        assert place_named(network, IMAGES, part).bypass > 0.3
    assert evidence_place(network, IMAGES).name == "block1"


class Apart(nn.Module):
    """Two branches that meet only as scores: there is no place where all of the picture passes."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 5)
        self.first, self.second = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        means = [branch(images).relu().mean(dim=(2, 3)) for branch in (self.left, self.right)]
        scores: Tensor = self.first(means[0]) + self.second(means[1])
        return scores


def test_where_there_is_no_cut_the_share_that_passes_by_is_told() -> None:
    network = seeded(Apart)
    place = evidence_place(network, IMAGES)
    other = place_named(network, IMAGES, "left" if place.name == "right" else "right")
    assert 0 < place.bypass <= other.bypass < 1
    assert place.bypass + other.bypass == pytest.approx(1, abs=0.25)  # gradients of two signs may cancel
    notes = explain(network, IMAGES[0]).notes
    assert f"Not all that the network takes from the picture passes through {place.name}" in str(notes[0])


def test_the_gradient_at_a_function_agrees_with_finite_differences() -> None:
    network = branches(JOINS["addition"][0]).double()
    images = IMAGES.double()
    maps, gradient = evidence_at(network, images, 2, against=None, layer="add")
    assert torch.allclose(maps.mean(dim=(2, 3)) @ network.head.weight.T.float() + network.head.bias.float(),
                          network(images).float(), atol=1e-5)  # fmt: skip
    assert torch.allclose(
        gradient, (network.head.weight[2] / 64).float()[None, :, None, None].expand_as(gradient)
    )


def test_the_last_layer_may_be_a_block_or_the_second_run_of_a_module() -> None:
    images = torch.rand(1, 1, 8, 8)
    assert evidence_place(seeded(SmallResidual), images).name == "block.relu#2"
    for model, layer in (
        ("tutorial", "conv2"),
        ("compact", "conv4"),
    ):  # the latter rectifies in place
        made = build(model, 1, 10, (28, 28), seed=1)
        assert evidence_place(made, torch.rand(1, 1, 28, 28)).name == layer
    hidden = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)), nn.Dropout(0.5))
    network = nn.Sequential(hidden, nn.Flatten(), nn.Linear(18, 2))
    assert evidence_place(network, images).name == "0.0.1"


def dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))


def test_without_places_the_map_is_of_pixels_and_that_is_said() -> None:
    network = seeded(dense)
    with pytest.raises(UsageError, match="No layer of this network has maps"):
        evidence_place(network, IMAGES)
    explanation = explain(network, IMAGES[0])
    assert list(explanation.heatmaps) == ["integrated gradients"]
    assert "No layer of this network has places" in str(explanation.notes[0])
    pixels = ["integrated gradients", "smoothgrad", "occlusion"]
    assert list(explain(network, IMAGES[0], methods=pixels).heatmaps) == pixels
    with pytest.raises(UsageError, match="No layer of this network has maps"):
        explain(network, IMAGES[0], methods=["grad-cam"])


def test_without_places_the_methods_of_pixels_are_tested_all_the_same() -> None:
    splits = toy_splits()
    size, classes = splits.train.size, splits.train.classes
    network = nn.Sequential(nn.Flatten(), nn.Linear(size[0] * size[1], len(classes)))
    classifier = Classifier(network, classes, Preprocess(1, *size), "own:dense")
    result = evaluate_maps(classifier, splits.test, EXPLAINERS, pictures=4, most=4)
    assert [test.method for test in result.tests] == ["integrated gradients", "smoothgrad", "occlusion"]
    assert [name for name, _ in result.unfit] == ["gradient x activation", "grad-cam"]
    assert all("has maps" in reason for _, reason in result.unfit)


class Frozen(nn.Module):
    """No gradient comes out of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            maps = self.conv(images)
        scores: Tensor = self.head(maps.mean(dim=(2, 3)))
        return scores


def test_where_no_gradient_reaches_the_picture_that_is_said() -> None:
    with pytest.raises(UsageError, match="No gradient reaches the picture from the scores"):
        evidence_place(seeded(Frozen), IMAGES)


def test_unknown_places_and_such_that_did_not_run_are_told_apart() -> None:
    with pytest.raises(UsageError, match="No layer 'nowhere' in this network"):
        place_named(seeded(SmallResidual), IMAGES, "nowhere")
    with pytest.raises(UsageError, match=r"Layer 'stem#3' did not run"):
        place_named(seeded(SmallResidual), IMAGES, "stem#3")


def test_a_path_that_did_not_converge_and_rounding_noise_are_said() -> None:
    class Steps(nn.Module):
        """Jumps where a picture is bright: no number of gradients along the way sees it."""

        def forward(self, images: Tensor) -> Tensor:
            light = images.mean(dim=(1, 2, 3))
            return torch.stack([light + 10 * (light > 0.4234).float(), -light], dim=1)

    caption = explain(Steps(), torch.full((1, 8, 8), 0.9), 0).caption("integrated gradients")
    assert "Not converged: the sum misses the score less that of a black picture by 9" in caption
    caption = explain(seeded(dense), IMAGES[0]).caption("integrated gradients")
    assert "Not converged" not in caption

    class Constant(nn.Module):
        """Answers from the picture by less than rounding shows."""

        def forward(self, images: Tensor) -> Tensor:
            light = images.mean(dim=(1, 2, 3))
            return torch.stack([1000 + 1e-8 * light, light * 0], dim=1)

    explanation = explain(Constant(), IMAGES[0], 0)
    assert "no evidence, the map is zero everywhere" in explanation.caption("integrated gradients")
