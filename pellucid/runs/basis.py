"""What a run's score on its test set rests on: copies of training pictures, what the audit warned of, and how
many networks were judged on the same pictures."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.data.audit.record import AuditRecord, NearLeak
from pellucid.data.dataset import Dataset, Splits, content_hashes
from pellucid.evaluation.evaluation import AnyEvaluation
from pellucid.evaluation.facts import read_facts
from pellucid.files import read_object
from pellucid.formatting import ordinal
from pellucid.language import Message, lazy_gettext, lazy_ngettext
from pellucid.runs.elsewhere import elsewhere_in
from pellucid.runs.environment import ENVIRONMENT, not_repeatable
from pellucid.runs.tables import SEEN, seen_contents

OTHER_PICTURES = lazy_gettext(
    "Almost identical pictures were not searched for: these test pictures were not there when it was trained."
)
TOO_MANY = lazy_gettext("Almost identical pictures were not searched for: there are too many to compare.")
EARLIER_RUN = lazy_gettext(
    "Pictures that are almost identical to those of the run it began from were not searched for."
)
UNGROUPED = lazy_gettext(
    "Nothing says which pictures show the same person or thing: if such pictures are in different parts, the "
    "score is too good (group_by keeps them together)."
)
NO_RECORD = lazy_gettext(
    "Whether other networks were judged on these test pictures is not known: the cache folder cannot keep a "
    "record."
)


@dataclass(frozen=True)
class Basis:
    """What a score rests on.

    leaking       sources of test pictures that are also training or validation pictures, pixel for pixel
    near_leaking  test pictures that are almost the same as one of those; of a run by folds, pictures that are
                  almost the same as one of another fold
    unsearched    what was not searched for such copies, and why; None where all was
    number        the how-manieth network it is of those judged on these test pictures; None where no record
                  can be kept
    warnings      what else the audit warned of, by kind; "ungrouped": that no groups were given;
                  "environment": that the training was gone on with in another; "elsewhere": that it was
                  trained elsewhere
    """

    leaking: tuple[str, ...] = ()
    near_leaking: tuple[NearLeak, ...] = ()
    unsearched: Message | None = None
    number: int | None = None
    warnings: tuple[tuple[str, Message], ...] = ()

    @property
    def copies(self) -> list[str]:
        """Sources of all test pictures with a copy or near-copy in training or validation."""
        return list(dict.fromkeys([*self.leaking, *(leak.source for leak in self.near_leaking)]))

    def clean(self, evaluation: AnyEvaluation) -> AnyEvaluation | None:
        """The evaluation without copies: itself where there are none; None when no picture is left."""
        return evaluation.without(self.copies) if self.copies else evaluation

    @property
    def sentences(self) -> list[Message]:
        """All of it, a sentence each; none where there is nothing to be said."""
        found = []
        if self.leaking:
            found.append(
                lazy_ngettext(
                    "%(count)s test picture is also in training or validation, pixel for pixel.",
                    "%(count)s test pictures are also in training or validation, pixel for pixel.",
                    len(self.leaking),
                )
            )
        if self.near_leaking:
            found.append(
                lazy_ngettext(
                    "%(count)s held-out picture is almost the same as one that was learned from or "
                    "chosen by.",
                    "%(count)s held-out pictures are almost the same as some that were learned from or "
                    "chosen by.",
                    len(self.near_leaking),
                )
            )
        if self.unsearched is not None:
            found.append(self.unsearched)
        told = {"leak": bool(self.leaking), "near-leak": bool(self.near_leaking)}
        found += [message for kind, message in self.warnings if not told.get(kind)]
        if self.number is None:
            found.append(NO_RECORD)
        elif self.number > 1:
            found.append(
                lazy_gettext(
                    "It is the %(ordinal)s network judged on these test pictures: the best of several scores "
                    "is too good.",
                    ordinal=ordinal(self.number),
                )
            )
        return found

    def facts(self, evaluation: AnyEvaluation) -> dict[str, Any]:
        """What evaluation.json holds of it, the score without copies among it."""
        left = self.clean(evaluation) if self.copies else None
        values = left.to_json() if left is not None else {}
        names = ("verdict", "count", "correct", "accuracy", "interval")
        return {
            "leaking": list(self.leaking),
            "near_leaking": [vars(leak) for leak in self.near_leaking],
            "unsearched": self.unsearched.to_json() if self.unsearched else None,
            "clean": {name: values[name] for name in names} if values else None,
            "network_number": self.number,
        }


def without_copies(basis: Basis, evaluation: AnyEvaluation, splits: Splits) -> tuple[AnyEvaluation, Splits]:
    """The evaluation and the pictures, both without test pictures that are copies; both as they are where
    there are none, and where no other would be left."""
    clean = basis.clean(evaluation)
    if clean is None or clean is evaluation:
        return evaluation, splits
    left = without_sources(splits.test, set(basis.copies))
    return clean, Splits(splits.train, splits.validation, left, splits.origin)


def without_sources(test: Dataset, sources: Collection[str]) -> Dataset:
    """Test pictures without those that are copies; as they are where no other would be left."""
    left = [index for index, source in enumerate(test.sources) if source not in sources]
    return test.subset(left) if 0 < len(left) < len(test) else test


def basis_in(folder: Path) -> Basis:
    """What evaluation.json and findings.json in a run's folder hold. Raises PellucidError when damaged."""
    facts = read_facts(folder)
    warnings = _warnings(folder, AuditRecord.read(folder))
    return Basis(facts.leaking, facts.near_leaking, facts.unsearched_message, facts.network_number, warnings)


def basis_of(folder: Path, test_set: Dataset, number: int | None) -> Basis:
    """What the score of the run in `folder` on `test_set` rests on.

    number  as `number_judged` gives it
    """
    record, seen = AuditRecord.read(folder), seen_contents(folder)
    hashes = zip(test_set.sources, content_hashes(test_set), strict=True)
    leaking = tuple(source for source, digest in hashes if digest.hex() in seen)
    same = record.test == test_set.fingerprint
    near = record.near_leaks if same else ()
    return Basis(leaking, near, _unsearched(folder, record, same=same), number, _warnings(folder, record))


def basis_of_folds(folder: Path, number: int | None) -> Basis:
    """What the score of a run by folds rests on."""
    record = AuditRecord.read(folder)
    unsearched = None if record.searched else TOO_MANY
    return Basis((), record.near_leaks, unsearched, number, _warnings(folder, record))


def _warnings(folder: Path, record: AuditRecord) -> tuple[tuple[str, Message], ...]:
    found = [(each.kind, each.message) for each in record.warned]
    if record.ungrouped:
        found.append(("ungrouped", UNGROUPED))
    environment = read_object(folder / ENVIRONMENT)
    if (elsewhere := elsewhere_in(environment)) is not None and elsewhere.train:
        found.append(("elsewhere", elsewhere.message))
    if (changed := not_repeatable(environment)) is not None:
        found.append(("environment", changed))
    return tuple(found)


def _unsearched(folder: Path, record: AuditRecord, *, same: bool) -> Message | None:
    elsewhere = elsewhere_in(read_object(folder / ENVIRONMENT))
    if elsewhere is not None and not elsewhere.train:
        return elsewhere.message
    if not same:
        return OTHER_PICTURES
    if not record.searched:
        return TOO_MANY
    return EARLIER_RUN if (folder / SEEN).is_file() else None
