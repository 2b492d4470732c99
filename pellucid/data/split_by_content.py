"""The split of every picture, decided by its content: names and order play no part.

A picture's place is a keyed hash of its sketch (`images.sketch_of`): of what it shows at its original size,
whatever its file format and whatever size the network takes.

Of fewer than EXACT_BELOW pictures, those of a class that come first by their hashes are held out, as many as
asked for: every class has its part, but a picture that is added can move others. From then on a picture is
held out when its hash is below the fraction asked for: a picture that is added, renamed or saved again moves
no other, and counts are only approximately what was asked for. Pictures with several labels are always split
in this way.

Two things keep different pictures together: a group, whose name then decides, and pixels that are equal at
the network's size, where the smallest of their sketches decides.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

from pellucid.data.sources.listing import JOINT, SPLITS, Picture, natural_key
from pellucid.errors import UsageError
from pellucid.formatting import listed, plural
from pellucid.language import Message, comma_joined, lazy_gettext, lazy_ngettext

TEST_FRACTION = 0.2
MIN_FOR_TEST = 3  # contents of a class from which one is always a test picture
EXACT_BELOW = 2_000  # pictures to be split: fewer are counted out class by class
TEST_KEY = b"pellucid test"  # without the seed: the test pictures are always the same


class Assignment(NamedTuple):
    """The split of every picture, "train", "validation" or "test", and notes on how it was decided."""

    splits: list[str]
    notes: list[Message]


class Hashes(NamedTuple):
    """Of one picture: the hashes of its file's bytes and of its pixels for the network, and its sketch."""

    file: str
    pixels: str
    sketch: str


class Fractions(NamedTuple):
    """What is held out if the data do not say: a fraction for validation, by the seed, and one for test."""

    validation: float
    seed: int
    test: float = TEST_FRACTION


def assign_splits(
    pictures: Sequence[Picture],
    contents: Sequence[Hashes],
    fractions: Fractions,
    *,
    fixed: Sequence[str] | None = None,
) -> Assignment:
    """The split of each picture. The data's own splits stand; missing ones are held out of training.

    contents  one per picture. Pictures with the same file, the same pixels or the same group stay together;
              those that only have the same sketch get the same split.
    fixed     the splits of an earlier run, which take precedence; "" for a picture that is new since

    Raises UsageError when a split would be empty.
    """
    if fixed is not None:
        splits = _extend(pictures, contents, fixed, fractions)
        notes, held_out = list[Message](), list[str]()
    else:
        splits, notes, held_out = _hold_out_missing(pictures, contents, fractions)
    _refuse_empty(splits)
    return Assignment(splits, notes + _small_class_notes(pictures, splits, held_out))


def _hold_out_missing(
    pictures: Sequence[Picture], contents: Sequence[Hashes], fractions: Fractions
) -> tuple[list[str], list[Message], list[str]]:
    """Splits, notes, and the names of the splits that the data lack and that were held out of training."""
    given = {picture.split for picture in pictures if picture.split}
    splits = [picture.split or "train" for picture in pictures]
    held_out = [split for split in ("test", "validation") if split not in given]
    notes = _divided_group_notes(pictures) if given else []
    if not held_out:
        return splits, notes, held_out
    free = [index for index, split in enumerate(splits) if split == "train"]
    for index, split in _choose_held_out(pictures, contents, free, held_out, fractions).items():
        splits[index] = split
    restored = _restore_lost_classes(pictures, splits, set(free), contents)
    exact = _is_counted_out(pictures, free)
    return splits, [*notes, *_held_out_notes(splits, held_out, fractions, exact=exact), *restored], held_out


def _extend(
    pictures: Sequence[Picture], contents: Sequence[Hashes], fixed: Sequence[str], fractions: Fractions
) -> list[str]:
    """The fixed splits; a new picture joins those it must stay with, else it is drawn."""
    splits = [earlier or picture.split for earlier, picture in zip(fixed, pictures, strict=True)]
    members = _units(pictures, contents, range(len(pictures)))
    new: list[int] = []
    for indices in members.values():
        known = next((splits[index] for index in indices if splits[index]), "")
        for index in indices:
            splits[index] = splits[index] or known
        new += [index for index in indices if not splits[index]]
    chosen = _choose_held_out(
        pictures, contents, sorted(new), ["test", "validation"], fractions, at_least_one=False
    )
    return [split or chosen.get(index, "train") for index, split in enumerate(splits)]


def connected(keys: Iterable[Sequence[Hashable]]) -> list[int]:
    """For each item the index of the first one connected with it: items are connected through shared keys."""
    parents: list[int] = []
    owners: dict[tuple[int, Hashable], int] = {}

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    for index, shared in enumerate(keys):
        parents.append(index)
        for kind, key in enumerate(shared):
            if key:
                first, second = root(owners.setdefault((kind, key), index)), root(index)
                parents[max(first, second)] = min(first, second)
    return [root(index) for index in range(len(parents))]


def hash_fraction(content: str, key: bytes) -> float:
    """A number from 0 to 1 that depends only on the content and the key."""
    digest = hashlib.blake2b(content.encode(errors="surrogateescape"), digest_size=8, key=key).digest()
    return int.from_bytes(digest) / 2**64


def _choose_held_out(
    pictures: Sequence[Picture],
    contents: Sequence[Hashes],
    free: list[int],
    wanted: list[str],
    fractions: Fractions,
    *,
    at_least_one: bool = True,
) -> dict[int, str]:
    """The held-out pictures with their splits; of very few pictures, those nearest to the threshold."""
    keys = {"test": TEST_KEY, "validation": b"validation" + fractions.seed.to_bytes(8, "little", signed=True)}
    chosen: dict[int, str] = {}
    anchors: dict[str, list[int]] = defaultdict(list)
    for indices in _units(pictures, contents, free).values():
        # A group's name decides if there is one; of several sketches, always the smallest.
        names = [f"group {group}" for index in indices if (group := pictures[index].group)]
        anchors[min(names or [contents[index].sketch for index in indices])] += indices
    several_labels = any(JOINT in pictures[index].label for index in free)
    exact = at_least_one and _is_counted_out(pictures, free)
    for split in wanted:  # test first: it depends on no seed and on no other fraction
        fraction = fractions.test if split == "test" else fractions.validation
        left = [anchor for anchor, indices in anchors.items() if indices[0] not in chosen]
        if exact:
            to_come = len(wanted) - 1 - wanted.index(split)
            held_out = _first_of_each_class(
                pictures, anchors, left, fraction=fraction, key=keys[split], to_come=to_come
            )
        else:
            held_out = [anchor for anchor in left if hash_fraction(anchor, keys[split]) < fraction]
        for anchor in held_out:
            chosen |= dict.fromkeys(anchors[anchor], split)
    if at_least_one and (several_labels or exact):
        _represent_labels(pictures, anchors, chosen, {split: keys[split] for split in wanted})
    elif at_least_one and "test" in wanted:
        _represent_classes(pictures, anchors, chosen)
    for split in wanted if at_least_one else ():
        left = [anchor for anchor, indices in anchors.items() if indices[0] not in chosen]
        if split not in chosen.values() and len(left) > 1:
            nearest = min(left, key=lambda anchor: hash_fraction(anchor, keys[split]))
            chosen |= dict.fromkeys(anchors[nearest], split)
    return chosen


def _is_counted_out(pictures: Sequence[Picture], free: Sequence[int]) -> bool:
    """Whether these pictures are few enough to be counted out, each class by itself."""
    return len(free) < EXACT_BELOW and not any(JOINT in pictures[index].label for index in free)


def _first_of_each_class(
    pictures: Sequence[Picture],
    anchors: Mapping[str, list[int]],
    left: Sequence[str],
    *,
    fraction: float,
    key: bytes,
    to_come: int,
) -> list[str]:
    """Those of the anchors left that are held out: the first of each class by hash, a fraction of it.

    to_come  how many parts are still to be held out of what is left afterwards

    The counts are rounded so that they add up to the fraction of all. A class has at least one where it has
    enough contents for every part. What belongs together and shows several classes is taken where that brings
    their counts nearer to what is wanted.
    """
    shown = {anchor: Counter(pictures[index].label for index in anchors[anchor]) for anchor in left}
    totals, contents = Counter[str](), Counter[str]()
    for counts in shown.values():
        totals.update(counts)
        contents.update(counts.keys())
    wanted: dict[str, float] = {}
    seen = given = 0.0
    for label in sorted(totals, key=natural_key):
        seen += totals[label] * fraction
        enough = contents[label] >= 2 + to_come
        wanted[label] = max(1.0 if enough else 0.0, float(round(seen - given)))
        given += wanted[label]
    missing = Counter(wanted)
    held_out = []
    for anchor in sorted(left, key=lambda anchor: hash_fraction(anchor, key)):
        gain = sum(count * (2 * missing[label] - count) for label, count in shown[anchor].items())
        if gain > 0:
            held_out.append(anchor)
            missing.subtract(shown[anchor])
    return held_out


def _represent_classes(
    pictures: Sequence[Picture], anchors: dict[str, list[int]], chosen: dict[int, str]
) -> None:
    """Give every class of three contents or more one in the test part and one to learn from.

    For the test part it is the one nearest to the threshold, whatever the seed; to learn from, those drawn
    for validation, or else the other test contents.
    """
    by_label: dict[str, list[str]] = defaultdict(list)
    for anchor, indices in anchors.items():
        for label in {label for index in indices for label in pictures[index].labels}:
            by_label[label].append(anchor)
    for label in sorted(by_label, key=natural_key):
        if len(by_label[label]) < MIN_FOR_TEST:
            continue
        nearest, *others = sorted(by_label[label], key=lambda anchor: hash_fraction(anchor, TEST_KEY))
        if not any(chosen.get(anchors[each][0]) == "test" for each in (nearest, *others)):
            chosen |= dict.fromkeys(anchors[nearest], "test")
        if all(anchors[each][0] in chosen for each in others):
            released = [each for each in others if chosen[anchors[each][0]] == "validation"] or others
            for index in (index for anchor in released for index in anchors[anchor]):
                del chosen[index]


def _represent_labels(
    pictures: Sequence[Picture],
    anchors: dict[str, list[int]],
    chosen: dict[int, str],
    keys: Mapping[str, bytes],
) -> None:
    """Give every label of three contents or more one in each part that is held out, and one to learn from.

    Where pictures have several labels, moving one for the sake of a label can take another label's only one:
    such a picture stays. The rarest label comes first. The one moved is the nearest to the part's threshold.
    """
    parts = {anchor: chosen.get(indices[0], "train") for anchor, indices in anchors.items()}
    by_label: dict[str, list[str]] = defaultdict(list)
    for anchor, indices in anchors.items():
        for label in {label for index in indices for label in pictures[index].labels}:
            by_label[label].append(anchor)
    guaranteed = [label for label in by_label if len(by_label[label]) >= MIN_FOR_TEST]
    counts = {label: Counter(parts[anchor] for anchor in by_label[label]) for label in guaranteed}
    labels_of: dict[str, list[str]] = defaultdict(list)
    for label in guaranteed:
        for anchor in by_label[label]:
            labels_of[anchor].append(label)
    for label in sorted(guaranteed, key=lambda label: (len(by_label[label]), natural_key(label))):
        for part in (*keys, "train"):
            spare = [
                anchor
                for anchor in by_label[label]
                if all(counts[other][parts[anchor]] > 1 for other in labels_of[anchor])
            ]
            if counts[label][part] or not spare:
                continue
            key = keys.get(part, TEST_KEY)
            by_hash = sorted(spare, key=lambda anchor: hash_fraction(anchor, key))
            nearest = by_hash[-1 if part == "train" else 0]
            for other in labels_of[nearest]:
                counts[other].subtract({parts[nearest]: 1, part: -1})
            parts[nearest] = part
    for anchor, indices in anchors.items():
        for index in indices:
            if parts[anchor] == "train":
                chosen.pop(index, None)
            else:
                chosen[index] = parts[anchor]


def _units(
    pictures: Sequence[Picture], contents: Sequence[Hashes], free: Iterable[int]
) -> dict[int, list[int]]:
    """The free pictures in units that must stay together: the same content, or a group."""
    free = list(free)
    members: dict[int, list[int]] = defaultdict(list)
    keys = ((contents[index].file, contents[index].pixels, pictures[index].group) for index in free)
    for index, root in zip(free, connected(keys), strict=True):
        members[root].append(index)
    return members


def _restore_lost_classes(
    pictures: Sequence[Picture], splits: list[str], free: set[int], contents: Sequence[Hashes]
) -> list[Message]:
    """Move a class without training pictures back into training, with everything that must stay with it."""
    learned = {
        label
        for picture, split in zip(pictures, splits, strict=True)
        if split == "train"
        for label in picture.labels
    }
    lost = {label for index in free for label in pictures[index].labels} - learned
    if not lost:
        return []
    for indices in _units(pictures, contents, sorted(free)).values():
        if any(not lost.isdisjoint(pictures[index].labels) for index in indices):
            for index in indices:
                splits[index] = "train"
    names = listed(sorted(lost, key=natural_key))
    return [
        lazy_gettext(
            "too small to be split, so entirely in training: %(names)s. They cannot be scored", names=names
        )
    ]


def _held_out_notes(
    splits: list[str], held_out: list[str], fractions: Fractions, *, exact: bool
) -> list[Message]:
    """How many pictures were held out, of how many, and whether others can move them."""
    counts, notes = Counter(splits), []
    left = sum(counts[split] for split in ("train", *held_out))
    for split in held_out:  # test first; validation is a fraction of the rest
        fraction = fractions.test if split == "test" else fractions.validation
        notes.append(
            lazy_gettext(
                "%(number)s of %(all)s for %(part)s (%(share)s asked for)",
                number=counts[split],
                all=left,
                part=lazy_gettext(split),
                share=f"{fraction * 100:.0f} %",
            )
        )
        left -= counts[split]
    parts = comma_joined(notes)
    if exact:
        return [
            lazy_gettext(
                "held out of training by content, class by class: %(parts)s; pictures that are added later "
                "can move some of these",
                parts=parts,
            )
        ]
    return [lazy_gettext("held out of training by content: %(parts)s", parts=parts)]


def _small_class_notes(pictures: Sequence[Picture], splits: list[str], held_out: list[str]) -> list[Message]:
    """A note on the classes of which a held-out split has no picture."""
    counts = Counter(
        (split, label) for picture, split in zip(pictures, splits, strict=True) for label in picture.labels
    )
    labels = sorted({label for _, label in counts}, key=natural_key)
    notes = []
    for split in held_out:
        missing = [label for label in labels if not counts[split, label]]
        if missing:
            examples = comma_joined(
                lazy_gettext("'%(name)s' (%(number)s in training)", name=label, number=counts["train", label])
                for label in missing[:5]
            )
            notes.append(
                lazy_gettext(
                    "classes too small to have pictures for %(part)s: %(classes)s",
                    part=lazy_gettext(split),
                    classes=examples,
                )
            )
    return notes


def _divided_group_notes(pictures: Sequence[Picture]) -> list[Message]:
    """A note on groups that are divided by the data's own splits."""
    splits_of_groups: dict[str, set[str]] = defaultdict(set)
    for picture in pictures:
        if picture.group:
            splits_of_groups[picture.group].add(picture.split or "train")
    divided = [group for group, splits in splits_of_groups.items() if len(splits) > 1]
    if not divided:
        return []
    return [
        lazy_ngettext(
            "%(count)s group is in more than one of the given parts: %(names)s",
            "%(count)s groups are in more than one of the given parts: %(names)s",
            len(divided),
            names=listed(divided),
        )
    ]


def _refuse_empty(splits: list[str]) -> None:
    counts = Counter(splits)
    for split in SPLITS:
        if not counts[split]:
            count = plural(len(splits), "picture leaves", "pictures leave")
            raise UsageError(
                f"{count} none for {split}: pictures of the same content or group stay together. Add "
                f"pictures, put some into a folder named '{split}' next to 'train', or "
                "name a table as `split_file`."
            )
