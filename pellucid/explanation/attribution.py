"""Where the evidence lies: maps of a picture that say which places speak for an answer.

Every map is signed: positive places speak for, negative ones against. The sums are plain autograd and are
tested against Captum's and against finite differences. None changes the network or its inputs.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.explanation.activations import (
    Grid,
    first_tensor,
    fitted,
    grid_of,
    last_spatial_layer,
    listening,
    module_named,
    original,
    undisturbed,
)
from pellucid.inference import PICTURES_A_BATCH, VALUES_A_BATCH

Target = int | Tensor  # one class for all pictures, or one a picture: int64 (B,)
Score = Callable[[Tensor], Tensor]  # pictures (N, C, H, W), N a multiple of B -> scores (N,)

STEPS, PIECES, MOST_STEPS, CLOSE = 32, 16, 512, 0.01
NEARLY = 0.9  # of what is allowed, for whoever adds up again in another order
NOISY_COPIES, NOISE = 24, 0.15


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
    """Signed evidence (B, h, w) at a layer with maps: gradient times activation, summed over channels
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
    """Signed Grad-CAM (B, h, w): channels weighted by their mean gradient, before the paper's ReLU, which
    would hide what speaks against (Selvaraju et al., arXiv:1610.02391).
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
    """Signed evidence (B, H, W) of every pixel: the gradient averaged on the straight way from a black
    picture, times the picture (Sundararajan et al., arXiv:1703.01365). `layer` plays no part.

    All pixels add up to the score less the score of the black picture. Without a number of `steps`
    (Gauss-Legendre), 32 are taken; where that misses the difference by 1 %, the way is parted into pieces,
    and those are halved along which the score rises otherwise than their gradients say, until it holds or
    512 gradients are taken.
    """
    network = original(network)
    with undisturbed(network), torch.enable_grad():
        images = fitted(network, images)
        heat = _path(_scorer(network, target, against), images, STEPS if steps is None else steps)
        if steps is None:
            difference = _difference_from_black(network, images, target, against)
            for place in torch.nonzero(_misses(heat.sum(dim=(1, 2)), difference))[:, 0].cpu():
                one = place[None]
                other = None if against is None else _part(against, one)
                heat[one] = _in_pieces(_scorer(network, _part(target, one), other), images[one]).to(heat)
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
    0.15 of the range), times the picture, summed over colours (Smilkov et al., arXiv:1706.03825, 2 and 3).
    Without the picture it would show where a change would help, often beside what is there. `layer` plays
    no part. The noise is the same at every call.
    """
    network = original(network)
    generator = torch.Generator().manual_seed(0)
    with undisturbed(network), torch.enable_grad():
        images = fitted(network, images)
        noise = torch.normal(0.0, NOISE, (NOISY_COPIES, *images.shape[1:]), generator=generator).to(images)
        total = torch.zeros_like(images)
        score = _scorer(network, target, against)
        for part in torch.split(noise, _copies(images)):
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
    """By how much the score falls, (B, H, W), when a black window a seventh of the side lies over a pixel,
    averaged over all windows that do (Zeiler and Fergus, arXiv:1311.2901). `layer` plays no part.
    """
    network = original(network)
    with undisturbed(network), torch.no_grad():
        images = fitted(network, images)
        windows = _windows(images.shape[2], images.shape[3]).to(images.device)  # (P, H, W)
        heat = images.new_zeros(len(images), *images.shape[2:], dtype=torch.float32)
        score = _scorer(network, target, against)
        whole = score(images)  # (B,)
        for part in torch.split(windows, _copies(images)):
            covered = images * ~part[:, None, None]  # (P, B, C, H, W)
            fall = whole - score(covered.flatten(0, 1)).reshape(covered.shape[:2])  # (P, B)
            heat += torch.einsum("pb,phw->bhw", fall, part.float())
    return (heat / windows.sum(dim=0)).cpu()


class Explainer(NamedTuple):
    """A method by which evidence is found: called as `f(network, images, target)`, with what to know of it.

    Called, it gives a signed float32 map a picture on the CPU: (B, h, w), as coarse as what it is made of.

    images   float 0..1 (B, C, H, W)
    target   the class to speak for; int, or int64 (B,), one a picture
    against  a second class: then the evidence is for the difference of their scores
    layer    where to look, for methods of a layer; without it the last layer with places

    Raises UsageError for a class or layer the network has not.
    """

    function: Callable[..., Tensor]
    caveat: str
    paper: str
    at_layer: bool = False
    additive: bool = False  # whether the sum of the map can be compared with the score
    complete: bool = False  # whether the map must add up to the score less the score of a black picture
    rough: Callable[..., Tensor] | None = None  # a quicker way to nearly the same map, for comparing many

    def __call__(
        self,
        network: nn.Module,
        images: Tensor,
        target: Target,
        *,
        against: Target | None = None,
        layer: str | None = None,
    ) -> Tensor:
        """The evidence for `target`, or for it against `against`: signed (B, h, w)."""
        return self.function(network, images, target, against=against, layer=layer)


def evidence_at(
    network: nn.Module, images: Tensor, target: Target, *, against: Target | None, layer: str | None
) -> Evidence:
    """What `layer` puts out and the gradient of the scores there, float32 (B, C, h, w) on the CPU."""
    network = original(network)
    layer = last_spatial_layer(network, images) if layer is None else layer
    module = module_named(network, layer)
    size = (images.shape[-2], images.shape[-1])
    heard: list[Tensor] = []

    def cut(key: str, output: Tensor) -> Tensor | None:
        """From here on everything depends on a leaf of its own; an in-place ReLU changes only a copy."""
        if key != layer:
            return None
        heard.append(output.detach().clone().requires_grad_())
        return heard[0].clone()

    with undisturbed(network), torch.enable_grad(), listening(module, cut):
        scores = _scorer(network, target, against)(fitted(network, images))
        if not heard:
            raise UsageError(f"Layer '{layer}' did not run for these pictures.")
        grid = _grid(layer, heard[0], size)
        if scores.requires_grad:
            (gradient,) = torch.autograd.grad(scores.sum(), heard[0], allow_unused=True)
        else:
            gradient = None
    if gradient is None:
        raise UsageError(f"The answer does not depend on layer '{layer}'. Name another one.")
    return Evidence(*(grid.maps(part.detach()).float().cpu() for part in (heard[0], gradient)))


def scores_of(network: nn.Module, images: Tensor) -> Tensor:
    """What the network answers, (B, K) float: the first tensor it puts out.

    Raises UsageError when that is no row of scores a picture.
    """
    output = network(laid(images))
    answer = output["logits"] if isinstance(output, dict) and "logits" in output else first_tensor(output)
    if answer is None or answer.dim() != 2 or len(answer) != len(images):
        shape = None if answer is None else tuple(answer.shape)
        raise UsageError(
            f"Expected a network that gives scores (B, K) to {len(images)} pictures; got {shape}."
        )
    return answer.float()


def laid(images: Tensor) -> Tensor:
    """The same pictures channels last in memory, as `predict` lays them: convolutions are quicker so."""
    return torch.empty_like(images, memory_format=torch.channels_last).copy_(images)


def _scorer(network: nn.Module, target: Target, against: Target | None) -> Score:
    """The function whose rise is explained: the score of `target`, or its lead over `against`."""

    def score(images: Tensor) -> Tensor:
        scores = scores_of(network, images)  # (N, K)
        return _column(scores, target) - (0 if against is None else _column(scores, against))

    return score


def _column(scores: Tensor, target: Target) -> Tensor:
    if isinstance(target, int):
        if not 0 <= target < scores.shape[1]:
            raise UsageError(f"Expected a class from 0 to {scores.shape[1] - 1}; got {target}.")
        return scores[:, target]
    copies = len(scores) // len(target)  # of the batch, one after another
    target = target.to(scores.device).repeat(copies)
    return scores.gather(1, target[:, None])[:, 0]


def _part(target: Target, indices: Tensor) -> Target:
    return target[indices] if isinstance(target, Tensor) else target


def _gradient(score: Score, images: Tensor) -> Tensor:
    images = images.detach().requires_grad_()
    scores = score(images)
    if not scores.requires_grad:
        raise UsageError("The network's answer has no gradient: something in it cannot be differentiated.")
    return torch.autograd.grad(scores.sum(), images)[0]


def _path(score: Score, images: Tensor, steps: int) -> Tensor:
    """Integrated gradients of `images` from black by Gauss-Legendre quadrature, (B, H, W)."""
    places, shares = np.polynomial.legendre.leggauss(steps)
    ways = torch.from_numpy((places + 1) / 2).to(images)  # (S,), from 0 black to 1 the picture
    weights = torch.from_numpy(shares / 2).to(images)
    mean = torch.zeros_like(images)
    size = _copies(images)
    for way, weight in zip(torch.split(ways, size), torch.split(weights, size), strict=True):
        between = way[:, None, None, None, None] * images  # (S, B, C, H, W)
        gradient = _gradient(score, between.flatten(0, 1)).reshape(between.shape)
        mean += torch.einsum("s,sbchw->bchw", weight, gradient)
    return (mean * images).sum(dim=1).float()


def _in_pieces(score: Score, image: Tensor) -> Tensor:
    """Integrated gradients of one picture (1, C, H, W) from black, (1, H, W), piece by piece of the way.

    Two gradients are taken along each piece. The scores at its ends tell what they must add up to.
    """
    places = torch.linspace(0, 1, PIECES + 1)
    with torch.no_grad():
        values = _scores_along(score, image, places)
    ends = torch.stack([places[:-1], places[1:]], dim=1)  # (P, 2)
    scores = torch.stack([values[:-1], values[1:]], dim=1)
    heat = _between(score, image, ends)  # (P, H, W)
    taken = 2 * PIECES
    while taken < MOST_STEPS:
        rises = scores[:, 1] - scores[:, 0]  # (P,)
        off = heat.sum(dim=(1, 2)) - rises
        if not _misses(heat.sum(), rises.sum()):
            break
        order = off.abs().argsort(descending=True)
        number = max(1, len(order) // 4)
        halved, kept = order[:number], order[number:]
        middle = ends[halved].mean(dim=1)
        with torch.no_grad():
            value = _scores_along(score, image, middle)
        halves = [_halves(ends[halved], middle), _halves(scores[halved], value)]
        heat = torch.cat([heat[kept], _between(score, image, halves[0])])
        ends, scores = (
            torch.cat([whole[kept], new]) for whole, new in zip((ends, scores), halves, strict=True)
        )
        taken += 4 * number
    return heat.sum(dim=0, keepdim=True)


def _between(score: Score, image: Tensor, ends: Tensor) -> Tensor:
    """The evidence (P, H, W) gathered along each piece of the way, by two gradients (Gauss-Legendre)."""
    apart = (ends[:, 1] - ends[:, 0])[:, None]  # (P, 1)
    ways = ends.mean(dim=1, keepdim=True) + apart * torch.tensor([-0.5, 0.5]) / 3**0.5  # (P, 2)
    gradients = [_gradient(score, part) for part in _along(image, ways.flatten())]
    slopes = (torch.cat(gradients) * image).sum(dim=1).float().cpu()  # (2P, H, W)
    return slopes.reshape(len(ends), 2, *slopes.shape[1:]).mean(dim=1) * apart[..., None]


def _scores_along(score: Score, image: Tensor, ways: Tensor) -> Tensor:
    """The score (S,) at each place of the way from black, 0, to the picture, 1."""
    return torch.cat([score(part) for part in _along(image, ways)]).float().cpu()


def _along(image: Tensor, ways: Tensor) -> Iterator[Tensor]:
    """The pictures (S, C, H, W) at those places of the way, as many at once as there is room for."""
    for part in torch.split(ways.to(image), _copies(image)):
        yield part[:, None, None, None] * image


def _misses(found: Tensor, expected: Tensor) -> Tensor:
    """Whether a sum is farther than 1 % from what it must be."""
    return (found - expected).abs() > NEARLY * CLOSE * expected.abs()


def _halves(pairs: Tensor, middle: Tensor) -> Tensor:
    """Pairs (P, 2) from end to middle and from middle to end, (2P, 2)."""
    first, last = pairs.T
    return torch.cat([torch.stack([first, middle], dim=1), torch.stack([middle, last], dim=1)])


def _difference_from_black(
    network: nn.Module, images: Tensor, target: Target, against: Target | None
) -> Tensor:
    with torch.no_grad():
        score = _scorer(network, target, against)
        return (score(images) - score(torch.zeros_like(images))).float()


def _copies(images: Tensor) -> int:
    """How many copies of a batch are run at once: what is quickest."""
    return max(1, min(PICTURES_A_BATCH // max(1, len(images)), VALUES_A_BATCH // max(1, images.numel())))


def _windows(height: int, width: int) -> Tensor:
    """Every place of a window a seventh of the sides, half a window apart: bool (P, H, W)."""
    down, across = max(1, round(height / 7)), max(1, round(width / 7))
    windows = [
        _window((height, width), (top, left), (down, across))
        for top in _starts(height, down)
        for left in _starts(width, across)
    ]
    return torch.stack(windows)


def _starts(side: int, window: int) -> list[int]:
    stride = max(1, window // 2)
    return [*range(0, side - window, stride), side - window]


def _window(size: tuple[int, int], corner: tuple[int, int], sides: tuple[int, int]) -> Tensor:
    window = torch.zeros(size, dtype=torch.bool)
    window[corner[0] : corner[0] + sides[0], corner[1] : corner[1] + sides[1]] = True
    return window


def _grid(layer: str, output: Tensor, size: tuple[int, int]) -> Grid:
    grid = grid_of(tuple(output.shape), size)
    if grid is None:
        raise UsageError(
            f"Layer '{layer}' puts out {tuple(output.shape)}, which has no places on the picture. Expected "
            "maps (B, C, H, W), or tokens that form a grid: name an earlier layer."
        )
    return grid


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
        "Averages gradients over all places, so it can light up places the network does not use.",
        "Selvaraju et al., arXiv:1610.02391; without its final ReLU",
        at_layer=True,
    ),
    "integrated gradients": Explainer(
        integrated_gradients,
        "Compares with a black picture, so black pixels get no credit: missing ink is never evidence.",
        "Sundararajan et al., arXiv:1703.01365",
        additive=True,
        complete=True,
        rough=partial(integrated_gradients, steps=STEPS),
    ),
    "smoothgrad": Explainer(
        smoothgrad,
        "Follows small changes of the picture only, and gives black pixels no credit.",
        "Smilkov et al., arXiv:1706.03825; times the picture",
        additive=True,
    ),
    "occlusion": Explainer(
        occlusion,
        "A black window is itself a shape: the network may answer to the window.",
        "Zeiler and Fergus, arXiv:1311.2901",
    ),
}
