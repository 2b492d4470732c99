"""From any picture to the tensor a network was trained on.

Training, evaluation, the command line and the store all read through `Preprocess.read`, or through the same
decoding in processes of its own, so a picture is the same tensor wherever it is met.
"""

from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pellucid.decode.images import (
    WHITE,
    DecodedImage,
    DecodeSettings,
    ImageHeader,
    decode_bytes,
    decode_image,
    display_name,
    sketch_of,
    to_pixels,
    upright_8bit,
)
from pellucid.errors import UsageError

Fit = Literal["none", "stretch", "pad", "crop"]
FITS: tuple[Fit, ...] = get_args(Fit)

AnyPicture = str | Path | bytes | NDArray[Any] | Tensor | Image.Image


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes what the network receives. It travels with the network.

    channels  1 keeps or makes gray, 3 keeps or makes colour
    height, width  in pixels
    fit       what is done with a picture of another size. "none" refuses it, and a coloured one where the
              network takes gray. "stretch" resizes the whole picture to height x width; "pad" resizes it as
              far as it goes in, and fills what is left on two sides with the background; "crop" resizes its
              middle, as large as it can be cut out in that shape. Resizing averages pixels where both sides
              shrink, and is bicubic otherwise
    background  0 (black) to 255 (white): what shows through where a picture is transparent, and around a
              padded one
    white     the value of a 16-bit file that is white: 65535, or less where fewer bits are used
    """

    channels: int
    height: int
    width: int
    fit: Fit = "none"
    background: int = 0
    white: int = WHITE

    def read(self, picture: AnyPicture, *, name: str = "") -> Tensor:
        """The picture as uint8 (C, H, W).

        A path or the bytes of an image file; a PIL image; a NumPy array (H, W) or (H, W, C) of uint8; or a
        tensor (C, H, W) of uint8. `name` is what an error calls all but a path. Raises UsageError,
        naming the picture, when it is absent, unreadable, of another kind than this network was trained
        on, or larger than 300 MB when decoded.
        """
        if isinstance(picture, Tensor):
            picture = _array_of(picture)
        if isinstance(picture, Image.Image):
            return self._fitted(
                name or "The image",
                upright_8bit(picture, self.background, white=self.white, name=name or "The image"),
            )
        if isinstance(picture, np.ndarray):
            return self._fitted(name or "The array", _from_array(picture))
        name = display_name(picture, name)
        return self._fitted(name, decode_image(picture, self.background, white=self.white, name=name))

    def decode(self, picture: bytes | NDArray[Any], *, name: str) -> DecodedImage:
        """All there is to know of an image file's bytes, or of an array as `read` takes it, opened once."""
        if isinstance(picture, bytes):
            return decode_bytes(picture, self.decode_settings, name=name)
        try:
            image = _from_array(picture)
            pixels = to_pixels(image, self.decode_settings, name=name)
        except UsageError as error:
            return DecodedImage(None, str(error))
        return DecodedImage(ImageHeader(image.width, image.height, image.mode), "", sketch_of(image), pixels)

    def with_fit(self, fit: str | None) -> "Preprocess":
        """The same with another `fit`; None changes nothing. Raises UsageError for an unknown one."""
        if fit is None:
            return self
        if fit not in FITS:
            raise UsageError(f"Unknown fit '{fit}'. Known: {', '.join(FITS)}.")
        return replace(self, fit=fit)

    @property
    def form(self) -> tuple[int, int, int, str]:
        """Channels, height, width and fit; networks with the same can be shown the same tensors."""
        return self.channels, self.height, self.width, "stretch" if self.fit == "none" else self.fit

    @property
    def decode_settings(self) -> DecodeSettings:
        """The same for a process without torch."""
        return DecodeSettings(*astuple(self))

    def to_json(self) -> dict[str, Any]:
        """The fields by name, as plain numbers and words."""
        return asdict(self)

    def _fitted(self, name: str, image: Image.Image) -> Tensor:
        pixels = bytearray(to_pixels(image, self.decode_settings, name=name))
        return torch.frombuffer(pixels, dtype=torch.uint8).view(self.channels, self.height, self.width)


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
