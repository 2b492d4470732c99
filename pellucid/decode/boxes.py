"""Objects cut out of an image by the boxes that annotations draw around them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pellucid.decode.images import StoredImage, encoded
from pellucid.errors import UsageError

MARGIN = 0.1  # of a box's width and height, on each side: what is around an object helps to tell what it is
LEAST_SIDE = 8  # pixels: of a smaller object nothing can be seen


class Box(NamedTuple):
    """A rectangle on an image, in whole pixels; `right` and `bottom` are the first that are outside.

    drawn_on  width and height that the annotations give the image; (0, 0) where they do not
    """

    left: int
    top: int
    right: int
    bottom: int
    drawn_on: tuple[int, int] = (0, 0)


def cut_out(stored: StoredImage, box: Box, *, name: str) -> bytes | NDArray[np.uint8]:
    """What an image shows in a box and a margin of a tenth around it: uint8 (H, W) or (H, W, 3), upright.

    With transparency or 16 bits it is a PNG file. Raises UsageError, naming the picture, for a box that is
    empty, outside of the image or smaller than 8 pixels, and where the annotations are of an image of another
    size.
    """
    upright = stored.size[::-1] if _lies(stored) else stored.size
    turned_first = box.drawn_on in (upright, (0, 0))  # most tools show an image upright
    width, height = upright if turned_first else stored.size
    if not turned_first and box.drawn_on != stored.size:
        raise UsageError(
            f"{name} is a box on a picture of {box.drawn_on[0]}x{box.drawn_on[1]} pixels, as its annotation "
            f"says; the file has {width}x{height}."
        )
    if box.left >= box.right or box.top >= box.bottom:
        raise UsageError(f"{name} is an empty box.")
    left, top = max(0, box.left), max(0, box.top)
    right, bottom = min(width, box.right), min(height, box.bottom)
    if left >= right or top >= bottom:
        raise UsageError(f"{name} is a box outside of its picture, which has {width}x{height} pixels.")
    if min(right - left, bottom - top) < LEAST_SIDE:
        raise UsageError(
            f"{name} is a box of {right - left}x{bottom - top} pixels; the least is {LEAST_SIDE} a side."
        )
    wide, high = round(MARGIN * (box.right - box.left)), round(MARGIN * (box.bottom - box.top))
    left, top = max(0, left - wide), max(0, top - high)
    right, bottom = min(width, right + wide), min(height, bottom + high)
    image = stored.image
    if turned_first and stored.turn is not None:
        image = image.transpose(stored.turn)
    scale = image.width / width  # below 1 where a very large JPEG was decoded at a part of its size
    left, top, right, bottom = (round(scale * side) for side in (left, top, right, bottom))
    cut = image.crop((left, top, max(left + 1, right), max(top + 1, bottom)))
    if not turned_first and stored.turn is not None:
        cut = cut.transpose(stored.turn)
    if cut.mode in ("L", "RGB") and "transparency" not in cut.info:
        return np.array(cut)
    return encoded(cut)


def _lies(stored: StoredImage) -> bool:
    """Whether an image is stored on its side."""
    return stored.turn in (
        Image.Transpose.TRANSPOSE,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_90,
        Image.Transpose.ROTATE_270,
    )
