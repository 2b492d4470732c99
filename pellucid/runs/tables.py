"""The tables of a run's folder: each picture's part, the history by epoch, diagnostics, margins of labels."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pellucid.classifier import MANIFEST
from pellucid.data.dataset import Corrections, Dataset, content_hashes
from pellucid.errors import PellucidError
from pellucid.evaluation.label_errors import JudgedPart, judged_over_epochs
from pellucid.files import read_csv, read_object, write_csv
from pellucid.manifest import damage
from pellucid.runs.history import History
from pellucid.training.diagnostics import LayerDiagnostics
from pellucid.training.loop import Epoch
from pellucid.training.margins import Margins

METRICS = "metrics.csv"
METRICS_ALL = "metrics_all.csv"  # of `use_all`, the second training
SPLIT = "split.csv"
SEEN = "seen.csv"
DIAGNOSTICS = "diagnostics.csv"
MARGINS = "margins.csv"
EXCLUDED, RELABELLED = "excluded.csv", "relabelled.csv"
SPLIT_HEADER = ("source", "label", "split", "content")
FOLD = "fold"  # a last column of split.csv, in a run by folds: the one that a picture was held out in, from 1
METRICS_HEADER = ("epoch", "seconds", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy")
MARGINS_HEADER = ("source", "label", "split", "margin", "other")
DIAGNOSTICS_HEADER = ("epoch", "layer", "gradient_norm", "update_ratio")
HASH = re.compile(r"[0-9a-f]{16,128}")


def split_rows(name: str, dataset: Dataset) -> Iterator[tuple[str, str, str, str]]:
    """A row of split.csv for each picture of the part called `name`."""
    labels = dataset.label_names
    for source, label, digest in zip(dataset.sources, labels, content_hashes(dataset), strict=True):
        yield source, label, name, digest.hex()


def read_split(path: Path) -> list[tuple[str, ...]]:
    """The rows of a split.csv. Raises PellucidError when a column is missing, or a part or a hash is none."""
    try:
        rows = [tuple(row[name] for name in SPLIT_HEADER) for row in read_csv(path)]
        for _, _, part, content in rows:
            _refuse_odd(part, content, ("train", "validation", "test"))
    except (KeyError, ValueError) as error:
        raise _damage(path, error) from error
    return rows


def write_split(folder: Path, train: Dataset, validation: Dataset, folds: Tensor | None = None) -> None:
    """split.csv holds a row for each picture learned from or held out to choose by.

    folds  the fold of each picture of `train`, int64 (N,) from 0
    """
    rows = [*split_rows("train", train), *split_rows("validation", validation)]
    if folds is None:
        write_csv(folder / SPLIT, SPLIT_HEADER, rows)
    else:
        numbered = [[*row, fold + 1] for row, fold in zip(rows, folds.tolist(), strict=True)]
        write_csv(folder / SPLIT, [*SPLIT_HEADER, FOLD], numbered)


def read_folds(folder: Path) -> Tensor:
    """The fold of each picture, int64 (N,) from 0, as `write_split` wrote it.

    Raises PellucidError when it is damaged.
    """
    try:
        numbers = [int(_number(row, FOLD, low=1)) - 1 for row in read_csv(folder / SPLIT)]
    except (KeyError, ValueError) as error:
        raise _damage(folder / SPLIT, error) from error
    return torch.tensor(numbers, dtype=torch.int64)


def seen_contents(folder: Path) -> dict[str, str]:
    """The hash of every picture that the weights in a run's folder learned from, with "train", or were only
    chosen by, with "validation". Those of the runs it began from are among them.
    """
    rows = [(row[3], row[2]) for row in read_split(folder / SPLIT) if row[2] != "test"]
    if read_object(folder / MANIFEST)["training"].get("all_pictures"):
        rows = [(content, "train") for content, _ in rows]
    if (folder / SEEN).is_file():
        try:
            seen = [(row["content"], row["split"]) for row in read_csv(folder / SEEN)]
            for content, part in seen:
                _refuse_odd(part, content, ("train", "validation"))
        except (KeyError, ValueError) as error:
            raise _damage(folder / SEEN, error) from error
        rows += seen
    return dict(sorted(rows, key=lambda row: row[1] == "train"))  # which wins


def write_history(folder: Path, history: Sequence[Epoch], *, name: str = METRICS) -> None:
    """metrics.csv holds a row for each epoch, its validation figures empty where nothing was held out."""
    rows = [[_figure(getattr(epoch, column)) for column in METRICS_HEADER] for epoch in history]
    write_csv(folder / name, METRICS_HEADER, rows)


def _figure(value: float) -> float | str:
    return "" if math.isnan(value) else value


def write_diagnostics(folder: Path, diagnostics: list[LayerDiagnostics]) -> None:
    """diagnostics.csv holds a row for each layer and epoch."""
    rows = [[getattr(entry, name) for name in DIAGNOSTICS_HEADER] for entry in diagnostics]
    write_csv(folder / DIAGNOSTICS, DIAGNOSTICS_HEADER, rows)


def read_diagnostics(folder: Path) -> list[LayerDiagnostics]:
    """What `write_diagnostics` wrote; none where a run left no diagnostics.csv.

    Raises PellucidError when it is damaged.
    """
    if not (folder / DIAGNOSTICS).is_file():
        return []
    try:
        return [
            LayerDiagnostics(
                int(_number(row, "epoch", low=1)),
                row["layer"],
                *(_number(row, name, low=0) for name in DIAGNOSTICS_HEADER[2:]),
            )
            for row in read_csv(folder / DIAGNOSTICS)
        ]
    except (KeyError, ValueError) as error:
        raise _damage(folder / DIAGNOSTICS, error) from error


def write_corrections(folder: Path, corrections: Corrections) -> None:
    """excluded.csv and relabelled.csv hold what was left out and changed, where something was, as `exclude`
    and `relabel` take it."""
    if corrections.exclude:
        write_csv(folder / EXCLUDED, ("source",), [(source,) for source in corrections.exclude])
    if corrections.relabel:
        write_csv(folder / RELABELLED, ("source", "label"), corrections.relabel)


def write_margins(folder: Path, parts: Mapping[str, Dataset], margins: Margins) -> None:
    """margins.csv holds a row for each picture that the network learned from: the mean margin of its label
    over the epochs, empty where it has none, and the class that was the likeliest other.

    parts  the pictures by the part of the split they are of, in the order of `margins`
    """
    labelled = (
        (source, label, name, part.classes)
        for name, part in parts.items()
        for source, label in zip(part.sources, part.label_names, strict=True)
    )
    rows = (
        (source, label, part, "" if math.isnan(margin) else f"{margin:.6g}", classes[other])
        for (source, label, part, classes), margin, other in zip(
            labelled, margins.mean.tolist(), margins.other.tolist(), strict=True
        )
    )
    write_csv(folder / MARGINS, MARGINS_HEADER, rows)


def read_margins(folder: Path, classes: Sequence[str]) -> list[JudgedPart]:
    """What `write_margins` wrote, a record for each part; none where a run has no margins.csv.

    Raises PellucidError when it is damaged.
    """
    if not (folder / MARGINS).is_file():
        return []
    number = {name: k for k, name in enumerate(classes)}
    try:
        rows = read_csv(folder / MARGINS)
        parts = []
        for part in dict.fromkeys(row["split"] for row in rows):
            if part not in ("train", "validation"):
                raise ValueError(f"'split' is {part[:60]!r}")
            own = [row for row in rows if row["split"] == part]
            labels, others = (
                torch.tensor([number[row[column]] for row in own]) for column in ("label", "other")
            )
            margins = torch.tensor([_number(row, "margin") if row["margin"] else math.nan for row in own])
            parts.append(judged_over_epochs(part, [row["source"] for row in own], labels, others, margins))
    except (KeyError, ValueError) as error:
        raise _damage(folder / MARGINS, error) from error
    return parts


def read_history(folder: Path, epochs: int) -> History:
    """What `write_history` wrote. Raises PellucidError when it is damaged or has fewer than `epochs`."""
    if not (folder / METRICS).is_file():
        raise damage(folder / METRICS, "it is missing")
    history: list[Epoch] = []
    lowest = float("inf")
    try:
        for number, row in enumerate(read_csv(folder / METRICS), 1):
            if _number(row, "epoch") != number:
                raise ValueError(f"'epoch' is {row['epoch'][:60]!r}; expected {number}")
            figures = {
                name: _number(row, name, low=0, high=1 if name.endswith("accuracy") else math.inf)
                if row[name]
                else math.nan
                for name in METRICS_HEADER[1:]
            }
            best = math.isnan(figures["val_loss"]) or figures["val_loss"] < lowest
            history.append(Epoch(number, best=best, **figures))  # type: ignore[arg-type]
            lowest = min(lowest, figures["val_loss"])
        if len(history) < epochs:
            raise ValueError(f"only {len(history)} of {epochs} epochs are left")
    except (KeyError, ValueError) as error:
        raise _damage(folder / METRICS, error) from error
    return History(history)


def _number(row: Mapping[str, str], column: str, *, low: float = -math.inf, high: float = math.inf) -> float:
    """The number in a column of a row. Raises ValueError for anything else, and where it is out of bounds."""
    value = float(row[column])
    if not low <= value <= high:  # which is never so of a number that is none
        raise ValueError(f"'{column}' is {row[column][:60]!r}")
    return value


def _refuse_odd(part: str, content: str, parts: Sequence[str]) -> None:
    if part not in parts:
        raise ValueError(f"'split' is {part[:60]!r}")
    if not HASH.fullmatch(content):
        raise ValueError(f"'content' is {content[:60]!r}, which is no hash")


def _damage(path: Path, error: Exception) -> PellucidError:
    return damage(path, f"no column {error}" if isinstance(error, KeyError) else str(error))
