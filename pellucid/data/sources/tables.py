"""Pictures named in a table: a CSV file, a pandas DataFrame, or a Hugging Face Dataset.

Columns: the picture (`path`, `file_name` ...), its `label`, and, when there are such, `split` and `group`.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pellucid.data.sources.listing import SPLIT_NAMES, Content, Found, Picture
from pellucid.data.sources.tree import Tree, read_file, stamp_of
from pellucid.errors import UsageError
from pellucid.formatting import listed
from pellucid.language import Message, lazy_gettext, lazy_ngettext

PATH_COLUMNS = ("path", "file_name", "filename", "filepath", "file", "image_path", "image", "img")
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target")
SPLIT_COLUMNS = ("split", "subset", "part")
GROUP_COLUMN = "group"
LARGEST_TABLE = 1 << 30  # bytes
PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B"})  # what a PNG keeps as it is

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Place:
    """Where the pictures lie that a table names: whether one is there, its bytes, its stamp."""

    is_there: Callable[[str], bool]
    read: Callable[[str], bytes]
    stamp: Callable[[str], str]


@dataclass(frozen=True)
class Row:
    """One row understood; `address` is what leads to the picture, or the picture itself."""

    source: str
    address: Any
    label: str
    split: str
    group: str


@dataclass(frozen=True)
class _Lazy:
    dataset: Any
    column: str
    number: int


def table_found(path: Path, *, group_by: str = "") -> Found:
    """The pictures a CSV file names, relative to the folder it lies in, or by whole paths."""
    folder = path.parent
    place = Place(
        lambda name: (folder / name).is_file(),
        lambda name: read_file(folder / name),
        lambda name: stamp_of(folder / name),
    )
    columns = read_table(path.name, read_file(path))
    rows = _named(path.name, columns, "", group_by, outside=True)
    return _found(lazy_gettext("table %(names)s", names=f"'{path.name}'"), rows, place, columns)


def tables_in(tree: Tree, tables: Mapping[str, str], *, group_by: str = "") -> Found:
    """The pictures of a tree that tables in it name: {"train/metadata.csv": "train"}; "" for no part."""
    place = Place(lambda name: name in tree.sizes, tree.read, tree.stamp)
    rows: list[Row] = []
    columns: Columns = {}
    for name, part in tables.items():
        folder = name.rpartition("/")[0]
        columns = read_table(name, tree.read(name))
        rows += _named(name, columns, part, group_by, prefix=f"{folder}/" if folder else "")
    found = _found(lazy_gettext("table %(names)s", names=listed(tables)), rows, place, columns)
    unnamed = len(set(tree.pictures()) - {row.address for row in rows})
    notes = (*tree.notes, *found.notes)
    if unnamed:
        passed = lazy_ngettext(
            "passed over %(count)s picture that no row names",
            "passed over %(count)s pictures that no row names",
            unnamed,
        )
        notes = (*notes, passed)
    return replace(found, notes=notes)


def is_table(content: bytes) -> bool:
    """Whether a CSV file's header has a column of pictures and one of labels."""
    first = content.split(b"\n", 1)[0].decode("utf-8-sig", errors="replace")
    columns = [column.strip().strip('"').lower() for column in first.split(_delimiter(first))]
    return any(name in columns for name in PATH_COLUMNS) and any(name in columns for name in LABEL_COLUMNS)


def read_table(name: str, content: bytes) -> dict[str, list[str]]:
    """The columns of a CSV file (comma, semicolon or tab; UTF-8) by their names."""
    if len(content) > LARGEST_TABLE:
        raise UsageError(f"'{name}' holds {len(content):,} bytes; the limit of a table is {LARGEST_TABLE:,}.")
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
        raise UsageError(f"'{name}' has two columns of one name: {', '.join(header)}.")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            fields = f"{len(header)} fields ({', '.join(header)})"
            raise UsageError(f"'{name}', row {number}: expected {fields}; got {len(row)}.")
    return {column: [row[at] for row in rows[1:]] for at, column in enumerate(header)}


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def frame_found(frame: Any, *, group_by: str = "") -> Found:
    """The pictures of a pandas DataFrame: paths, bytes, arrays or Pillow images, with their labels."""
    columns = {str(name): list(frame[name]) for name in frame.columns}
    rows = _rows_of_values("The DataFrame", columns, "", group_by)
    return _found(Message("DataFrame"), rows, _anywhere(), columns)


def dataset_found(parts: Mapping[str, Any], *, group_by: str = "") -> Found:
    """The pictures of Hugging Face Datasets by part; "" for a Dataset on its own. Read one at a time.

    Files are taken as they are and decoded here, not by the library: they are then as they are in a folder.
    """
    rows: list[Row] = []
    others: dict[str, list[Any]] = {}
    for part, dataset in parts.items():
        dataset = dataset.with_format(None)  # else its numbers would be tensors
        image = _column("The Dataset", dataset.column_names, PATH_COLUMNS, "pictures")
        others = {name: list(dataset[name]) for name in dataset.column_names if name != image}
        label = _column("The Dataset", others, LABEL_COLUMNS, "labels")
        if names := getattr(dataset.features[label], "names", None):
            others[label] = [names[number] if number >= 0 else None for number in others[label]]
        pictures = _as_files(dataset.select_columns([image]), image)
        lazy = [_Lazy(pictures, image, number) for number in range(len(dataset))]
        rows += _rows_of_values("The Dataset", {image: lazy, **others}, part, group_by)
    return _found(Message("Hugging Face Dataset"), rows, _anywhere(), others)


def _as_files(dataset: Any, column: str) -> Any:
    """The Dataset with its Image column given as bytes or paths; one that asks for a mode is left to it."""
    feature = dataset.features[column]
    if not getattr(feature, "decode", False) or getattr(feature, "mode", None):
        return dataset
    return dataset.cast_column(column, type(feature)(decode=False))


def _named(
    name: str, columns: Columns, part: str, group_by: str, *, prefix: str = "", outside: bool = False
) -> list[Row]:
    """The rows of a CSV file; a path that leads out of the data is taken only where `outside` allows it."""
    paths = columns[_column(name, columns, PATH_COLUMNS, "pictures")]
    tidied = [_tidied(name, number, path, outside) for number, path in enumerate(paths, 2)]
    return _rows(
        f"'{name}'",
        columns,
        [prefix + path for path in tidied],
        [prefix + path for path in tidied],
        part,
        group_by,
    )


def _tidied(name: str, number: int, path: str, outside: bool) -> str:
    path = path.strip().replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    absolute = path.startswith("/") or path[1:2] == ":"
    if not parts or "\0" in path:
        raise UsageError(f"'{name}', row {number}: names no picture.")
    if (absolute or ".." in parts) and not outside:
        raise UsageError(
            f"'{name}', row {number}: '{path}' leads out of the data. Name pictures "
            "from the folder of the table."
        )
    return path if absolute else "/".join(parts)


def _rows_of_values(name: str, columns: Columns, part: str, group_by: str) -> list[Row]:
    values = columns[_column(name, columns, PATH_COLUMNS, "pictures")]
    start = f"{part}/" if part else ""
    sources = [
        str(value) if isinstance(value, str | Path) else f"{start}{number}"
        for number, value in enumerate(values)
    ]
    return _rows(name, columns, sources, values, part, group_by)


def _rows(
    name: str, columns: Columns, sources: Sequence[str], addresses: Sequence[Any], part: str, group_by: str
) -> list[Row]:
    labels = columns[_column(name, columns, LABEL_COLUMNS, "labels")]
    split = next((column for column in columns if column.lower() in SPLIT_COLUMNS), None)
    group = _group_column(columns, group_by)
    empty = [""] * len(labels)
    return [
        Row(
            source,
            address,
            _label(name, number, label),
            _split(name, number, translate) or part,
            "" if _is_nothing(member) else str(member),
        )
        for number, (source, address, label, translate, member) in enumerate(
            zip(
                sources,
                addresses,
                labels,
                columns[split] if split else empty,
                columns[group] if group else empty,
                strict=True,
            ),
            2,
        )
    ]


def _found(layout: Message, rows: list[Row], place: Place, columns: Iterable[str]) -> Found:
    rows, repeated = _once(rows)
    missing = [
        row.source
        for row in rows
        if isinstance(row.address, str | Path) and not place.is_there(str(row.address))
    ]
    if rows and len(missing) == len(rows):
        raise UsageError(
            f"None of the {len(rows):,} pictures of the {layout} is there, such as {listed(missing[:1])}."
        )
    notes = []
    if repeated:
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
                "%(count)s picture named but not there: %(names)s",
                "%(count)s pictures named but not there: %(names)s",
                len(missing),
                names=listed(missing),
            )
        )
    if any(row.split for row in rows) and (no_progress := sum(not row.split for row in rows)):
        notes.append(
            lazy_ngettext(
                "%(count)s row tells no part: taken for training",
                "%(count)s rows tell no part: taken for training",
                no_progress,
            )
        )
    pictures = [Picture(row.source, row.label, row.split, row.group) for row in rows]

    def read(index: int) -> Content:
        address = rows[index].address
        if isinstance(address, str | Path):
            if not place.is_there(str(address)):
                raise UsageError(f"'{address}' is not there.")
            return place.read(str(address))
        return _content(address)

    def stamp(index: int) -> str:
        address = rows[index].address
        return place.stamp(str(address)) if isinstance(address, str | Path) else ""

    return Found(layout, pictures, read, stamp, tuple(notes), tuple(columns))


def _once(rows: list[Row]) -> tuple[list[Row], int]:
    """The rows without repetitions; refuses a picture of two labels or parts."""
    kept: dict[str, Row] = {}
    for row in rows:
        other = kept.setdefault(row.source, row)
        if (other.label, other.split) != (row.label, row.split):
            raise UsageError(
                f"'{row.source}' is named twice: as '{other.label}' {other.split} and as '{row.label}' "
                f"{row.split}. "
                "A picture has one label and one part."
            )
    return list(kept.values()), len(rows) - len(kept)


def _column(name: str, columns: Sequence[str] | Columns, known: Sequence[str], what: str) -> str:
    by_lower = {column.lower(): column for column in columns}
    for word in known:
        if word in by_lower:
            return by_lower[word]
    raise UsageError(
        f"{name} has no column of {what}. Expected one named {', '.join(known)}; got {', '.join(columns)}."
    )


def _group_column(columns: Columns, group_by: str) -> str | None:
    if group_by in columns:
        return group_by
    return next((column for column in columns if column.lower() == GROUP_COLUMN), None)


def _label(name: str, number: int, label: Any) -> str:
    if _is_nothing(label) or not str(label).strip():
        raise UsageError(f"{name}, row {number}: no label. Give it one or take the row out.")
    if isinstance(label, float | np.floating) and float(label).is_integer():
        return str(int(label))
    return str(label).strip()


def _split(name: str, number: int, said: Any) -> str:
    word = "" if _is_nothing(said) else str(said).strip().lower()
    if word and word not in SPLIT_NAMES:
        raise UsageError(f"{name}, row {number}: unknown part '{said}'. Known: {', '.join(SPLIT_NAMES)}.")
    return SPLIT_NAMES.get(word, "")


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _anywhere() -> Place:
    return Place(
        lambda name: Path(name).is_file(),
        lambda name: read_file(Path(name)),
        lambda name: stamp_of(Path(name)),
    )


def _content(value: Any) -> Content:
    """A picture that is a value itself: bytes, an array, a Pillow image, or {"bytes", "path"}."""
    if isinstance(value, _Lazy):
        value = value.dataset[value.number][value.column]
    if isinstance(value, Mapping):
        known = value.get("bytes")
        value = known if known is not None else read_file(Path(str(value.get("path"))))
    if isinstance(value, bytes):
        return value
    if isinstance(value, Image.Image):
        return _as_file(value)
    array = np.asarray(value)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise UsageError(f"expected a uint8 picture (H, W) or (H, W, C); got {array.dtype} {array.shape}")
    return array


def _as_file(image: Image.Image) -> bytes:
    """A Pillow image as the bytes of a PNG: its turn, depth and transparency are then treated as a file's."""
    image.load()  # some formats are turned by that, and tell of no turn then
    kept = image if image.mode in PNG_MODES else image.convert("RGB")
    file = io.BytesIO()
    kept.save(file, "PNG", exif=image.getexif(), compress_level=1)
    return file.getvalue()
