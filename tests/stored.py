"""One picture in gray and one in colour, to be stored in every kind of file."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pellucid.data.preprocess import Preprocess

GRAY = Preprocess(1, 4, 6)  # 4 high, 6 wide
COLOUR = Preprocess(3, 4, 6)
RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
RAINBOW = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=-1)


def stored(image: Image.Image | NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file of that kind, with Pillow's options for it."""
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()
