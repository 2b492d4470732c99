"""A table as its columns, from the bytes of a CSV or text file, of JSON, or of one JSON object a line."""

import csv
import io
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from pellucid.data.sources.listing import joined
from pellucid.errors import UsageError
from pellucid.language import Message, lazy_gettext
from pellucid.reading import parsed_json

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson")
MAX_TABLE_BYTES = 256 << 20  # as of any file, see tree.py
PATH_COLUMNS = tuple(
    "path file_name filename filepath file image_path image img filepaths file_path img_path image_name "
    "imagename image_file img_name picture photo image_id id name".split()
)
LABEL_COLUMNS = tuple(
    "label labels class class_name category target classname label_name category_name classid class_id "
    "label_id lbl tag tags".split()
)
SPLIT_COLUMNS = ("split", "subset", "part", "data set")
GROUP_COLUMN = "group"


class Table(NamedTuple):
    """A table's columns by name, as text; `first_row` is the number of the first row with values."""

    name: str
    columns: dict[str, list[str]]
    first_row: int = 2
    notes: tuple[Message, ...] = ()


def read_table(name: str, content: bytes, is_file: Callable[[str], bool] = lambda value: False) -> Table:
    """The columns of a table: comma, semicolon, tab or, in a .txt, spaces; JSON; UTF-8, UTF-16 or cp949.

    is_file  whether a value names a picture: a first row that has one is no header

    Raises UsageError, naming the row, when it is not a table.
    """
    if len(content) > MAX_TABLE_BYTES:
        raise UsageError(f"'{name}' has {len(content):,} bytes; the limit of a table is {MAX_TABLE_BYTES:,}.")
    text, notes = _text(name, content)
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in (".json", ".jsonl", ".ndjson"):
        return Table(name, _json_columns(name, text, lines=suffix != ".json"), 1, notes)
    delimiter = delimiter_of(text.split("\n", 1)[0])
    if suffix == ".txt" and not any(mark in text.split("\n", 1)[0] for mark in ",;\t"):
        rows = [line.rsplit(None, 1) for line in text.splitlines()]
    else:
        try:
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
        except csv.Error as error:
            raise UsageError(f"'{name}' cannot be read as a table: {error}.") from error
    rows = [[cell.strip() for cell in row] for row in rows if any(row)]
    if not rows:
        raise UsageError(f"'{name}' is empty. Expected a header such as path,label.")
    first_row, header = 2, rows[0]
    if any(map(is_file, header)):
        first_row, header = 1, _invented_header(rows[0], is_file)
        notes = (*notes, lazy_gettext("'%(name)s' has no header", name=name))
    if len(set(header)) < len(header):
        raise UsageError(f"'{name}' has two columns of the same name: {', '.join(header)}.")
    rows = rows[first_row - 1 :]
    for number, row in enumerate(rows, first_row):
        if len(row) != len(header):
            fields = f"{len(header)} fields ({', '.join(header)})"
            raise UsageError(f"'{name}', row {number}: expected {fields}; got {len(row)}.")
    columns = {column: [row[index] for row in rows] for index, column in enumerate(header)}
    return Table(name, columns, first_row, notes)


def delimiter_of(line: str) -> str:
    """The character that separates the values of a line: comma, semicolon, tab or bar."""
    return max(",;\t|", key=line.count)


def _text(name: str, content: bytes) -> tuple[str, tuple[Message, ...]]:
    """The text, and a sentence on its encoding if that is not UTF-8."""
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16",) if wide else ("utf-8-sig", "cp949"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        letters = [letter for letter in text if not letter.isascii()]
        if encoding == "cp949" and not all("가" <= letter <= "힣" for letter in letters):
            continue  # bytes of another encoding
        if encoding == "utf-8-sig":
            return text, ()
        return text, (lazy_gettext("'%(name)s' is read as %(encoding)s", name=name, encoding=encoding),)
    raise UsageError(f"'{name}' is not in UTF-8. Save it as UTF-8.")


def _invented_header(row: list[str], is_file: Callable[[str], bool]) -> list[str]:
    """Names for the columns of a table without a header."""
    picture = next(index for index, cell in enumerate(row) if is_file(cell))
    others = [index for index in range(len(row)) if index != picture]
    names = {picture: "path", **{index: f"column {index + 1}" for index in others}}
    if len(others) == 1:
        names[others[0]] = "label"
    return [names[index] for index in range(len(row))]


def _json_columns(name: str, text: str, *, lines: bool) -> dict[str, list[str]]:
    """The columns of a list of objects, or of one object that gives each name its label."""
    try:
        values: Any = (
            [parsed_json(line.encode()) for line in text.splitlines() if line.strip()]
            if lines
            else parsed_json(text.encode())
        )
    except ValueError as error:
        raise UsageError(f"'{name}' cannot be read as JSON: {error}.") from error
    if isinstance(values, dict) and values and all(isinstance(value, str | int) for value in values.values()):
        values = [{"path": key, "label": value} for key, value in values.items()]
    if not isinstance(values, list) or not values or not all(isinstance(value, dict) for value in values):
        raise UsageError(
            f"'{name}' is not a table. Expected a list of objects such as {{'path': ..., 'label': ...}}."
        )
    names = list(dict.fromkeys(str(key) for value in values for key in value))
    return {key: [_cell(value.get(key)) for value in values] for key in names}


def _cell(value: Any) -> str:
    """A value as text; the members of a list are joined as several labels are."""
    if value is None:
        return ""
    if isinstance(value, list):
        return joined(map(str, value)) if value else ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
