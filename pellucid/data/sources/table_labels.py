"""The label of every row of a table: one column of names, or one column per class with ones and zeros."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pellucid.data.sources.columns import GROUP_COLUMN, LABEL_COLUMNS, SPLIT_COLUMNS, Table
from pellucid.data.sources.tree import Tree
from pellucid.errors import UsageError
from pellucid.formatting import listed
from pellucid.language import Message, lazy_gettext, lazy_ngettext

NAME_FILES = ("classes.txt", "class_names.txt", "classnames.txt", "labels.txt", "names.txt", "categories.txt")
FLAGS = frozenset({"0", "1", "0.0", "1.0"})
LEADS_ON = (
    "Training on several labels per picture is not possible yet. Keep the rows with one label, or give every "
    "combination a name of its own, such as 'cat-red'."
)


class Labels(NamedTuple):
    """A label per row, "" where there is none, and a sentence on how they were found."""

    values: list[str]
    notes: tuple[Message, ...] = ()


def labels_of(table: Table, pictures: str, label_from: str = "", group_by: str = "") -> Labels:
    """The labels of a table whose pictures are in the column `pictures`; all "" if it has no other column.

    label_from  the column, where it has no name that is known

    Raises UsageError when it is not clear which column it is, and when rows hold several labels.
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
    if len(names) < 2 or not labels or not all(re.fullmatch(r"\d{1,9}", label) for label in labels):
        return None
    numbers = [int(label) for label in labels]
    first = 1 if max(numbers) == len(names) and min(numbers) == 1 else 0
    if max(numbers) - first >= len(names):
        return None
    note = lazy_gettext(
        "label %(number)s is the name '%(name)s', and so on in order", number=first, name=names[0]
    )
    return Labels([names[number - first] for number in numbers], (note,))


def _from_column(table: Table, column: str, notes: tuple[Message, ...]) -> Labels:
    values = [value.strip() for value in table.columns[column]]
    _refuse_several_labels(table, column, values)
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
    """The class whose column holds the 1."""
    labels = []
    for row in range(len(table.columns[pictures])):
        marked = [column for column in columns if float(table.columns[column][row])]
        if len(marked) > 1:
            raise UsageError(
                f"'{table.name}', row {row + table.first_row}: '{table.columns[pictures][row]}' is "
                f"{listed(marked)} at once. {LEADS_ON}"
            )
        labels.append(marked[0] if marked else "")
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


def _refuse_several_labels(table: Table, column: str, values: Sequence[str]) -> None:
    """Refuse labels that join others: "cat|red", or "scab rust" where "scab" and "rust" are labels, too."""
    distinct = {value for value in values if value}
    for mark in ("|", ";", ",", " "):
        joined = {
            value: [piece.strip() for piece in value.split(mark)] for value in distinct if mark in value
        }
        pieces = Counter(piece for parts in joined.values() for piece in set(parts))
        for value, parts in sorted(joined.items()):
            known = [piece in distinct for piece in parts]
            strict = all(known)
            loose = mark in "|;" and (any(known) or any(pieces[piece] > 1 for piece in parts))
            if strict or loose:
                row = values.index(value) + table.first_row
                raise UsageError(
                    f"'{table.name}', row {row}: the {column} '{value}' names several labels. {LEADS_ON}"
                )
