"""Attribution: maps of a picture that show which places speak for a class and which against it.

Every map is signed: positive values speak for the class, negative ones against. The sums are plain autograd,
tested against Captum's and against finite differences. None changes the network or its inputs.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.explanation.activations import (
    find_module,
    forward_hooks,
    network_input,
    preserved_state,
    uncompiled,
)
from pellucid.explanation.places import evidence_place, function_of, function_watched, place_grid
from pellucid.inference import batch_size, network_errors
from pellucid.models.outputs import Output, output_of

Target = int | Tensor  # one class for all pictures, or one per picture: int64 (B,)

STEPS, PIECES, MAX_STEPS = 32, 16, 512  # of integrated gradients
TOLERANCE = 0.01  # of the difference of scores, by which a complete map may miss it
MARGIN = 0.9  # of the tolerance, so that it still holds when summed in another order
NOISY_COPIES, NOISE = 24, 0.15
ROUNDING = 1e-6  # of a score in float32, a few steps


class Score(NamedTuple):
    """The function that is explained: the score of `target`, or its lead over `against`, before any softmax
    or sigmoid of the network's own."""

    network: nn.Module
    output: Output
    target: Target
    against: Target | None

    @staticmethod
    def at(network: nn.Module, images: Tensor, target: Target, against: Target | None) -> "Score":
        """That of a network for pictures such as `images`."""
        return Score(network, output_of(network, images), target, against)

    def __call__(self, images: Tensor) -> Tensor:
        """Pictures (N, C, H, W), N a multiple of the number of targets -> scores (N,)"""
        scores = self.output.scores(self.network, images)  # (N, K)
        return _column(scores, self.target) - (0 if self.against is None else _column(scores, self.against))


class Evidence(NamedTuple):
    """A layer's maps and the gradient of the scores with respect to them, (B, C, h, w) each."""

    maps: Tensor
    gradient: Tensor


def gradient_times_activation(
    network: nn.Module,
    images: Tensor,
    target: Target,
    *,
    against: Target | None = None,
    layer: str | None = None,
) -> Tensor:
    """Signed evidence (B, h, w) at a spatial layer: gradient times activation, summed over channels
    (HiResCAM: Draelos and Carin, arXiv:2011.08891).

    Where only one linear layer follows, all cells add up to the score less the bias.
    """
    maps, gradient = evidence_at(network, images, target, against=against, layer=layer)
    return (gradient * maps).sum(dim=1)  # (B, h, w)


def grad_cam(
    network: nn.Module,
    images: Tensor,
    target: Target,
    *,
    against: Target | None = None,
    layer: str | None = None,
) -> Tensor:
    """Signed Grad-CAM (B, h, w): channels weighted by their mean gradient, without the paper's final ReLU,
    which would hide what speaks against (Selvaraju et al., arXiv:1610.02391).
    """
    maps, gradient = evidence_at(network, images, target, against=against, layer=layer)
    return (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1)  # (B, h, w)


def integrated_gradients(
    network: nn.Module,
    images: Tensor,
    target: Target,
    *,
    against: Target | None = None,
    layer: str | None = None,
    steps: int | None = None,
) -> Tensor:
    """Signed evidence (B, H, W) of every pixel: the gradient averaged along the straight path from a black
    picture, times the picture (Sundararajan et al., arXiv:1703.01365). `layer` is not used.

    All pixels add up to the score less the score of the black picture. Without a number of `steps`
    (Gauss-Legendre), 32 are used; where the sum is off by more than 1 %, the path is divided into pieces, and
    those whose gradients disagree most with the change of the score are halved, until the sum holds or 512
    gradients have been computed.
    """
    network = uncompiled(network)
    with preserved_state(network), torch.enable_grad():
        images = network_input(network, images)
        score = Score.at(network, images, target, against)
        heat = _path(score, images, STEPS if steps is None else steps)
        if steps is None:
            difference = _difference_from_black(score, images)
            for index in torch.nonzero(_off(heat.sum(dim=(1, 2)), difference)).cpu():  # (1,)
                other = None if against is None else _part(against, index)
                score = score._replace(target=_part(target, index), against=other)
                heat[index] = _adaptive_path(score, images[index]).to(heat)
    return heat.cpu()


def smoothgrad(
    network: nn.Module,
    images: Tensor,
    target: Target,
    *,
    against: Target | None = None,
    layer: str | None = None,
) -> Tensor:
    """Signed evidence (B, H, W): the gradient of the score averaged over 24 noisy copies (standard deviation
    0.15 of the range), times the picture, summed over channels (Smilkov et al., arXiv:1706.03825, 2 and 3).
    Without the picture it would show where a change would help, often next to what is there. `layer` is not
    used. The noise is the same in every call.
    """
    network = uncompiled(network)
    generator = torch.Generator().manual_seed(0)
    with preserved_state(network), torch.enable_grad():
        images = network_input(network, images)
        noise = torch.normal(0.0, NOISE, (NOISY_COPIES, *images.shape[1:]), generator=generator).to(images)
        total = torch.zeros_like(images)
        score = Score.at(network, images, target, against)
        for part in torch.split(noise, _copies_per_batch(network, images)):
            noisy = images + part[:, None]  # (S, B, C, H, W)
            total += _gradient(score, noisy.flatten(0, 1)).reshape(noisy.shape).sum(dim=0)
    return (total / NOISY_COPIES * images).sum(dim=1).float().cpu()  # (B, H, W)


def occlusion(
    network: nn.Module,
    images: Tensor,
    target: Target,
    *,
    against: Target | None = None,
    layer: str | None = None,
) -> Tensor:
    """The fall of the score, (B, H, W), when a black window, a seventh of the sides, covers a pixel,
    averaged over all windows that cover it (Zeiler and Fergus, arXiv:1311.2901). `layer` is not used.
    """
    network = uncompiled(network)
    with preserved_state(network), torch.no_grad():
        images = network_input(network, images)
        windows = _windows(images.shape[2], images.shape[3]).to(images.device)  # (P, H, W)
        heat = images.new_zeros(len(images), *images.shape[2:], dtype=torch.float32)
        score = Score.at(network, images, target, against)
        uncovered = score(images)  # (B,)
        for part in torch.split(windows, _copies_per_batch(network, images)):
            covered = images * ~part[:, None, None]  # (P, B, C, H, W)
            fall = uncovered - score(covered.flatten(0, 1)).reshape(covered.shape[:2])  # (P, B)
            heat += torch.einsum("pb,phw->bhw", fall, part.float())
    return (heat / windows.sum(dim=0)).cpu()


class Explainer(NamedTuple):
    """An attribution method, called as `f(network, images, target)`, and the facts about it.

    A call gives one signed float32 map per picture on the CPU, (B, h, w), as coarse as the layer it looks at.

    images   float 0..1 (B, C, H, W)
    target   the class to explain; int, or int64 (B,), one per picture
    against  a second class: then the evidence is for the difference of their scores
    layer    for methods that look at a layer; without it the last spatial layer

    Raises UsageError for a class or layer that the network does not have.
    """

    function: Callable[..., Tensor]
    caveat: str
    paper: str
    at_layer: bool = False
    additive: bool = False  # whether the sum of a map can be compared with the score
    complete: bool = False  # whether a map must add up to the score less the score of a black picture
    approximate: Callable[..., Tensor] | None = None  # nearly the same map in less time, for many
    passes: int = 4  # of the network for one map, about; a gradient counts as three

    def __call__(
        self,
        network: nn.Module,
        images: Tensor,
        target: Target,
        *,
        against: Target | None = None,
        layer: str | None = None,
    ) -> Tensor:
        """Signed evidence (B, h, w) for `target`, or for its lead over `against`."""
        return self.function(network, images, target, against=against, layer=layer)


def evidence_at(
    network: nn.Module, images: Tensor, target: Target, *, against: Target | None, layer: str | None
) -> Evidence:
    """The output of `layer` and the gradient of the scores there, float32 (B, C, h, w) on the CPU."""
    network = uncompiled(network)
    layer = evidence_place(network, images).name if layer is None else layer
    with preserved_state(network), torch.enable_grad():
        images = network_input(network, images)
        score = Score.at(network, images, target, against)
        if function_of(network, layer):
            output, gradient = _at_function(score, images, layer)
        else:
            output, gradient = _at_module(score, images, layer)
        grid = place_grid(network, images, layer, tuple(output.shape))
    if grid is None:
        raise UsageError(
            f"The output {tuple(output.shape)} of layer '{layer}' does not lie over the picture. Expected "
            "maps (B, C, H, W), or tokens that follow what moves in the picture: choose an earlier layer."
        )
    if gradient is None:
        raise UsageError(f"The scores do not depend on layer '{layer}'. Choose another one.")
    return Evidence(*(grid.maps(part.detach()).float().cpu() for part in (output, gradient)))


def _at_module(score: Score, images: Tensor, layer: str) -> tuple[Tensor, Tensor | None]:
    """The output of a module and the gradient of the scores there; None where they do not depend on it."""
    captured: list[Tensor] = []

    def capture(key: str, output: Tensor) -> Tensor | None:
        """Makes the output a leaf of the graph; a later in-place ReLU changes only a copy."""
        if key != layer:
            return None
        captured.append(output.detach().clone().requires_grad_())
        return captured[0].clone()

    with forward_hooks(find_module(score.network, layer), capture), network_errors():
        scores = score(images)
    if not captured:
        raise UsageError(f"Layer '{layer}' did not run for these pictures.")
    if not scores.requires_grad:
        return captured[0], None
    with network_errors():
        return captured[0], torch.autograd.grad(scores.sum(), captured[0], allow_unused=True)[0]


def _at_function(score: Score, images: Tensor, place: str) -> tuple[Tensor, Tensor | None]:
    """The output of a function and the gradient of the scores there; None where they do not depend on it."""
    with function_watched(score.network, place) as captured, network_errors():
        scores = score(images.requires_grad_())
    if not captured:
        raise UsageError(f"Function '{place}' did not run for these pictures.")
    output, edge = captured[0]
    with network_errors():
        return output, torch.autograd.grad(scores.sum(), [edge], allow_unused=True)[0]


def without_noise(maps: Tensor, scores: Tensor) -> Tensor:
    """The maps (B, h, w), those zero everywhere whose largest value is a rounding error of the scores (B, K):
    on a scale of their own they would look like evidence."""
    largest = maps.abs().flatten(1).amax(dim=1)
    floor = ROUNDING * scores.abs().amax(dim=1).to(maps)
    return torch.where((largest <= floor)[:, None, None], 0.0, maps)


def sum_gap(
    network: nn.Module, images: Tensor, maps: Tensor, target: Target, against: Target | None
) -> Tensor:
    """By how much the sum of each map (B, h, w) misses the score less that of a black picture, (B,), as a
    share of it. Of a difference that is itself a rounding error it is 0."""
    network = uncompiled(network)
    with preserved_state(network), torch.no_grad():
        images = network_input(network, images)
        score = Score.at(network, images, target, against)
        there, black = score(images).cpu(), score(torch.zeros_like(images)).cpu()
    rise, floor = there - black, ROUNDING * torch.maximum(there.abs(), black.abs())
    gap = (maps.sum(dim=(1, 2)) - rise).abs() / rise.abs().clamp_min(1e-30)
    return torch.where(rise.abs() <= floor, 0.0, gap)


def _column(scores: Tensor, target: Target) -> Tensor:
    if isinstance(target, int):
        if not 0 <= target < scores.shape[1]:
            raise UsageError(f"Expected a class from 0 to {scores.shape[1] - 1}; got {target}.")
        return scores[:, target]
    copies = len(scores) // len(target)  # of the whole batch, one after another
    target = target.to(scores.device).repeat(copies)
    return scores.gather(1, target[:, None])[:, 0]


def _part(target: Target, indices: Tensor) -> Target:
    return target[indices] if isinstance(target, Tensor) else target


def _gradient(score: Score, images: Tensor) -> Tensor:
    images = images.detach().requires_grad_()
    with network_errors():
        scores = score(images)
        if not scores.requires_grad:
            raise UsageError("The scores have no gradient: a part of this network cannot be differentiated.")
        (gradient,) = torch.autograd.grad(scores.sum(), images, allow_unused=True)
    if gradient is None:
        raise UsageError("The scores do not depend on the picture by anything that can be differentiated.")
    return gradient


def _path(score: Score, images: Tensor, steps: int) -> Tensor:
    """Integrated gradients of `images` from black by Gauss-Legendre quadrature, (B, H, W)."""
    roots, shares = np.polynomial.legendre.leggauss(steps)
    nodes = torch.from_numpy((roots + 1) / 2).to(images)  # (S,), from 0, black, to 1, the picture
    weights = torch.from_numpy(shares / 2).to(images)
    mean = torch.zeros_like(images)
    size = _copies_per_batch(score.network, images)
    for position, weight in zip(torch.split(nodes, size), torch.split(weights, size), strict=True):
        between = position[:, None, None, None, None] * images  # (S, B, C, H, W)
        gradient = _gradient(score, between.flatten(0, 1)).reshape(between.shape)
        mean += torch.einsum("s,sbchw->bchw", weight, gradient)
    return (mean * images).sum(dim=1).float()


def _adaptive_path(score: Score, image: Tensor) -> Tensor:
    """Integrated gradients of one picture (1, C, H, W) from black, (1, H, W), piece by piece along the path.

    Two gradients are computed for each piece; the scores at its ends say what they must add up to.
    """
    positions = torch.linspace(0, 1, PIECES + 1)
    with torch.no_grad():
        values = _scores_along(score, image, positions)
    ends = torch.stack([positions[:-1], positions[1:]], dim=1)  # (P, 2)
    scores = torch.stack([values[:-1], values[1:]], dim=1)
    heat = _integrated(score, image, ends)  # (P, H, W)
    steps = 2 * PIECES
    while steps < MAX_STEPS:
        rises = scores[:, 1] - scores[:, 0]  # (P,)
        errors = heat.sum(dim=(1, 2)) - rises
        if not _off(heat.sum(), rises.sum()):
            break
        order = errors.abs().argsort(descending=True)
        count = max(1, len(order) // 4)
        halved, rest = order[:count], order[count:]
        middle = ends[halved].mean(dim=1)
        with torch.no_grad():
            value = _scores_along(score, image, middle)
        new_ends = _halves(ends[halved], middle)
        heat = torch.cat([heat[rest], _integrated(score, image, new_ends)])
        ends = torch.cat([ends[rest], new_ends])
        scores = torch.cat([scores[rest], _halves(scores[halved], value)])
        steps += 4 * count
    return heat.sum(dim=0, keepdim=True)


def _integrated(score: Score, image: Tensor, ends: Tensor) -> Tensor:
    """The evidence (P, H, W) along each piece of the path, by two gradients (Gauss-Legendre)."""
    lengths = (ends[:, 1] - ends[:, 0])[:, None]  # (P, 1)
    nodes = ends.mean(dim=1, keepdim=True) + lengths * torch.tensor([-0.5, 0.5]) / 3**0.5  # (P, 2)
    gradients = [_gradient(score, part) for part in _along(score, image, nodes.flatten())]
    products = (torch.cat(gradients) * image).sum(dim=1).float().cpu()  # (2P, H, W)
    return products.reshape(len(ends), 2, *products.shape[1:]).mean(dim=1) * lengths[..., None]


def _scores_along(score: Score, image: Tensor, positions: Tensor) -> Tensor:
    """The score (S,) at each position on the path from black, 0, to the picture, 1."""
    return torch.cat([score(part) for part in _along(score, image, positions)]).float().cpu()


def _along(score: Score, image: Tensor, positions: Tensor) -> Iterator[Tensor]:
    """The pictures (S, C, H, W) at those positions on the path, in batches."""
    for part in torch.split(positions.to(image), _copies_per_batch(score.network, image)):
        yield part[:, None, None, None] * image


def _off(total: Tensor, expected: Tensor) -> Tensor:
    """Whether a sum is farther than the tolerance from what it must be."""
    return (total - expected).abs() > MARGIN * TOLERANCE * expected.abs()


def _halves(pairs: Tensor, middle: Tensor) -> Tensor:
    """Pairs (P, 2) from end to middle and from middle to end, (2P, 2)."""
    first, last = pairs.T
    return torch.cat([torch.stack([first, middle], dim=1), torch.stack([middle, last], dim=1)])


def _difference_from_black(score: Score, images: Tensor) -> Tensor:
    with torch.no_grad():
        return (score(images) - score(torch.zeros_like(images))).float()


def _copies_per_batch(network: nn.Module, images: Tensor) -> int:
    """How many copies of `images` run at once: about as many as are fastest."""
    return max(1, batch_size(network, images) // max(1, len(images)))


def _windows(height: int, width: int) -> Tensor:
    """Masks of windows, a seventh of the sides, half a window apart: bool (P, H, W)."""
    starts, lengths = [], []
    for side in (height, width):
        length = max(1, round(side / 7))
        starts.append([*range(0, side - length, max(1, length // 2)), side - length])
        lengths.append(length)
    windows = torch.zeros(len(starts[0]) * len(starts[1]), height, width, dtype=torch.bool)
    for window, (top, left) in zip(windows, product(*starts), strict=True):
        window[top : top + lengths[0], left : left + lengths[1]] = True
    return windows


EXPLAINERS: dict[str, Explainer] = {
    "gradient x activation": Explainer(
        gradient_times_activation,
        "Coarse: as many cells as the layer has. It shows where, not what.",
        "HiResCAM, Draelos and Carin, arXiv:2011.08891",
        at_layer=True,
        additive=True,
    ),
    "grad-cam": Explainer(
        grad_cam,
        "Averages gradients over all places, so it can highlight places the network does not use.",
        "Selvaraju et al., arXiv:1610.02391; without its final ReLU",
        at_layer=True,
    ),
    "integrated gradients": Explainer(
        integrated_gradients,
        "Compares with a black picture, so black pixels get no credit: missing ink is never evidence.",
        "Sundararajan et al., arXiv:1703.01365",
        additive=True,
        complete=True,
        approximate=partial(integrated_gradients, steps=STEPS),
        passes=400,  # photographs take some 120 gradients or more
    ),
    "smoothgrad": Explainer(
        smoothgrad,
        "Reflects only small changes of the picture, and gives black pixels no credit.",
        "Smilkov et al., arXiv:1706.03825; times the picture",
        additive=True,
        passes=3 * NOISY_COPIES,
    ),
    "occlusion": Explainer(
        occlusion,
        "A black window is itself a shape: the network may respond to the window.",
        "Zeiler and Fergus, arXiv:1311.2901",
        passes=200,
    ),
}
