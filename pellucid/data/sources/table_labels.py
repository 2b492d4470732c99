"""The labels of every row of a table: one column of names, or one column per class with ones and zeros."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pellucid.data.sources.columns import GROUP_COLUMN, LABEL_COLUMNS, SPLIT_COLUMNS, Table
from pellucid.data.sources.listing import JOINT, joined, names_in
from pellucid.data.sources.tree import Tree
from pellucid.errors import UsageError
from pellucid.language import Message, lazy_gettext, lazy_ngettext

NAME_FILES = ("classes.txt", "class_names.txt", "classnames.txt", "labels.txt", "names.txt", "categories.txt")
FLAGS = frozenset({"0", "1", "0.0", "1.0"})
BARS = "|;"  # that separate labels wherever they do so once; a comma or a space may belong to a name
COLUMNS_OF_SEVERAL = ("labels", "tags")


class Labels(NamedTuple):
    """A label per row, "" where there is none, and a sentence on how they were found.

    Several labels of a row are one text, as `listing.joined` puts them.
    """

    values: list[str]
    notes: tuple[Message, ...] = ()


def labels_of(table: Table, pictures: str, label_from: str = "", group_by: str = "") -> Labels:
    """The labels of a table whose pictures are in the column `pictures`; all "" if it has no other column.

    label_from  the column, where it has no name that is known

    Raises UsageError when it is not clear which column it is, or whether a row has several labels.
    """
    aside = {pictures, group_by}
    others = [
        column
        for column in table.columns
        if column not in aside and column.lower() not in (*SPLIT_COLUMNS, GROUP_COLUMN)
    ]
    if label_from in table.columns:
        return _from_column(table, label_from, ())
    by_lower_case = {column.lower(): column for column in others}
    for word in LABEL_COLUMNS:
        if word in by_lower_case:
            return _from_column(table, by_lower_case[word], ())
    if not others:
        return Labels([""] * len(table.columns[pictures]))
    if len(others) > 1 and all(value in FLAGS for column in others for value in table.columns[column]):
        return _from_flags(table, pictures, others)
    if len(others) == 1:
        note = lazy_gettext(
            "labels are in the column '%(column)s' of '%(table)s'", column=others[0], table=table.name
        )
        return _from_column(table, others[0], (note,))
    raise UsageError(
        f"'{table.name}' has no column of labels. Expected one named {', '.join(LABEL_COLUMNS[:6])}; got "
        f"{', '.join(table.columns)}. Name the one you mean: `label_from='{others[0]}'`."
    )


def class_names(tree: Tree) -> list[str]:
    """The names in a tree's classes.txt or the like, one a line; numbers before them are left out."""
    for name in tree.loose():
        if name.lower() in NAME_FILES:
            lines = tree.read(name).decode("utf-8-sig", errors="replace").splitlines()
            return [re.sub(r"^\d+[\s:,.]+(?=\S)", "", line.strip()) for line in lines if line.strip()]
    return []


def named_labels(labels: Sequence[str], names: Sequence[str]) -> Labels | None:
    """The names that numbers as labels stand for, counted from 0 or 1; None if they do not fit the names."""
    parts = [names_in(label) for label in labels]
    every = [part for row in parts for part in row]
    if len(names) < 2 or not every or not all(re.fullmatch(r"\d{1,9}", part) for part in every):
        return None
    numbers = [int(part) for part in every]
    first = 1 if max(numbers) == len(names) and min(numbers) == 1 else 0
    if max(numbers) - first >= len(names):
        return None
    note = lazy_gettext(
        "label %(number)s is the name '%(name)s', and so on in order", number=first, name=names[0]
    )
    return Labels([joined(names[int(part) - first] for part in row) for row in parts], (note,))


def separated_labels(values: Sequence[str], column: str, name: str, first_row: int = 2) -> Labels:
    """Labels that are joined in one text, taken apart: "cat|red", or "scab rust" where both are labels.

    column, name  of the column and its table, for messages

    Raises UsageError for a text with commas or spaces of which it is not clear whether it is one label.
    """
    distinct = {value for value in values if value}
    if any(JOINT in value for value in distinct):
        return Labels(list(values))
    for mark in "|;, ":
        parts = {
            value: [piece.strip() for piece in value.split(mark) if piece.strip()]
            for value in distinct
            if mark in value
        }
        counts = Counter(piece for some in parts.values() for piece in set(some))
        known = distinct.union(piece for piece in counts if counts[piece] > 1)
        strict = mark == " " and column.lower() not in COLUMNS_OF_SEVERAL
        several = sorted(
            value
            for value, some in parts.items()
            if distinct.issuperset(some)
            or (mark in BARS and not known.isdisjoint(some))
            or (not strict and known.issuperset(some))
        )
        if not several:
            continue
        pieces = distinct.union(*(parts[value] for value in several))
        for value in sorted(parts):
            if mark not in BARS and pieces.isdisjoint(parts[value]):
                row = values.index(value) + first_row
                raise UsageError(
                    f"'{name}', row {row}: is the {column} '{value}' one label or several? "
                    f"'{several[0]}' names several. Separate labels by a bar: "
                    f"'{'|'.join(several[0].split(mark))}'."
                )
        note = lazy_gettext(
            "the column '%(column)s' of '%(table)s' names several labels, as in '%(example)s'",
            column=column,
            table=name,
            example=several[0],
        )
        return Labels([joined(parts[value]) if value in parts else value for value in values], (note,))
    return Labels(list(values))


def _from_column(table: Table, column: str, notes: tuple[Message, ...]) -> Labels:
    values = [value.strip() for value in table.columns[column]]
    values, several = separated_labels(values, column, table.name, table.first_row)
    notes = (*notes, *several)
    empty = [number for number, value in enumerate(values, table.first_row) if not value]
    if empty and len(empty) < len(values):
        note = lazy_ngettext(
            "%(count)s row of '%(table)s' has no label and is passed over: row %(rows)s",
            "%(count)s rows of '%(table)s' have no label and are passed over: rows %(rows)s",
            len(empty),
            table=table.name,
            rows=", ".join(map(str, empty[:5])) + (" ..." if len(empty) > 5 else ""),
        )
        notes = (*notes, note)
    return Labels(values, notes)


def _from_flags(table: Table, pictures: str, columns: Sequence[str]) -> Labels:
    """The classes whose columns hold a 1; a row without any has no label where others have several."""
    marked = [
        [column for column in columns if float(table.columns[column][row])]
        for row in range(len(table.columns[pictures]))
    ]
    if any(len(names) > 1 for names in marked):
        note = lazy_gettext(
            "'%(table)s' has one column per label, with a 1 for each that a picture has", table=table.name
        )
        return Labels([joined(names) for names in marked], (note,))
    labels = [names[0] if names else "" for names in marked]
    note = lazy_gettext("'%(table)s' has one column per class, with a 1 for each picture's", table=table.name)
    unmarked = labels.count("")
    if not unmarked:
        return Labels(labels, (note,))
    skipped = lazy_ngettext(
        "%(count)s row of '%(table)s' has a 1 for no class and is passed over",
        "%(count)s rows of '%(table)s' have a 1 for no class and are passed over",
        unmarked,
        table=table.name,
    )
    return Labels(labels, (note, skipped))
