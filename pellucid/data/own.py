"""Your own pictures, from whatever was given to what is trained on, step by step.

Which there are (sources), what size they have (store.scan), decoded once (store.pack), and on which
side of a split each belongs (split_by_content).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import median_low
from typing import Any, cast, get_args

import torch

from pellucid import files
from pellucid.data.appearance import (
    NAMES,
    Appearance,
    appearance_of,
    mirror_pairs,
    mirrored_classes,
    padding_of,
)
from pellucid.data.dataset import (
    Choices,
    Dataset,
    FileHeader,
    Origin,
    Splits,
    content_hashes,
)
from pellucid.data.preprocess import Fit, Preprocess
from pellucid.data.sources.detect import list_pictures
from pellucid.data.sources.listing import SPLIT_NAMES, SPLITS, Listing, Picture
from pellucid.data.sources.reasons import translate_reason
from pellucid.data.split_by_content import Fractions, Hashes, assign_splits, connected
from pellucid.data.store.headers import Headers
from pellucid.data.store.parallel import Progress
from pellucid.data.store.pixels import PackedImages, pack, scan
from pellucid.decode.images import ALPHA_MODES, DEEP_MODES
from pellucid.errors import UsageError
from pellucid.formatting import listed
from pellucid.language import Message, comma_joined, lazy_gettext, lazy_ngettext
from pellucid.recipe import SMALLEST, Fitting, Size

SIZES = (32, 64, 96, 128, 160, 224)
AS_THEY_ARE = 256  # pixels a side: up to here, pictures that are all of one size keep it
SHOWN_REASONS = 3
# How pictures are made to fit, in a sentence; those of one shape are only resized.
NOTES = {
    "same shape": lazy_gettext("pictures of %(sizes)s are read as %(size)s, %(kind)s"),
    "stretch": lazy_gettext(
        "pictures of %(sizes)s are read as %(size)s, %(kind)s: the whole picture, stretched to fit"
    ),
    "pad": lazy_gettext(
        "pictures of %(sizes)s are read as %(size)s, %(kind)s: the whole picture, %(ground)s around it"
    ),
    "crop": lazy_gettext(
        "pictures of %(sizes)s are read as %(size)s, %(kind)s: the middle, with the rest cut off"
    ),
}


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
    listing = list_pictures(
        data, group_by=choices.group_by, label_from=choices.label_from, crop_boxes=choices.crop_boxes
    )
    chosen, sized, looked = preprocess, list[Message](), None
    if chosen is None:
        looks = _Looks(listing)
        looked = scan(listing, partial(_reading, choices, looks), cache=cache, progress=progress)
        chosen, sized = _chosen(looked, choices, looks)
    packed = pack(
        listing,
        _converting(chosen),
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
    headers = _headers(pictures, packed)
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
            *_of_first_frames(headers),
            *packed.notes,
            *replayed,
            *assigned.notes,
            *mirrored,
        ),
        headers=headers,
        groups=_groups(pictures, contents),
        columns=_columns(pictures),
    )
    return OwnPictures(replace(splits, origin=origin), listing, packed)


def chosen_size(sizes: Mapping[tuple[int, int], int], fit: str = "stretch") -> tuple[int, int]:
    """Height and width for pictures of these (width, height), each so many times.

    Their own when all have one that is not large, and a square one where they are padded or cropped to a
    square. Else a square of the size that is next below the median of their shorter sides, of padded ones of
    their longer sides, so that most pictures are made smaller and few are blown up.
    """
    if len(sizes) == 1:
        width, height = next(iter(sizes))
        if max(width, height) <= AS_THEY_ARE and (width == height or fit == "stretch"):
            return height, width
    deciding = max if fit == "pad" else min
    median = median_low([deciding(size) for size, count in sizes.items() for _ in range(count)])
    side = max((known for known in SIZES if known <= median), default=max(SMALLEST, median))
    return side, side


class _Looks:
    """What pictures look like, asked for at most once: it takes decoding some."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing

    @cached_property
    def appearance(self) -> Appearance:
        return appearance_of(self.listing)

    @cached_property
    def padding(self) -> int:
        return padding_of(self.listing, self.appearance)


def _refuse_settings(choices: Choices) -> None:
    validation, on_unreadable = choices.validation, choices.on_unreadable
    if choices.fit not in get_args(Fitting):
        raise UsageError(f"Unknown fit '{choices.fit}'. Known: {', '.join(get_args(Fitting))}.")
    if not 0 < validation < 1:
        raise UsageError(f"Expected a validation share between 0 and 1, such as 0.2; got {validation}.")
    if on_unreadable not in ("skip", "stop"):
        raise UsageError(
            f"Expected what to do with unreadable pictures as skip or stop; got '{on_unreadable}'."
        )


def _chosen(seen: Headers, choices: Choices, looks: _Looks) -> tuple[Preprocess, list[Message]]:
    """How the pictures are to be read, and sentences on it.

    looks  asked if some have transparency or 16 bits, or are to be padded
    """
    sizes = seen.sizes
    if not sizes:
        reasons = "; ".join(
            f"'{one.source}' {one.reason.rstrip('.')}" for one in seen.unreadable[:SHOWN_REASONS]
        )
        raise UsageError(f"None of the {len(seen.files):,} pictures can be read. {reasons}.")
    height, width = _height_and_width(choices.size) if choices.size else chosen_size(sizes, choices.fit)
    special = seen.modes.keys() & {*ALPHA_MODES, *DEEP_MODES, "P"}
    appearance = looks.appearance if special else Appearance()
    alike = len(sizes) == 1 and (width, height) in sizes
    fit: Fit = "none" if alike and choices.fit == "stretch" else cast(Fit, choices.fit)
    background = looks.padding if fit == "pad" else appearance.background
    kind = lazy_gettext("gray") if seen.channels == 1 else lazy_gettext("colour")
    if alike:
        note = lazy_gettext("all pictures are %(size)s, %(kind)s", size=f"{width}x{height}", kind=kind)
    else:
        small, large = (f"{one[0]}x{one[1]}" for one in (min(sizes, key=min), max(sizes, key=min)))
        found = lazy_gettext("%(low)s to %(high)s", low=small, high=large) if small != large else small
        wide = lazy_gettext("%(width)s wide and %(height)s high", width=width, height=height)
        size = f"{width}x{height}" if width == height else wide
        fitting = {"sizes": found, "size": size, "kind": kind, "ground": NAMES[background]}
        same_shape = all(size[0] * height == size[1] * width for size in sizes)
        note = Message(NOTES["same shape" if same_shape else fit].sentence, fitting)
    read = Preprocess(seen.channels, height, width, fit, background, appearance.white)
    return read, [note, *appearance.notes]


def _height_and_width(size: Size) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


def _reading(choices: Choices, looks: "_Looks", seen: Headers) -> Preprocess:
    """How pictures with these headers are to be read."""
    return _converting(_chosen(seen, choices, looks)[0])


def _converting(preprocess: Preprocess) -> Preprocess:
    """The same, but colours are converted where "none" would refuse them."""
    return replace(preprocess, fit="stretch") if preprocess.fit == "none" else preprocess


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
    groups = [picture.group for picture in pictures]
    sources = [picture.source for picture in pictures]
    return Dataset(packed.images, labels, listing.classes, sources, groups if any(groups) else ())


def _splits(whole: Dataset, parts: Sequence[str]) -> Splits:
    train, validation, test = (
        whole.subset([index for index, its_part in enumerate(parts) if its_part == part]) for part in SPLITS
    )
    return Splits(train, validation, test)


def _groups(pictures: Sequence[Picture], contents: Sequence[Hashes]) -> dict[str, str]:
    """Each picture that stays with others, by source, with the source of the first of them."""
    roots = connected((*hashes, picture.group) for hashes, picture in zip(contents, pictures, strict=True))
    shared = Counter(roots)
    return {
        picture.source: pictures[root].source
        for picture, root in zip(pictures, roots, strict=True)
        if shared[root] > 1
    }


def _columns(pictures: Sequence[Picture]) -> dict[str, dict[str, str]]:
    """What a table says of the pictures: of each further column the value of every source."""
    columns: dict[str, dict[str, str]] = {}
    for picture in pictures:
        for column, value in picture.columns.items():
            columns.setdefault(column, {})[picture.source] = value
    return columns


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


def _headers(pictures: Sequence[Picture], packed: PackedImages) -> tuple[FileHeader, ...]:
    return tuple(
        FileHeader(file.width, file.height, file.mode, file.bytes, picture.source, file.has_more)
        for picture, file in zip(pictures, packed.files, strict=True)
    )


def _of_first_frames(headers: Sequence[FileHeader]) -> list[Message]:
    names = [header.source for header in headers if header.has_more]
    if not names:
        return []
    return [
        lazy_ngettext(
            "%(count)s file has several frames or pages, of which the first is read: %(names)s",
            "%(count)s files have several frames or pages, of which the first is read: %(names)s",
            len(names),
            names=listed(names),
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
