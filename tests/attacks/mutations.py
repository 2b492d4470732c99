"""Pictures, run folders and archives with random changes: each is read or refused with a message.

A change may flip bits, cut, put numbers that mean much to a program where a header may be, double or take out
a part, or put in a part of another file; then check sums are set right in half of them, so that what is
behind a check is reached, too. A number decides all of it: the same number, the same input.

The inputs are read in forked children, so that one that crashes, hangs or takes too much memory is known by
its number.
"""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import math
import os
import random
import resource
import shutil
import signal
import struct
import tarfile
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from pellucid.data.sources.detect import list_pictures
from pellucid.decode.images import DecodeSettings, decode_bytes, read_header
from pellucid.errors import PellucidError, UsageError
from pellucid.manifest import NAME
from tests.attacks.reading import read_all
from tests.data.sources.written import tarred, zipped
from tests.resealed import change, reseal
from tests.runs.toy_runs import SPLITS, started
from tests.toys import economical

SECONDS = 10.0  # of processor time for one input: more is a hang
PER_CHILD = 500
SIDE = 32
WEIGHTS, MODEL = "model.safetensors", "model.json"
SETTINGS = DecodeSettings(3, 16, 16, "stretch", 0)
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
MEGABYTES = 1_500  # that reading one input may add: 300 MB of pixels, in the few forms that they pass through


class Kind(NamedTuple):
    """One kind of input.

    of    the mutated input of a number, and what it was
    read  reads it and says how it ended: "read" or "refused"; anything raised is wrong
    """

    of: Callable[[int], tuple[str, bytes]]
    read: Callable[[str, bytes], str]


@dataclass
class Found:
    """What became of mutated inputs, by what they were; what was wrong; the memory that was added, in MB."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    memory: int = 0

    @property
    def count(self) -> int:
        return sum(each.total() for each in self.outcomes.values())


def mutated(content: bytes, generator: random.Random, others: list[bytes]) -> bytes:
    """The content with one to four changes."""
    changed = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 4))):
        if changed:
            generator.choice(CHANGES)(changed, generator, others)
    return bytes(changed)


def flip(changed: bytearray, generator: random.Random, _: list[bytes]) -> None:
    for _ in range(generator.choice((1, 2, 8))):
        changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)


def cut(changed: bytearray, generator: random.Random, _: list[bytes]) -> None:
    del changed[generator.randrange(len(changed)) :]


def put_number(changed: bytearray, generator: random.Random, _: list[bytes]) -> None:
    """A number of one to four bytes, mostly near the beginning."""
    at = generator.randrange(min(len(changed), generator.choice((64, 64, 512, len(changed)))))
    size = generator.choice((1, 2, 4))
    number = generator.choice(NUMBERS) & ((1 << 8 * size) - 1)
    changed[at : at + size] = number.to_bytes(size, generator.choice(("big", "little")))


def take_out(changed: bytearray, generator: random.Random, _: list[bytes]) -> None:
    at = generator.randrange(len(changed))
    del changed[at : at + generator.randrange(1, 65)]


def double(changed: bytearray, generator: random.Random, _: list[bytes]) -> None:
    at, size = generator.randrange(len(changed)), generator.randrange(1, 257)
    changed[at:at] = changed[at : at + size] * generator.choice((1, 1, 2, 100))


def put_in(changed: bytearray, generator: random.Random, others: list[bytes]) -> None:
    other, at = generator.choice(others), generator.randrange(len(changed))
    begin = generator.randrange(max(1, len(other)))
    changed[at : at + generator.choice((0, 64))] = other[begin : begin + generator.randrange(1, 257)]


CHANGES = (flip, flip, cut, put_number, put_number, take_out, double, put_in)


# Pictures


def pictures() -> dict[str, bytes]:
    """A small picture in every format that is read, in many of the ways in which each can be written."""
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4), np.uint8)
    soft = np.linspace(0, 255, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint8)
    colour, gray, clear = Image.fromarray(noise[..., :3]), Image.fromarray(soft), Image.fromarray(noise)
    deep = Image.fromarray(soft.astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [colour.rotate(90), gray.convert("RGB")]}
    ways: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "png": (colour, "PNG", {}), "png gray": (gray, "PNG", {}), "png clear": (clear, "PNG", {}),
        "png deep": (deep, "PNG", {}), "png palette": (colour.convert("P"), "PNG", {"transparency": 3}),
        "png bits": (gray.convert("1"), "PNG", {}), "png gray clear": (clear.convert("LA"), "PNG", {}),
        "png moving": (colour, "PNG", frames), "jpeg": (colour, "JPEG", {}),
        "jpeg gray": (gray, "JPEG", {"exif": exif}), "jpeg turned": (colour, "JPEG", {"exif": exif}),
        "jpeg progressive": (colour, "JPEG", {"progressive": True}),
        "jpeg four colours": (colour.convert("CMYK"), "JPEG", {}),
        "webp": (colour, "WEBP", {"exif": exif}), "webp lossless": (clear, "WEBP", {"lossless": True}),
        "webp moving": (colour, "WEBP", frames), "gif": (gray, "GIF", {}),
        "gif moving": (colour, "GIF", frames),
        "bmp": (colour, "BMP", {}), "bmp palette": (colour.convert("P"), "BMP", {}),
        "bmp bits": (gray.convert("1"), "BMP", {}), "tiff": (colour, "TIFF", {}),
        "tiff deep": (deep, "TIFF", {}), "tiff pages": (colour, "TIFF", frames),
        **{f"tiff {kind}": (colour, "TIFF", {"compression": kind})
           for kind in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")},
        "ppm": (colour, "PPM", {}), "pgm": (gray, "PPM", {}), "pgm deep": (deep, "PPM", {}),
        "pbm": (gray.convert("1"), "PPM", {}), "avif": (colour, "AVIF", {}), "mpo": (colour, "MPO", frames),
    }  # fmt: skip
    found = {}
    for name, (image, kind, options) in ways.items():
        file = io.BytesIO()
        try:
            image.save(file, kind, **options)
        except (KeyError, OSError):  # Pillow was built without it
            continue
        found[name] = file.getvalue()
    return found


def with_sums(content: bytes) -> bytes:
    """A PNG file whose chunks have the right check sums, as far as there are chunks."""
    changed, at = bytearray(content), 8
    while content.startswith(b"\x89PNG") and at + 12 <= len(changed):
        (length,) = struct.unpack_from(">I", changed, at)
        end = at + 8 + length
        if end + 4 > len(changed):
            break
        struct.pack_into(">I", changed, end, zlib.crc32(changed[at + 4 : end]))
        at = end + 4
    return bytes(changed)


def read_picture(name: str, content: bytes) -> str:
    """Whether a picture was read. Raises AssertionError where header, pixels and reason do not agree."""
    seen = decode_bytes(content, SETTINGS, name="It")
    header_read = True
    try:
        read_header(content, name="It")
    except UsageError:
        header_read = False
    assert header_read or seen.reason
    if seen.reason:
        assert seen.reason.startswith("It ") or "'It" in seen.reason, seen.reason
        assert not seen.pixels
        return "refused"
    assert len(seen.pixels) == SETTINGS.channels * SETTINGS.height * SETTINGS.width
    assert len(seen.sketch) == 16
    return "read"


def of_pictures() -> Kind:
    """Mutated pictures."""
    seeds = pictures()
    names, others = sorted(seeds), list(seeds.values())

    def of(number: int) -> tuple[str, bytes]:
        generator = random.Random(f"picture {number}")
        name = names[number % len(names)]
        content = mutated(seeds[name], generator, others)
        return name.split()[0], with_sums(content) if generator.random() < 0.5 else content

    return Kind(of, read_picture)


# Archives

PACKED = {".tar.gz": gzip.compress, ".tar.bz2": bz2.compress, ".tar.xz": lzma.compress}


def archives(folder: Path) -> dict[str, bytes]:
    """Small pictures in two classes, in every kind of archive."""
    files = {f"{label}/{n}.png": content for label in ("cat", "dog") for n, content in enumerate(_two())}
    files["long" * 30 + "/" + "long" * 20 + ".png"] = files["cat/0.png"]
    made = {
        ".zip": zipped(folder / "a.zip", files),
        ".tar": tarred(folder / "a.tar", files, form=tarfile.USTAR_FORMAT),
        " gnu.tar": tarred(folder / "b.tar", files, form=tarfile.GNU_FORMAT),
        " pax.tar": tarred(folder / "c.tar", {"고양이" + name: files[name] for name in files}),
        **{
            f".tar.{kind}": tarred(folder / f"a.tar.{kind}", files, f"w:{kind}")
            for kind in ("gz", "bz2", "xz")
        },
    }
    return {name: path.read_bytes() for name, path in made.items()}


def _two() -> list[bytes]:
    return [pictures()[name] for name in ("png gray", "png palette")]


def with_tar_sums(content: bytes) -> bytes:
    """A tar file whose headers have the right check sums, as far as there are headers."""
    changed, at = bytearray(content), 0
    while at + 512 <= len(changed):
        header = changed[at : at + 512]
        if header.strip(b"\0"):
            total = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
            changed[at + 148 : at + 156] = b"%06o\0 " % total
        digits = bytes(header[124:136]).strip(b"\0 ")
        size = int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else 0
        at += 512 + -(-size // 512) * 512
    return bytes(changed)


def of_archives(place: Path) -> Kind:
    """Mutated archives, written to `place` one after the other."""
    seeds = archives(place)
    names, others = sorted(seeds), list(seeds.values())

    def of(number: int) -> tuple[str, bytes]:
        generator = random.Random(f"archive {number}")
        name = names[number % len(names)]
        pack = PACKED.get(name)
        if pack is not None and generator.random() < 0.7:
            return name, pack(with_tar_sums(mutated(seeds[".tar"], generator, others)))
        content = mutated(seeds[name], generator, others)
        right = name.endswith(".tar") and generator.random() < 0.7
        return name, with_tar_sums(content) if right else content

    def read(name: str, content: bytes) -> str:
        path = place / f"pictures{name.split()[-1].removeprefix('gnu').removeprefix('pax')}"
        path.write_bytes(content)
        try:
            listing = list_pictures(path)
        except PellucidError:
            return "refused"
        for index in range(len(listing.pictures)):
            try:
                decode_bytes(listing.read(index), SETTINGS, name="It")
            except PellucidError:
                continue
        return "read"

    return Kind(of, read)


# Run folders


def toy_run(folder: Path) -> Path:
    """The folder of a run that was judged."""
    with economical():
        run = started(folder / "run")
        run.evaluate(SPLITS.test)
        run.causes(SPLITS)
    return folder / "run"


def of_runs(place: Path) -> Kind:
    """Runs of which one file was mutated. In half of them somebody lists it in the manifest as it is."""
    original, attacked = toy_run(place), place / "attacked" / "run"
    contents = {path.name: path.read_bytes() for path in sorted(original.iterdir())}
    names, others = sorted(contents), list(contents.values())
    attacked.parent.mkdir()
    shutil.copytree(original, attacked)

    def of(number: int) -> tuple[str, bytes]:
        generator = random.Random(f"run {number}")
        name = names[number % len(names)]
        if name.endswith(".json") and generator.random() < 0.5:
            return name, json.dumps(_other_value(json.loads(contents[name]), generator)).encode()
        return name, mutated(contents[name], generator, others)

    def read(name: str, content: bytes) -> str:
        (attacked / name).write_bytes(content)
        sealed = name != NAME and zlib.crc32(content) % 2 == 1
        if sealed:
            if name == WEIGHTS:
                change(attacked / MODEL, sha256=hashlib.sha256(content).hexdigest())
            reseal(attacked)
        said = read_all(attacked)
        for each in {name, MODEL, NAME}:
            (attacked / each).write_bytes(contents[each])
        named = any(f"{name}'" in each for each in said)
        assert named or sealed or name == NAME or content == contents[name], "it changed without a word"
        return "refused" if named else "read"

    return Kind(of, read)


def _other_value(value: Any, generator: random.Random) -> Any:
    """A JSON value with one thing in it replaced, removed or added."""
    odd = (None, True, -1, 0, 2**62, 1e308, "", "x" * 300, "../x", [], {}, [[]], {"a": 1}, "\x1b[2J", "NaN")
    if isinstance(value, dict) and value and generator.random() < 0.9:
        key = generator.choice(list(value))
        action = generator.random()
        if action < 0.1:
            return {name: each for name, each in value.items() if name != key}
        if action < 0.2:
            return {**value, generator.choice(("extra", "", "__class__")): generator.choice(odd)}
        return {**value, key: _other_value(value[key], generator)}
    if isinstance(value, list) and value and generator.random() < 0.9:
        at = generator.randrange(len(value))
        return [*value[:at], _other_value(value[at], generator), *value[at + 1 :]]
    return generator.choice(odd)


# In children


def attack(kind: Kind, count: int, *, first: int = 0, seconds: float = math.inf) -> Found:
    """The inputs of so many numbers, each read; whatever ends a child counts as wrong, and the next begins
    behind it. After so many seconds no other child is begun."""
    found, number, end = Found(), first, time.monotonic() + seconds
    while number < first + count and time.monotonic() < end:
        with tempfile.TemporaryFile("w+") as lines:
            pid = os.fork()
            if not pid:
                os._exit(_read(kind, range(number, min(number + PER_CHILD, first + count)), lines.fileno()))
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            lines.seek(0)
            begun = None
            for line in lines:
                begun = json.loads(line)
                if "name" in begun:
                    number += 1
                    found.outcomes.setdefault(begun["name"], Counter())[begun["outcome"]] += 1
                    if begun["wrong"]:
                        found.wrong.append(f"{begun['number']}, {begun['name']}: {begun['wrong']}")
                else:
                    found.memory = max(found.memory, begun["memory"])
        if code:
            how = "took too long" if code == -signal.SIGPROF else f"ended the process with {code}"
            found.wrong.append(f"{number}, {kind.of(number)[0]}: {how}")
            number += 1
    return found


def _read(kind: Kind, numbers: range, output: int) -> int:
    """Reads inputs in a child, and writes a line about each."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff says there what it thinks of a file
    warnings.simplefilter("ignore")
    for number in numbers:
        name, content = kind.of(number)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        outcome, wrong = "wrong", ""
        try:
            outcome = kind.read(name, content)
        except BaseException:  # noqa: BLE001  # of whatever kind, it is what must not happen
            wrong = traceback.format_exc()[-1500:]
        signal.setitimer(signal.ITIMER_PROF, 0)
        line = {"number": number, "name": name, "outcome": outcome, "wrong": wrong}
        os.write(output, json.dumps(line).encode() + b"\n")
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    os.write(output, json.dumps({"memory": memory}).encode() + b"\n")
    return 0
