"""From any picture to the tensor a network was trained on: the only module that opens an image.

Training, evaluation, the command line and the store all read through `Preprocess.read`, so a picture is the
same tensor wherever it is met.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from pellucid.errors import UsageError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_PIXELS = 25_000_000
SCALING = ("none", "stretch")

# Changes whenever the same file may give other pixels: raise the number when something here does so.
DECODER = f"1, Pillow {PIL.__version__}"

Scaling = Literal["none", "stretch"]

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


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes what the network receives. It travels with the network.

    channels  1 keeps or makes gray, 3 keeps or makes colour
    height, width  in pixels
    scaling   "none": a picture of another size, or a coloured one for a gray network, is refused;
              "stretch": it is converted, and averaged or interpolated to the size
    background  0 (black) to 255 (white): what shows through where a picture is transparent
    """

    channels: int
    height: int
    width: int
    scaling: Scaling = "none"
    background: int = 0

    def read(self, picture: str | Path | bytes | NDArray[Any] | Tensor, *, name: str = "") -> Tensor:
        """The picture as uint8 (C, H, W).

        A path or the bytes of an image file; a NumPy array (H, W) or (H, W, C) of uint8; or a tensor
        (C, H, W) of uint8. Of bytes and arrays `name` is what an error calls them. Raises UsageError,
        naming the picture, when it is absent, unreadable, of another kind than this network was trained
        on, or larger than 25 million pixels.
        """
        if isinstance(picture, Tensor):
            picture = _array_of(picture)
        if isinstance(picture, np.ndarray):
            return self._fitted(name or "The array", _from_array(picture))
        name = _name_of(picture, name)
        return self._fitted(name, _decoded(name, picture, self.background))

    def to_json(self) -> dict[str, Any]:
        """The fields by name, as plain numbers and words."""
        return asdict(self)

    def _fitted(self, name: str, image: Image.Image) -> Tensor:
        if self.scaling == "none":
            self._refuse_unlike(name, image)
        mode = "L" if self.channels == 1 else "RGB"
        size = (self.width, self.height)
        if image.mode != mode:
            image = image.convert(mode)
        if image.size != size:
            shrinks = image.width >= size[0] and image.height >= size[1]
            image = image.resize(size, Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC)
        pixels = np.frombuffer(image.tobytes(), np.uint8)
        pixels = pixels.reshape(self.height, self.width, self.channels).transpose(2, 0, 1)  # (C, H, W)
        return torch.from_numpy(pixels.copy())

    def _refuse_unlike(self, name: str, image: Image.Image) -> None:
        coloured = self.channels == 1 and image.mode == "RGB" and _has_colour(image)
        if image.size == (self.width, self.height) and not coloured:
            return
        kind = "colour" if image.mode == "RGB" and _has_colour(image) else "gray"
        expected = f"{self.width}x{self.height} {'gray' if self.channels == 1 else 'colour'}"
        raise UsageError(
            f"{name} is {image.width}x{image.height} {kind}; this classifier was trained on {expected} "
            "pictures. Convert it, or let pellucid do so with --scaling stretch (in Python: "
            'replace(preprocess, scaling="stretch")).'
        )


class Header(NamedTuple):
    """What an image file declares before a pixel is decoded: its size as stored, and Pillow's mode."""

    width: int
    height: int
    mode: str


def header(picture: str | Path | bytes, *, name: str = "") -> Header:
    """The size and mode an image file declares; no pixel is decoded, so the rest may still be damaged.

    Raises UsageError, naming the picture, when it is absent, of no known format, or too large.
    """
    with _undecoded(_name_of(picture, name), picture) as image:
        return Header(image.width, image.height, image.mode)


def _name_of(picture: str | Path | bytes, name: str) -> str:
    return (name or "The picture") if isinstance(picture, bytes) else f"'{picture}'"


def _decoded(name: str, picture: str | Path | bytes, background: int) -> Image.Image:
    """The first frame of an image file, upright, 8 bits a channel, gray ("L") or colour ("RGB") as stored."""
    with _undecoded(name, picture) as image:
        image.load()
        if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
            raise UsageError(
                f"{name} has 32 bits a pixel, whose black and white are not told. "
                "Convert it to 8 or 16 bits first."
            )
        return _eight_bit(_upright(image), background)


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
        deep = np.asarray(image, dtype=np.float64)
        return Image.fromarray(np.round(np.clip(deep / 65535, 0, 1) * 255).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        rgba = image.convert("RGBA")
        below = Image.new("RGBA", rgba.size, (background, background, background, 255))
        flat = Image.alpha_composite(below, rgba).convert("RGB")
        return flat if _has_colour(flat) else flat.convert("L")
    if image.mode in ("1", "L"):
        return image.convert("L")
    return image.convert("RGB")


def _has_colour(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return pixels.ndim == 3 and bool((pixels != pixels[..., :1]).any())


def _array_of(tensor: Tensor) -> NDArray[Any]:
    """(C, H, W) as (H, W, C)."""
    if tensor.dtype != torch.uint8 or tensor.dim() != 3:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise UsageError(f"Expected a picture as uint8 (C, H, W) tensor; got {kind} {tuple(tensor.shape)}.")
    array: NDArray[Any] = tensor.movedim(0, -1).cpu().numpy()
    return array


def _from_array(array: NDArray[Any]) -> Image.Image:
    fits = array.dtype == np.uint8 and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3)))
    if not fits or 0 in array.shape:
        raise UsageError(
            f"Expected a picture as uint8 (H, W), (H, W, 1) or (H, W, 3) array, or tensor (C, H, W); "
            f"got {array.dtype} {array.shape}."
        )
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def gray(picture: str | Path | bytes) -> NDArray[np.uint8]:
    """A picture file in gray at its own size, (H, W). Raises UsageError as `Preprocess.read` does."""
    return np.array(_decoded(_name_of(picture, ""), picture, 0).convert("L"), dtype=np.uint8)
