"""Faithfulness: every attribution method is tested on real pictures, and the result is shown with its maps.

A network that guesses cannot be explained at all. A method must depend on the weights (Adebayo et al.,
arXiv:1810.03292) and on the class that is asked for (Sixt et al., arXiv:1912.09818), and what it shows for a
score it must show against the negative of the score, as guided backpropagation does not. The places it ranks
highest must matter more than random ones, edges, plain ink, or those of its map of another picture of the
class (deletion and insertion: Petsiuk et al., arXiv:1806.07421). Maps are compared at equal amounts of ink
removed or added: otherwise a map would win by where ink is, not by which ink matters, and highlighting an
empty place, whose emptiness may well be evidence, would count against it.

Every test is of a sample, so each has three outcomes. While a method is neither sure to pass nor sure to
fail, more pictures are drawn, up to a limit; then it is undecided.
"""

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
from pellucid.explanation.attribution import without_noise
from pellucid.explanation.outcomes import (
    MAX_OFF,
    OF_ANOTHER,
    Correlations,
    Findings,
    Interval,
    Lead,
    Outcome,
    Trial,
    find_faults,
)
from pellucid.formatting import percent
from pellucid.inference import batch_size, evaluation_mode, scaled
from pellucid.language import translate
from pellucid.task import shares_of, shows

Method = Callable[[nn.Module, Tensor, Any], Tensor]


PICTURES, MOST_PICTURES = 128, 512  # on which maps are tested first, and at most while undecided
LEVELS = tuple(step / 12 for step in range(13))  # shares of the ink removed or added
TEST_PASSES = 4 * (len(LEVELS) - 2)  # of the network, for a map of one picture, and that of another on it
RANDOM_NETWORKS, COMPARED = 3, 8  # networks with shuffled weights, and pictures whose maps are compared
CLEARLY_BETTER = 0.2  # share of the way from guessing to perfect that an explained network must have gone
CHECKED = 500  # pictures on which it is decided whether the network does better than guessing

CAVEAT = (
    "Removing pixels makes pictures unlike any the network has seen, and passing proves nothing: "
    "do not use a map that fails or is undecided; one that passes may be right."
)


@dataclass(frozen=True)
class MapTest:
    """The test results of one method.

    correlation        mean rank correlation, -1..1, of its maps with those of networks with shuffled weights
    class_correlation  mean rank correlation of its maps with those for another class
    sign_correlation   mean rank correlation of its maps with the negatives of those for the negative score
    deletion           mean probability while the pixels ranked highest are removed first: low is good
    insertion          mean probability while they are added first to an empty picture: high is good
    leads              over random places, edges, plain ink and its map of another picture of the class
    gap                the difference of a map's sum from what it must add up to, as a share of it, which
                       nine of ten maps keep to; None where the method promises no sum
    outcome            "passed": the maps may be shown; "failed"; or "undecided", which more pictures might
                       have settled. `sentence` says why
    pictures           on how many the method was tested
    """

    method: str
    correlation: float
    class_correlation: float
    sign_correlation: float
    deletion: float
    insertion: float
    leads: tuple[Lead, ...]
    gap: float | None
    outcome: Outcome
    sentence: str
    pictures: int


@dataclass(frozen=True)
class Faithfulness:
    """The test results of a network's maps.

    pictures  on how many the maps were tested, at most
    left_out  methods that were not tested, because that takes too long on this network
    unfit     methods that make no maps of this network, each with the reason
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
    unfit: tuple[tuple[str, str], ...] = ()
    caveat: str = CAVEAT

    @property
    def knowing(self) -> Outcome:
        """Whether the network is clearly better than always predicting the most common class: it has gone a
        fifth of the way from there to perfect."""
        needed = self.chance + CLEARLY_BETTER * (1 - self.chance)
        return Interval.of_share(round(self.accuracy * self.checked), self.checked).above(needed)

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        if self.knowing != "passed":
            return translate(
                "Not to be believed: the network is right on %(accuracy)s of %(checked)s pictures, "
                "hardly better than guessing (%(chance)s)."
                if self.knowing == "failed"
                else "Undecided: the network is right on %(accuracy)s of %(checked)s pictures, too few to "
                "tell whether it does better than guessing (%(chance)s).",
                accuracy=percent(self.accuracy), checked=self.checked, chance=percent(self.chance),
            )  # fmt: skip
        passed = [translate(test.method) for test in self.tests if test.outcome == "passed"]
        undecided = [translate(test.method) for test in self.tests if test.outcome == "undecided"]
        said = [translate("Not to be believed: no method passed its tests.")]
        if passed:
            said[0] = translate(
                "%(passed)s of %(all)s methods passed on up to %(pictures)s pictures: %(names)s."
                if len({test.pictures for test in self.tests}) > 1
                else "%(passed)s of %(all)s methods passed on %(pictures)s pictures: %(names)s.",
                passed=len(passed), all=len(self.tests), pictures=self.pictures, names=", ".join(passed),
            )  # fmt: skip
        if undecided:
            said.append(translate("Undecided: %(names)s.", names=", ".join(undecided)))
        return " ".join(said)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {**asdict(self), "verdict": self.verdict}


def evaluate_maps(
    classifier: Classifier,
    dataset: Dataset,
    methods: Mapping[str, Method],
    *,
    pictures: int | Mapping[str, int] = PICTURES,
    most: int | Mapping[str, int] | None = None,
    seed: int = 0,
) -> Faithfulness:
    """The test results of each of `methods` on pictures of `dataset`, which should not be training pictures.

    pictures  on how many first; or on how many by method, where 0 leaves a method out
    most      on how many while a method is undecided, in all or by method; four times as many unless given

    The class explained is the most probable one. The same seed draws the same pictures, random places and
    shuffled weights. Raises UsageError when the data set is empty.
    """
    if not len(dataset):
        raise UsageError("No pictures to test maps on. Expected at least one.")
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    first = {name: min(count, len(order)) for name, count in _by_method(methods, pictures).items()}
    last = _by_method(methods, {name: 4 * count for name, count in first.items()} if most is None else most)
    likeliest = classifier.logits(dataset.images[order[:CHECKED]]).argmax(dim=1)
    labels = dataset.labels[order[:CHECKED]]
    accuracy = float(shows(labels, likeliest).double().mean())
    chance = float(shares_of(labels, len(dataset.classes)).sum(dim=0).max()) / len(labels)
    told = Faithfulness(0, len(labels), accuracy, chance, ())
    tester = _Tester(classifier, dataset, order, seed)
    tests, unfit = [], []
    for name, method in methods.items():
        if not first[name]:
            continue
        try:
            test = tester.test(name, method, pictures=first[name], knowing=told.knowing)
            limit = min(last[name], len(order)) if told.knowing == "passed" else 0
            while test.outcome == "undecided" and test.pictures < limit:
                more = min(2 * test.pictures, limit)
                test = tester.test(name, method, pictures=more, knowing=told.knowing)
            tests.append(test)
        except UsageError as error:  # what one method needs and the network lacks says nothing of the others
            unfit.append((name, str(error)))
    left_out = tuple(name for name in methods if not first[name])
    return replace(
        told,
        pictures=max((test.pictures for test in tests), default=0),
        tests=tuple(tests),
        left_out=left_out,
        unfit=tuple(unfit),
    )


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


class _Sample(NamedTuple):
    """Pictures (B, C, H, W) with scores (B, K), the classes to be explained and other ones, (B,), and random
    numbers (2, B, H, W)."""

    images: Tensor
    scores: Tensor
    targets: Tensor
    others: Tensor
    noise: Tensor


@dataclass(frozen=True, eq=False)
class _Measured:
    """What a method shows on the first pictures, (B, ...) each.

    swapped  insertion less deletion of its map of another picture of the class; NaN where there is none
    gaps     as shares of what the maps must add up to; None where they promise no sum
    """

    maps: Tensor
    deletion: Tensor
    insertion: Tensor
    swapped: Tensor
    gaps: Tensor | None = None

    def joined(self, more: "_Measured") -> "_Measured":
        """With the results on more pictures."""
        both = ((getattr(self, each.name), getattr(more, each.name)) for each in fields(self))
        return _Measured(*(torch.cat([ours, theirs]) for ours, theirs in both if ours is not None))


class _Negative(nn.Module):
    """A classifier's network with the negatives of its scores."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.network, self.output = classifier.network, classifier.output
        self.training = classifier.network.training

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, C, H, W) -> (B, K)"""
        return -self.output.scores(self.network, images)


class _Tester:
    """Pictures with the classes to be explained, and the results of methods and of simple maps on them."""

    def __init__(self, classifier: Classifier, dataset: Dataset, order: Tensor, seed: int) -> None:
        self.network, self.classifier = classifier.network, classifier
        self.dataset, self.order, self.seed = dataset, order, seed
        self.random_networks = [
            randomised(self.network, seed=seed + number) for number in range(RANDOM_NETWORKS)
        ]
        self.rivals = {name: torch.empty(0) for name in ("random", "edges", "ink")}
        self.scores = torch.empty(0, len(dataset.classes))
        self.measured: dict[str, _Measured] = {}

    def test(self, name: str, method: Method, *, pictures: int, knowing: Outcome) -> MapTest:
        """The results of a method on the first pictures, of which some may have been tested already."""
        begun = self.measured.get(name)
        sample = self.sample(0 if begun is None else len(begun.maps), pictures)
        found = self.measure(method, sample, begun)
        self.measured[name] = found if begun is None else begun.joined(found)
        results, theirs = self.measured[name], self.rival_scores(pictures)
        score = results.insertion - results.deletion
        leads = [Lead.measured(rival, score - each) for rival, each in theirs.items()]
        known = ~results.swapped.isnan() | score.isnan()
        leads.append(Lead.measured(OF_ANOTHER, (score - results.swapped)[known]))
        correlations = self.correlations(method, results.maps)
        trial = Trial(results.maps, correlations, tuple(leads), results.gaps)
        findings = find_faults(trial, knowing)
        return MapTest(
            method=name,
            correlation=correlations.weights.mean,
            class_correlation=correlations.classes.mean,
            sign_correlation=correlations.signs.mean,
            deletion=float(results.deletion.mean()),
            insertion=float(results.insertion.mean()),
            leads=tuple(leads),
            gap=None if results.gaps is None else float(results.gaps.quantile(1 - MAX_OFF)),
            outcome=findings.outcome,
            sentence=_sentence(name, findings, trial),
            pictures=pictures,
        )

    def sample(self, start: int, stop: int) -> _Sample:
        """The pictures from `start` to `stop`, with random numbers of their own."""
        if len(self.scores) < stop:
            unseen = self.order[len(self.scores) : stop]
            self.scores = torch.cat([self.scores, self.classifier.logits(self.dataset.images[unseen])])
        images, scores = scaled(self.dataset.images[self.order[start:stop]]), self.scores[start:stop]
        targets = scores.argmax(dim=1)
        noise = torch.empty(2, len(images), *images.shape[2:])
        others = targets.clone()
        for place in range(len(images)):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + start + place)
            noise[:, place] = torch.rand(2, *images.shape[2:], generator=generator)
            away = torch.randint(1, max(2, scores.shape[1]), (1,), generator=generator)
            others[place] = (targets[place] + away[0]) % scores.shape[1]
        return _Sample(images, scores, targets, others, noise)

    def measure(self, method: Method, sample: _Sample, before: _Measured | None) -> _Measured:
        """What a method shows on more pictures, after those `before`."""
        maps = without_noise(
            self.maps(method, self.network, sample.images, sample.targets), sample.scores
        )  # (B, h, w)
        known = maps if before is None else torch.cat([before.maps, maps])
        deletion, insertion = self.deletion_and_insertion(maps, sample)
        others = maps_of_others(known, self.scores[: len(known)].argmax(dim=1))[-len(maps) :]
        gone, put = self.deletion_and_insertion(others.nan_to_num(), sample)
        swapped = torch.where(_odd(others) & ~_odd(maps), math.nan, put - gone)
        gaps = self.gaps(maps, sample) if getattr(method, "complete", False) else None
        return _Measured(maps, deletion, insertion, swapped, gaps)

    def rival_scores(self, pictures: int) -> dict[str, Tensor]:
        """Insertion less deletion of each simple map on the first pictures, (B,)."""
        done = len(self.rivals["ink"])
        if done < pictures:
            sample = self.sample(done, pictures)
            simple = {"random": sample.noise[0], "edges": edges(sample.images), "ink": ink(sample.images)}
            for name, maps in simple.items():
                deletion, insertion = self.deletion_and_insertion(maps, sample)
                self.rivals[name] = torch.cat([self.rivals[name], insertion - deletion])
        return {name: scores[:pictures] for name, scores in self.rivals.items()}

    def maps(self, method: Method, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """The method's maps (B, h, w), as many at once as fit: a gradient keeps every layer's output of
        all of them."""
        size = batch_size(network, images)
        parts = zip(torch.split(images, size), torch.split(targets, size), strict=True)
        return torch.cat([method(network, *part) for part in parts])

    def correlations(self, method: Method, maps: Tensor) -> Correlations:
        """The mean rank correlations of its first maps with others that the method makes of the pictures."""
        number = max(2, min(COMPARED * max(1, len(maps) // PICTURES), len(maps) // 4))
        sample = self.sample(0, min(number, len(maps)))
        method = getattr(method, "approximate", None) or method  # these maps need not add up
        ours = maps[: len(sample.images)]

        def alike(network: nn.Module, targets: Tensor) -> Tensor:
            return rank_correlation(ours, self.maps(method, network, sample.images, targets))

        shuffled = torch.stack([alike(network, sample.targets) for network in self.random_networks])
        negative = _Negative(self.classifier)
        figures = (
            shuffled.mean(dim=0).abs(),
            alike(self.network, sample.others),
            -alike(negative, sample.targets),
        )
        return Correlations(*(Interval.of_mean(each, 1.0) for each in figures))

    def deletion_and_insertion(self, maps: Tensor, sample: _Sample) -> tuple[Tensor, Tensor]:
        """Mean probability of the class, (B,) each, while the pixels a map ranks highest are removed first,
        and while they are added first to an empty picture; NaN where a map is no number."""
        images, size = sample.images, (sample.images.shape[2], sample.images.shape[3])
        fine = functional.interpolate(maps[:, None].float(), size, mode="bilinear", align_corners=False)
        share = _ink_shares(images, fine.flatten(1), sample.noise[1]).reshape(len(maps), 1, *size)
        empty = empty_picture(images).expand_as(images)
        sums = (
            self.probabilities(torch.stack([images, empty]), sample.targets).sum(dim=0).expand(2, -1).clone()
        )
        for level in LEVELS[1:-1]:  # one at a time: all of them would be two dozen copies of the pictures
            gone = share <= level
            changed = torch.stack([torch.where(gone, empty, images), torch.where(gone, images, empty)])
            sums += self.probabilities(changed, sample.targets)
        sums[:, _odd(maps)] = math.nan
        deletion, insertion = sums / len(LEVELS)  # (B,) each
        return deletion, insertion

    def probabilities(self, images: Tensor, targets: Tensor) -> Tensor:
        """The probability (S, B) of each picture's class in S changed copies (S, B, C, H, W); NaN where the
        network gives none."""
        flat = images.flatten(0, 1)
        with evaluation_mode(self.network), torch.inference_mode():
            parts = torch.split(flat, batch_size(self.network, flat))
            scores = torch.cat([self.classifier.output.scores(self.network, part) for part in parts])
        odd = _odd(scores)
        chosen = self.classifier.probabilities(torch.where(odd[:, None], 0.0, scores))
        chosen = torch.where(odd[:, None], math.nan, chosen).reshape(*images.shape[:2], -1)
        return chosen.gather(2, targets.expand(len(images), -1)[..., None])[..., 0]

    def gaps(self, maps: Tensor, sample: _Sample) -> Tensor:
        """By how much each map's sum misses the score less that of a black picture, in shares of it, (B,)."""
        scores, size = self.classifier.output.scores, batch_size(self.network, sample.images)
        with evaluation_mode(self.network), torch.inference_mode():
            rises = [
                scores(self.network, part) - scores(self.network, torch.zeros_like(part))
                for part in torch.split(sample.images, size)
            ]
        rise = torch.cat(rises).gather(1, sample.targets[:, None])[:, 0]
        least = float(rise.abs().mean()) / 10  # a score that hardly differs from black says little
        return (maps.sum(dim=(1, 2)) - rise).abs() / rise.abs().clamp_min(max(least, 1e-6))


def maps_of_others(maps: Tensor, targets: Tensor) -> Tensor:
    """For each of the maps (B, h, w) that of another picture with its target; NaN where there is none."""
    others = torch.full_like(maps, math.nan)
    for target in torch.unique(targets):
        places = torch.nonzero(targets == target)[:, 0]
        if len(places) > 1:
            others[places] = maps[places.roll(1)]
    return others


def _sentence(name: str, findings: Findings, trial: Trial) -> str:
    if findings.faults or findings.doubts:
        return translate(
            "%(name)s: not to be believed: %(faults)s."
            if findings.faults
            else "%(name)s: undecided: %(faults)s.",
            name=translate(name), faults="; ".join(findings.faults or findings.doubts),
        )  # fmt: skip
    ahead = ", ".join(
        translate("%(rival)s by %(lead)s", rival=translate(lead.rival), lead=f"{lead.mean:.2f}")
        for lead in trial.leads
    )
    return translate(
        "%(name)s: passed; it depends on the weights (rank correlation %(alike)s) and beats %(ahead)s.",
        name=translate(name), alike=f"{trial.correlations.weights.mean:.2f}", ahead=ahead,
    )  # fmt: skip


def _by_method(methods: Mapping[str, Method], counts: int | Mapping[str, int]) -> dict[str, int]:
    return dict.fromkeys(methods, counts) if isinstance(counts, int) else dict(counts)


def _ink_shares(images: Tensor, values: Tensor, noise: Tensor) -> Tensor:
    """The share of the ink removed once a pixel is removed, largest values (B, H*W) first, (B, H*W) 0..1;
    equal values in the order of `noise`."""
    ties = noise.flatten(1).argsort(dim=1)
    order = ties.gather(1, values.gather(1, ties).argsort(dim=1, descending=True, stable=True))
    removed = ink(images).flatten(1).double().gather(1, order).cumsum(dim=1)  # (B, H*W)
    shares = (removed / removed[:, -1:].clamp_min(1e-12)).clamp_max(1).float()
    return torch.zeros_like(shares).scatter(1, order, shares)


def _odd(values: Tensor) -> Tensor:
    """Which rows (B, ...) hold something that is not finite, bool (B,)."""
    return ~torch.isfinite(values.flatten(1)).all(dim=1)


def _ranks(values: Tensor) -> Tensor:
    """The rank of each value in its row, (B, n); equal values share the mean of theirs."""
    rows = []
    for row in values:
        _, inverse, counts = torch.unique(row, return_inverse=True, return_counts=True)
        ends = counts.cumsum(dim=0)
        rows.append((ends - (counts - 1) / 2)[inverse])
    return torch.stack(rows).double()
