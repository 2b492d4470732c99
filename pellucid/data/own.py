"""Your own pictures, from whatever was given to what is trained on, step by step.

Which there are (sources), what size they have (store.scan), decoded once (store.pack), and on which
side of a split each belongs (split_by_content).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from statistics import median_low
from typing import Any

import torch

from pellucid import files
from pellucid.data.appearance import Appearance, appearance_of, mirror_pairs, mirrored_classes
from pellucid.data.dataset import (
    Choices,
    Dataset,
    FileHeader,
    Origin,
    Splits,
    content_hashes,
)
from pellucid.data.preprocess import Preprocess
from pellucid.data.sources.detect import list_pictures
from pellucid.data.sources.listing import SPLIT_NAMES, SPLITS, Listing, Picture
from pellucid.data.sources.reasons import translate_reason
from pellucid.data.split_by_content import Fractions, Hashes, assign_splits
from pellucid.data.store.headers import Headers
from pellucid.data.store.parallel import Progress
from pellucid.data.store.pixels import PackedImages, pack, scan
from pellucid.decode.images import ALPHA_MODES, DEEP_MODES
from pellucid.errors import UsageError
from pellucid.formatting import listed
from pellucid.language import Message, comma_joined, lazy_gettext, lazy_ngettext

SIZES = (32, 64, 96, 128, 160, 224)
SMALLEST, LARGEST = 8, 1024
AS_THEY_ARE = 256  # pixels a side: up to here, pictures that are all of one size keep it
SHOWN_REASONS = 3


@dataclass(frozen=True, eq=False)
class OwnPictures:
    """Your own pictures as they were read: the splits, every picture by name, and the decoded ones."""

    splits: Splits
    listing: Listing
    packed: PackedImages


def read_own(
    data: Any,
    choices: Choices | None = None,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    preprocess: Preprocess | None = None,
) -> OwnPictures:
    """Your own pictures in three parts, with their Origin.

    data        a path or a value, as `list_pictures` takes it; nothing is ever written there
    choices     how they are to be read and split
    cache, progress  as `store.pack` takes them
    preprocess  how an earlier run read them, in place of the size in `choices`

    Raises UsageError, before anything is decoded where that can be known by then, when it is not clear what
    the pictures are, or when too few are left.
    """
    choices = choices or Choices()
    _refuse_settings(choices)
    listing = list_pictures(data, group_by=choices.group_by, label_from=choices.label_from)
    chosen, sized, looked = preprocess, list[Message](), None
    if chosen is None:
        appearance = lru_cache(maxsize=1)(partial(appearance_of, listing))
        looked = scan(
            listing,
            lambda seen: _stretched(_chosen(seen, choices.size, appearance)[0]),
            cache=cache,
            progress=progress,
        )
        chosen, sized = _chosen(looked, choices.size, appearance)
    packed = pack(
        listing,
        _stretched(chosen),
        cache=cache,
        on_unreadable="stop" if choices.on_unreadable == "stop" else "skip",
        progress=progress,
        headers=looked,
    )
    whole = _whole(listing, packed)
    pictures = [listing.pictures[number] for number in packed.indices]
    pixels = [digest.hex() for digest in content_hashes(whole)]
    fixed, replayed = None, list[Message]()
    if choices.split_file:
        fixed, replayed = _replayed(pictures, pixels, Path(choices.split_file))
    contents = [
        Hashes(file.digest, content, sketch.hex())
        for file, content, sketch in zip(packed.files, pixels, packed.sketches, strict=True)
    ]
    assigned = assign_splits(pictures, contents, Fractions(choices.validation, choices.seed), fixed=fixed)
    _refuse_unreadable_classes(listing, packed)
    splits = _splits(whole, assigned.splits)
    augmentation, mirrored = _augmentation(splits.train)
    path = Path(data).resolve() if isinstance(data, str | Path) else None
    origin = Origin(
        name=(path.name or str(path)) if path else "pictures",
        location=str(path) if path else "",
        choices=choices,
        preprocess=chosen,
        augmentation=augmentation,
        found=len(listing.pictures),
        unreadable=packed.unreadable,
        notes=(
            *listing.notes,
            *sized,
            *_of_unreadable(packed),
            *packed.notes,
            *replayed,
            *assigned.notes,
            *mirrored,
        ),
        headers=tuple(FileHeader(each.width, each.height, each.mode, each.bytes) for each in packed.files),
    )
    return OwnPictures(replace(splits, origin=origin), listing, packed)


def chosen_size(sizes: Mapping[tuple[int, int], int]) -> tuple[int, int]:
    """Height and width for pictures of these (width, height), each so many times.

    Their own when all have one that is not large; else a square of the size that is next below the median of
    their shorter sides, so that most pictures are made smaller and few are blown up.
    """
    if len(sizes) == 1:
        width, height = next(iter(sizes))
        if max(width, height) <= AS_THEY_ARE:
            return height, width
    shorter = median_low([min(size) for size, count in sizes.items() for _ in range(count)])
    side = max((known for known in SIZES if known <= shorter), default=max(SMALLEST, shorter))
    return side, side


def _refuse_settings(choices: Choices) -> None:
    size, validation, on_unreadable = choices.size, choices.validation, choices.on_unreadable
    if size and not SMALLEST <= size <= LARGEST:
        raise UsageError(
            f"Expected a size from {SMALLEST} to {LARGEST} pixels, or 0 to have it chosen; got {size}."
        )
    if not 0 < validation < 1:
        raise UsageError(f"Expected a validation share between 0 and 1, such as 0.2; got {validation}.")
    if on_unreadable not in ("skip", "stop"):
        raise UsageError(
            f"Expected what to do with unreadable pictures as skip or stop; got '{on_unreadable}'."
        )


def _chosen(
    seen: Headers, size: int, appearance: Callable[[], Appearance]
) -> tuple[Preprocess, list[Message]]:
    """How the pictures are to be read, and a sentence on it.

    appearance  asked if some have transparency or 16 bits
    """
    sizes = seen.sizes
    if not sizes:
        reasons = "; ".join(
            f"'{one.source}' {one.reason.rstrip('.')}" for one in seen.unreadable[:SHOWN_REASONS]
        )
        raise UsageError(f"None of the {len(seen.files):,} pictures can be read. {reasons}.")
    height, width = (size, size) if size else chosen_size(sizes)
    alike = len(sizes) == 1 and (width, height) in sizes
    looks = appearance() if seen.modes.keys() & {*ALPHA_MODES, *DEEP_MODES, "P"} else Appearance()
    kind = lazy_gettext("gray") if seen.channels == 1 else lazy_gettext("colour")
    if alike:
        note = lazy_gettext("all pictures are %(size)s, %(kind)s", size=f"{width}x{height}", kind=kind)
        return Preprocess(seen.channels, height, width, "none", looks.background, looks.white), [
            note,
            *looks.notes,
        ]
    small, large = (f"{one[0]}x{one[1]}" for one in (min(sizes, key=min), max(sizes, key=min)))
    found = lazy_gettext("%(low)s to %(high)s", low=small, high=large) if small != large else small
    taken = {"sizes": found, "size": f"{width}x{height}", "kind": kind}
    note = lazy_gettext("pictures of %(sizes)s are read as %(size)s, %(kind)s", **taken)
    return Preprocess(seen.channels, height, width, "stretch", looks.background, looks.white), [
        note,
        *looks.notes,
    ]


def _stretched(preprocess: Preprocess) -> Preprocess:
    return replace(preprocess, scaling="stretch")


def _whole(listing: Listing, packed: PackedImages) -> Dataset:
    """Every picture that was read, in the order of the listing."""
    numbers = {name: number for number, name in enumerate(listing.classes)}
    pictures = [listing.pictures[number] for number in packed.indices]
    if listing.multi_label:
        labels = torch.zeros(len(pictures), len(numbers), dtype=torch.bool)  # (M, K)
        for row, picture in zip(labels, pictures, strict=True):
            row[[numbers[label] for label in picture.labels]] = True
    else:
        labels = torch.tensor([numbers[picture.label] for picture in pictures], dtype=torch.int64)  # (M,)
    return Dataset(packed.images, labels, listing.classes, [picture.source for picture in pictures])


def _splits(whole: Dataset, parts: Sequence[str]) -> Splits:
    train, validation, test = (
        whole.subset([index for index, its_part in enumerate(parts) if its_part == part]) for part in SPLITS
    )
    return Splits(train, validation, test)


def _augmentation(train: Dataset) -> tuple[str, list[Message]]:
    """What "auto" means for these pictures, and a sentence if they are not to be mirrored."""
    if train.channels == 1:
        return "crop", []
    if pairs := mirror_pairs(train.classes):
        left, right = pairs[0]
        return "crop,colour", [
            lazy_gettext(
                "no mirroring: '%(left)s' and '%(right)s' are each other's mirror image",
                left=left,
                right=right,
            )
        ]
    if pair := mirrored_classes(train):
        return "crop,colour", [
            lazy_gettext(
                "no mirroring: mirrored, most pictures of '%(label)s' look like '%(other)s'",
                label=pair[0],
                other=pair[1],
            )
        ]
    return "crop,flip,colour", []


def _of_unreadable(packed: PackedImages) -> list[Message]:
    if not packed.unreadable:
        return []
    shown = comma_joined(
        (
            lazy_gettext("'%(name)s' %(reason)s", name=one.source, reason=translate_reason(one.reason))
            for one in packed.unreadable[:SHOWN_REASONS]
        ),
        separator=" ",
    )
    rest = len(packed.unreadable) - SHOWN_REASONS
    more = lazy_gettext(" And %(count)s more.", count=rest) if rest > 0 else ""
    return [
        lazy_ngettext(
            "%(count)s picture is unreadable and passed over: %(names)s%(more)s",
            "%(count)s pictures are unreadable and passed over: %(names)s%(more)s",
            len(packed.unreadable),
            names=shown,
            more=more,
        )
    ]


def _refuse_unreadable_classes(listing: Listing, packed: PackedImages) -> None:
    left = {label for number in packed.indices for label in listing.pictures[number].labels}
    lost = [label for label in listing.classes if label not in left]
    if not lost:
        return
    labels = {picture.source: picture.labels for picture in listing.pictures}
    first = next(each for each in packed.unreadable if not set(lost).isdisjoint(labels[each.source]))
    raise UsageError(
        f"Not one picture of {listed(lost)} can be read: '{first.source}' {first.reason} "
        "Mend them or take the class out."
    )


def _replayed(pictures: list[Picture], pixels: list[str], path: Path) -> tuple[list[str], list[Message]]:
    """The parts a split.csv tells: by the pictures' pixels, else, read in another size, by their names.

    Pictures it does not know are parted by content as ever. Raises UsageError when it has no such columns, an
    unknown part, or fits none of the pictures.
    """
    rows = _rows(path)
    by_pixels, by_source = _by(rows, "content"), _by(rows, "source")
    same_size = any(content in by_pixels for content in pixels)
    parts, changed = [], []
    for picture, content in zip(pictures, pixels, strict=True):
        part = by_pixels.get(content, "") if same_size else by_source.get(picture.source, "")
        if same_size and not part and picture.source in by_source:
            changed.append(picture.source)
        parts.append(part)
    if changed:
        raise UsageError(
            f"'{path}' speaks of other pictures under the names {listed(changed)}: they have changed since. "
            "Bring them back, or leave `split_file` out."
        )
    known = sum(map(bool, parts))
    if not known:
        raise UsageError(f"'{path}' knows none of these pictures. Is it the split of other data?")
    here = {"path": str(path), "number": known}
    notes = [
        lazy_gettext("parts as '%(path)s' tells them, by pixels: %(number)s pictures", **here)
        if same_size
        else lazy_gettext("parts as '%(path)s' tells them, by name: %(number)s pictures", **here)
    ]
    if unknown := len(parts) - known:
        notes.append(
            lazy_ngettext(
                "%(count)s picture it does not know, parted by content",
                "%(count)s pictures it does not know, parted by content",
                unknown,
            )
        )
    if gone := len(rows) - len({row["source"] for row in rows} & {picture.source for picture in pictures}):
        notes.append(
            lazy_ngettext(
                "%(count)s picture it names by another name, or that is gone",
                "%(count)s pictures it names by other names, or that are gone",
                gone,
            )
        )
    return parts, notes


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise UsageError(f"`split_file={path}` is not a file. Expected a run's split.csv.")
    rows = files.read_csv(path)
    missing = [name for name in ("source", "split") if not rows or name not in rows[0]]
    if missing:
        raise UsageError(f"'{path}' has no column {listed(missing)}. Expected source, split and content.")
    for row in rows:
        if row["split"] not in SPLIT_NAMES:
            raise UsageError(f"'{path}' has a part '{row['split']}'. Known: {', '.join(SPLIT_NAMES)}.")
    return rows


def _by(rows: list[dict[str, str]], column: str) -> dict[str, str]:
    return {row[column]: SPLIT_NAMES[row["split"]] for row in rows if row.get(column)}
