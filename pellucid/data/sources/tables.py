"""Pictures named in a table: CSV, text or JSON, a pandas DataFrame, or a Hugging Face Dataset.

Columns: the picture (`path`, `file_name` ...), its `label`, and optionally `split` and `group`.
"""

import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pellucid.data.sources.columns import (
    GROUP_COLUMN,
    LABEL_COLUMNS,
    PATH_COLUMNS,
    SPLIT_COLUMNS,
    Table,
    read_table,
)
from pellucid.data.sources.file_names import FileNames, is_absolute, plain_name
from pellucid.data.sources.listing import (
    JOINT,
    SPLIT_NAMES,
    Content,
    Picture,
    RawListing,
    is_unlabelled,
    joined,
    names_in,
    split_of,
)
from pellucid.data.sources.table_labels import (
    FLAGS,
    Labels,
    class_names,
    labels_of,
    named_labels,
    separated_labels,
)
from pellucid.data.sources.tree import Tree, folder_tree, read_file, stamp_of
from pellucid.errors import UsageError
from pellucid.formatting import listed
from pellucid.language import Message, lazy_gettext, lazy_ngettext

CONTRADICTIONS = 0.2  # share of pictures with two labels from which they are no mistake: each has several
MAX_KEPT_VALUES = 100  # different ones in a column that is kept, unless they are numbers
PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B"})  # what a PNG stores unchanged

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class FileAccess:
    """Access to the files a table names: whether one exists, its bytes, its stamp."""

    exists: Callable[[str], bool]
    read: Callable[[str], bytes]
    stamp: Callable[[str], str]


@dataclass(frozen=True)
class TableRow:
    """One row; `picture` is a path or the picture itself, `columns` what else the table says of it."""

    source: str
    picture: Any
    label: str
    split: str
    group: str
    columns: Mapping[str, str]


@dataclass(frozen=True)
class DatasetItem:
    """A picture of a Hugging Face Dataset, read when it is used."""

    dataset: Any
    column: str
    index: int


def list_table(path: Path, *, group_by: str = "", label_from: str = "") -> RawListing:
    """The pictures a table names by absolute paths or paths relative to its own folder.

    If there is none at any of these paths, they are looked for by name in the table's folder.
    """
    folder = path.parent
    access = _files_below(folder)
    table = read_table(
        path.name, read_file(path), lambda value: "." in value and access.exists(plain_name(value))
    )
    column = _picture_column(table, None)
    sources = [plain_name(value) for value in table.columns[column]]
    if not any(map(access.exists, sources)):
        tree = folder_tree(folder)
        if FileNames(tree).has(table.columns[column][0]) or not _known(table.columns, PATH_COLUMNS):
            return list_tables(tree, {path.name: ""}, group_by=group_by, label_from=label_from)
    _refuse_unnamed(table, sources)
    labels = labels_of(table, column, label_from, group_by)
    rows = _rows_of_files(table, sources, labels, group_by=group_by)
    rows, notes = _without_contradictions(rows)
    layout = lazy_gettext("table %(names)s", names=f"'{path.name}'")
    raw = _raw_listing(layout, rows, access, table.columns)
    return replace(raw, notes=(*table.notes, *labels.notes, *notes, *raw.notes))


def list_tables(
    tree: Tree, tables: Mapping[str, str], *, group_by: str = "", label_from: str = ""
) -> RawListing:
    """The pictures of a tree that tables in it name.

    tables  the names of the tables with their splits: {"train/metadata.csv": "train"}; "" for none

    Raises UsageError when a table cannot be read, and when it is not clear which column holds the labels or
    which files are meant.
    """
    rows, notes, without_labels, named = list[TableRow](), list[Message](), set[str](), set[str]()
    columns: Columns = {}
    files = FileNames(tree)
    for name, split in tables.items():
        folder = name.rpartition("/")[0]
        prefix = f"{folder}/" if folder else ""
        table = read_table(name, tree.read(name), files.has)
        column = _picture_column(table, files)
        sources, more = _sources(table, column, files, prefix=prefix, split=split)
        labels = labels_of(table, column, label_from, group_by)
        notes += [*table.notes, *more, *labels.notes]
        named.update(sources)
        columns = columns or table.columns
        if split == "test" and len(tables) > 1 and not any(labels.values):
            without_labels.update(sources)
            continue
        rows += _rows_of_files(table, sources, labels, split=split, group_by=group_by)
    rows, contradictions = _without_contradictions(rows)
    renamed = named_labels([row.label for row in rows], class_names(tree))
    if renamed:
        rows = [replace(row, label=label) for row, label in zip(rows, renamed.values, strict=True)]
        notes += renamed.notes
    access = FileAccess(lambda name: name in tree.sizes, tree.read, tree.stamp)
    raw = _raw_listing(lazy_gettext("table %(names)s", names=listed(tables)), rows, access, columns)
    unnamed = set(tree.pictures()) - named | without_labels
    notes = [*tree.notes, *notes, *contradictions, *raw.notes, *_notes_on_unnamed(unnamed, without_labels)]
    return replace(raw, notes=tuple(notes))


def is_table(tree: Tree, name: str, files: FileNames) -> bool:
    """Whether a file of a tree is a table: by its header, or because it names pictures."""
    content = tree.read(name)[: 1 << 16]
    if name.lower().endswith(".csv"):
        header = content.split(b"\n", 1)[0].decode("utf-8-sig", errors="replace")
        columns = {column.strip().strip('"').lower() for column in re.split("[,;\t|]", header)}
        if columns.intersection(PATH_COLUMNS[:8]) and columns.intersection(LABEL_COLUMNS[:6]):
            return True
    if not name.lower().endswith(".json"):
        content = content if len(content) < 1 << 16 else content[: content.rfind(b"\n") + 1]
    else:
        content = tree.read(name)
    try:
        table = read_table(name, content, files.has)
    except UsageError:
        return False
    best = max((_share_of_files(values, files) for values in table.columns.values()), default=0)
    return best >= 0.5 and (len(table.columns) > 1 or split_of(name.rpartition(".")[0]) == "test")


def list_frame(frame: Any, *, group_by: str = "") -> RawListing:
    """The pictures of a pandas DataFrame: paths, bytes, arrays or Pillow images, with their labels."""
    columns = {str(name): list(frame[name]) for name in frame.columns}
    rows, notes = _without_contradictions(_rows_of_values("The DataFrame", columns, group_by=group_by))
    raw = _raw_listing(Message("DataFrame"), rows, _files_below(Path()), columns)
    return replace(raw, notes=(*notes, *raw.notes))


def list_datasets(datasets: Mapping[str, Any], *, group_by: str = "") -> RawListing:
    """The pictures of Hugging Face Datasets by split, "" for a single Dataset; read one at a time.

    Files are decoded here, not by that library: the pictures are the same as in a folder.
    """
    rows: list[TableRow] = []
    others: dict[str, list[Any]] = {}
    for split, dataset in datasets.items():
        dataset = dataset.with_format(None)  # with another format, its numbers could be tensors
        image_column = _column("The Dataset", dataset.column_names, PATH_COLUMNS, "pictures")
        others = {name: list(dataset[name]) for name in dataset.column_names if name != image_column}
        label_column = _column("The Dataset", others, LABEL_COLUMNS, "labels")
        feature = dataset.features[label_column]
        if names := getattr(feature, "names", None):
            others[label_column] = [names[n] if n >= 0 else None for n in others[label_column]]
        elif names := getattr(getattr(feature, "feature", None), "names", None):
            others[label_column] = [[names[n] for n in several] for several in others[label_column]]
        images = dataset.select_columns([image_column])
        feature = images.features[image_column]
        if getattr(feature, "decode", False) and not getattr(feature, "mode", None):  # a mode is its own task
            images = images.cast_column(image_column, type(feature)(decode=False))
        items = [DatasetItem(images, image_column, index) for index in range(len(dataset))]
        columns = {image_column: items, **others}
        rows += _rows_of_values("The Dataset", columns, split=split, group_by=group_by)
    return _raw_listing(Message("Hugging Face Dataset"), rows, _files_below(Path()), others)


def _picture_column(table: Table, files: FileNames | None) -> str:
    """The column that names pictures: a known one, or the one whose values are files."""
    known = _known(table.columns, PATH_COLUMNS)
    if files is not None:
        shares = {column: _share_of_files(values, files) for column, values in table.columns.items()}
        real = [column for column in known if shares[column]]
        if real:
            return real[0]
        best = max(shares, key=lambda column: shares[column])
        if shares[best] >= 0.5:
            return best
    return known[0] if known else _column(f"'{table.name}'", table.columns, PATH_COLUMNS[:8], "pictures")


def _known(columns: Iterable[str], words: Sequence[str]) -> list[str]:
    """The columns that have one of these names, in the order of the names."""
    by_lower_case = {column.lower(): column for column in columns}
    return [by_lower_case[word] for word in words if word in by_lower_case]


def _share_of_files(values: Sequence[str], files: FileNames) -> float:
    sample = values[:: max(1, len(values) // 100)]
    return sum(map(files.has, sample)) / len(sample) if sample else 0.0


def _sources(
    table: Table, column: str, files: FileNames, *, prefix: str, split: str
) -> tuple[list[str], list[Message]]:
    """The file each row names, as in the tree, and a sentence if it is named otherwise."""
    values = table.columns[column]
    plain = [plain_name(value) for value in values]
    _refuse_unnamed(table, plain)
    found = files.resolve(table.name, values, prefix=prefix, split=split)
    for number, (path, file) in enumerate(zip(plain, found, strict=True), table.first_row):
        if not file and (is_absolute(path) or ".." in path.split("/")):
            raise UsageError(
                f"'{table.name}', row {number}: '{path}' leads out of the data. "
                "Use paths relative to the folder of the table."
            )
    sources = [file or prefix + path for path, file in zip(plain, found, strict=True)]
    other = [
        (value, file)
        for value, path, file in zip(values, plain, found, strict=True)
        if file not in ("", prefix + path)
    ]
    if not other:
        return sources, []
    value, file = other[0]
    return sources, [
        lazy_gettext(
            "'%(table)s' calls '%(file)s' '%(value)s': matched by name",
            table=table.name,
            file=file,
            value=value,
        )
    ]


def _refuse_unnamed(table: Table, paths: Sequence[str]) -> None:
    for number, path in enumerate(paths, table.first_row):
        if not path or "\0" in path:
            raise UsageError(f"'{table.name}', row {number}: names no picture.")


def _rows_of_files(
    table: Table, sources: Sequence[str], labels: Labels, *, split: str = "", group_by: str = ""
) -> list[TableRow]:
    """The rows of a table that names files."""
    pictures = [(source, source) for source in sources]
    return _rows(
        f"'{table.name}'", table.columns, pictures, labels.values,
        split=split, group_by=group_by, first_row=table.first_row,
    )  # fmt: skip


def _rows(
    name: str,
    columns: Columns,
    pictures: Sequence[tuple[str, Any]],
    labels: Sequence[str],
    *,
    split: str = "",
    group_by: str = "",
    first_row: int = 2,
) -> list[TableRow]:
    """The rows of a table that have a label; each picture is (source, path or value).

    Raises UsageError, naming the row, for an unknown split, and when no row has a label.
    """
    if labels and not any(labels):
        raise UsageError(f"{name}, row {first_row}: no label. Add one or remove the row.")
    split_column = next(iter(_known(columns, SPLIT_COLUMNS)), "")
    group_column = group_by if group_by in columns else next(iter(_known(columns, (GROUP_COLUMN,))), "")
    empty = [""] * len(labels)
    splits = columns[split_column] if split_column else empty
    groups = columns[group_column] if group_column else empty
    further = _further_columns(columns, labels)
    return [
        TableRow(
            source,
            picture,
            label,
            _split(name, number, row_split) or split,
            "" if _is_missing(group) else str(group),
            {column: values[number - first_row] for column, values in further.items()},
        )
        for number, ((source, picture), label, row_split, group) in enumerate(
            zip(pictures, labels, splits, groups, strict=True), first_row
        )
        if label
    ]


def _further_columns(columns: Columns, labels: Sequence[str]) -> dict[str, list[str]]:
    """The columns by which pictures may be told apart, as text: those of few different values, or of numbers;
    none that names pictures, labels or parts."""
    aside = (*PATH_COLUMNS, *LABEL_COLUMNS, *SPLIT_COLUMNS)
    further = {}
    for column, given in columns.items():
        if column.lower() in aside or not all(isinstance(value, str | int | float) for value in given):
            continue
        values = ["" if _is_missing(value) else str(value).strip() for value in given]
        different = set(values)
        is_label = different <= FLAGS and all(
            (column in names_in(label)) == (value in ("1", "1.0"))
            for value, label in zip(values, labels, strict=True)
        )
        few = len(different) <= MAX_KEPT_VALUES or all(map(_is_number, different - {""}))
        if len(different - {""}) > 1 and few and not is_label:
            further[column] = values
    return further


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def _without_contradictions(rows: list[TableRow]) -> tuple[list[TableRow], list[Message]]:
    """The rows without pictures that have two labels, which a sentence names.

    Where many have, each picture has several labels, one a row: then its rows become one.
    """
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row.source, set()).add(row.label)
    several = [source for source, named in labels.items() if len(named) > 1]
    if not several or len(labels) == 1:
        return rows, []  # _without_repetitions refuses a picture that is all there is
    if len(several) > max(1, CONTRADICTIONS * len(labels)):
        whole = {
            source: joined(name for label in named for name in names_in(label))
            for source, named in labels.items()
        }
        note = lazy_gettext(
            "%(count)s pictures have several labels, each in a row of its own", count=len(several)
        )
        return [replace(row, label=whole[row.source]) for row in rows], [note]
    note = lazy_ngettext(
        "%(count)s picture has two labels and is passed over: %(names)s",
        "%(count)s pictures have two labels and are passed over: %(names)s",
        len(several),
        names=listed(several),
    )
    return [row for row in rows if len(labels[row.source]) == 1], [note]


def _notes_on_unnamed(unnamed: set[str], without_labels: set[str]) -> list[Message]:
    """A sentence each on pictures without labels and on those that no row names."""
    test = {
        file
        for file in unnamed
        if file in without_labels
        or split_of(file.split("/")[0]) == "test"
        or is_unlabelled(file.split("/")[0])
    }
    notes = []
    if test:
        notes.append(
            lazy_ngettext(
                "%(count)s test picture has no label and is left for 'pellucid predict'",
                "%(count)s test pictures have no labels and are left for 'pellucid predict'",
                len(test),
            )
        )
    if others := len(unnamed - test):
        notes.append(
            lazy_ngettext(
                "skipped %(count)s picture that no row names",
                "skipped %(count)s pictures that no row names",
                others,
            )
        )
    return notes


def _rows_of_values(name: str, columns: Columns, *, split: str = "", group_by: str = "") -> list[TableRow]:
    """The rows of a table whose pictures may be values; the source of a value is its number."""
    prefix = f"{split}/" if split else ""
    values = columns[_column(name, columns, PATH_COLUMNS, "pictures")]
    pictures = [
        (str(value) if isinstance(value, str | Path) else f"{prefix}{index}", value)
        for index, value in enumerate(values)
    ]
    label_column = _column(name, columns, LABEL_COLUMNS, "labels")
    labels = [_label(name, number, label) for number, label in enumerate(columns[label_column], 2)]
    labels = separated_labels(labels, label_column, name).values
    return _rows(name, columns, pictures, labels, split=split, group_by=group_by)


def _raw_listing(
    layout: Message, all_rows: list[TableRow], access: FileAccess, columns: Iterable[str]
) -> RawListing:
    rows = _without_repetitions(all_rows)

    def is_missing(row: TableRow) -> bool:
        return isinstance(row.picture, str | Path) and not access.exists(str(row.picture))

    def read(index: int) -> Content:
        picture = rows[index].picture
        if not isinstance(picture, str | Path):
            return _content(picture)
        if not access.exists(str(picture)):
            raise UsageError(f"'{picture}' does not exist.")
        return access.read(str(picture))

    def stamp(index: int) -> str:
        picture = rows[index].picture
        return access.stamp(str(picture)) if isinstance(picture, str | Path) else ""

    missing = [row.source for row in rows if is_missing(row)]
    if rows and len(missing) == len(rows):
        raise UsageError(
            f"None of the {len(rows):,} pictures of the {layout} exists, such as {listed(missing[:1])}."
        )
    notes = []
    if repeated := len(all_rows) - len(rows):
        notes.append(
            lazy_ngettext(
                "%(count)s row repeats another and counts once",
                "%(count)s rows repeat another and count once",
                repeated,
            )
        )
    if missing:
        notes.append(
            lazy_ngettext(
                "%(count)s picture is named but does not exist: %(names)s",
                "%(count)s pictures are named but do not exist: %(names)s",
                len(missing),
                names=listed(missing),
            )
        )
    if any(row.split for row in rows) and (without_split := sum(not row.split for row in rows)):
        notes.append(
            lazy_ngettext(
                "%(count)s row names no part of the data and is used for training",
                "%(count)s rows name no part of the data and are used for training",
                without_split,
            )
        )
    pictures = [Picture(row.source, row.label, row.split, row.group, row.columns) for row in rows]
    return RawListing(layout, pictures, read, stamp, tuple(notes), tuple(columns))


def _without_repetitions(rows: list[TableRow]) -> list[TableRow]:
    """One row per source; a picture with two labels or splits is refused."""
    first_rows: dict[str, TableRow] = {}
    for row in rows:
        first = first_rows.setdefault(row.source, row)
        if (first.label, first.split) != (row.label, row.split):
            raise UsageError(
                f"'{row.source}' is named twice: as '{first.label.replace(JOINT, '|')}' {first.split} and as "
                f"'{row.label.replace(JOINT, '|')}' {row.split}. Name every picture once, with one part; "
                "several labels stand in one row, as in 'cat|red'."
            )
    return list(first_rows.values())


def _column(name: str, columns: Iterable[str], known: Sequence[str], what: str) -> str:
    by_lower_case = {column.lower(): column for column in columns}
    for word in known:
        if word in by_lower_case:
            return by_lower_case[word]
    raise UsageError(
        f"{name} has no column of {what}. Expected one named {', '.join(known)}; got {', '.join(columns)}."
    )


def _label(name: str, number: int, label: Any) -> str:
    if isinstance(label, list | tuple | set | np.ndarray):
        return joined(_label(name, number, one) for one in label)
    if _is_missing(label) or not str(label).strip():
        raise UsageError(f"{name}, row {number}: no label. Add one or remove the row.")
    if isinstance(label, float | np.floating) and float(label).is_integer():
        return str(int(label))
    return str(label).strip()


def _split(name: str, number: int, value: Any) -> str:
    word = "" if _is_missing(value) else str(value).strip()
    if word and not split_of(word):
        raise UsageError(f"{name}, row {number}: unknown part '{value}'. Known: {', '.join(SPLIT_NAMES)}.")
    return split_of(word)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _files_below(folder: Path) -> FileAccess:
    return FileAccess(
        lambda name: (folder / name).is_file(),
        lambda name: read_file(folder / name),
        lambda name: stamp_of(folder / name),
    )


def _content(value: Any) -> Content:
    """A picture given as a value: bytes, an array, a Pillow image, or {"bytes", "path"}."""
    if isinstance(value, DatasetItem):
        value = value.dataset[value.index][value.column]
    if isinstance(value, Mapping):
        content = value.get("bytes")
        value = content if content is not None else read_file(Path(str(value.get("path"))))
    if isinstance(value, bytes):
        return value
    if isinstance(value, Image.Image):  # as a PNG: orientation, depth and transparency are then a file's
        value.load()  # some formats are rotated by this, and no longer say so afterwards
        image = value if value.mode in PNG_MODES else value.convert("RGB")
        file = io.BytesIO()
        image.save(file, "PNG", exif=value.getexif(), compress_level=1)
        return file.getvalue()
    array = np.asarray(value)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise UsageError(f"expected a uint8 picture (H, W) or (H, W, C); got {array.dtype} {array.shape}")
    return array
