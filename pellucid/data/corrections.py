"""Pictures left out of a data set and labels changed in it, by the tables a person has looked through."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pellucid.data.dataset import Corrections, Dataset, Splits, named_table
from pellucid.data.sources.columns import read_table
from pellucid.errors import UsageError, did_you_mean
from pellucid.files import cell_as_it_was
from pellucid.formatting import listed
from pellucid.language import Message, lazy_ngettext
from pellucid.reading import TABLE_BYTES, read_regular, reason_of

Excluded = str | Path | Iterable[str]  # a table, or the sources themselves
Relabelled = str | Path | Mapping[str, str]  # a table, or the new label of each source

LABEL_COLUMNS = ("suggested_label", "label")  # the first that a table has holds the new labels


def read_corrections(exclude: Excluded = (), relabel: Relabelled = "") -> Corrections:
    """What `load` is to leave out and to change.

    exclude  a table with a column `source`, such as a run's suspects.csv; or the sources
    relabel  a table with `source` and `suggested_label`, or else `label`; or a label for each source

    Raises UsageError for a file that is no such table, and for a picture that is to be both left out and
    relabelled, or given two labels.
    """
    exclude_file = str(exclude) if isinstance(exclude, str | Path) else ""
    relabel_file = str(relabel) if isinstance(relabel, str | Path) else ""
    left_out: Iterable[str] = () if isinstance(exclude, str | Path) else exclude
    relabelled: Mapping[str, str] = {} if isinstance(relabel, str | Path) else relabel
    if exclude_file:
        left_out = _columns(Path(exclude_file), "exclude")["source"]
    if relabel_file:
        relabelled = _labels_by_source(Path(relabel_file))
    unique = tuple(dict.fromkeys(left_out))
    if both := [source for source in unique if source in relabelled]:
        raise UsageError(
            f"{listed(both)} would be both left out and relabelled. Take the rows out of `exclude` or of "
            "`relabel`."
        )
    return Corrections(unique, tuple(relabelled.items()), exclude_file, relabel_file)


def corrected(splits: Splits, corrections: Corrections) -> Splits:
    """The same parts without the pictures left out, and with the labels changed; the others stay where they
    are, so that a run on them can be compared with one before.

    Raises UsageError for a source that none of the pictures has, a label that is not one of the classes, and
    when no training picture of a class is left.
    """
    if not corrections.exclude and not corrections.relabel:
        return splits
    _refuse_unknown_sources(splits, corrections)
    left_out, relabelled = set(corrections.exclude), dict(corrections.relabel)
    labels = {source: _label(name, splits.train, corrections) for source, name in relabelled.items()}
    train, validation, test = (_without(_relabelled(part, labels), left_out) for _, part in splits.items())
    lost = [name for name, before in splits.train.counts.items() if before and not train.counts[name]]
    if lost:
        raise UsageError(
            f"No training picture of {listed(lost)} is left. Keep some, or take the class out of the data."
        )
    differs = splits.test.labels != _relabelled(splits.test, labels).labels  # (N,), or (N, K)
    origin = replace(
        splits.origin,
        test_excluded=len(left_out.intersection(splits.test.sources)),
        test_relabelled=int(differs.reshape(len(differs), -1).any(dim=1).sum()),
        notes=(*splits.origin.notes, *_notes(corrections)),
    )
    return Splits(train, validation, test, origin)


def _columns(path: Path, name: str) -> dict[str, list[str]]:
    if not path.is_file():
        raise UsageError(
            f"`{name}={path}` is not a file. Expected a table with a column source, such as a run's "
            "suspects.csv."
        )
    try:
        content = read_regular(path, TABLE_BYTES)
    except OSError as error:
        raise UsageError(f"`{name}={path}` cannot be read: {reason_of(error)}.") from error
    table = read_table(path.name, content).columns
    columns = {name: list(map(cell_as_it_was, cells)) for name, cells in table.items()}
    if "source" not in columns:
        raise UsageError(
            f"'{path}' has no column source; got {', '.join(columns)}. Expected the sources of pictures, as "
            "in a run's split.csv or suspects.csv."
        )
    return columns


def _labels_by_source(path: Path) -> dict[str, str]:
    columns = _columns(path, "relabel")
    column = next((name for name in LABEL_COLUMNS if name in columns), None)
    if column is None:
        raise UsageError(
            f"'{path}' has no column of new labels; got {', '.join(columns)}. "
            "Expected suggested_label, or label."
        )
    labels: dict[str, str] = {}
    for source, label in zip(columns["source"], columns[column], strict=True):
        if labels.setdefault(source, label) != label:
            raise UsageError(
                f"'{path}' gives '{source}' two labels, '{labels[source]}' and '{label}'. Expected one."
            )
    return labels


def _refuse_unknown_sources(splits: Splits, corrections: Corrections) -> None:
    known = {source for _, part in splits.items() for source in part.sources}
    known |= {unreadable.source for unreadable in splits.origin.unreadable}
    tables = (
        ("exclude", corrections.exclude_file, corrections.exclude),
        ("relabel", corrections.relabel_file, [source for source, _ in corrections.relabel]),
    )
    for name, file, sources in tables:
        unknown = [source for source in sources if source not in known]
        if unknown:
            table = named_table(file, name)
            raise UsageError(
                f"{table} names pictures that are not here: {listed(unknown)}. Sources look like "
                f"{listed(splits.train.sources[:2])}. Take those rows out, or name the data they come from."
            )


def _label(name: str, dataset: Dataset, corrections: Corrections) -> Tensor:
    """A label by name as one row of `labels`: a number, or, of several labels, "cat|red" as bool (K,)."""
    names = [part for part in name.split("|") if part] if dataset.multi_label else [name]
    for each in names:
        if each not in dataset.classes:
            table = named_table(corrections.relabel_file, "relabel")
            raise UsageError(
                f"{table} has the label '{each}', which is not one of the classes. "
                f"{did_you_mean(each, dataset.classes)}"
            )
    numbers = torch.tensor([dataset.classes.index(each) for each in names], dtype=torch.int64)
    if not dataset.multi_label:
        return numbers[0]
    return torch.zeros(len(dataset.classes), dtype=torch.bool).index_fill(0, numbers, True)


def _relabelled(dataset: Dataset, labels: Mapping[str, Tensor]) -> Dataset:
    rows = [(row, labels[source]) for row, source in enumerate(dataset.sources) if source in labels]
    if not rows:
        return dataset
    changed = dataset.labels.clone()
    changed[[row for row, _ in rows]] = torch.stack([label for _, label in rows])
    return Dataset(dataset.images, changed, dataset.classes, dataset.sources)


def _without(dataset: Dataset, left_out: set[str]) -> Dataset:
    kept = [row for row, source in enumerate(dataset.sources) if source not in left_out]
    return dataset if len(kept) == len(dataset) else dataset.subset(kept)


def _notes(corrections: Corrections) -> list[Message]:
    notes = []
    if corrections.exclude:
        notes.append(
            lazy_ngettext(
                "%(count)s picture is left out, as %(table)s says",
                "%(count)s pictures are left out, as %(table)s says",
                len(corrections.exclude),
                table=named_table(corrections.exclude_file, "exclude"),
            )
        )
    if corrections.relabel:
        notes.append(
            lazy_ngettext(
                "%(count)s label is changed, as %(table)s says",
                "%(count)s labels are changed, as %(table)s says",
                len(corrections.relabel),
                table=named_table(corrections.relabel_file, "relabel"),
            )
        )
    return notes
