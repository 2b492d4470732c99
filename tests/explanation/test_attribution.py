"""Every map shows what it says: Captum, finite differences and sums that must come out are the judges."""

from collections.abc import Callable

import pytest
import torch
from captum.attr import (
    IntegratedGradients,
    LayerGradCam,
    LayerGradientXActivation,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from torch import Tensor, nn
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.data.dataset import Splits
from pellucid.errors import UsageError
from pellucid.explanation.attribution import (
    EXPLAINERS,
    NOISE,
    NOISY_COPIES,
    evidence_at,
    integrated_gradients,
)
from pellucid.explanation.explanation import explain
from pellucid.explanation.places import evidence_place
from pellucid.models import build
from tests.networks import PATCH, SIDE, Seeing, SmallResidual, planted, seeded, unchanged

AT_LAYER = [name for name, explainer in EXPLAINERS.items() if explainer.at_layer]
OF_PIXELS = [name for name, explainer in EXPLAINERS.items() if not explainer.at_layer]


class Broken(nn.Module):
    """Runs its convolution, draws a number, and fails."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, images: Tensor) -> Tensor:
        self.conv(images)
        torch.rand(1)
        raise RuntimeError("the model itself")


@pytest.mark.parametrize("method", EXPLAINERS)
def test_the_peak_lies_in_the_planted_patch(method: str, finder: nn.Module) -> None:
    images, labels, corners = planted(100, seed=2)
    assert (finder(images).argmax(dim=1) == labels).float().mean() > 0.98
    heat = EXPLAINERS[method](finder, images, labels)
    assert heat.shape == (100, SIDE, SIDE)
    peak = heat.flatten(1).argmax(dim=1)
    place = torch.stack([peak // SIDE, peak % SIDE], dim=1)
    inside = ((place >= corners) & (place < corners + PATCH)).all(dim=1)
    assert inside.float().mean() >= 0.95


def test_layer_maps_equal_captums(finder: nn.Module) -> None:
    images, labels, _ = planted(6, seed=3)
    layer = evidence_place(finder, images).name
    assert layer == "3"
    ours = EXPLAINERS["gradient x activation"](finder, images, labels, layer="2")
    theirs = LayerGradientXActivation(finder, finder[2]).attribute(images, target=labels).sum(dim=1)
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-5, rtol=0)
    ours = EXPLAINERS["grad-cam"](finder, images, labels)
    theirs = LayerGradCam(finder, finder[3]).attribute(images, target=labels, relu_attributions=False)[:, 0]
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-5, rtol=0)


def test_integrated_gradients_equal_captums(finder: nn.Module) -> None:
    images, labels, _ = planted(4, seed=3)
    ours = integrated_gradients(finder, images, labels, steps=50)
    theirs = IntegratedGradients(finder).attribute(images, target=labels, n_steps=50)[:, 0]
    torch.testing.assert_close(ours, theirs.detach().float(), atol=1e-5, rtol=0)


def test_smoothgrad_equals_captums(finder: nn.Module) -> None:
    images, labels, _ = planted(1, seed=3)
    ours = EXPLAINERS["smoothgrad"](finder, images, labels)
    torch.manual_seed(0)  # Captum draws from torch's own generator
    tunnel = NoiseTunnel(Saliency(finder))
    theirs = tunnel.attribute(
        images, nt_samples=NOISY_COPIES, stdevs=NOISE, nt_type="smoothgrad", target=labels, abs=False
    )
    torch.testing.assert_close(ours, (theirs * images)[:, 0].detach(), atol=1e-5, rtol=0)


def test_occlusion_equals_captums(finder: nn.Module) -> None:
    images, labels, _ = planted(3, seed=3)
    ours = EXPLAINERS["occlusion"](finder, images, labels)
    theirs = Occlusion(finder).attribute(
        images, sliding_window_shapes=(1, 2, 2), strides=(1, 1, 1), target=labels
    )
    torch.testing.assert_close(ours, theirs[:, 0].detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layer", ["block.conv1", "block.relu", "block.relu#2", "stem"])
def test_gradients_at_a_layer_agree_with_finite_differences(layer: str) -> None:
    network = seeded(SmallResidual).double()
    images = torch.rand(1, 1, 6, 6, dtype=torch.float64)
    maps, gradient = evidence_at(network, images, 2, against=None, layer=layer)
    for cell in [(0, 1, 2, 3), (0, 3, 5, 0)]:
        step = 1e-4
        lifted, lowered = (_with_cell(network, images, layer, cell, change) for change in (step, -step))
        assert float(gradient[cell]) == pytest.approx((lifted - lowered) / (2 * step), abs=1e-4)
    assert maps.shape == gradient.shape


def _with_cell(network: nn.Module, images: Tensor, layer: str, cell: tuple[int, ...], change: float) -> float:
    """The score of class 2 after one cell of one run of a layer was changed, by a hook of the test's own."""
    name, _, turn = layer.partition("#")
    runs = []

    def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor | None:
        runs.append(1)
        if len(runs) != int(turn or 1):
            return None
        changed = output.clone()
        changed[cell] += change
        return changed

    handle = network.get_submodule(name).register_forward_hook(hook)
    with torch.no_grad():
        score = float(network(images)[0, 2])
    handle.remove()
    return score


def test_pixel_maps_agree_with_finite_differences() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False)).double()
    images = torch.rand(2, 1, 4, 4, dtype=torch.float64)
    expected = (network[1].weight[1] * images.flatten(1)).reshape(2, 4, 4).detach().float()
    for method in OF_PIXELS:
        heat = EXPLAINERS[method](network, images, 1)
        torch.testing.assert_close(heat, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", EXPLAINERS)
def test_a_contrast_is_the_difference_of_two_maps(method: str, finder: nn.Module) -> None:
    images, _, _ = planted(3, seed=4)
    explainer = EXPLAINERS[method]
    options = {"steps": 64} if method == "integrated gradients" else {}
    one, other = (explainer.function(finder, images, k, **options) for k in (0, 2))
    both = explainer.function(finder, images, 0, against=2, **options)
    torch.testing.assert_close(both, one - other, atol=1e-5, rtol=1e-4)
    assert both.min() < 0 < both.max()


@pytest.mark.parametrize("against", [None, 1])
def test_integrated_gradients_add_up_to_the_score_difference(
    against: int | None, reader: Classifier, digits: Splits
) -> None:
    images = digits.test.images[:20].float() / 255
    heat = EXPLAINERS["integrated gradients"](reader.network, images, 4, against=against)
    with torch.no_grad():
        scores = reader.network(images) - reader.network(torch.zeros_like(images))
    rise = scores[:, 4] - (0 if against is None else scores[:, against])
    torch.testing.assert_close(heat.sum(dim=(1, 2)), rise, rtol=0.01, atol=1e-4)


def test_the_way_is_taken_in_pieces_where_a_network_has_many_kinks() -> None:
    network = build("resnet", 3, 4, (16, 16), seed=2).eval()
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rise = (network(images) - network(torch.zeros_like(images)))[:, 2]
    clear = rise.abs() > 0.1 * rise.abs().max()  # 1 % of next to nothing is not to be had
    images, rise = images[clear], rise[clear]
    allowed = 0.01 * rise.abs()
    off = (integrated_gradients(network, images, 2, steps=32).sum(dim=(1, 2)) - rise).abs()
    assert (off > allowed).any()
    heat = integrated_gradients(network, images, 2)
    assert ((heat.sum(dim=(1, 2)) - rise).abs() <= allowed).all()
    fine = integrated_gradients(network, images, 2, steps=512)
    assert functional.cosine_similarity(heat.flatten(1), fine.flatten(1)).min() > 0.97


def test_evidence_adds_up_to_the_score_where_one_linear_layer_follows() -> None:
    network = seeded(
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    )
    images = torch.rand(5, 1, 6, 6)
    heat = EXPLAINERS["gradient x activation"](network, images, 1)
    expected = network(images)[:, 1] - network[3].bias[1]
    torch.testing.assert_close(heat.sum(dim=(1, 2)), expected.detach(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", EXPLAINERS)
@pytest.mark.parametrize(
    ("make", "options", "error"),
    [
        (SmallResidual, {}, None),
        (SmallResidual, {"target": 7}, UsageError),
        (SmallResidual, {"against": 7}, UsageError),
        (SmallResidual, {"layer": "nowhere"}, UsageError),
        (Broken, {}, (RuntimeError, UsageError)),
    ],
)
def test_every_explainer_leaves_everything_as_it_was(
    method: str,
    make: Callable[[], nn.Module],
    options: dict[str, object],
    error: type[Exception] | None,
) -> None:
    network = make().train()
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
        weight.requires_grad_(False)
    images = torch.rand(2, 1, 8, 8)
    if "layer" in options and method not in AT_LAYER:
        error = None  # methods of pixels look at no layer
    arguments = {"target": 1} | options
    with unchanged(network, images):
        if error is None:
            heat = EXPLAINERS[method](network, images, **arguments)  # type: ignore[arg-type]
            assert heat.dtype == torch.float32
            assert heat.dim() == 3
            assert torch.isfinite(heat).all()
        else:
            with pytest.raises(error):
                EXPLAINERS[method](network, images, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", EXPLAINERS)
def test_maps_are_the_same_twice_and_when_gradients_are_switched_off(method: str) -> None:
    network, images = seeded(SmallResidual), torch.rand(2, 1, 8, 8)
    first = EXPLAINERS[method](network, images, 0)
    with torch.no_grad():
        assert torch.equal(first, EXPLAINERS[method](network, images, 0))
    with torch.inference_mode():
        assert torch.equal(first, EXPLAINERS[method](network, images.clone(), 0))


@pytest.mark.parametrize("method", EXPLAINERS)
def test_layout_and_precision_do_not_change_what_is_seen(method: str) -> None:
    network, images = seeded(SmallResidual), torch.rand(2, 1, 8, 8)
    plain = EXPLAINERS[method](network, images, 0)
    last = EXPLAINERS[method](
        network.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last), 0
    )
    torch.testing.assert_close(last, plain, atol=1e-5, rtol=0)
    coarse = EXPLAINERS[method](network.bfloat16(), images, 0)
    assert coarse.dtype == torch.float32
    if method != "occlusion":  # differences of scores drown in bfloat16's three digits
        assert functional.cosine_similarity(coarse.flatten(), plain.flatten(), dim=0) > 0.9


def test_one_class_a_picture_can_be_asked_for(finder: nn.Module) -> None:
    images, _, _ = planted(3, seed=5)
    classes = torch.tensor([2, 0, 1])
    for method, explainer in EXPLAINERS.items():
        together = explainer(finder, images, classes)
        alone = [explainer(finder, images[n : n + 1], int(k))[0] for n, k in enumerate(classes)]
        torch.testing.assert_close(together, torch.stack(alone), atol=1e-5, rtol=1e-3, msg=method)


def test_tokens_are_read_as_places_and_the_class_token_is_left_out() -> None:
    network, images = seeded(Seeing), torch.rand(2, 1, 8, 8)
    layer = evidence_place(network, images).name
    assert layer == "block1"  # beyond it only the class token reaches the answer
    maps, gradient = evidence_at(network, images, 1, against=None, layer=layer)
    assert maps.shape[-2:] == (4, 4)
    assert gradient.any()
    explanation = explain(network, images[0], methods=AT_LAYER)
    assert explanation.heatmaps["gradient x activation"].shape == (4, 4)
    assert "17 tokens, read as a grid of 4 x 4; special tokens left out, such as the class token: 1" in str(
        explanation.notes[0]
    )


def test_what_has_no_places_is_refused_with_the_reason() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 2))
    images = torch.rand(1, 1, 4, 4)
    with pytest.raises(UsageError, match="No layer of this network has maps"):
        EXPLAINERS["grad-cam"](network, images, 0)
    with pytest.raises(UsageError, match=r"output \(1, 4\) of layer '1' does not lie over the picture"):
        EXPLAINERS["grad-cam"](network, images, 0, layer="1")
    assert EXPLAINERS["occlusion"](network, images, 0).shape == (1, 4, 4)
    with pytest.raises(UsageError, match=r"Layer 'stem#3' did not run"):
        EXPLAINERS["grad-cam"](seeded(SmallResidual), torch.rand(1, 1, 8, 8), 0, layer="stem#3")
    with pytest.raises(UsageError, match=r"gives scores \(B, K\) for 1 pictures; got \(1, 2, 6, 6\)"):
        EXPLAINERS["occlusion"](nn.Conv2d(1, 2, 3), torch.rand(1, 1, 8, 8), 0)
