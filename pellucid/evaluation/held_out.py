"""What was predicted of the pictures held out of training: thresholds and sets are chosen by it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.evaluation import HELD_OUT
from pellucid.evaluation.evaluation import AnyEvaluation
from pellucid.evaluation.intervals import MIN_GROUPS
from pellucid.evaluation.metrics import numbers_in
from pellucid.files import read_csv, write_csv
from pellucid.formatting import digits

HEADER = ("right", "confidence", "label_probability")


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The predictions of the pictures held out of training, in their order.

    right              whether each was predicted correctly, bool (N,)
    confidence         the probability of each prediction, float32 (N,)
    label_probability  the probability of each label, float32 (N,)
    groups             int64 (N,) from 0: pictures of one number belong together, as those of one patient or
                       three copies; None where each stands alone
    """

    right: Tensor
    confidence: Tensor
    label_probability: Tensor
    groups: Tensor | None = None

    def __repr__(self) -> str:
        return f"HeldOut({int(self.right.sum()):,} of {len(self.right):,} right)"

    @property
    def few_groups(self) -> int:
        """How many groups they come from, where these are too few to promise anything of others; else 0."""
        number = len(self.right) if self.groups is None else len(torch.unique(self.groups))
        return number if self.groups is not None and number < MIN_GROUPS else 0

    @staticmethod
    def of(evaluation: AnyEvaluation) -> "HeldOut":
        """What an evaluation of pictures held out says of each."""
        return HeldOut(
            evaluation.right, evaluation.confidence, evaluation.label_probability, evaluation.groups
        )

    def save(self, folder: Path) -> None:
        """`folder` holds held_out.csv: a row for each picture."""
        columns = [self.right.int().tolist(), digits(self.confidence), digits(self.label_probability)]
        header = list(HEADER)
        if self.groups is not None:
            header.append("group")
            columns.append((self.groups + 1).tolist())
        write_csv(folder / HELD_OUT, header, zip(*columns, strict=True))

    @staticmethod
    def load(folder: Path, count: int) -> "HeldOut":
        """What `save` left in `folder`, to the last digit. Raises PellucidError when it is damaged, or does
        not hold `count` pictures."""
        path = folder / HELD_OUT
        rows = read_csv(path)
        try:
            right = torch.tensor([{"0": False, "1": True}[row["right"]] for row in rows], dtype=torch.bool)
            numbers = torch.tensor([[float(row[name]) for name in HEADER[1:]] for row in rows]).reshape(-1, 2)
            if len(rows) != count:
                raise ValueError(f"{len(rows)} pictures in place of {count}")
            if not ((numbers >= 0) & (numbers <= 1)).all():
                raise ValueError("a probability is not between 0 and 1")
            groups = numbers_in(rows, "group")
            if groups is not None and not ((groups >= 0) & (groups < len(rows))).all():
                raise ValueError("a group is not a number from 1 on")
        except (KeyError, TypeError, ValueError) as error:
            raise PellucidError(f"'{path}' is damaged: {error}. Restore it, or train again.") from error
        confidence, label_probability = numbers.T
        return HeldOut(right, confidence, label_probability, groups)
