"""Can a map be believed? Every kind of map is tested on real pictures and says how it fared.

A map is only as good as what it explains, so a network that guesses is not explained at all. A method must
depend on the weights (Adebayo et al., arXiv:1810.03292), and the places it names must matter more than
random ones, edges or plain ink (deletion and insertion: Petsiuk et al., arXiv:1806.07421). Maps are compared
at equal amounts of ink taken away or given: else a map would win by where ink is, not by which ink matters,
and naming an empty place, whose emptiness may well be evidence, would count against it.
"""

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
from pellucid.explanation.attribution import CLOSE, laid
from pellucid.formatting import percent
from pellucid.inference import VALUES_A_BATCH, evaluating, scaled
from pellucid.language import translate

Method = Callable[[nn.Module, Tensor, Any], Tensor]

PICTURES = 128  # by which maps are judged; with 64 the verdict hung on which they were
LEVELS = tuple(step / 12 for step in range(13))  # shares of the ink taken away or given
RANDOM_NETWORKS, COMPARED = 2, 8  # networks with random weights, and pictures for which maps are compared
MOST_ALIKE = 0.5  # rank correlation of a map with that of random weights, above which it shows the picture
LEAST_LEAD = 0.02  # of mean probability: less is nothing to see
CLEARLY_BETTER = 0.2  # the share of the way from guessing to perfect that an explained network has gone
ONE_SIDED_95 = 1.645
CHECKED = 500  # pictures by which it is decided whether the network does better than guessing

CAVEAT = (
    "Taking pixels away makes pictures the network never saw, and passing is no proof: "
    "a map that fails is not to be used, one that passes may be."
)


@dataclass(frozen=True)
class Lead:
    """By how much a method beats a rival map, insertion less deletion, in mean probability, -2..2.

    low  the one-sided 95 % bound of the mean over the pictures; a lead counts where that is above 0.02
    """

    rival: str
    mean: float
    low: float


@dataclass(frozen=True)
class MapTest:
    """How one method fared.

    alike      mean rank correlation, -1..1, of its maps with those of the network with random weights
    deletion   mean probability left while the pixels it names first are taken away: low is good
    insertion  mean probability while they are given to an empty picture: high is good
    leads      against random places, edges and plain ink
    gap        largest distance of a map's sum from what it must add up to, as a share of it; None where
               nothing is promised
    supported  whether the maps may be shown; `sentence` says why or why not
    """

    method: str
    alike: float
    deletion: float
    insertion: float
    leads: tuple[Lead, ...]
    gap: float | None
    supported: bool
    sentence: str


@dataclass(frozen=True)
class Faithfulness:
    """What the tests say of a network's maps.

    pictures  how many were used for the maps; `checked` for deciding whether the network guesses
    accuracy  on the checked pictures; `chance` is what naming the commonest class would reach
    """

    pictures: int
    checked: int
    accuracy: float
    chance: float
    tests: tuple[MapTest, ...]
    caveat: str = CAVEAT

    @property
    def guesses(self) -> bool:
        """Whether the network is not clearly better than naming the commonest class: with 95 % confidence
        it has not gone a fifth of the way from there to perfect."""
        return _guesses(self.accuracy, self.chance, self.checked)

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        if self.guesses:
            return translate(
                "Not to be believed: the network is right on %(accuracy)s of %(checked)s pictures, "
                "hardly better than guessing (%(chance)s).",
                accuracy=percent(self.accuracy), checked=self.checked, chance=percent(self.chance),
            )  # fmt: skip
        passed = [test.method for test in self.tests if test.supported]
        if not passed:
            return translate("Not to be believed: no method passed its tests.")
        return translate(
            "%(passed)s of %(all)s methods passed on %(pictures)s pictures: %(names)s.",
            passed=len(passed), all=len(self.tests), pictures=self.pictures,
            names=", ".join(translate(name) for name in passed),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain numbers and words."""
        return {**asdict(self), "verdict": self.verdict}


def judge_maps(
    classifier: Classifier,
    dataset: Dataset,
    methods: Mapping[str, Method],
    *,
    pictures: int = PICTURES,
    seed: int = 0,
) -> Faithfulness:
    """How each of `methods` fares on `pictures` of `dataset`, which the network should not have learned from.

    The class explained is the one answered. The same seed takes the same pictures, random places and random
    weights. Raises UsageError when the data set is empty.
    """
    if not len(dataset):
        raise UsageError("No pictures to test maps on. Expected at least one.")
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    checked, sample = order[:CHECKED], order[:pictures]
    labels = dataset.labels[checked]
    accuracy = float((classifier.logits(dataset.images[checked]).argmax(dim=1) == labels).double().mean())
    chance = float(labels.bincount().max()) / len(labels)
    images = scaled(dataset.images[sample])  # (N, C, H, W)
    targets = classifier.logits(dataset.images[sample]).argmax(dim=1)
    bench = _Tester(classifier.network, images, targets, seed)
    guesses = _guesses(accuracy, chance, len(labels))
    tests = tuple(bench.test(name, method, guesses=guesses) for name, method in methods.items())
    return Faithfulness(len(images), len(labels), accuracy, chance, tests)


def randomised(network: nn.Module, *, seed: int) -> nn.Module:
    """A copy of the network whose weights are shuffled within each tensor: as large as before, without what
    was learned. The original is not touched."""
    generator = torch.Generator().manual_seed(seed)
    copy = deepcopy(network)
    with torch.no_grad():
        for weight in copy.parameters():
            places = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.copy_(weight.flatten()[places].reshape(weight.shape))
    return copy


def blank(images: Tensor) -> Tensor:
    """The picture with nothing in it, (B, C, 1, 1): the median of each colour along the border."""
    border = torch.cat(
        [images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]], dim=2
    )  # (B, C, 2H + 2W)
    return border.median(dim=2).values[:, :, None, None]


def edges(images: Tensor) -> Tensor:
    """The strength of edges at each pixel, (B, H, W): Sobel's two filters over the mean of the colours."""
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    filters = torch.stack([across, across.T])[:, None]  # (2, 1, 3, 3)
    gray = functional.pad(images.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    return functional.conv2d(gray, filters).square().sum(dim=1).sqrt()


def ink(images: Tensor) -> Tensor:
    """How far each pixel is from the empty picture, (B, H, W)."""
    return (images - blank(images)).abs().mean(dim=1)


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's correlation of two sets of maps (B, ...), one number a picture; 0 where a map is flat."""
    one, other = _ranks(first.flatten(1)), _ranks(second.flatten(1))
    one, other = one - one.mean(dim=1, keepdim=True), other - other.mean(dim=1, keepdim=True)
    length = one.norm(dim=1) * other.norm(dim=1)
    return torch.where(length > 0, (one * other).sum(dim=1) / length.clamp_min(1e-12), 0.0)


class _Tester:
    """Pictures with the answers to be explained, and how rival maps fare on them."""

    def __init__(self, network: nn.Module, images: Tensor, targets: Tensor, seed: int) -> None:
        self.network, self.images, self.targets = network, images, targets
        self.generator = torch.Generator().manual_seed(seed)
        self.strangers = [randomised(network, seed=seed + number) for number in range(RANDOM_NETWORKS)]
        noise = torch.rand(len(images), *images.shape[2:], generator=self.generator)
        rivals = {"random": noise, "edges": edges(images), "ink": ink(images)}
        self.rivals = {name: self.curves(maps) for name, maps in rivals.items()}

    def test(self, name: str, method: Method, *, guesses: bool) -> MapTest:
        """How a method fares: three tests, or four where its maps must add up."""
        maps = method(self.network, self.images, self.targets)  # (B, h, w)
        alike = self.alike(method, maps)
        deletion, insertion = self.curves(maps)
        leads = tuple(
            _lead(rival, insertion - deletion - (theirs[1] - theirs[0]))
            for rival, theirs in self.rivals.items()
        )
        gap = self.gap(maps) if getattr(method, "complete", False) else None
        faults = _faults(maps, alike, leads, gap, guesses=guesses)
        deleted, inserted = float(deletion.mean()), float(insertion.mean())
        sentence = _sentence(name, faults, alike, leads)
        return MapTest(name, alike, deleted, inserted, leads, gap, not faults, sentence)

    def alike(self, method: Method, maps: Tensor) -> float:
        """Mean rank correlation with the maps of random networks for the same classes."""
        number = max(2, min(COMPARED, len(self.images) // 4))
        images, targets = self.images[:number], self.targets[:number]
        drawn = getattr(method, "rough", None) or method  # of random weights nothing needs to add up
        theirs = torch.stack([drawn(stranger, images, targets) for stranger in self.strangers])
        ours = maps[:number].expand_as(theirs)
        return float(rank_correlation(ours.flatten(0, 1), theirs.flatten(0, 1)).mean())

    def curves(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Mean probability of the answer, (B,) each, while the pixels a map names first are taken away, and
        while they are given to an empty picture."""
        size = (self.images.shape[2], self.images.shape[3])
        fine = functional.interpolate(maps[:, None].float(), size, mode="bilinear", align_corners=False)
        when = self.turns(fine.flatten(1)).reshape(len(maps), 1, *size)  # (B, 1, H, W)
        empty = blank(self.images).expand_as(self.images)
        gone = torch.stack([torch.where(when <= level, empty, self.images) for level in LEVELS])
        given = torch.stack([torch.where(when <= level, self.images, empty) for level in LEVELS])
        probabilities = self.probabilities(torch.cat([gone, given]))  # (2L, B)
        return probabilities[: len(LEVELS)].mean(dim=0), probabilities[len(LEVELS) :].mean(dim=0)

    def turns(self, values: Tensor) -> Tensor:
        """The share of the ink that has gone when a pixel goes, the largest values first, (B, H*W) 0..1."""
        ties = torch.rand(values.shape, generator=self.generator).argsort(dim=1)  # equal values: in any order
        order = ties.gather(1, values.gather(1, ties).argsort(dim=1, descending=True, stable=True))
        gone = ink(self.images).flatten(1).double().gather(1, order).cumsum(dim=1)  # (B, H*W)
        shares = (gone / gone[:, -1:].clamp_min(1e-12)).clamp_max(1).float()
        return torch.zeros_like(shares).scatter(1, order, shares)

    def probabilities(self, images: Tensor) -> Tensor:
        """The probability (S, B) of each picture's answer in S changed copies (S, B, C, H, W)."""
        flat = images.flatten(0, 1)
        with evaluating(self.network), torch.inference_mode():
            parts = torch.split(flat, max(1, VALUES_A_BATCH // flat[0].numel()))
            answers = torch.cat([self.network(laid(part)) for part in parts])
        chosen = answers.float().softmax(dim=1).reshape(*images.shape[:2], -1)
        return chosen.gather(2, self.targets.expand(len(images), -1)[..., None])[..., 0]

    def gap(self, maps: Tensor) -> float:
        """The largest distance of a map's sum from the rise of the score since black, as a share of it."""
        with evaluating(self.network), torch.inference_mode():
            pair = [self.network(images).float() for images in (self.images, torch.zeros_like(self.images))]
        rise = (pair[0] - pair[1]).gather(1, self.targets[:, None])[:, 0]
        least = float(rise.abs().mean()) / 10  # a picture whose score hardly differs from black says little
        return float(((maps.sum(dim=(1, 2)) - rise).abs() / rise.abs().clamp_min(max(least, 1e-6))).max())


def _ranks(values: Tensor) -> Tensor:
    """The rank of each value in its row, equal ones sharing the mean of theirs, (B, n)."""
    rows = []
    for row in values:
        _, inverse, counts = torch.unique(row, return_inverse=True, return_counts=True)
        ends = counts.cumsum(dim=0)
        rows.append((ends - (counts - 1) / 2)[inverse])
    return torch.stack(rows).double()


def _lead(rival: str, leads: Tensor) -> Lead:
    leads = leads.double()
    spread = float(leads.std()) / math.sqrt(len(leads)) if len(leads) > 1 else float("inf")
    return Lead(rival, float(leads.mean()), float(leads.mean()) - _student(len(leads) - 1) * spread)


def _student(freedom: int) -> float:
    """Student's one-sided 95 % bound, which few pictures make wider than the normal one; after Cornish and
    Fisher, right to 0.01 from five degrees of freedom on, too low below."""
    z = ONE_SIDED_95
    least = max(1, freedom)
    return z + (z**3 + z) / (4 * least) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * least**2)


def _faults(
    maps: Tensor, alike: float, leads: tuple[Lead, ...], gap: float | None, *, guesses: bool
) -> list[str]:
    faults = []
    if guesses:
        faults.append(translate("the network itself hardly does better than guessing"))
    if not maps.any():
        faults.append(translate("it finds no evidence at all"))
    if abs(alike) > MOST_ALIKE:
        faults.append(
            translate(
                "it hardly depends on the weights (rank correlation %(alike)s with random ones)",
                alike=f"{alike:.2f}",
            )
        )
    beaten = [translate(lead.rival) for lead in leads if lead.mean <= LEAST_LEAD]
    unsure = [translate(lead.rival) for lead in leads if lead.low <= LEAST_LEAD < lead.mean]
    if beaten:
        faults.append(
            translate(
                "the places it names matter no more than %(beaten)s", beaten=translate(" or ").join(beaten)
            )
        )
    if unsure:
        faults.append(
            translate(
                "on so few pictures it is not sure that the places it names matter more than %(unsure)s",
                unsure=translate(" or ").join(unsure),
            )
        )
    if gap is not None and gap > CLOSE:
        faults.append(translate("its maps miss what they must add up to by %(gap)s", gap=percent(gap)))
    return faults


def _sentence(name: str, faults: list[str], alike: float, leads: tuple[Lead, ...]) -> str:
    if faults:
        return translate(
            "%(name)s: not to be believed: %(faults)s.", name=translate(name), faults="; ".join(faults)
        )
    ahead = ", ".join(
        translate("%(rival)s by %(lead)s", rival=translate(lead.rival), lead=f"{lead.mean:.2f}")
        for lead in leads
    )
    return translate(
        "%(name)s: passed; depends on the weights (rank correlation %(alike)s), beats %(ahead)s.",
        name=translate(name), alike=f"{alike:.2f}", ahead=ahead,
    )  # fmt: skip


def _guesses(accuracy: float, chance: float, number: int) -> bool:
    spread = math.sqrt(max(accuracy * (1 - accuracy), 1e-12) / number)
    return accuracy - ONE_SIDED_95 * spread <= chance + CLEARLY_BETTER * (1 - chance)
