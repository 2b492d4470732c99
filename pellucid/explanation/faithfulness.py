"""Faithfulness: every attribution method is tested on real pictures, and the result is shown with its maps.

A network that guesses cannot be explained at all. A method must depend on the weights (Adebayo et al.,
arXiv:1810.03292), and the places it ranks highest must matter more than random ones, edges or plain ink
(deletion and insertion: Petsiuk et al., arXiv:1806.07421). Maps are compared at equal amounts of ink removed
or added: otherwise a map would win by where ink is, not by which ink matters, and highlighting an empty
place, whose emptiness may well be evidence, would count against it.
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
from pellucid.explanation.attribution import TOLERANCE
from pellucid.formatting import percent
from pellucid.inference import batch_size, evaluation_mode, scaled
from pellucid.language import translate
from pellucid.task import shares_of, shows

Method = Callable[[nn.Module, Tensor, Any], Tensor]

PICTURES = 128  # on which maps are tested; with 64 the verdict depended on the sample
LEVELS = tuple(step / 12 for step in range(13))  # shares of the ink removed or added
TEST_PASSES = 2 * (len(LEVELS) - 2)  # of the network, for a map of one picture: the ends are the same for all
RANDOM_NETWORKS, COMPARED = 2, 8  # networks with shuffled weights, and pictures whose maps are compared
MAX_CORRELATION = 0.5  # with the map of shuffled weights, above which a map shows only the picture
MIN_LEAD = 0.02  # of mean probability: less is invisible
CLEARLY_BETTER = 0.2  # share of the way from guessing to perfect that an explained network must have gone
ONE_SIDED_95 = 1.645
CHECKED = 500  # pictures on which it is decided whether the network does better than guessing

CAVEAT = (
    "Removing pixels makes pictures unlike any the network has seen, and passing proves nothing: "
    "do not use a map that fails; one that passes may be right."
)


@dataclass(frozen=True)
class Lead:
    """By how much a method beats another map: insertion less deletion, in mean probability, -2..2.

    low  the one-sided 95 % bound of the mean over the pictures; a lead counts where that is above 0.02
    """

    rival: str
    mean: float
    low: float

    @staticmethod
    def measured(rival: str, leads: Tensor) -> "Lead":
        """The lead over a rival from the leads on each picture, (B,)."""
        leads = leads.double()
        spread = float(leads.std()) / math.sqrt(len(leads)) if len(leads) > 1 else float("inf")
        return Lead(rival, float(leads.mean()), float(leads.mean()) - _student(len(leads) - 1) * spread)


@dataclass(frozen=True)
class MapTest:
    """The test results of one method.

    correlation  mean rank correlation, -1..1, of its maps with those of the network with shuffled weights
    deletion     mean probability while the pixels ranked highest are removed first: low is good
    insertion    mean probability while they are added first to an empty picture: high is good
    leads        over random places, edges and plain ink
    gap          largest difference of a map's sum from what it must add up to, as a share of it; None where
                 the method promises no sum
    supported    whether the maps may be shown; `sentence` says why or why not
    pictures     on how many the method was tested
    """

    method: str
    correlation: float
    deletion: float
    insertion: float
    leads: tuple[Lead, ...]
    gap: float | None
    supported: bool
    sentence: str
    pictures: int


@dataclass(frozen=True)
class Faithfulness:
    """The test results of a network's maps.

    pictures  on how many the maps were tested, at most
    left_out  methods that were not tested, because that takes too long on this network
    checked   on how many `accuracy` was measured, to decide whether the network guesses
    accuracy  the share of them that show the most probable class
    chance    the accuracy of always predicting the most common class
    """

    pictures: int
    checked: int
    accuracy: float
    chance: float
    tests: tuple[MapTest, ...]
    left_out: tuple[str, ...] = ()
    caveat: str = CAVEAT

    @property
    def guesses(self) -> bool:
        """Whether the network is not clearly better than always predicting the most common class: with 95 %
        confidence it has not gone a fifth of the way from there to perfect."""
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
            "%(passed)s of %(all)s methods passed on up to %(pictures)s pictures: %(names)s."
            if len({test.pictures for test in self.tests}) > 1
            else "%(passed)s of %(all)s methods passed on %(pictures)s pictures: %(names)s.",
            passed=len(passed), all=len(self.tests), pictures=self.pictures,
            names=", ".join(translate(name) for name in passed),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {**asdict(self), "verdict": self.verdict}


def evaluate_maps(
    classifier: Classifier,
    dataset: Dataset,
    methods: Mapping[str, Method],
    *,
    pictures: int | Mapping[str, int] = PICTURES,
    seed: int = 0,
) -> Faithfulness:
    """The test results of each of `methods` on `pictures` of `dataset`, which should not be training
    pictures.

    pictures  on how many; or on how many by method, where 0 leaves a method out

    The class explained is the most probable one. The same seed draws the same pictures, random places and
    shuffled weights. Raises UsageError when the data set is empty.
    """
    if not len(dataset):
        raise UsageError("No pictures to test maps on. Expected at least one.")
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    counts = dict.fromkeys(methods, pictures) if isinstance(pictures, int) else dict(pictures)
    most = max(counts.values(), default=1)
    likeliest = classifier.logits(dataset.images[order[: max(CHECKED, most)]]).argmax(dim=1)
    labels = dataset.labels[order[:CHECKED]]
    accuracy = float(shows(labels, likeliest[:CHECKED]).double().mean())
    chance = float(shares_of(labels, len(dataset.classes)).sum(dim=0).max()) / len(labels)
    images = scaled(dataset.images[order[:most]])  # (N, C, H, W)
    tester = _Tester(classifier, images, likeliest[:most], seed)
    guesses = _guesses(accuracy, chance, len(labels))
    tests = tuple(
        tester.test(name, method, pictures=counts[name], guesses=guesses)
        for name, method in methods.items()
        if counts[name]
    )
    left_out = tuple(name for name in methods if not counts[name])
    return Faithfulness(len(images), len(labels), accuracy, chance, tests, left_out)


def randomised(network: nn.Module, *, seed: int) -> nn.Module:
    """A copy of the network whose weights are shuffled within each tensor, so that nothing learned is left.
    The original is not changed."""
    generator = torch.Generator().manual_seed(seed)
    copy = deepcopy(network)
    with torch.no_grad():
        for weight in copy.parameters():
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.copy_(weight.flatten()[order].reshape(weight.shape))
    return copy


def empty_picture(images: Tensor) -> Tensor:
    """The colour of a picture with nothing in it, (B, C, 1, 1): the median of each channel along the
    border."""
    border = torch.cat(
        [images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]], dim=2
    )  # (B, C, 2H + 2W)
    return border.median(dim=2).values[:, :, None, None]


def edges(images: Tensor) -> Tensor:
    """The strength of edges at each pixel, (B, H, W): Sobel's two filters on the mean of the channels."""
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    filters = torch.stack([across, across.T])[:, None]  # (2, 1, 3, 3)
    gray = functional.pad(images.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    return functional.conv2d(gray, filters).square().sum(dim=1).sqrt()


def ink(images: Tensor) -> Tensor:
    """The distance of each pixel from the empty picture, (B, H, W)."""
    return (images - empty_picture(images)).abs().mean(dim=1)


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's correlation of two sets of maps (B, ...), (B,); 0 where a map is constant."""
    first, second = _ranks(first.flatten(1)), _ranks(second.flatten(1))
    first, second = first - first.mean(dim=1, keepdim=True), second - second.mean(dim=1, keepdim=True)
    norm = first.norm(dim=1) * second.norm(dim=1)
    return torch.where(norm > 0, (first * second).sum(dim=1) / norm.clamp_min(1e-12), 0.0)


class _Tester:
    """Pictures with the classes to be explained, and the results of simple maps to compare with."""

    def __init__(self, classifier: Classifier, images: Tensor, targets: Tensor, seed: int) -> None:
        network = classifier.network
        self.network, self.classifier, self.images, self.targets = network, classifier, images, targets
        self.generator = torch.Generator().manual_seed(seed)
        self.random_networks = [randomised(network, seed=seed + number) for number in range(RANDOM_NETWORKS)]
        noise = torch.rand(len(images), *images.shape[2:], generator=self.generator)
        baselines = {"random": noise, "edges": edges(images), "ink": ink(images)}
        self.ends = self.probabilities(
            torch.stack([images, empty_picture(images).expand_as(images)])
        )  # (2, B)
        self.baselines = {name: self.deletion_and_insertion(maps) for name, maps in baselines.items()}

    def test(self, name: str, method: Method, *, pictures: int, guesses: bool) -> MapTest:
        """The results of a method on the first pictures: three tests, or four where its maps must add up."""
        maps = self.maps(method, self.network, pictures)  # (B, h, w)
        correlation = self.correlation(method, maps)
        deletion, insertion = self.deletion_and_insertion(maps)
        leads = tuple(
            Lead.measured(rival, insertion - deletion - (theirs[1] - theirs[0])[: len(maps)])
            for rival, theirs in self.baselines.items()
        )
        gap = self.gap(maps) if getattr(method, "complete", False) else None
        faults = find_faults(maps, correlation, leads, gap, guesses=guesses)
        means = float(deletion.mean()), float(insertion.mean())
        sentence = _sentence(name, faults, correlation, leads)
        return MapTest(name, correlation, *means, leads, gap, not faults, sentence, len(maps))

    def maps(self, method: Method, network: nn.Module, pictures: int) -> Tensor:
        """The method's maps (B, h, w) of the first pictures, as many at once as fit: a gradient keeps every
        layer's output of all of them."""
        size = batch_size(network, self.images)
        images, targets = (
            torch.split(self.images[:pictures], size),
            torch.split(self.targets[:pictures], size),
        )
        return torch.cat([method(network, *part) for part in zip(images, targets, strict=True)])

    def correlation(self, method: Method, maps: Tensor) -> float:
        """Mean rank correlation with the maps of networks with shuffled weights for the same classes."""
        number = max(2, min(COMPARED, len(maps) // 4))
        method = getattr(method, "approximate", None) or method  # these maps need not add up
        theirs = torch.stack([self.maps(method, network, number) for network in self.random_networks])
        ours = maps[:number].expand_as(theirs)
        return float(rank_correlation(ours.flatten(0, 1), theirs.flatten(0, 1)).mean())

    def deletion_and_insertion(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Mean probability of the class, (B,) each, while the pixels a map ranks highest are removed first,
        and while they are added first to an empty picture."""
        images, size = self.images[: len(maps)], (self.images.shape[2], self.images.shape[3])
        fine = functional.interpolate(maps[:, None].float(), size, mode="bilinear", align_corners=False)
        share = self.ink_shares(fine.flatten(1)).reshape(len(maps), 1, *size)  # (B, 1, H, W)
        empty, between = empty_picture(images).expand_as(images), LEVELS[1:-1]
        sums = self.ends[:, : len(maps)].sum(dim=0).expand(2, -1).clone()  # (2, B)
        for level in between:  # one at a time: all of them would be two dozen copies of the pictures
            gone = share <= level
            changed = torch.stack([torch.where(gone, empty, images), torch.where(gone, images, empty)])
            sums += self.probabilities(changed)
        deletion, insertion = sums / len(LEVELS)  # (B,) each
        return deletion, insertion

    def ink_shares(self, values: Tensor) -> Tensor:
        """The share of the ink removed once a pixel is removed, largest values first, (B, H*W) 0..1."""
        ties = torch.rand(values.shape, generator=self.generator).argsort(
            dim=1
        )  # equal values in random order
        order = ties.gather(1, values.gather(1, ties).argsort(dim=1, descending=True, stable=True))
        removed = (
            ink(self.images[: len(values)]).flatten(1).double().gather(1, order).cumsum(dim=1)
        )  # (B, H*W)
        shares = (removed / removed[:, -1:].clamp_min(1e-12)).clamp_max(1).float()
        return torch.zeros_like(shares).scatter(1, order, shares)

    def probabilities(self, images: Tensor) -> Tensor:
        """The probability (S, B) of each picture's class in S changed copies (S, B, C, H, W)."""
        flat = images.flatten(0, 1)
        with evaluation_mode(self.network), torch.inference_mode():
            parts = torch.split(flat, batch_size(self.network, flat))
            scores = torch.cat([self.classifier.output.scores(self.network, part) for part in parts])
        chosen = self.classifier.probabilities(scores).reshape(*images.shape[:2], -1)
        targets = self.targets[: images.shape[1]].expand(len(images), -1)
        return chosen.gather(2, targets[..., None])[..., 0]

    def gap(self, maps: Tensor) -> float:
        """The largest difference of a map's sum from the score less that of a black picture, as a share of
        it."""
        with evaluation_mode(self.network), torch.inference_mode():
            images, targets = self.images[: len(maps)], self.targets[: len(maps), None]
            black = self.network(torch.zeros_like(images)).float()
            rise = (self.network(images).float() - black).gather(1, targets)[:, 0]
        least = float(rise.abs().mean()) / 10  # a score that hardly differs from black says little
        return float(((maps.sum(dim=(1, 2)) - rise).abs() / rise.abs().clamp_min(max(least, 1e-6))).max())


def _ranks(values: Tensor) -> Tensor:
    """The rank of each value in its row, (B, n); equal values share the mean of theirs."""
    rows = []
    for row in values:
        _, inverse, counts = torch.unique(row, return_inverse=True, return_counts=True)
        ends = counts.cumsum(dim=0)
        rows.append((ends - (counts - 1) / 2)[inverse])
    return torch.stack(rows).double()


def _student(degrees_of_freedom: int) -> float:
    """Student's one-sided 95 % quantile by the expansion of Cornish and Fisher: right to 0.01 from five
    degrees of freedom on, too low below."""
    z, n = ONE_SIDED_95, max(1, degrees_of_freedom)
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)


def find_faults(
    maps: Tensor, correlation: float, leads: tuple[Lead, ...], gap: float | None, *, guesses: bool
) -> list[str]:
    """Why a method's maps (B, h, w) are not to be believed, one phrase for each test failed; [] where they
    passed all. The other values are those of a MapTest; `guesses` that of a Faithfulness."""
    faults = []
    if guesses:
        faults.append(translate("the network itself hardly does better than guessing"))
    if not maps.any():
        faults.append(translate("it finds no evidence at all"))
    if abs(correlation) > MAX_CORRELATION:
        faults.append(
            translate(
                "it hardly depends on the weights (rank correlation %(alike)s with shuffled ones)",
                alike=f"{correlation:.2f}",
            )
        )
    beaten = [translate(lead.rival) for lead in leads if lead.mean <= MIN_LEAD]
    unsure = [translate(lead.rival) for lead in leads if lead.low <= MIN_LEAD < lead.mean]
    if beaten:
        faults.append(
            translate(
                "the places it highlights matter no more than %(beaten)s",
                beaten=translate(" or ").join(beaten),
            )
        )
    if unsure:
        faults.append(
            translate(
                "with so few pictures it is not certain that the places it highlights matter more than "
                "%(unsure)s",
                unsure=translate(" or ").join(unsure),
            )
        )
    if gap is not None and gap > TOLERANCE:
        faults.append(translate("its maps miss the sum they must have by %(gap)s", gap=percent(gap)))
    return faults


def _sentence(name: str, faults: list[str], correlation: float, leads: tuple[Lead, ...]) -> str:
    if faults:
        return translate(
            "%(name)s: not to be believed: %(faults)s.", name=translate(name), faults="; ".join(faults)
        )
    ahead = ", ".join(
        translate("%(rival)s by %(lead)s", rival=translate(lead.rival), lead=f"{lead.mean:.2f}")
        for lead in leads
    )
    return translate(
        "%(name)s: passed; it depends on the weights (rank correlation %(alike)s) and beats %(ahead)s.",
        name=translate(name), alike=f"{correlation:.2f}", ahead=ahead,
    )  # fmt: skip


def _guesses(accuracy: float, chance: float, number: int) -> bool:
    spread = math.sqrt(max(accuracy * (1 - accuracy), 1e-12) / number)
    return accuracy - ONE_SIDED_95 * spread <= chance + CLEARLY_BETTER * (1 - chance)
