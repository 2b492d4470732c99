"""The tables of a run's folder: each picture's part, the history by epoch, each layer's diagnostics."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pellucid.classifier import MANIFEST
from pellucid.data.dataset import Dataset, content_hashes
from pellucid.errors import PellucidError
from pellucid.files import read_csv, read_object, write_csv
from pellucid.runs.history import History
from pellucid.training.diagnostics import LayerDiagnostics
from pellucid.training.loop import Epoch

METRICS = "metrics.csv"
SPLIT = "split.csv"
DIAGNOSTICS = "diagnostics.csv"
SPLIT_HEADER = ("source", "label", "split", "content")
METRICS_HEADER = ("epoch", "seconds", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy")
DIAGNOSTICS_HEADER = ("epoch", "layer", "gradient_norm", "update_ratio")


def split_rows(name: str, dataset: Dataset) -> Iterator[tuple[str, str, str, str]]:
    """A row of split.csv for each picture of the part called `name`."""
    labels = dataset.label_names
    for source, label, digest in zip(dataset.sources, labels, content_hashes(dataset), strict=True):
        yield source, label, name, digest.hex()


def read_split(path: Path) -> list[tuple[str, ...]]:
    """The rows of a split.csv. Raises PellucidError when a column is missing."""
    try:
        return [tuple(row[name] for name in SPLIT_HEADER) for row in read_csv(path)]
    except KeyError as error:
        raise PellucidError(f"'{path}' is damaged: no column {error}. Restore it or train again.") from error


def write_history(folder: Path, history: Sequence[Epoch]) -> None:
    """metrics.csv holds a row for each epoch."""
    rows = [[getattr(epoch, name) for name in METRICS_HEADER] for epoch in history]
    write_csv(folder / METRICS, METRICS_HEADER, rows)


def write_diagnostics(folder: Path, diagnostics: list[LayerDiagnostics]) -> None:
    """diagnostics.csv holds a row for each layer and epoch."""
    rows = [[getattr(entry, name) for name in DIAGNOSTICS_HEADER] for entry in diagnostics]
    write_csv(folder / DIAGNOSTICS, DIAGNOSTICS_HEADER, rows)


def read_history(folder: Path) -> History:
    """What `write_history` wrote. Raises PellucidError when it is damaged or epochs are missing."""
    history: list[Epoch] = []
    lowest = float("inf")
    try:
        for row in read_csv(folder / METRICS):
            figures = {name: float(row[name]) for name in METRICS_HEADER[1:]}
            history.append(Epoch(int(row["epoch"]), best=figures["val_loss"] < lowest, **figures))
            lowest = min(lowest, figures["val_loss"])
        if len(history) < read_object(folder / MANIFEST)["training"]["epochs"]:
            raise ValueError(f"only {len(history)} epochs are left")
    except (KeyError, TypeError, ValueError) as error:
        raise PellucidError(
            f"'{folder / METRICS}' is damaged: {error!r}. Restore it or train again."
        ) from error
    return History(history)
