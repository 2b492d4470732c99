"""What is wrong with the pictures of a data set: each problem a finding, with the pictures concerned."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from pellucid.data.audit.bursts import bursts
from pellucid.data.audit.near_duplicates import near_pairs, thumbnails
from pellucid.data.dataset import Dataset, FileHeader, Origin, Splits, content_hashes
from pellucid.data.mapped import in_blocks
from pellucid.errors import UsageError, did_you_mean
from pellucid.language import Message, lazy_gettext, lazy_ngettext
from pellucid.recipe import refuse_unknown_keywords

Severity = Literal["error", "warning", "note"]

# What can be found, the most serious first.
KINDS: dict[str, Severity] = {
    "unreadable": "error",  # files that are no pictures, or damaged
    "leak": "error",  # the same picture in two splits, pixel for pixel
    "mislabelled-twins": "error",  # the same picture with two labels
    "near-leak": "warning",  # almost the same picture in two splits
    "small-class": "warning",  # too few training pictures
    "absent-class": "warning",  # a class without validation or test pictures
    "imbalance": "warning",  # classes of very unequal size
    "blank": "warning",  # pictures of a single colour
    "burst": "warning",  # pictures taken in quick succession
    "duplicate": "note",  # the same picture more than once in one split
    "near-duplicate": "note",  # almost the same picture twice in one split
    "frames": "note",  # files of several frames or pages, of which the first is read
}

SMALL_CLASS = 20  # a class with fewer training pictures is called small
IMBALANCE = 3.0  # ratio of the largest class to the smallest, from which they are called uneven
MAX_NAMED = 5  # classes named in a sentence
NEAR_LIMIT = 500_000  # pictures among which near-copies are searched for: each takes a kilobyte of memory


@dataclass(frozen=True)
class PictureReference:
    """One picture: its split, its index there, its source and its label."""

    split: str
    index: int
    source: str
    label: str


@dataclass(frozen=True)
class Finding:
    """One problem of a kind of KINDS, in a sentence, with the pictures concerned.

    message    the sentence, translatable
    groups     pictures that belong together: two or more that are the same, a burst, or a single one
    distances  of near-duplicates, one per group: 1 - correlation
    named      what is not a picture, each with a reason: a file, a class
    """

    kind: str
    message: Message
    groups: tuple[tuple[PictureReference, ...], ...] = ()
    distances: tuple[float, ...] = ()
    named: tuple[tuple[str, str], ...] = ()

    @property
    def sentence(self) -> str:
        """The message in the current language: English everywhere but on a page in another."""
        return str(self.message)

    @property
    def severity(self) -> Severity:
        """error: a score will be wrong or a picture is lost; warning: look at it; note: good to know."""
        return KINDS[self.kind]

    @property
    def count(self) -> int:
        """The number of cases."""
        return len(self.groups) or len(self.named)

    @property
    def brief(self) -> dict[str, Any]:
        """The finding as plain values, without its pictures."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "count": self.count,
            "sentence": self.sentence,
        }

    def to_json(self) -> dict[str, Any]:
        """The finding as plain values, with the source of every picture."""
        groups = [
            {
                "pictures": [
                    {"split": picture.split, "source": picture.source, "label": picture.label}
                    for picture in group
                ],
                **({"distance": round(self.distances[number], 5)} if self.distances else {}),
            }
            for number, group in enumerate(self.groups)
        ]
        named = [{"name": name, "reason": reason} for name, reason in self.named]
        return {**self.brief, "groups": groups, "named": named}


@dataclass(frozen=True, eq=False)
class Tones:
    """Mean and standard deviation of every picture's values, 0..255: float32 (N,) each."""

    brightness: Tensor
    contrast: Tensor


@dataclass(frozen=True, eq=False)
class Audit:
    """What was found, the most serious first, and what the pictures look like.

    findings  in the order of KINDS
    tones     brightness and contrast by split
    files     of your own pictures: one per readable picture
    searched  whether near-copies and bursts were searched for: not in more than NEAR_LIMIT pictures
    looked    what was compared, in a sentence
    notes     how your own pictures were read, one sentence each
    """

    findings: tuple[Finding, ...]
    tones: dict[str, Tones]
    files: tuple[FileHeader, ...] = ()
    searched: bool = True
    looked: Message = field(default_factory=lambda: Message(""))
    notes: tuple[Message, ...] = ()

    def __repr__(self) -> str:
        return f"Audit({', '.join(f'{each.kind} {each.count:,}' for each in self.findings) or 'no findings'})"

    def of(self, *kinds: str) -> list[Finding]:
        """The findings of these kinds. Raises UsageError for a kind that is not in KINDS."""
        for kind in kinds:
            if kind not in KINDS:
                raise UsageError(f"Unknown kind of finding '{kind}'. {did_you_mean(kind, KINDS)}")
        return [finding for finding in self.findings if finding.kind in kinds]

    @cached_property
    def leaking(self) -> tuple[str, ...]:
        """Sources of the test pictures that are also training or validation pictures, pixel for pixel."""
        groups = (group for finding in self.of("leak") for group in finding.groups)
        return tuple(picture.source for group in groups for picture in group if picture.split == "test")

    @property
    def repeated(self) -> dict[str, int]:
        """How many pictures of each split repeat another one of it, pixel for pixel."""
        groups = [group for finding in self.of("duplicate") for group in finding.groups]
        splits = [[picture.split for picture in group] for group in groups]
        return {name: sum(max(0, group.count(name) - 1) for group in splits) for name in self.tones}

    @property
    def brightness(self) -> dict[str, tuple[float, float, float]]:
        """Of each split with pictures: the darkest, the median and the brightest picture; 0..255."""
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
            "sizes": count_values(f"{file.width}x{file.height}" for file in self.files),
            "modes": count_values(file.mode for file in self.files),
        }


@refuse_unknown_keywords
def audit(splits: Splits) -> Audit:
    """Everything of KINDS; near-copies and bursts up to NEAR_LIMIT pictures.

    The time grows with the number of pictures, not with its square.
    """
    auditor = _Auditor(splits)
    return auditor.full() if len(auditor.pictures) <= NEAR_LIMIT else auditor.exact()


def count_values(words: Iterable[str]) -> dict[str, int]:
    """How often each word occurs, the most frequent first."""
    counts: dict[str, int] = defaultdict(int)
    for word in words:
        counts[word] += 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


class _Auditor:
    """The pictures of all splits in one sequence, and what was found among them."""

    def __init__(self, splits: Splits) -> None:
        self.splits = splits
        self.pictures = [
            PictureReference(name, index, source, label)
            for name, dataset in splits.items()
            for index, (source, label) in enumerate(zip(dataset.sources, dataset.label_names, strict=True))
        ]
        self.twins = _twins(splits)
        self.tones = {name: _tones(dataset) for name, dataset in splits.items()}

    def exact(self) -> Audit:
        looked = lazy_gettext(
            "Only identical pictures were searched for: there are more than %(limit)s, too many to compare "
            "with each other.",
            limit=NEAR_LIMIT,
        )
        return self._audit(looked, [], searched=False)

    def full(self) -> Audit:
        images = [dataset.images for _, dataset in self.splits.items() if len(dataset)]
        small = thumbnails(images)
        distinct = torch.tensor([group[0] for group in self.twins])
        sources, labels = [p.source for p in self.pictures], [p.label for p in self.pictures]
        near = [
            ((self.pictures[pair.first], self.pictures[pair.second]), pair.distance)
            for pair in near_pairs(images, small, distinct)
        ]
        across = [(group, distance) for group, distance in near if group[0].split != group[1].split]
        within = [(group, distance) for group, distance in near if group[0].split == group[1].split]
        looked = lazy_gettext(
            "All %(all)s pictures were compared, by their pixels and by perceptual hashes.",
            all=len(self.pictures),
        )
        return self._audit(
            looked,
            [
                *_near("near-leak", across),
                *_near("near-duplicate", within),
                *_burst([self._references(run) for run in bursts(small, sources, labels)]),
            ],
        )

    def _audit(self, looked: Message, more: list[Finding], *, searched: bool = True) -> Audit:
        twins = [self._references(group) for group in self.twins if len(group) > 1]
        contrast = torch.cat([tones.contrast for tones in self.tones.values()])
        blank = self._references(torch.nonzero(contrast < 0.5)[:, 0].tolist())
        findings = [*_twin_findings(twins, set(blank)), *_class_findings(self.splits), *_blank(blank), *more]
        findings += [*_unreadable(self.splits.origin), *_frames(self.splits.origin)]
        order = list(KINDS)
        findings.sort(key=lambda finding: order.index(finding.kind))
        origin = self.splits.origin
        return Audit(tuple(findings), self.tones, origin.headers, searched, looked, origin.notes)

    def _references(self, indices: Sequence[int]) -> tuple[PictureReference, ...]:
        return tuple(self.pictures[index] for index in indices)


def _twins(splits: Splits) -> list[list[int]]:
    """Indices of pictures with the same pixels, in groups; most groups have one member."""
    same: dict[bytes, list[int]] = defaultdict(list)
    digests = (digest for _, dataset in splits.items() if len(dataset) for digest in content_hashes(dataset))
    for index, digest in enumerate(digests):
        same[digest].append(index)
    return list(same.values())


def _tones(dataset: Dataset) -> Tones:
    brightness, contrast = torch.empty(len(dataset)), torch.empty(len(dataset))
    start = 0
    for block in in_blocks(dataset.images):
        part = slice(start, start := start + len(block))
        values = block.flatten(1).float()  # (B, C*H*W)
        contrast[part], brightness[part] = torch.std_mean(values, dim=1, correction=0)
    return Tones(brightness, contrast)


def _twin_findings(
    twins: Sequence[tuple[PictureReference, ...]], blank: set[PictureReference]
) -> list[Finding]:
    """Leaks, duplicates and contradictory labels among pictures with the same pixels."""
    leaks = tuple(group for group in twins if len({picture.split for picture in group}) > 1)
    repeated = tuple(group for group in twins if len({picture.split for picture in group}) < len(group))
    legible = (group for group in twins if group[0] not in blank)  # the labels of black pictures mean nothing
    doubtful = tuple(group for group in legible if len({picture.label for picture in group}) > 1)
    findings = []
    if leaks:
        findings.append(Finding("leak", _leak_message(leaks), leaks))
    if doubtful:
        message = lazy_ngettext(
            "%(count)s picture occurs with more than one label, although it is the same pixel for pixel.",
            "%(count)s pictures occur with more than one label, although they are the same pixel for pixel.",
            len(doubtful),
        )
        findings.append(Finding("mislabelled-twins", message, doubtful))
    if repeated:
        message = lazy_ngettext(
            "%(count)s picture occurs more than once in the same part.",
            "%(count)s pictures occur more than once in the same part.",
            len(repeated),
        )
        findings.append(Finding("duplicate", message, repeated))
    return findings


def _leak_message(leaks: Sequence[tuple[PictureReference, ...]]) -> Message:
    test = sum(picture.split == "test" for group in leaks for picture in group)
    if test:
        return lazy_ngettext(
            "%(count)s test picture is also in training or validation, pixel for pixel: the test score "
            "is too good.",
            "%(count)s test pictures are also in training or validation, pixel for pixel: the test score "
            "is too good.",
            test,
        )
    validation = sum(picture.split == "validation" for group in leaks for picture in group)
    return lazy_ngettext(
        "%(count)s validation picture is also in training, pixel for pixel: the epoch is chosen by "
        "pictures it was trained on.",
        "%(count)s validation pictures are also in training, pixel for pixel: the epoch is chosen by "
        "pictures it was trained on.",
        validation,
    )


def _near(kind: str, near: list[tuple[tuple[PictureReference, PictureReference], float]]) -> list[Finding]:
    if not near:
        return []
    groups, distances = zip(*near, strict=True)
    if kind == "near-leak":
        message = lazy_ngettext(
            "%(count)s pair in different parts is almost the same: if it is a copy, the score is too good.",
            "%(count)s pairs in different parts are almost the same: if they are copies, the score is too "
            "good.",
            len(near),
        )
    else:
        message = lazy_ngettext(
            "%(count)s pair in the same part is almost the same.",
            "%(count)s pairs in the same part are almost the same.",
            len(near),
        )
    return [Finding(kind, message, groups, distances)]


def _burst(runs: list[tuple[PictureReference, ...]]) -> list[Finding]:
    if not runs:
        return []
    across = sum(len({picture.split for picture in run}) > 1 for run in runs)
    message = lazy_ngettext(
        "%(count)s group looks like a burst, with consecutive names and similar pictures%(rest)s.",
        "%(count)s groups look like a burst, with consecutive names and similar pictures%(rest)s.",
        len(runs),
        rest=lazy_ngettext(
            "; %(count)s is in more than one part: keep it together",
            "; %(count)s are in more than one part: keep each together",
            across,
        )
        if across
        else "",
    )
    return [Finding("burst", message, tuple(runs))]


def _class_findings(splits: Splits) -> list[Finding]:
    counts = splits.train.counts
    named = {name: count for name, count in counts.items() if count < SMALL_CLASS}
    findings = []
    if named:
        message = lazy_ngettext(
            "%(count)s class has fewer than %(few)s training pictures: %(classes)s.",
            "%(count)s classes have fewer than %(few)s training pictures: %(classes)s.",
            len(named),
            few=SMALL_CLASS,
            classes=_abbreviated([f"{name} {count}" for name, count in named.items()]),
        )
        reasons = tuple((name, f"{count} training pictures") for name, count in named.items())
        findings.append(Finding("small-class", message, named=reasons))
    absent = [
        (name, split)
        for split, dataset in (("validation", splits.validation), ("test", splits.test))
        for name in counts
        if len(dataset) and not dataset.counts.get(name)
    ]
    if absent:
        reasons = tuple((name, f"no picture in {split}") for name, split in absent)
        findings.append(Finding("absent-class", _absent_message(absent), named=reasons))
    return findings + _imbalance({name: count for name, count in counts.items() if count})


def _absent_message(absent: list[tuple[str, str]]) -> Message:
    """Which classes lack pictures, by split."""
    validation, test = (
        _abbreviated([name for name, split in absent if split == wanted]) for wanted in ("validation", "test")
    )
    if validation and test:
        return lazy_gettext(
            "No validation pictures of %(validation)s, no test pictures of %(test)s.",
            validation=validation,
            test=test,
        )
    if validation:
        return lazy_gettext("No validation pictures of %(classes)s.", classes=validation)
    return lazy_gettext("No test pictures of %(classes)s.", classes=test)


def _imbalance(counts: dict[str, int]) -> list[Finding]:
    if not counts or max(counts.values()) < IMBALANCE * min(counts.values()):
        return []
    few, many = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
    message = lazy_gettext(
        "Classes are uneven: %(many)s has %(most)s training pictures, %(ratio)s times the %(fewest)s of "
        "%(few)s.",
        many=many,
        most=counts[many],
        ratio=f"{counts[many] / counts[few]:.1f}",
        fewest=counts[few],
        few=few,
    )
    return [Finding("imbalance", message, named=((many, f"{counts[many]:,}"), (few, f"{counts[few]:,}")))]


def _blank(blank: Sequence[PictureReference]) -> list[Finding]:
    if not blank:
        return []
    message = lazy_ngettext(
        "%(count)s picture has a single colour: nothing can be seen on it.",
        "%(count)s pictures have a single colour: nothing can be seen on them.",
        len(blank),
    )
    return [Finding("blank", message, tuple((picture,) for picture in blank))]


def _unreadable(origin: Origin) -> list[Finding]:
    if not origin.unreadable:
        return []
    named = tuple((picture.source, picture.reason) for picture in origin.unreadable)
    if origin.choices.crop_boxes:
        message = lazy_ngettext(
            "%(count)s box of %(all)s cannot be read as a picture.",
            "%(count)s boxes of %(all)s cannot be read as pictures.",
            len(named),
            all=origin.found,
        )
    else:
        message = lazy_ngettext(
            "%(count)s file of %(all)s cannot be read.",
            "%(count)s files of %(all)s cannot be read.",
            len(named),
            all=origin.found,
        )
    return [Finding("unreadable", message, named=named)]


def _frames(origin: Origin) -> list[Finding]:
    named = tuple((each.source, "the first frame is read") for each in origin.headers if each.has_more)
    if not named:
        return []
    message = lazy_ngettext(
        "%(count)s file has several frames or pages: only the first is read.",
        "%(count)s files have several frames or pages: only the first of each is read.",
        len(named),
    )
    return [Finding("frames", message, named=named)]


def _abbreviated(words: Sequence[str]) -> Message | str:
    """The first five words, and how many more there are."""
    shown = ", ".join(words[:MAX_NAMED])
    if len(words) <= MAX_NAMED:
        return shown
    return lazy_gettext("%(names)s and %(count)s more", names=shown, count=len(words) - MAX_NAMED)


def _quartiles(values: Tensor) -> list[float]:
    """The minimum, the quartiles and the maximum; empty without pictures."""
    if not len(values):
        return []
    points = torch.quantile(values.double(), torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=torch.double))
    return [round(value, 1) for value in points.tolist()]
