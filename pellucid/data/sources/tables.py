"""Pictures named in a table: a CSV file, a pandas DataFrame, or a Hugging Face Dataset.

Columns: the picture (`path`, `file_name` ...), its `label`, and optionally `split` and `group`.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pellucid.data.sources.folder import class_folders, split_folders
from pellucid.data.sources.listing import SPLIT_NAMES, Content, Picture, RawListing
from pellucid.data.sources.tree import Tree, read_file, stamp_of
from pellucid.errors import UsageError
from pellucid.formatting import listed
from pellucid.language import Message, lazy_gettext, lazy_ngettext

METADATA = "metadata.csv"
PATH_COLUMNS = ("path", "file_name", "filename", "filepath", "file", "image_path", "image", "img")
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target")
SPLIT_COLUMNS = ("split", "subset", "part")
GROUP_COLUMN = "group"
MAX_TABLE_BYTES = 1 << 30
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
    """One row; `picture` is a path or the picture itself."""

    source: str
    picture: Any
    label: str
    split: str
    group: str


@dataclass(frozen=True)
class DatasetItem:
    """A picture of a Hugging Face Dataset, read when it is used."""

    dataset: Any
    column: str
    index: int


def list_table(path: Path, *, group_by: str = "") -> RawListing:
    """The pictures a CSV file names by absolute paths or paths relative to its own folder."""
    folder = path.parent
    columns = read_table(path.name, read_file(path))
    rows = _rows_of_paths(path.name, columns, group_by=group_by, allow_outside=True)
    layout = lazy_gettext("table %(names)s", names=f"'{path.name}'")
    return _raw_listing(layout, rows, _files_below(folder), columns)


def metadata_tables(tree: Tree) -> dict[str, str]:
    """Every metadata.csv, at the top or in the folders of the splits, with its split: "" at the top."""
    if METADATA in tree.sizes:
        return {METADATA: ""}
    return {
        f"{top}/{METADATA}": SPLIT_NAMES[top.lower()]
        for top in tree.top()
        if top.lower() in SPLIT_NAMES and f"{top}/{METADATA}" in tree.sizes
    }


def csv_tables(tree: Tree) -> dict[str, str]:
    """The only CSV file at the top that names pictures and labels, or one per split: train.csv, test.csv.

    None if the folders are classes or splits themselves.
    """
    if len(class_folders(tree)) > 1 or split_folders(tree):
        return {}
    names = [
        name for name in tree.loose() if name.lower().endswith(".csv") and is_table(tree.read(name)[:4096])
    ]
    by_split = {name: SPLIT_NAMES[name.lower()[:-4]] for name in names if name.lower()[:-4] in SPLIT_NAMES}
    if "train" in by_split.values():
        return by_split
    return {names[0]: ""} if len(names) == 1 else {}


def list_tables(tree: Tree, tables: Mapping[str, str], *, group_by: str = "") -> RawListing:
    """The pictures of a tree that tables in it name.

    tables  the names of the tables with their splits: {"train/metadata.csv": "train"}; "" for none
    """
    rows: list[TableRow] = []
    columns: Columns = {}
    for name, split in tables.items():
        folder = name.rpartition("/")[0]
        columns = read_table(name, tree.read(name))
        prefix = f"{folder}/" if folder else ""
        rows += _rows_of_paths(name, columns, split=split, group_by=group_by, prefix=prefix)
    access = FileAccess(lambda name: name in tree.sizes, tree.read, tree.stamp)
    raw = _raw_listing(lazy_gettext("table %(names)s", names=listed(tables)), rows, access, columns)
    notes = (*tree.notes, *raw.notes)
    if unnamed := len(set(tree.pictures()) - {row.picture for row in rows}):
        note = lazy_ngettext(
            "skipped %(count)s picture that no row names",
            "skipped %(count)s pictures that no row names",
            unnamed,
        )
        notes = (*notes, note)
    return replace(raw, notes=notes)


def is_table(content: bytes) -> bool:
    """Whether the header of a CSV file has a column of pictures and one of labels."""
    header = content.split(b"\n", 1)[0].decode("utf-8-sig", errors="replace")
    columns = [column.strip().strip('"').lower() for column in header.split(_delimiter(header))]
    return any(name in columns for name in PATH_COLUMNS) and any(name in columns for name in LABEL_COLUMNS)


def read_table(name: str, content: bytes) -> dict[str, list[str]]:
    """The columns of a CSV file (comma, semicolon or tab; UTF-8) by name. Errors name the row."""
    if len(content) > MAX_TABLE_BYTES:
        raise UsageError(f"'{name}' has {len(content):,} bytes; the limit of a table is {MAX_TABLE_BYTES:,}.")
    try:
        text = content.decode("utf-8-sig")
        delimiter = _delimiter(text.split("\n", 1)[0])
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except UnicodeDecodeError as error:
        raise UsageError(f"'{name}' is not in UTF-8: {error}. Save it as UTF-8.") from error
    except csv.Error as error:
        raise UsageError(f"'{name}' cannot be read as a table: {error}.") from error
    rows = [row for row in rows if any(row)]
    if not rows:
        raise UsageError(f"'{name}' is empty. Expected a header such as path,label.")
    header = [column.strip() for column in rows[0]]
    if len(set(header)) < len(header):
        raise UsageError(f"'{name}' has two columns of the same name: {', '.join(header)}.")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            fields = f"{len(header)} fields ({', '.join(header)})"
            raise UsageError(f"'{name}', row {number}: expected {fields}; got {len(row)}.")
    return {column: [row[index] for row in rows[1:]] for index, column in enumerate(header)}


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def list_frame(frame: Any, *, group_by: str = "") -> RawListing:
    """The pictures of a pandas DataFrame: paths, bytes, arrays or Pillow images, with their labels."""
    columns = {str(name): list(frame[name]) for name in frame.columns}
    rows = _rows_of_values("The DataFrame", columns, group_by=group_by)
    return _raw_listing(Message("DataFrame"), rows, _files_below(Path()), columns)


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
        if names := getattr(dataset.features[label_column], "names", None):
            others[label_column] = [names[n] if n >= 0 else None for n in others[label_column]]
        images = dataset.select_columns([image_column])
        feature = images.features[image_column]
        if getattr(feature, "decode", False) and not getattr(feature, "mode", None):  # a mode is its own task
            images = images.cast_column(image_column, type(feature)(decode=False))
        items = [DatasetItem(images, image_column, index) for index in range(len(dataset))]
        columns = {image_column: items, **others}
        rows += _rows_of_values("The Dataset", columns, split=split, group_by=group_by)
    return _raw_listing(Message("Hugging Face Dataset"), rows, _files_below(Path()), others)


def _rows_of_paths(
    name: str,
    columns: Columns,
    *,
    split: str = "",
    group_by: str = "",
    prefix: str = "",
    allow_outside: bool = False,
) -> list[TableRow]:
    """The rows of a CSV file; paths that lead out of the data need `allow_outside`."""
    sources = []
    for number, path in enumerate(columns[_column(name, columns, PATH_COLUMNS, "pictures")], 2):
        path = path.strip().replace("\\", "/")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        absolute = path.startswith("/") or path[1:2] == ":"
        if not parts or "\0" in path:
            raise UsageError(f"'{name}', row {number}: names no picture.")
        if (absolute or ".." in parts) and not allow_outside:
            raise UsageError(
                f"'{name}', row {number}: '{path}' leads out of the data. "
                "Use paths relative to the folder of the table."
            )
        sources.append(prefix + (path if absolute else "/".join(parts)))
    return _rows(f"'{name}'", columns, list(zip(sources, sources, strict=True)), split, group_by)


def _rows_of_values(name: str, columns: Columns, *, split: str = "", group_by: str = "") -> list[TableRow]:
    """The rows of a table whose pictures may be values; the source of a value is its number."""
    prefix = f"{split}/" if split else ""
    values = columns[_column(name, columns, PATH_COLUMNS, "pictures")]
    pictures = [
        (str(value) if isinstance(value, str | Path) else f"{prefix}{index}", value)
        for index, value in enumerate(values)
    ]
    return _rows(name, columns, pictures, split, group_by)


def _rows(
    name: str, columns: Columns, pictures: Sequence[tuple[str, Any]], split: str, group_by: str
) -> list[TableRow]:
    """The rows of a table from its pictures, each as (source, path or value)."""
    labels = columns[_column(name, columns, LABEL_COLUMNS, "labels")]
    split_column = next((column for column in columns if column.lower() in SPLIT_COLUMNS), None)
    group_column = next((column for column in columns if column.lower() == GROUP_COLUMN), None)
    if group_by in columns:
        group_column = group_by
    empty = [""] * len(labels)
    splits = columns[split_column] if split_column else empty
    groups = columns[group_column] if group_column else empty
    return [
        TableRow(
            source,
            picture,
            _label(name, number, label),
            _split(name, number, row_split) or split,
            "" if _is_missing(group) else str(group),
        )
        for number, ((source, picture), label, row_split, group) in enumerate(
            zip(pictures, labels, splits, groups, strict=True), 2
        )
    ]


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
    pictures = [Picture(row.source, row.label, row.split, row.group) for row in rows]
    return RawListing(layout, pictures, read, stamp, tuple(notes), tuple(columns))


def _without_repetitions(rows: list[TableRow]) -> list[TableRow]:
    """One row per source; a picture with two labels or splits is refused."""
    first_rows: dict[str, TableRow] = {}
    for row in rows:
        first = first_rows.setdefault(row.source, row)
        if (first.label, first.split) != (row.label, row.split):
            raise UsageError(
                f"'{row.source}' is named twice: as '{first.label}' {first.split} and as '{row.label}' "
                f"{row.split}. A picture has one label and one part."
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
    if _is_missing(label) or not str(label).strip():
        raise UsageError(f"{name}, row {number}: no label. Add one or remove the row.")
    if isinstance(label, float | np.floating) and float(label).is_integer():
        return str(int(label))
    return str(label).strip()


def _split(name: str, number: int, value: Any) -> str:
    word = "" if _is_missing(value) else str(value).strip().lower()
    if word and word not in SPLIT_NAMES:
        raise UsageError(f"{name}, row {number}: unknown part '{value}'. Known: {', '.join(SPLIT_NAMES)}.")
    return SPLIT_NAMES.get(word, "")


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
