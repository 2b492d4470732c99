"""From an image file's bytes to the pixels a network receives: the only module that opens an image.

It needs no torch, and numpy only for 16-bit images: a process that only decodes starts as fast as Pillow.
"""

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO, NamedTuple

import PIL
from PIL import Image, UnidentifiedImageError, features

from pellucid.errors import UsageError
from pellucid.reading import open_regular

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
LARGE_PIXELS = 25_000_000  # a JPEG of more is decoded at a half, a quarter or an eighth of its size
MAX_DECODED_BYTES = 300_000_000  # of an image in memory
MAX_PIXELS = 178_956_970  # of any image: Pillow opens none with more
NEEDS_MEMORY = "more memory to decode than there is for one picture"
NEEDS_HEIF = "needs pillow-heif"  # in the reason of what can be read once that is installed
PASSING = (NEEDS_HEIF, NEEDS_MEMORY)  # what is not the file's fault: it may be read another time
ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})
DEEP_MODES = frozenset({"I;16", "I;16L", "I;16B", "I"})
BYTES_PER_PIXEL = {"P": 3, "PA": 4, "LA": 4, "La": 4, "I;16": 2, "I;16L": 2, "I;16B": 2, "I": 4, "F": 4}
WHITE = 65535  # of a 16-bit file that uses all its bits
TRANSPARENT_SHARE = 0.05  # of an image's pixels, from which its drawing is told from the ground
SKETCH_SIDE = 16  # a sketch samples at most 16x16 pixels
STRIP_PIXELS = 1 << 20  # converted at a time: a conversion holds copies of a strip, not of the image

# Part of every store's key. Raise the number when a change here may give other pixels for the same file.
DECODER = f"3, Pillow {PIL.__version__}"

ORIENTATION = 0x0112  # the EXIF tag of how the camera was held
TRANSPOSE_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class DecodeSettings(NamedTuple):
    """The fields of `data.preprocess.Preprocess`, for a process without torch."""

    channels: int
    height: int
    width: int
    fit: str
    background: int
    white: int = WHITE


class ImageHeader(NamedTuple):
    """What an image file declares, read without decoding: width and height as stored, and Pillow's mode.

    has_more  whether there are further frames or pages after the first, the only one that is read
    """

    width: int
    height: int
    mode: str
    has_more: bool = False


class DecodedImage(NamedTuple):
    """Everything about an image file, from opening it once.

    header  its size and mode; None if it could not be read
    reason  why it could not be decoded, or ""
    sketch  as `sketch_of` returns it
    pixels  as `to_pixels` returns them
    """

    header: ImageHeader | None
    reason: str
    sketch: bytes = b""
    pixels: bytes = b""


def read_header(picture: str | Path | bytes, *, name: str = "") -> ImageHeader:
    """The size and mode an image file declares. Nothing is decoded: its pixels may still be damaged.

    Raises UsageError, naming the picture, when it is absent, of no known format, or too large.
    """
    with _open_image(display_name(picture, name), picture) as image:
        return _header(image)


def decode_image(
    picture: str | Path | bytes, background: int, *, white: int = WHITE, name: str = ""
) -> Image.Image:
    """The first frame of an image file, upright, 8 bits per channel, gray ("L") or colour ("RGB") as stored.

    Raises UsageError, naming the picture, when it is absent, unreadable, or too large.
    """
    name = display_name(picture, name)
    with _open_image(name, picture) as image:
        return _to_8bit(_load_upright(name, image), background, white)


def upright_8bit(image: Image.Image, background: int, *, white: int = WHITE, name: str) -> Image.Image:
    """An open PIL image as `decode_image` returns it: upright, 8 bits per channel, "L" or "RGB".

    Raises UsageError, naming the picture, when its black and white are unknown.
    """
    return _to_8bit(_load_upright(name, image), background, white)


class StoredImage(NamedTuple):
    """A decoded image as it is stored.

    image  in its own mode; of a very large JPEG at a part of its size
    size   width and height that the file declares
    turn   what makes it upright; None where it is
    """

    image: Image.Image
    size: tuple[int, int]
    turn: Image.Transpose | None


def decode_stored(picture: bytes, *, name: str) -> StoredImage:
    """An image file as it is stored. Raises UsageError, naming the picture, when it cannot be read."""
    with _open_image(name, picture) as image:
        size = image.size
        turn = _load(name, image)
        return StoredImage(image, size, turn)


def encoded(image: Image.Image) -> bytes:
    """An image as a PNG file that decodes to the same pixels: with its transparency and its 16 bits."""
    if image.mode in DEEP_MODES:
        image = image if image.mode == "I;16" else image.convert("I")
    elif image.mode in ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
    else:
        image = _to_8bit(image, 0)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


class Ink(NamedTuple):
    """How an image uses its values.

    highest     of a 16-bit image; else 0
    brightness  mean of what is opaque, 0..255; None unless some of it is transparent
    """

    highest: int
    brightness: float | None


def ink_of(picture: bytes, *, name: str) -> Ink:
    """How an image file uses its values. Raises UsageError, naming the picture, when it cannot be read."""
    with _open_image(name, picture) as image:
        deep = image.mode in DEEP_MODES
        if not (deep or image.mode in ALPHA_MODES or "transparency" in image.info):
            return Ink(0, None)
        _load(name, image)
        import numpy as np  # slow to import, and few pictures need it

        if deep:
            return Ink(max(int(np.asarray(strip).max()) for _, strip in _strips(image)), None)
        opaque = shown = weighted = 0.0
        for _, strip in _strips(image):
            coloured = strip.convert("RGBA")
            alpha = np.asarray(coloured.getchannel("A"), dtype=np.float64) / 255
            gray = np.asarray(coloured.convert("RGB").convert("L"), dtype=np.float64)
            opaque += float((alpha >= 0.5).sum())
            shown += float(alpha.sum())
            weighted += float((gray * alpha).sum())
        if not shown or 1 - opaque / (image.width * image.height) < TRANSPARENT_SHARE:
            return Ink(0, None)
        return Ink(0, weighted / shown)


def decode_bytes(content: bytes, settings: DecodeSettings, *, name: str) -> DecodedImage:
    """The header, sketch and pixels of an image file. Errors are returned in `reason`, not raised."""
    header: ImageHeader | None = None
    try:
        with _open_image(name, content) as image:
            header = _header(image)
            upright = _load_upright(name, image)
            sketch = sketch_of(upright)
            image_8bit = _to_8bit(upright, settings.background, settings.white)
        return DecodedImage(header, "", sketch, to_pixels(image_8bit, settings, name=name))
    except UsageError as error:
        return DecodedImage(header, str(error))


def sketch_of(image: Image.Image) -> bytes:
    """A 16-byte hash of what an upright image shows: equal for equal pixels, whatever the file format.

    BLAKE2 of the image's size and of at most 16x16 pixels spread over it, as RGB on black; of all its pixels
    if the sampled ones have a single colour, as on an almost empty page. Gray equals gray stored as colour,
    and the network's input size plays no part. Images that differ only between the sampled pixels have the
    same sketch: equal sketches do not prove equal pictures.
    """
    size = (min(image.width, SKETCH_SIDE), min(image.height, SKETCH_SIDE))
    sample = image if image.size == size else image.resize(size, Image.Resampling.NEAREST)
    colours = _rgb_bytes(sample)
    if sample is not image and colours == colours[:3] * (len(colours) // 3):
        sample = image
    ground = 0
    if image.mode in ALPHA_MODES and all(_is_black(strip) for _, strip in _strips(sample)):
        sample, ground = image, 255  # a black drawing on nothing
    digest = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    for _, strip in _strips(sample):
        digest.update(_rgb_bytes(strip, ground))
    return digest.digest()


def _is_black(image: Image.Image) -> bool:
    colours = _rgb_bytes(image)
    return colours == bytes(len(colours))


def _rgb_bytes(image: Image.Image, background: int = 0) -> bytes:
    """The pixels on black or another ground, three bytes each."""
    flat = _to_8bit(image, background)
    return (flat if flat.mode == "RGB" else flat.convert("RGB")).tobytes()


def to_pixels(image: Image.Image, settings: DecodeSettings, *, name: str) -> bytes:
    """The pixels of a gray or colour image as (C, H, W), one byte each, converted and made to fit as asked.

    Raises UsageError, naming the picture, when it would have to be converted but `fit` is "none".
    """
    if settings.fit == "none":
        _refuse_mismatch(name, image, settings)
    if settings.channels == 1 and image.mode != "L":
        image = image.convert("L")
    if image.size != (settings.width, settings.height):
        image = _fitted(image, settings)
    if settings.channels == 3 and image.mode != "RGB":  # gray, which is smaller until here
        image = image.convert("RGB")
    pixels = image.tobytes()  # (H, W, C)
    return pixels if settings.channels == 1 else pixels[0::3] + pixels[1::3] + pixels[2::3]


def _fitted(image: Image.Image, settings: DecodeSettings) -> Image.Image:
    """The image in the size asked for: all of it, all of it on the background, or its middle.

    `fitted` in assets/pad/preprocess.js does the same, byte for byte.
    """
    width, height = image.size
    size = inner = (settings.width, settings.height)
    is_wide = width * settings.height > height * settings.width  # wider than the shape asked for
    if settings.fit == "crop":
        kept_width = max(1, _rounded(height * settings.width, settings.height)) if is_wide else width
        kept_height = height if is_wide else max(1, _rounded(width * settings.height, settings.width))
        left, top = (width - kept_width) // 2, (height - kept_height) // 2
        image = image.crop((left, top, left + kept_width, top + kept_height))
    elif settings.fit == "pad" and is_wide:
        inner = (size[0], max(1, _rounded(height * size[0], width)))
    elif settings.fit == "pad":
        inner = (max(1, _rounded(width * size[1], height)), size[1])
    shrinks = image.width >= inner[0] and image.height >= inner[1]
    resampling = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    # Rows, then columns: in one call Pillow takes the order that is quicker, and rounds in between.
    image = image.resize((inner[0], image.height), resampling).resize(inner, resampling)
    if inner == size:
        return image
    padded = Image.new(image.mode, size, (settings.background,) * len(image.getbands()))
    padded.paste(image, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return padded


def _rounded(numerator: int, denominator: int) -> int:
    """The quotient as the nearest whole number, a half upwards."""
    return (2 * numerator + denominator) // (2 * denominator)


def is_passing(reason: str) -> bool:
    """Whether a picture that was not read may be read another time, unchanged as it is."""
    return any(passing in reason for passing in PASSING)


def display_name(picture: str | Path | bytes, name: str) -> str:
    """What errors call a picture: its path, else the name given."""
    return (name or "The picture") if isinstance(picture, bytes) else f"'{picture}'"


@contextmanager
def _open_image(name: str, picture: str | Path | bytes) -> Iterator[Image.Image]:
    """An opened image file of a known format and an acceptable size, not yet decoded.

    Whatever goes wrong inside the block becomes a UsageError that names the picture.
    """
    try:
        with (
            _suppress_warnings,
            _open_file(name, picture) as file,
            Image.open(file, formats=_formats(name, file)) as image,
        ):
            size = image.width * image.height * _bytes_per_pixel(image)
            if (decoded := size // _reduction(image) ** 2) > MAX_DECODED_BYTES:
                limit = MAX_DECODED_BYTES // 1_000_000
                raise UsageError(
                    f"{name} has {image.width}x{image.height} pixels, {decoded // 1_000_000:,} MB when "
                    f"decoded; the limit is {limit} MB. Make it smaller first."
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
    except MemoryError:
        raise UsageError(f"{name} takes {NEEDS_MEMORY}. Make it smaller first.") from None
    except Exception as error:  # a hostile file may break a decoder in any way
        reason = str(error) or type(error).__name__
        raise UsageError(f"{name} cannot be read: {reason}. It may be cut off or damaged.") from error


def _bytes_per_pixel(image: Image.Image) -> int:
    """Of the decoded image, a palette's colours and what Pillow adds to gray with transparency included."""
    return BYTES_PER_PIXEL.get(image.mode) or len(image.getbands())


def _header(image: Image.Image) -> ImageHeader:
    width, height, mode = image.width, image.height, image.mode
    has_more = False
    if image.format != "MPO":  # a phone's photo, with a preview or a depth map behind it
        with suppress(Exception):  # damage behind the first frame, which may be sound
            has_more = bool(getattr(image, "is_animated", False))
        with suppress(EOFError):
            image.seek(0)
    return ImageHeader(width, height, mode, has_more)


def _load_upright(name: str, image: Image.Image) -> Image.Image:
    """The decoded image, upright; a very large JPEG at a part of its size."""
    turn = _load(name, image)
    return image if turn is None else image.transpose(turn)


def _load(name: str, image: Image.Image) -> Image.Transpose | None:
    """Decode the image in place; what makes it upright."""
    if (reduction := _reduction(image)) > 1:
        image.draft(None, (image.width // reduction, image.height // reduction))
    image.load()
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise UsageError(
            f"{name} has 32 bits per pixel, and the file does not say which values are black and white. "
            "Convert it to 8 or 16 bits first."
        )
    return TRANSPOSE_BY_ORIENTATION.get(image.getexif().get(ORIENTATION, 1))


def _reduction(image: Image.Image) -> int:
    """By which number a JPEG's sides are divided while it is decoded: 1 unless it is very large."""
    if image.format not in ("JPEG", "MPO"):
        return 1
    fitting = (each for each in (1, 2, 4) if image.width * image.height <= LARGE_PIXELS * each**2)
    return next(fitting, 8)


def _formats(name: str, file: BinaryIO) -> tuple[str, ...]:
    """The formats a file may have. Raises UsageError for what is known but cannot be read."""
    start = file.read(40)
    file.seek(0)
    if start.startswith(b"version https://git-lfs"):
        raise UsageError(
            f"{name} is a pointer of Git LFS in place of the picture. Run 'git lfs pull' where it was cloned."
        )
    if start[4:8] != b"ftyp":
        return FORMATS
    if start[8:12] in (b"avif", b"avis"):
        return ("AVIF",) if features.check("avif") else _heif_formats(name, "AVIF")
    return _heif_formats(name, "HEIC")


def _heif_formats(name: str, kind: str) -> tuple[str, ...]:
    try:
        import pillow_heif  # an extra
    except ImportError:
        raise UsageError(
            f"{name} is a picture in {kind} format, which {NEEDS_HEIF}: pip install 'pellucid[heic]'. "
            "Or convert it to JPEG."
        ) from None
    pillow_heif.register_heif_opener()
    return ("HEIF", "AVIF")


def _open_file(name: str, picture: str | Path | bytes) -> BinaryIO:
    """The picture's bytes as an open file. Raises UsageError when it cannot be opened."""
    if isinstance(picture, bytes):
        return io.BytesIO(picture)
    try:
        if Path(picture).is_dir():
            raise UsageError(f"{name} is a folder. Name picture files, such as '{picture!s}/1.png'.")
        if not Path(picture).exists():
            raise UsageError(f"{name} does not exist. Check the path.")
        if not Path(picture).is_file():  # a pipe or a device would block
            raise UsageError(f"{name} is not a regular file. Name picture files, such as '1.png'.")
        return open_regular(Path(picture))
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}.") from error


class _SuppressWarnings:
    """A block without warnings, for several threads at once: a file is either read or refused by us.

    `warnings.catch_warnings` alone is not thread-safe: it restores the filters it found on entry, which may
    be those of another thread.
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


_suppress_warnings = _SuppressWarnings()


def _to_8bit(image: Image.Image, background: int, white: int = WHITE) -> Image.Image:
    if image.mode in DEEP_MODES:
        return _converted(image, "L", lambda strip: _scaled(strip, white))
    if "transparency" in image.info or image.mode in ALPHA_MODES:
        flat = _converted(image, "RGB", lambda strip: _on_background(strip, background))
        return flat if _has_colour(flat) else flat.convert("L")
    if image.mode in ("L", "RGB"):
        return image  # not copied: this is the common case
    return image.convert("L" if image.mode == "1" else "RGB")


def _scaled(image: Image.Image, white: int) -> Image.Image:
    """A 16-bit image as gray of 8 bits."""
    import numpy as np  # slow to import, and few pictures need it

    values = np.asarray(image, dtype=np.float64)
    return Image.fromarray(np.round(np.clip(values / white, 0, 1) * 255).astype(np.uint8))


def _on_background(image: Image.Image, background: int) -> Image.Image:
    """A transparent image as colour on a gray ground."""
    rgba = image.convert("RGBA")
    backdrop = Image.new("RGBA", rgba.size, (background, background, background, 255))
    return Image.alpha_composite(backdrop, rgba).convert("RGB")


def _converted(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """What `convert`, which looks at each pixel alone, makes of an image: an image of `mode`."""
    if image.width * image.height <= STRIP_PIXELS:
        return convert(image)
    whole = Image.new(mode, image.size)
    for top, strip in _strips(image):
        whole.paste(convert(strip), (0, top))
    return whole


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The image from top to bottom in strips of about STRIP_PIXELS, each with its first row."""
    rows = max(1, STRIP_PIXELS // max(1, image.width))
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _has_colour(image: Image.Image) -> bool:
    for _, strip in _strips(image):
        first, *others = (band.tobytes() for band in strip.split())
        if any(other != first for other in others):
            return True
    return False


def _refuse_mismatch(name: str, image: Image.Image, settings: DecodeSettings) -> None:
    coloured = settings.channels == 1 and image.mode == "RGB" and _has_colour(image)
    if image.size == (settings.width, settings.height) and not coloured:
        return
    kind = "colour" if image.mode == "RGB" and _has_colour(image) else "gray"
    expected = f"{settings.width}x{settings.height} {'gray' if settings.channels == 1 else 'colour'}"
    raise UsageError(
        f"{name} is {image.width}x{image.height} {kind}; this classifier was trained on {expected} "
        "pictures. Convert it, or let pellucid do so with `fit=stretch`."
    )
