"""From any picture to the tensor a network was trained on: the only module that opens an image."""

import io
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from pellucid.errors import UsageError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_PIXELS = 25_000_000
SCALING = ("none", "stretch")

Scaling = Literal["none", "stretch"]


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes what the network receives. It travels with the network.

    channels  1 keeps or makes gray, 3 keeps or makes colour
    height, width  in pixels
    scaling   "none": a picture of another size, or a coloured one for a gray network, is refused;
              "stretch": it is converted, and averaged or interpolated to the size
    """

    channels: int
    height: int
    width: int
    scaling: Scaling = "none"

    def read(self, picture: str | Path | bytes | NDArray[Any] | Tensor) -> Tensor:
        """The picture as uint8 (C, H, W).

        A path or the bytes of an image file; a NumPy array (H, W) or (H, W, C) of uint8; or a tensor
        (C, H, W) of uint8. Raises UsageError, naming the picture, when it is absent, unreadable, of
        another kind than this network was trained on, or larger than 25 million pixels.
        """
        if isinstance(picture, Tensor):
            picture = _array_of(picture)
        if isinstance(picture, np.ndarray):
            name, image = "The array", _from_array(picture)
        else:
            name, image = _opened(picture)
        return self._fitted(name, image)

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
        pixels = np.array(image, dtype=np.uint8)  # (H, W) or (H, W, C)
        return torch.from_numpy(pixels.reshape(self.height, self.width, self.channels)).permute(2, 0, 1)

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


def _opened(picture: str | Path | bytes) -> tuple[str, Image.Image]:
    """A picture file decoded, upright, 8 bits a channel, gray ("L") or colour ("RGB") as it was stored."""
    if isinstance(picture, bytes):
        return "The picture", _decoded("The picture", io.BytesIO(picture))
    name = f"'{picture}'"
    try:
        if Path(picture).is_dir():
            raise UsageError(f"{name} is a folder. Name picture files, such as '{picture!s}/1.png'.")
        if not Path(picture).exists():
            raise UsageError(f"{name} does not exist. Check the path.")
        if not Path(picture).is_file():  # a pipe or a device would be waited for
            raise UsageError(f"{name} is no file. Name picture files, such as '1.png'.")
        with Path(picture).open("rb") as file:
            return name, _decoded(name, file)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}.") from error


def _decoded(name: str, file: BinaryIO) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a file is either read or refused, with our own words
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UsageError(
                        f"{name} has {image.width}x{image.height} pixels; the limit is {MAX_PIXELS:,}. "
                        "Make it smaller first."
                    )
                image.load()
                if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
                    raise UsageError(
                        f"{name} has 32 bits a pixel, whose black and white are not told. "
                        "Convert it to 8 or 16 bits first."
                    )
                return _eight_bit(ImageOps.exif_transpose(image))
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


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16L", "I;16B", "I"):
        deep = np.asarray(image, dtype=np.float64)
        return Image.fromarray(np.round(np.clip(deep / 65535, 0, 1) * 255).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        flat = Image.alpha_composite(black, rgba).convert("RGB")
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
    return np.array(_opened(picture)[1].convert("L"), dtype=np.uint8)
