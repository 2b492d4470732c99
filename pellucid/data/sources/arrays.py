"""Pictures in arrays: .npz files with Keras' names, idx files as MNIST's, and CIFAR's binary files."""

import gzip
import io
import math
import os
import re
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, compress
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid.data.sources.archives import is_bomb
from pellucid.data.sources.listing import SPLIT_NAMES, Content, Picture, RawListing, joined
from pellucid.data.sources.tree import Tree
from pellucid.errors import PellucidError, UsageError
from pellucid.formatting import listed
from pellucid.language import Message, lazy_gettext
from pellucid.machine import available_memory
from pellucid.reading import open_regular

MAX_ARRAY_BYTES = 64 << 30  # that a file may declare, wherever less memory is free
MOST_LABEL = 2**53  # a float beyond it is one of several whole numbers
UNSIGNED_BYTE, MOST_IDX_LABEL = 0x08, 255  # a data type of the idx format, and its largest number
IDX = re.compile(
    r"(?P<set>.*?)(?P<split>train|t10k|test|val|valid|validation|dev)[-_.]images[-_.]idx3[-_.]ubyte(\.gz)?",
    re.IGNORECASE,
)
CIFAR_10, CIFAR_100 = "batches.meta.txt", "fine_label_names.txt"
NPZ_NAMES = ("x_{}", "{}_images", "{}_x", "images_{}"), ("y_{}", "{}_labels", "{}_y", "labels_{}")
NPZ_CLASSES = ("class_names", "classes", "names")


class ArraySplit(NamedTuple):
    """Pictures (N, H, W) or (N, H, W, C) with N labels; sources begin with `name`; split "" if not known."""

    split: str
    name: str
    images: NDArray[np.uint8]
    labels: Sequence[str]


def list_arrays(
    layout: Message, arrays: Sequence[ArraySplit], notes: Sequence[Message] = (), *, stamp: str = ""
) -> RawListing:
    """The pictures of arrays; the source of picture n is "train/n"."""
    starts = [0, *accumulate(len(each.labels) for each in arrays)]

    def read(index: int) -> Content:
        number = bisect_right(starts, index) - 1
        return np.ascontiguousarray(arrays[number].images[index - starts[number]])

    pictures = [
        Picture(f"{each.name}/{n}", label, each.split)
        for each in arrays
        for n, label in enumerate(each.labels)
    ]
    return RawListing(layout, pictures, read, lambda index: f"{stamp}-{index}" if stamp else "", tuple(notes))


def list_values(data: Any) -> RawListing:
    """The pictures of NumPy arrays: (images, labels), Keras' ((x_train, y_train), (x_test, y_test)), or a
    mapping with Keras' names."""
    if isinstance(data, Mapping):
        return _list_named("arrays", {str(name): _array(value) for name, value in data.items()})
    pairs = [data] if len(data) == 2 and not isinstance(data[0], tuple | list) else list(data)
    if (
        any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in pairs)
        or not 1 <= len(pairs) <= 3
    ):
        raise UsageError(
            "Expected (images, labels), or one pair each for training and test as Keras returns them."
        )
    names = {1: ("train",), 2: ("train", "test"), 3: ("train", "validation", "test")}[len(pairs)]
    splits = names if len(pairs) > 1 else ("",)
    notes: list[Message] = []
    arrays = [
        _array_split(split, name, _array(pair[0]), _array(pair[1]), notes=notes)
        for split, name, pair in zip(splits, names, pairs, strict=True)
    ]
    return list_arrays(lazy_gettext("arrays"), arrays, notes)


def list_npz(name: str, content: Any, *, stamp: str = "") -> RawListing:
    """The pictures of an .npz file (a path or its bytes) with Keras' names: x_train, y_train, x_test, y_test.

    Also x_val; train_images as in MedMNIST; x and y without splits; class_names. Nothing is unpickled.
    """
    try:
        with io.BytesIO(content) if isinstance(content, bytes) else open_regular(content) as source:
            _refuse_what_fills_memory(name, source)
            with np.load(source, allow_pickle=False) as stored:
                return _list_named(name, stored, stamp=stamp)  # which reads the arrays that it names
    except PellucidError:
        raise
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise UsageError(
                f"'{name}' holds Python objects, which would run code when read. Save plain arrays instead."
            ) from error
        raise PellucidError(f"'{name}' cannot be read: {error}. It may be cut off or damaged.") from error
    except Exception as error:  # a hostile archive may break its reader in any way
        raise PellucidError(f"'{name}' cannot be read: {error}. It may be cut off or damaged.") from error


def _refuse_what_fills_memory(name: str, source: BinaryIO) -> None:
    """Raises UsageError for an .npz with an array that pictures cannot be packed to, or larger than memory.
    `source` is left at its start."""
    whole = source.seek(0, os.SEEK_END)
    with zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
    source.seek(0)
    size, memory = sum(entry.file_size for entry in entries), available_memory()
    limit = MAX_ARRAY_BYTES if memory is None else min(MAX_ARRAY_BYTES, memory)
    if size > limit:
        raise UsageError(
            f"'{name}' declares {size:,} bytes; the limit is {limit:,}, the memory that is free."
        )
    for entry in entries:
        _refuse_bomb(f"'{entry.filename}' of '{name}'", entry.file_size, min(entry.compress_size, whole))


def _refuse_bomb(name: str, size: int, packed: int) -> None:
    if is_bomb(size, packed):
        times = size // max(1, packed)
        raise UsageError(f"{name} would be {times:,} times as large as it is packed. No picture is.")


def idx_pairs(tree: Tree) -> dict[str, tuple[str, str]]:
    """The idx files of pictures at the top of a tree, each with its split's name and its file of labels."""
    pairs: dict[str, tuple[str, str, str]] = {}
    for name in tree.loose():
        match = IDX.fullmatch(name)
        if match:
            plain = re.sub(r"\.gz$", "", name, flags=re.IGNORECASE)
            labels = plain.replace("images", "labels").replace("idx3", "idx1")
            existing = next((form for form in (labels, f"{labels}.gz") if form in tree.sizes), "")
            pairs.setdefault(plain, (name, match["split"].lower(), existing))
    return {images: (split, labels) for images, split, labels in pairs.values()}


def list_idx(tree: Tree, pairs: Mapping[str, tuple[str, str]]) -> RawListing:
    """The pictures of idx files such as MNIST's, plain or .gz; EMNIST's are transposed to be upright.

    pairs  as `idx_pairs` returns them
    """
    arrays: list[ArraySplit] = []
    notes: list[Message] = []
    names = _emnist_names(tree)
    for images, (word, labels) in pairs.items():
        if not labels:
            raise UsageError(f"'{images}' of '{tree.name}' has no file of labels next to it.")
        pixels = _idx(tree, images, 3)
        if "emnist" in images.lower():
            pixels = pixels.transpose(0, 2, 1)
            notes.append(
                lazy_gettext(
                    "'%(name)s': EMNIST's pictures are stored sideways and were turned upright", name=images
                )
            )
        split = "test" if word == "t10k" else SPLIT_NAMES[word]
        if any(each.split == split for each in arrays):
            raise UsageError(f"'{tree.name}' has two files of {split} pictures. Keep one set in a folder.")
        arrays.append(_array_split(split, split, pixels, _idx(tree, labels, 1), classes=names, notes=notes))
    stamp = "-".join(tree.stamp(name) for name in tree.sizes)
    return list_arrays(lazy_gettext("idx files"), arrays, notes, stamp=stamp)


def is_cifar(tree: Tree) -> bool:
    """Whether CIFAR's binary files are at the top of a tree."""
    names = set(tree.loose())
    return {CIFAR_10, "data_batch_1.bin"} <= names or {CIFAR_100, "train.bin"} <= names


def list_cifar(tree: Tree) -> RawListing:
    """The pictures of CIFAR-10's or CIFAR-100's binary files, with their (fine) class names."""
    hundred = CIFAR_100 in tree.sizes
    names = [line for line in _text(tree, CIFAR_100 if hundred else CIFAR_10).split("\n") if line.strip()]
    files = (
        {"train": ["train.bin"], "test": ["test.bin"]}
        if hundred
        else {
            "train": sorted(name for name in tree.loose() if re.fullmatch(r"data_batch_\d\.bin", name)),
            "test": ["test_batch.bin"],
        }
    )
    label_bytes = 2 if hundred else 1  # before the pixels of each row; the last is the class
    arrays = []
    for split, members in files.items():
        rows = np.concatenate(
            [_rows(tree, name, label_bytes + 3072) for name in members if name in tree.sizes]
        )
        images = rows[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        arrays.append(_array_split(split, split, images, rows[:, label_bytes - 1], classes=names, notes=[]))
    stamp = "-".join(tree.stamp(name) for name in tree.sizes)
    return list_arrays(
        lazy_gettext("CIFAR-%(classes)s's binary files", classes=len(names)), arrays, stamp=stamp
    )


def _list_named(name: str, arrays: Mapping[str, NDArray[Any]], *, stamp: str = "") -> RawListing:
    classes = next((arrays[key] for key in NPZ_CLASSES if key in arrays), None)
    names = None if classes is None else [str(value) for value in classes.tolist()]
    notes: list[Message] = []
    splits, used = list[ArraySplit](), {key for key in NPZ_CLASSES if key in arrays}
    for word, split in SPLIT_NAMES.items():
        images, labels = (
            next((name.format(word) for name in forms if name.format(word) in arrays), "")
            for forms in NPZ_NAMES
        )
        if images and labels:
            splits.append(
                _array_split(split, split, arrays[images], arrays[labels], classes=names, notes=notes)
            )
            used |= {images, labels}
    images, labels = (
        next((key for key in keys if key in arrays), "") for keys in (("x", "images"), ("y", "labels"))
    )
    if images and labels and not splits:
        splits.append(_array_split("", "train", arrays[images], arrays[labels], classes=names, notes=notes))
        used |= {images, labels}
    if not splits:
        raise UsageError(
            f"'{name}' has arrays named {listed(arrays)}. Expected Keras' names: "
            "x_train, y_train, x_test, y_test."
        )
    if rest := sorted(set(arrays) - used):
        notes.append(lazy_gettext("skipped arrays %(names)s", names=listed(rest)))
    return list_arrays(
        lazy_gettext("arrays %(names)s", names=listed(sorted(used))), splits, notes, stamp=stamp
    )


def _array_split(
    split: str,
    name: str,
    images: NDArray[Any],
    labels: NDArray[Any],
    *,
    classes: Sequence[str] | None = None,
    notes: list[Message],
) -> ArraySplit:
    """The pictures as uint8 and the labels as names; `notes` receives what was converted."""
    pixels = _pixels(name, images, notes)
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.shape[1] > 1:
        flags = bool(np.isin(labels, (0, 1)).all()) and len(labels) == len(pixels)
        if flags and bool((labels.sum(axis=1) == 1).all()):
            labels = labels.argmax(axis=1)
            notes.append(lazy_gettext("%(name)s: labels were one-hot", name=name))
        elif flags:
            names = classes or [str(number) for number in range(labels.shape[1])]
            if len(names) == labels.shape[1]:
                notes.append(lazy_gettext("%(name)s: a picture has a 1 for each of its labels", name=name))
                return ArraySplit(
                    split, name, pixels, [joined(compress(names, row)) for row in labels.tolist()]
                )
    if labels.shape != pixels.shape[:1]:
        raise UsageError(
            f"Expected {len(pixels):,} labels of {name}, one per picture; got shape {labels.shape}."
        )
    if labels.dtype.kind == "f":
        odd = labels[
            ~((np.abs(labels) <= MOST_LABEL) & (labels == np.round(labels)))
        ]  # NaN and infinity, too
        if len(odd):
            raise UsageError(f"Expected labels of {name} as whole numbers or names; got {odd[0]}.")
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iuUb":
        raise UsageError(f"Expected labels of {name} as whole numbers or names; got {labels.dtype}.")
    values: list[Any] = labels.tolist()
    if classes is None or labels.dtype.kind == "U":
        return ArraySplit(split, name, pixels, [str(value).strip() for value in values])
    if values and not 0 <= min(values) <= max(values) < len(classes):
        raise UsageError(
            f"Labels of {name} go from {min(values)} to {max(values)}; there are {len(classes)} class names."
        )
    return ArraySplit(split, name, pixels, [classes[value] for value in values])


def _pixels(name: str, images: NDArray[Any], notes: list[Message]) -> NDArray[np.uint8]:
    """Pictures as uint8 (N, H, W) or (N, H, W, C); floats scaled, channels moved last, each with a note."""
    if images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
        notes.append(lazy_gettext("%(name)s: read as (N, C, H, W)", name=name))
    if (
        images.ndim not in (3, 4)
        or (images.ndim == 4 and images.shape[3] not in (1, 3))
        or 0 in images.shape[1:]
    ):
        raise UsageError(
            f"Expected pictures of {name} as (N, H, W), (N, H, W, 1) or (N, H, W, 3); got {images.shape}."
        )
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "biuf":
        raise UsageError(f"Expected pixels of {name} as uint8 0..255, or as floats 0..1; got {images.dtype}.")
    low, high = (float(images.min()), float(images.max())) if images.size else (0.0, 0.0)
    if images.dtype.kind in "iu" and low >= 0 and high <= 255:
        return images.astype(np.uint8)
    if images.dtype.kind == "b" or (images.dtype.kind == "f" and low >= 0 and 0 < high <= 1):
        notes.append(lazy_gettext("%(name)s: 0..1 was scaled to 0..255", name=name))
        return np.round(images.astype(np.float64) * 255).astype(np.uint8)
    if images.dtype.kind == "f" and low >= 0 and high <= 255 and bool((images == np.round(images)).all()):
        return images.astype(np.uint8)
    raise UsageError(
        f"Expected pixels of {name} as uint8 0..255, or as floats 0..1; got {images.dtype} "
        f"from {low:g} to {high:g}."
    )


def _array(value: Any) -> NDArray[Any]:
    """The value as a NumPy array; tensors and lists of numbers can be converted."""
    array: NDArray[Any] = np.asarray(value)
    if array.dtype == object:
        raise UsageError("Expected arrays of numbers or names; got Python objects.")
    return array


def _idx(tree: Tree, name: str, dimensions: int) -> NDArray[np.uint8]:
    """The array of an idx file of unsigned bytes; at most what its header declares is read."""
    content = tree.read(name)
    start = 4 + 4 * dimensions
    try:
        stream: Any = (
            gzip.GzipFile(fileobj=io.BytesIO(content))
            if name.lower().endswith(".gz")
            else io.BytesIO(content)
        )
        header = stream.read(start)
        if header[:4] != bytes((0, 0, UNSIGNED_BYTE, dimensions)) or len(header) < start:
            raise PellucidError(
                f"'{name}' is not an idx file of unsigned bytes in {dimensions} dimensions: it begins with "
                f"{header[:4].hex(' ') or 'nothing'}."
            )
        shape = [int.from_bytes(header[offset : offset + 4]) for offset in range(4, start, 4)]
        count = math.prod(shape)
        _refuse_bomb(f"'{name}'", count, len(content))
        pixels = stream.read(count + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise PellucidError(f"'{name}' cannot be read: {error}. It may be cut off or damaged.") from error
    if len(pixels) != count or not count:
        described = " x ".join(f"{length:,}" for length in shape)
        raise PellucidError(f"'{name}' is cut off or damaged: its header declares {described} bytes.")
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def _rows(tree: Tree, name: str, width: int) -> NDArray[np.uint8]:
    content = tree.read(name)
    if not content or len(content) % width:
        raise PellucidError(
            f"'{name}' is cut off or damaged: {len(content):,} bytes are not a multiple of {width:,}."
        )
    return np.frombuffer(content, np.uint8).reshape(-1, width)


def _text(tree: Tree, name: str) -> str:
    return tree.read(name).decode("utf-8", errors="replace").replace("\r", "")


def _emnist_names(tree: Tree) -> list[str] | None:
    """The letters of EMNIST's mapping file ("10 65": class 10 is A), if there is one."""
    mapping = next((name for name in tree.loose() if re.fullmatch(r"emnist-\w+-mapping\.txt", name)), None)
    if mapping is None:
        return None
    letters: dict[int, str] = {}
    for line in _text(tree, mapping).split("\n"):
        try:
            number, *codes = map(int, line.split())
            if not 0 <= number <= MOST_IDX_LABEL:
                raise ValueError(f"class {number}")
            letters[number] = "".join(sorted({chr(code) for code in codes}))
        except (ValueError, OverflowError) as error:
            if line.strip():
                raise PellucidError(
                    f"'{mapping}' of '{tree.name}' is damaged: expected lines such as '10 65', a class "
                    f"from 0 to {MOST_IDX_LABEL} and the codes of its letters; got '{line[:40]}'."
                ) from error
    return [letters.get(number, str(number)) for number in range(max(letters) + 1)] if letters else None
