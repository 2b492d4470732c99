"""From an image file's bytes to the pixels a network receives: the only module that opens an image.

It needs neither torch nor, save for 16 bits, numpy: a process that only decodes is at work as soon as Pillow
is there.
"""

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import BinaryIO, NamedTuple

import PIL
from PIL import Image, UnidentifiedImageError

from pellucid.errors import UsageError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_PIXELS = 25_000_000
SKETCHED = 16  # pixels a side, at most, that a sketch is made of

# Changes whenever the same file may give other pixels: raise the number when something here does so.
DECODER = f"1, Pillow {PIL.__version__}"

ORIENTATION = 0x0112  # the EXIF entry that tells how the camera was held
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Form(NamedTuple):
    """What a picture is made into, as `data.picture.Preprocess` has it."""

    channels: int
    height: int
    width: int
    scaling: str
    background: int


class Header(NamedTuple):
    """What an image file declares before a pixel is decoded: its size as stored, and Pillow's mode."""

    width: int
    height: int
    mode: str


class Seen(NamedTuple):
    """An image file that was opened once.

    header  what it declares; None where it cannot be told
    reason  why it is no picture, or ""
    sketch  as `sketch_of` gives it
    pixels  as `fitted` gives them
    """

    header: Header | None
    reason: str
    sketch: bytes = b""
    pixels: bytes = b""


def header(picture: str | Path | bytes, *, name: str = "") -> Header:
    """The size and mode an image file declares; no pixel is decoded, so the rest may still be damaged.

    Raises UsageError, naming the picture, when it is absent, of no known format, or too large.
    """
    with _undecoded(name_of(picture, name), picture) as image:
        return Header(image.width, image.height, image.mode)


def decoded(picture: str | Path | bytes, background: int, *, name: str = "") -> Image.Image:
    """The first frame of an image file, upright, 8 bits a channel, gray ("L") or colour ("RGB") as stored.

    Raises UsageError, naming the picture, when it is absent, unreadable, or too large.
    """
    name = name_of(picture, name)
    with _undecoded(name, picture) as image:
        return _eight_bit(_loaded(name, image), background)


def eight_bit(image: Image.Image, background: int, *, name: str) -> Image.Image:
    """An open PIL image as `decoded` gives a file: upright, 8 bits a channel, "L" or "RGB".

    Raises UsageError, naming the picture, when its values have no known black and white.
    """
    return _eight_bit(_loaded(name, image), background)


def read_through(content: bytes, form: Form, *, name: str) -> Seen:
    """What `header`, `sketch_of` and `fitted` give of a file, which is opened once."""
    declared = None
    try:
        with _undecoded(name, content) as image:
            declared = Header(image.width, image.height, image.mode)
            upright = _loaded(name, image)
            sketch = sketch_of(upright)
            picture = _eight_bit(upright, form.background)
        return Seen(declared, "", sketch, fitted(picture, form, name=name))
    except UsageError as error:
        return Seen(declared, str(error))


def sketch_of(image: Image.Image) -> bytes:
    """16 bytes by what an upright image shows: equal for equal pixels, in whatever kind of file they were.

    A BLAKE2 of the image's size and of at most 16x16 pixels from all over it, as colours on black; of all its
    pixels where those are of one colour, as of a page with little on it. So gray is equal to gray stored as
    colour, and nothing depends on what the picture is made into. Images that differ between those pixels
    alone have one sketch, too: equal sketches are no proof of equal pictures.
    """
    size = (min(image.width, SKETCHED), min(image.height, SKETCHED))
    few = image if image.size == size else image.resize(size, Image.Resampling.NEAREST)
    colours = _colours(few)
    if few is not image and colours == colours[:3] * (len(colours) // 3):
        colours = _colours(image)
    return hashlib.blake2b(repr(image.size).encode() + colours, digest_size=16).digest()


def _colours(image: Image.Image) -> bytes:
    """The pixels on black, three bytes each."""
    flat = _eight_bit(image, 0)
    return (flat if flat.mode == "RGB" else flat.convert("RGB")).tobytes()


def fitted(image: Image.Image, form: Form, *, name: str) -> bytes:
    """The pixels of a gray or colour image in the form asked for, (C, H, W), one byte each.

    Raises UsageError, naming the picture, when it is of another kind and its form may not be changed.
    """
    if form.scaling == "none":
        _refuse_unlike(name, image, form)
    mode = "L" if form.channels == 1 else "RGB"
    size = (form.width, form.height)
    if image.mode != mode:
        image = image.convert(mode)
    if image.size != size:
        shrinks = image.width >= size[0] and image.height >= size[1]
        image = image.resize(size, Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC)
    pixels = image.tobytes()  # (H, W, C)
    return pixels if form.channels == 1 else pixels[0::3] + pixels[1::3] + pixels[2::3]


def name_of(picture: str | Path | bytes, name: str) -> str:
    """What an error calls a picture: by its path, else by the name that was given."""
    return (name or "The picture") if isinstance(picture, bytes) else f"'{picture}'"


@contextmanager
def _undecoded(name: str, picture: str | Path | bytes) -> Iterator[Image.Image]:
    """An image file opened: of a known format, its size within the limit, no pixel decoded.

    Whatever is found wrong with the file inside the block is a UsageError that names it, too.
    """
    try:
        with _unwarned, _file_of(name, picture) as file, Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UsageError(
                    f"{name} has {image.width}x{image.height} pixels; the limit is {MAX_PIXELS:,}. "
                    "Make it smaller first."
                )
            yield image
    except UsageError:
        raise
    except UnidentifiedImageError:
        raise UsageError(
            f"{name} is not a picture of a known format. Expected {', '.join(FORMATS)}."
        ) from None
    except Image.DecompressionBombError:
        raise UsageError(
            f"{name} has more pixels than the limit of {MAX_PIXELS:,}. Make it smaller."
        ) from None
    except Exception as error:  # a hostile file may break a decoder in any way
        reason = str(error) or type(error).__name__
        raise UsageError(f"{name} cannot be read: {reason}. It may be cut off or damaged.") from error


def _loaded(name: str, image: Image.Image) -> Image.Image:
    """The image decoded and upright."""
    image.load()
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise UsageError(
            f"{name} has 32 bits a pixel, whose black and white are not told. "
            "Convert it to 8 or 16 bits first."
        )
    return _upright(image)


def _file_of(name: str, picture: str | Path | bytes) -> BinaryIO:
    """The picture's bytes as an open file. Raises UsageError when there is no such file to read."""
    if isinstance(picture, bytes):
        return io.BytesIO(picture)
    try:
        if Path(picture).is_dir():
            raise UsageError(f"{name} is a folder. Name picture files, such as '{picture!s}/1.png'.")
        if not Path(picture).exists():
            raise UsageError(f"{name} does not exist. Check the path.")
        if not Path(picture).is_file():  # a pipe or a device would be waited for
            raise UsageError(f"{name} is no file. Name picture files, such as '1.png'.")
        return Path(picture).open("rb")
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}.") from error


class _Unwarned:
    """A block in which no warning is shown: a file is either read or refused, with our own words.

    Threads may be inside at once. Python's own block is not made for that: it puts back whatever filters
    it found, those of another thread among them.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.inside = 0
        self.block = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.block = warnings.catch_warnings()
                self.block.__enter__()
                warnings.simplefilter("ignore")
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.block.__exit__(None, None, None)


_unwarned = _Unwarned()


def _upright(image: Image.Image) -> Image.Image:
    """The picture turned and mirrored as its EXIF orientation asks; it is applied, never passed on."""
    turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def _eight_bit(image: Image.Image, background: int) -> Image.Image:
    if image.mode in ("I;16", "I;16L", "I;16B", "I"):
        import numpy as np  # few pictures need it, and it takes longer to load than Pillow

        deep = np.asarray(image, dtype=np.float64)
        return Image.fromarray(np.round(np.clip(deep / 65535, 0, 1) * 255).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        rgba = image.convert("RGBA")
        below = Image.new("RGBA", rgba.size, (background, background, background, 255))
        flat = Image.alpha_composite(below, rgba).convert("RGB")
        return flat if _has_colour(flat) else flat.convert("L")
    if image.mode in ("L", "RGB"):
        return image  # as it is: a copy of every picture would be time for nothing
    return image.convert("L" if image.mode == "1" else "RGB")


def _has_colour(image: Image.Image) -> bool:
    first, *others = (band.tobytes() for band in image.split())
    return any(other != first for other in others)


def _refuse_unlike(name: str, image: Image.Image, form: Form) -> None:
    coloured = form.channels == 1 and image.mode == "RGB" and _has_colour(image)
    if image.size == (form.width, form.height) and not coloured:
        return
    kind = "colour" if image.mode == "RGB" and _has_colour(image) else "gray"
    expected = f"{form.width}x{form.height} {'gray' if form.channels == 1 else 'colour'}"
    raise UsageError(
        f"{name} is {image.width}x{image.height} {kind}; this classifier was trained on {expected} "
        "pictures. Convert it, or let pellucid do so with --scaling stretch (in Python: "
        'replace(preprocess, scaling="stretch")).'
    )
