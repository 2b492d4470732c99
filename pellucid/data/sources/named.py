"""Labels found in the names of files by a pattern: "cat" of `images/cat_001.jpg`."""

from dataclasses import replace

from pellucid.data.sources.folder import raw_listing, refuse_repeated_splits
from pellucid.data.sources.listing import Picture, RawListing, natural_key, split_of
from pellucid.data.sources.patterns import found_in
from pellucid.data.sources.tree import Tree, wrapped_folder
from pellucid.errors import UsageError
from pellucid.formatting import listed
from pellucid.language import lazy_gettext, lazy_ngettext


def list_by_pattern(tree: Tree, label_from: str) -> RawListing:
    """The pictures whose path the pattern matches, labelled by its group; without a group, by the match.

    Folders at the top named as splits are the splits, unless the pattern finds the folder's own name.

    Raises UsageError when the pattern is none, or is found in no path.
    """
    while (inner := wrapped_folder(tree)) is not None and not any(map(split_of, tree.top())):
        tree = inner
    names = tree.pictures()
    found = found_in(names, label_from, argument=f"`label_from={label_from}` is not a valid pattern")
    labels = {name: label for name, label in zip(names, found, strict=True) if label}
    if not labels:
        example = f", such as '{names[0]}'" if names else ""
        raise UsageError(
            f"`label_from={label_from}` is found in the path of no picture of '{tree.name}'{example}."
        )
    tops = {name.split("/", 1)[0] for name in labels if "/" in name}
    splits = {top: split for top in tops if (split := split_of(top)) and top not in set(labels.values())}
    if "train" not in splits.values():
        splits = {}
    refuse_repeated_splits(tree, splits)
    pictures = [Picture(name, label, splits.get(name.split("/", 1)[0], "")) for name, label in labels.items()]
    raw = raw_listing(tree, lazy_gettext("labels by the pattern '%(pattern)s'", pattern=label_from), pictures)
    known = sorted(set(labels.values()), key=natural_key)
    notes = [*tree.notes, lazy_gettext("labels found in the names: %(names)s", names=listed(known))]
    others = [name for name in names if name not in labels]
    if others:
        notes.append(
            lazy_ngettext(
                "%(count)s picture has no label in its name and is left for 'pellucid predict': %(names)s",
                "%(count)s pictures have no label in the name and are left for 'pellucid predict': %(names)s",
                len(others),
                names=listed(others),
            )
        )
    return replace(raw, notes=tuple(notes))
