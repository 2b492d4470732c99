"""What an audit found, as a run keeps it: findings.json, by which its score is read later."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from pellucid.data.audit.findings import KINDS, Audit, Finding, PictureReference, audit
from pellucid.data.dataset import Dataset, Origin, Splits
from pellucid.errors import UsageError
from pellucid.files import read_object, write_json
from pellucid.language import Message, lazy_ngettext, message_from_json
from pellucid.manifest import damage
from pellucid.records import Matching, Within, record_from

FINDINGS = "findings.json"
FORMAT = 1


@dataclass(frozen=True)
class NearLeak:
    """A test picture that is almost the same as one that was learned from or chosen by.

    source    of the test picture
    copy      the source of the nearest such picture
    split     "train" or "validation"; of a run by folds "train"
    distance  1 - correlation of the two
    """

    source: str
    copy: str
    split: Annotated[str, Matching(re.compile("train|validation"))]
    distance: Annotated[float, Within(-0.001, 2.001)]


@dataclass(frozen=True)
class Warned:
    """An error or a warning of the audit, without its pictures."""

    kind: str
    severity: str
    count: int
    message: Message

    def to_json(self) -> dict[str, Any]:
        """As plain values, with the sentence in English."""
        facts = {"kind": self.kind, "severity": self.severity, "count": self.count}
        return {**facts, "sentence": str(self.message), "message": self.message.to_json()}


@dataclass(frozen=True)
class AuditRecord:
    """What was wrong with the pictures of a run when it was trained.

    searched    whether near-copies were searched for
    test        the fingerprint of the test pictures that were there; "" for none
    near_leaks  test pictures with a near-copy in training or validation, the nearest first; of a run by folds
                pictures with a near-copy in another fold
    warned      errors and warnings, the most serious first
    ungrouped   whether they are a person's own pictures, and nothing says which belong together
    """

    searched: bool = False
    test: str = ""
    near_leaks: tuple[NearLeak, ...] = ()
    warned: tuple[Warned, ...] = ()
    ungrouped: bool = False

    def write(self, folder: Path) -> None:
        """`folder` holds findings.json."""
        facts = {
            "format": FORMAT,
            "near_copies_searched": self.searched,
            "test": self.test,
            "near_leaks": [vars(leak) for leak in self.near_leaks],
            "findings": [each.to_json() for each in self.warned],
            "ungrouped": self.ungrouped,
        }
        write_json(folder / FINDINGS, facts)

    @staticmethod
    def read(folder: Path) -> "AuditRecord":
        """What `write` left in a run's folder; without such a file, one of nothing searched.

        Raises DamagedFile, with the key and what to do, when a key is missing, not known, of another kind or
        out of bounds.
        """
        if not (folder / FINDINGS).is_file():
            return AuditRecord()
        try:
            facts = record_from(_Findings, read_object(folder / FINDINGS))
            warned = (
                Warned(each.kind, each.severity, each.count, message_from_json(each.message))
                for each in facts.findings
            )
            return AuditRecord(
                facts.near_copies_searched, facts.test, facts.near_leaks, tuple(warned), facts.ungrouped
            )
        except (ValueError, UsageError) as error:
            raise damage(folder / FINDINGS, str(error)) from error


@dataclass(frozen=True)
class _WarnedFacts:
    """An error or a warning as findings.json has it; `sentence` is its message in English."""

    kind: Annotated[str, Matching(re.compile("|".join(KINDS)))]
    severity: Literal["error", "warning"]
    count: Annotated[int, Within(1)]
    sentence: str
    message: Mapping[str, Any]


@dataclass(frozen=True)
class _Findings:
    """All of findings.json."""

    format: Literal[1]
    near_copies_searched: bool
    test: Annotated[str, Matching(re.compile(r"|[0-9a-f]{64}"))]
    near_leaks: tuple[NearLeak, ...]
    findings: tuple[_WarnedFacts, ...]
    ungrouped: bool


def record_of(found: Audit, splits: Splits) -> AuditRecord:
    """What a run keeps of the audit of its pictures."""
    return AuditRecord(
        searched=found.searched,
        test=splits.test.fingerprint if len(splits.test) else "",
        near_leaks=_near_leaks(found.of("near-leak")),
        warned=tuple(_warned(found)),
        ungrouped=_is_ungrouped(splits.origin),
    )


def record_of_folds(whole: Dataset, origin: Origin, folds: Tensor) -> AuditRecord:
    """What a run by folds keeps: pictures with a near-copy in another fold, and what is wrong with all.

    folds  the fold of each picture of `whole`, int64 (N,)
    """
    found = audit(Splits(whole, whole.subset([]), whole.subset([]), origin))
    pairs = [
        Finding("near-leak", finding.message, *zip(*across, strict=True))
        for finding in found.of("near-duplicate")
        if (across := _across(finding, folds))
    ]
    runs = [
        group
        for finding in found.of("burst")
        for group in finding.groups
        if len(torch.unique(folds[[picture.index for picture in group]])) > 1
    ]
    warned = [each for each in _warned(found) if each.kind != "burst"]
    if runs:
        message = lazy_ngettext(
            "%(count)s burst, consecutive names with similar pictures, is in more than one fold.",
            "%(count)s bursts, consecutive names with similar pictures, are in more than one fold.",
            len(runs),
        )
        warned.append(Warned("burst", "warning", len(runs), message))
    near = _near_leaks(pairs)
    return AuditRecord(found.searched, whole.fingerprint, near, tuple(warned), _is_ungrouped(origin))


def _is_ungrouped(origin: Origin) -> bool:
    return bool(origin.location) and not origin.choices.group_by


def _across(finding: Finding, folds: Tensor) -> list[tuple[tuple[PictureReference, ...], float]]:
    pairs = zip(finding.groups, finding.distances, strict=True)
    return [(pair, distance) for pair, distance in pairs if folds[pair[0].index] != folds[pair[1].index]]


def _near_leaks(findings: Sequence[Finding]) -> tuple[NearLeak, ...]:
    """Each test picture once, with the picture nearest to it; of pictures by folds both of a pair."""
    nearest: dict[str, NearLeak] = {}
    for finding in findings:
        for (first, second), distance in zip(finding.groups, finding.distances, strict=True):
            for picture, other in ((first, second), (second, first)):
                if picture.split == "test" or first.split == second.split:
                    leak = NearLeak(picture.source, other.source, other.split, round(distance, 5))
                    nearest.setdefault(picture.source, leak)
    return tuple(nearest.values())


def _warned(found: Audit) -> list[Warned]:
    return [
        Warned(finding.kind, finding.severity, finding.count, finding.message)
        for finding in found.findings
        if finding.severity != "note"
    ]
