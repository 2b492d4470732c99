"""What is wrong with pictures before anyone trains on them: each fault a finding, with its pictures."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from pellucid.data.audit.bursts import bursts
from pellucid.data.audit.near_duplicates import BLOCK, near_pairs, thumbnails
from pellucid.data.dataset import Dataset, FileHeader, Origin, Splits, content_hashes
from pellucid.errors import UsageError, did_you_mean
from pellucid.language import Message, lazy_gettext, lazy_ngettext

Severity = Literal["error", "warning", "note"]

# What can be found, the gravest first.
KINDS: dict[str, Severity] = {
    "unreadable": "error",  # files that are no picture, or broken
    "leak": "error",  # one picture in two parts, pixel for pixel
    "mislabelled-twins": "error",  # one picture, two labels
    "near-leak": "warning",  # almost one picture, in two parts
    "small-class": "warning",  # too few pictures to learn a class from
    "absent-class": "warning",  # a class without a picture to choose by or judge with
    "imbalance": "warning",  # classes of very unequal size
    "blank": "warning",  # pictures of one shade
    "burst": "warning",  # pictures taken one right after another
    "duplicate": "note",  # one picture more than once in one part
    "near-duplicate": "note",  # almost one picture, twice in one part
}

FEW = 20  # training pictures of a class, below which it is called small
UNEVEN = 3.0  # the largest class over the smallest, from which classes are called uneven
NAMED = 5  # classes a sentence names, at most
QUICK_PICTURES = 3_000  # a set no larger is searched for near-duplicates before every training


@dataclass(frozen=True)
class Place:
    """One picture: its part, its number there, the name that leads back to it, its class."""

    split: str
    index: int
    source: str
    label: str


@dataclass(frozen=True)
class Finding:
    """One fault of a kind of KINDS, in a sentence, with the pictures that show it.

    says       the sentence, to be said in the language of whoever reads it
    groups     pictures that belong together: two or more that are the same, a burst, or one alone
    distances  of near-duplicates, one a group: 1 - correlation
    named      what has no picture, with what is to be said of it: a file with its reason, a class
    """

    kind: str
    says: Message
    groups: tuple[tuple[Place, ...], ...] = ()
    distances: tuple[float, ...] = ()
    named: tuple[tuple[str, str], ...] = ()

    @property
    def sentence(self) -> str:
        """What was found, in the language spoken: English everywhere but on a page in another."""
        return str(self.says)

    @property
    def severity(self) -> Severity:
        """error: a figure will be wrong or a picture is lost; warning: look at it; note: good to know."""
        return KINDS[self.kind]

    @property
    def count(self) -> int:
        """How many cases there are."""
        return len(self.groups) or len(self.named)

    @property
    def brief(self) -> dict[str, Any]:
        """The finding as plain values, its pictures counted."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "count": self.count,
            "sentence": self.sentence,
        }

    def to_json(self) -> dict[str, Any]:
        """The finding as plain values, every picture by its source."""
        groups = [
            {
                "pictures": [{"split": p.split, "source": p.source, "label": p.label} for p in group],
                **({"distance": round(self.distances[number], 5)} if self.distances else {}),
            }
            for number, group in enumerate(self.groups)
        ]
        named = [{"name": name, "reason": reason} for name, reason in self.named]
        return {**self.brief, "groups": groups, "named": named}


@dataclass(frozen=True, eq=False)
class Tones:
    """Mean and standard deviation of each picture's values, 0..255: float32 (N,) each."""

    brightness: Tensor
    contrast: Tensor


@dataclass(frozen=True, eq=False)
class Audit:
    """What was found, the gravest first, and what the pictures are like.

    findings  in the order of KINDS
    tones     brightness and contrast by part
    facts     of the files, where pictures came from files
    looked    what was compared, in a sentence
    notes     what was understood of a person's data, a sentence each
    """

    findings: tuple[Finding, ...]
    tones: dict[str, Tones]
    facts: tuple[FileHeader, ...] = ()
    looked: Message = field(default_factory=lambda: Message(""))
    notes: tuple[Message, ...] = ()

    def __repr__(self) -> str:
        return f"Audit({', '.join(f'{each.kind} {each.count:,}' for each in self.findings) or 'no findings'})"

    def of(self, *kinds: str) -> list[Finding]:
        """The findings of these kinds. Raises UsageError for a kind there is none of in KINDS."""
        for kind in kinds:
            if kind not in KINDS:
                raise UsageError(f"Unknown kind of finding '{kind}'. {did_you_mean(kind, KINDS)}")
        return [finding for finding in self.findings if finding.kind in kinds]

    @cached_property
    def leaking(self) -> tuple[str, ...]:
        """Sources of the test pictures that are also in training or validation, pixel for pixel."""
        groups = (group for finding in self.of("leak") for group in finding.groups)
        return tuple(place.source for group in groups for place in group if place.split == "test")

    @property
    def repeated(self) -> dict[str, int]:
        """How many pictures of each part are there once more in it, pixel for pixel."""
        groups = [group for finding in self.of("duplicate") for group in finding.groups]
        splits = [[place.split for place in group] for group in groups]
        return {name: sum(max(0, group.count(name) - 1) for group in splits) for name in self.tones}

    @property
    def brightness(self) -> dict[str, tuple[float, float, float]]:
        """Of each part that has pictures: the darkest picture, the middle one, the brightest; 0..255."""
        values = {name: tones.brightness for name, tones in self.tones.items() if len(tones.brightness)}
        return {name: (float(v.min()), float(v.median()), float(v.max())) for name, v in values.items()}

    def to_json(self) -> dict[str, Any]:
        """Findings, brightness, contrast and sizes as plain values."""
        return {
            "findings": [finding.to_json() for finding in self.findings],
            "looked": str(self.looked),
            "notes": [str(note) for note in self.notes],
            "brightness": {name: _quartiles(tones.brightness) for name, tones in self.tones.items()},
            "contrast": {name: _quartiles(tones.contrast) for name, tones in self.tones.items()},
            "sizes": tally(f"{fact.width}x{fact.height}" for fact in self.facts),
            "modes": tally(fact.mode for fact in self.facts),
        }


def audit(splits: Splits) -> Audit:
    """Everything that can be found: what `quick_audit` finds, near-duplicates and bursts.

    The work grows with the number of pictures, not with its square.
    """
    return _Look(splits).whole()


def quick_audit(splits: Splits) -> Audit:
    """What is found in one pass over the pixels: everything of KINDS but near-duplicates and bursts.

    A set of at most QUICK_PICTURES is looked through as `audit` does.
    """
    look = _Look(splits)
    return look.whole() if len(look.places) <= QUICK_PICTURES else look.quick()


def tally(words: Iterable[str]) -> dict[str, int]:
    """How often each word comes, the commonest first."""
    counts: dict[str, int] = defaultdict(int)
    for word in words:
        counts[word] += 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


class _Look:
    """The pictures of all parts in one row, numbered through, and what was found among them."""

    def __init__(self, splits: Splits) -> None:
        self.splits = splits
        self.places = [place for name, part in splits.items() for place in _places(name, part)]
        self.twins = _twins(splits)
        self.tones = {name: _tones(part) for name, part in splits.items()}

    def quick(self) -> Audit:
        looked = lazy_gettext(
            "Identical pictures were searched for, almost identical ones not: pellucid check does."
        )
        return self._audit(looked, [])

    def whole(self) -> Audit:
        parts = [part.images for _, part in self.splits.items() if len(part)]
        small = thumbnails(parts)
        alone = torch.tensor([group[0] for group in self.twins])
        pairs = near_pairs(parts, small, alone)
        runs = bursts(small, [p.source for p in self.places], [p.label for p in self.places])
        near = [((self.places[pair.first], self.places[pair.second]), pair.distance) for pair in pairs]
        across = [(group, distance) for group, distance in near if group[0].split != group[1].split]
        within = [(group, distance) for group, distance in near if group[0].split == group[1].split]
        looked = lazy_gettext(
            "All %(all)s pictures were compared, by their pixels and by perceptual hashes.",
            all=len(self.places),
        )
        return self._audit(
            looked,
            [
                *_near("near-leak", across),
                *_near("near-duplicate", within),
                *_burst([tuple(self.places[index] for index in run) for run in runs]),
            ],
        )

    def _audit(self, looked: Message, more: list[Finding]) -> Audit:
        twins = [tuple(self.places[index] for index in group) for group in self.twins if len(group) > 1]
        blank = [(self.places[index],) for index in self._blank()]
        nothing = {place for (place,) in blank}  # a black picture of two labels is no question of labels
        found = [*_of_twins(twins, nothing), *_of_classes(self.splits), *_of_blank(blank), *more]
        found += _unreadable(self.splits.origin)
        order = list(KINDS)
        found.sort(key=lambda finding: order.index(finding.kind))
        origin = self.splits.origin
        return Audit(tuple(found), self.tones, origin.headers, looked, origin.notes)

    def _blank(self) -> list[int]:
        contrast = torch.cat([tones.contrast for tones in self.tones.values()])
        return torch.nonzero(contrast < 0.5)[:, 0].tolist()


def _places(name: str, part: Dataset) -> list[Place]:
    labels = part.labels.tolist()
    return [
        Place(name, index, source, part.classes[label])
        for index, (source, label) in enumerate(zip(part.sources, labels, strict=True))
    ]


def _twins(splits: Splits) -> list[list[int]]:
    """Numbers of pictures with the same pixels, in groups; most groups are of one."""
    same: dict[bytes, list[int]] = defaultdict(list)
    digests = (digest for _, part in splits.items() if len(part) for digest in content_hashes(part))
    for index, digest in enumerate(digests):
        same[digest].append(index)
    return list(same.values())


def _tones(part: Dataset) -> Tones:
    brightness, contrast = torch.empty(len(part)), torch.empty(len(part))
    for start in range(0, len(part), BLOCK):
        values = part.images[start : start + BLOCK].flatten(1).float()  # (B, C*H*W)
        contrast[start : start + BLOCK], brightness[start : start + BLOCK] = torch.std_mean(
            values, dim=1, correction=0
        )
    return Tones(brightness, contrast)


def _of_twins(twins: Sequence[tuple[Place, ...]], blank: set[Place]) -> list[Finding]:
    """Leaks, duplicates and pictures of two labels among pictures that are the same to the pixel."""
    leaks = tuple(group for group in twins if len({place.split for place in group}) > 1)
    repeated = tuple(group for group in twins if len({place.split for place in group}) < len(group))
    seen = (group for group in twins if group[0] not in blank)
    doubtful = tuple(group for group in seen if len({place.label for place in group}) > 1)
    found = []
    if leaks:
        found.append(Finding("leak", _leak(leaks), leaks))
    if doubtful:
        says = lazy_ngettext(
            "%(count)s picture has more than one label, though the same pixel for pixel.",
            "%(count)s pictures have more than one label, though the same pixel for pixel.",
            len(doubtful),
        )
        found.append(Finding("mislabelled-twins", says, doubtful))
    if repeated:
        says = lazy_ngettext(
            "%(count)s picture is there more than once in one part.",
            "%(count)s pictures are there more than once in one part.",
            len(repeated),
        )
        found.append(Finding("duplicate", says, repeated))
    return found


def _leak(leaks: Sequence[tuple[Place, ...]]) -> Message:
    test = sum(place.split == "test" for group in leaks for place in group)
    if test:
        return lazy_ngettext(
            "%(count)s test picture is also in training or validation, pixel for pixel: the test score "
            "flatters.",
            "%(count)s test pictures are also in training or validation, pixel for pixel: the test score "
            "flatters.",
            test,
        )
    chosen = sum(place.split == "validation" for group in leaks for place in group)
    return lazy_ngettext(
        "%(count)s validation picture is also in training, pixel for pixel: the epoch is chosen by what it "
        "learned.",
        "%(count)s validation pictures are also in training, pixel for pixel: the epoch is chosen by what it "
        "learned.",
        chosen,
    )


def _near(kind: str, near: list[tuple[tuple[Place, Place], float]]) -> list[Finding]:
    if not near:
        return []
    groups, distances = zip(*near, strict=True)
    if kind == "near-leak":
        says = lazy_ngettext(
            "%(count)s pair in two parts, almost the same: stored twice, the score flatters.",
            "%(count)s pairs in two parts, almost the same: stored twice, the score flatters.",
            len(near),
        )
    else:
        says = lazy_ngettext(
            "%(count)s pair in one part, almost the same.",
            "%(count)s pairs in one part, almost the same.",
            len(near),
        )
    return [Finding(kind, says, groups, distances)]


def _burst(runs: list[tuple[Place, ...]]) -> list[Finding]:
    if not runs:
        return []
    across = sum(len({place.split for place in run}) > 1 for run in runs)
    says = lazy_ngettext(
        "%(count)s group looks like a burst, with consecutive names and similar pictures%(rest)s.",
        "%(count)s groups look like a burst, with consecutive names and similar pictures%(rest)s.",
        len(runs),
        rest=lazy_ngettext(
            "; %(count)s lies in more than one part: keep them together",
            "; %(count)s lie in more than one part: keep them together",
            across,
        )
        if across
        else "",
    )
    return [Finding("burst", says, tuple(runs))]


def _of_classes(splits: Splits) -> list[Finding]:
    counts = splits.train.counts
    named = {name: count for name, count in counts.items() if count < FEW}
    found = []
    if named:
        says = lazy_ngettext(
            "%(count)s class has fewer than %(few)s training pictures: %(classes)s.",
            "%(count)s classes have fewer than %(few)s training pictures: %(classes)s.",
            len(named),
            few=FEW,
            classes=_some([f"{name} {count}" for name, count in named.items()]),
        )
        reasons = tuple((name, f"{count} training pictures") for name, count in named.items())
        found.append(Finding("small-class", says, named=reasons))
    absent = [
        (name, part_name)
        for part_name, part in (("validation", splits.validation), ("test", splits.test))
        for name in counts
        if len(part) and not part.counts.get(name)
    ]
    if absent:
        reasons = tuple((name, f"no picture in {part}") for name, part in absent)
        found.append(Finding("absent-class", _absent(absent), named=reasons))
    return found + _uneven({name: count for name, count in counts.items() if count})


def _absent(absent: list[tuple[str, str]]) -> Message:
    """Which classes lack a picture, part by part."""
    parts = {
        part: _some([name for name, where in absent if where == part])
        for part in dict.fromkeys(part for _, part in absent)
    }
    validation, test = parts.get("validation"), parts.get("test")
    if validation and test:
        return lazy_gettext(
            "No picture of %(validation)s to choose by, none of %(test)s to judge by.",
            validation=validation,
            test=test,
        )
    if validation:
        return lazy_gettext("No picture of %(classes)s to choose by.", classes=validation)
    return lazy_gettext("No picture of %(classes)s to judge by.", classes=test)


def _uneven(counts: dict[str, int]) -> list[Finding]:
    if not counts or max(counts.values()) < UNEVEN * min(counts.values()):
        return []
    few, many = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
    says = lazy_gettext(
        "Classes are uneven: %(many)s has %(most)s training pictures, %(ratio)s times the %(fewest)s of "
        "%(few)s.",
        many=many,
        most=counts[many],
        ratio=f"{counts[many] / counts[few]:.1f}",
        fewest=counts[few],
        few=few,
    )
    return [Finding("imbalance", says, named=((many, f"{counts[many]:,}"), (few, f"{counts[few]:,}")))]


def _of_blank(blank: list[tuple[Place]]) -> list[Finding]:
    if not blank:
        return []
    says = lazy_ngettext(
        "%(count)s picture is of one shade: nothing can be seen.",
        "%(count)s pictures are of one shade: nothing can be seen.",
        len(blank),
    )
    return [Finding("blank", says, tuple(blank))]


def _unreadable(origin: Origin) -> list[Finding]:
    if not origin.unreadable:
        return []
    named = tuple((each.source, each.reason) for each in origin.unreadable)
    says = lazy_ngettext(
        "%(count)s file of %(all)s cannot be read.",
        "%(count)s files of %(all)s cannot be read.",
        len(named),
        all=origin.found,
    )
    return [Finding("unreadable", says, named=named)]


def _some(words: Sequence[str]) -> Message | str:
    """The first five, and how many more there are."""
    shown = ", ".join(words[:NAMED])
    if len(words) <= NAMED:
        return shown
    return lazy_gettext("%(names)s and %(count)s more", names=shown, count=len(words) - NAMED)


def _quartiles(values: Tensor) -> list[float]:
    """The least, the quartiles and the largest value; empty for no pictures."""
    if not len(values):
        return []
    points = torch.quantile(values.double(), torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=torch.double))
    return [round(value, 1) for value in points.tolist()]
