"""Numbers to charts and tensors to pictures.

Charts for pages are SVG whose text stays text; pictures are PNG in data addresses. `plot_*` give
matplotlib figures for notebooks.
"""

import base64
import io
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pellucid.assets import constants
from pellucid.data.mapped import in_blocks
from pellucid.language import translate

_COLOURS = constants("colours")
# Viridis at 33 even places (S. van der Walt and N. Smith): even in lightness, so readable in gray. Straight
# lines between them stay within 4 of 255 of the full table.
VIRIDIS = tuple(tuple(bytes.fromhex(anchor)) for anchor in _COLOURS["viridis"])
# Signed values: blue against, orange for, gray where there is nothing.
SIGNED = tuple(tuple(bytes.fromhex(anchor)) for anchor in _COLOURS["signed"])

ATLAS_SIDE = 3_200  # pixels, at most: 10 million in all, which every browser decodes
Colours = Sequence[tuple[int, ...]]
Pixels = NDArray[np.uint8]
Cell = tuple[int, int]  # column and row of a picture in an atlas


@dataclass(frozen=True)
class Atlas:
    """Pictures of one size side by side in one image, so that a page holds each of them once.

    address        the image as "data:image/...": picture n stands in column n % columns, row n // columns
    width, height  of one picture in pixels
    count          how many pictures there are
    remark         what was given up to fit, in words; empty when nothing was
    """

    address: str
    columns: int
    width: int
    height: int
    count: int
    remark: str = ""

    def cell(self, number: int) -> Cell:
        """Column and row of picture `number`."""
        return number % self.columns, number // self.columns


def palette_atlas(places: Pixels, columns: int, colours: Colours = VIRIDIS) -> Atlas:
    """Pictures (N, h, w) of `scale_places` as one image of exactly those colours."""
    table = coloured(torch.arange(256), 0, 255, colours=colours)  # (256, 3)
    number, height, width = places.shape
    sheet = _side_by_side(places, columns)
    return Atlas(address(encoded_png(sheet, palette=table)), columns, width, height, number)


def fitted_atlas(images: Tensor, *, budget: int, side: int = 64) -> Atlas:
    """Pictures uint8 (N, C, H, W) as one image whose address has at most `budget` characters.

    No picture is shown larger than `side` pixels. What is too much is given up in this order: shades (16 of
    gray; lossy compression of colour), half the size as often as needed, pictures from the end.
    """
    tiles = smaller(images, side)
    remarks = [] if tiles is images else [_at_size(tiles)]
    tiles = tiles[: (ATLAS_SIDE // tiles.shape[3]) * (ATLAS_SIDE // tiles.shape[2])]
    atlas = _atlas(tiles, exact=True)
    if len(atlas.address) > budget:
        remarks.append(
            translate("in 16 shades of gray") if images.shape[1] == 1 else translate("in lossy compression")
        )
        atlas = _atlas(tiles, exact=False)
    while len(atlas.address) > budget and min(tiles.shape[2:]) >= 32:
        tiles = smaller(tiles, max(tiles.shape[2:]) // 2)
        remarks[-1:] = [remarks[-1], _at_size(tiles)]
        atlas = _atlas(tiles, exact=False)
    while len(atlas.address) > budget and len(tiles) > 1:
        tiles = tiles[: max(1, int(len(tiles) * min(0.95, budget / len(atlas.address))))]
        atlas = _atlas(tiles, exact=False)
    if len(tiles) < len(images):
        remarks.append(
            translate("%(shown)s of %(all)s pictures", shown=f"{len(tiles):,}", all=f"{len(images):,}")
        )
    return Atlas(atlas.address, atlas.columns, atlas.width, atlas.height, atlas.count, ", ".join(remarks))


def _at_size(tiles: Tensor) -> str:
    return translate("at %(width)s × %(height)s pixels", width=tiles.shape[3], height=tiles.shape[2])


def zoom(atlas: Atlas, pixels: int) -> int:
    """How often to enlarge a picture so that it stays within so many pixels, a whole number."""
    return max(1, pixels // max(atlas.width, atlas.height))


def smaller(images: Tensor, side: int) -> Tensor:
    """uint8 (N, C, H, W) averaged down until no side exceeds `side`; the very same where none does."""
    longest = max(images.shape[2:])
    if longest <= side:
        return images
    size = [max(1, round(length * side / longest)) for length in images.shape[2:]]
    blocks = (functional.interpolate(block.float(), size, mode="area") for block in in_blocks(images))
    return torch.cat([block.round().to(torch.uint8) for block in blocks])


def coloured(values: Tensor, low: float, high: float, *, colours: Colours = VIRIDIS) -> Pixels:
    """`values` of any shape as colours (..., 3) on a scale from `low` to `high`; all the lowest if equal."""
    table = np.linspace(0, 255, len(colours))
    places = scale_places(values, low, high, steps=65_280) / 256
    bands = [np.interp(places, table, [colour[band] for colour in colours]) for band in range(3)]
    return np.stack(bands, axis=-1).round().astype(np.uint8)


def scale_places(values: Tensor, low: float, high: float, *, steps: int = 255) -> NDArray[Any]:
    """Where `values` stand on a scale from `low` (0) to `high` (`steps`), rounded; all 0 if equal."""
    kind = np.uint8 if steps <= 255 else np.uint16
    if not high > low:
        return np.zeros(values.shape, dtype=kind)
    share = ((values.double() - low) / (high - low)).nan_to_num(0).clamp(0, 1)
    return (share * steps).round().numpy().astype(kind)


def picture(image: Tensor) -> Pixels:
    """A uint8 picture (C, H, W) as pixels (H, W, 3)."""
    pixels = image.movedim(0, -1).numpy()  # (H, W, C)
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels[..., :3]


def address(content: bytes, kind: str = "png") -> str:
    """An image file's bytes inside an address that needs no file: "data:image/png;base64,..."."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def coloured_address(pixels: Pixels) -> str:
    """Coloured pixels (h, w, 3) as a PNG inside an address."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return address(file.getvalue())


def encoded_png(pixels: Pixels, *, bits: int = 8, palette: Pixels | None = None) -> bytes:
    """Pixels (h, w) as a PNG file: gray of 8 or 4 `bits`, or places in a `palette` (256, 3)."""
    height, width = pixels.shape
    rows = pixels
    if bits == 4:
        shades: Pixels = ((pixels.astype(np.uint16) + 8) // 17).astype(np.uint8)
        shades = np.pad(shades, ((0, 0), (0, width % 2)))
        rows = (shades[:, ::2] << 4 | shades[:, 1::2]).astype(np.uint8)
    header = struct.pack(">IIBBBBB", width, height, bits, 0 if palette is None else 3, 0, 0, 0)
    unfiltered = np.pad(rows, ((0, 0), (1, 0))).tobytes()  # each row begins with a 0: no filter
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(unfiltered, 6)), (b"IEND", b"")]
    if palette is not None:
        chunks.insert(1, (b"PLTE", palette.tobytes()))
    framed = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def _atlas(tiles: Tensor, *, exact: bool) -> Atlas:
    number, channels, height, width = tiles.shape
    columns = max(1, min(number, ATLAS_SIDE // width, math.ceil(math.sqrt(number * height / width))))
    if channels == 1:
        sheet = _side_by_side(tiles[:, 0].numpy(), columns)
        return Atlas(address(encoded_png(sheet, bits=8 if exact else 4)), columns, width, height, number)
    sheet = _side_by_side(tiles.movedim(1, -1).numpy(), columns)
    file, kind = io.BytesIO(), "png" if exact else "webp"
    Image.fromarray(sheet).save(file, kind, **({} if exact else {"quality": 60, "method": 2}))
    return Atlas(address(file.getvalue(), kind), columns, width, height, number)


def _side_by_side(tiles: NDArray[Any], columns: int) -> Pixels:
    """Tiles (N, h, w, ...) in rows of `columns`, without gaps; empty places are 0."""
    number, height, width, *bands = tiles.shape
    rows = math.ceil(number / columns)
    padded = np.zeros((rows * columns, height, width, *bands), dtype=np.uint8)
    padded[:number] = tiles
    grid = padded.reshape(rows, columns, height, width, *bands).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(rows * height, columns * width, *bands))


def scale_of(maps: Tensor) -> tuple[float, float]:
    """The colour scale of a layer: from zero, or below where values are negative, to its largest value."""
    return min(0.0, float(maps.min())), float(maps.max())


def text_map(heat: Tensor, *, side: int = 28) -> list[str]:
    """A signed map (h, w) in lines of characters: shades speak for, `-=%#` against, the fuller the more."""
    rows = heat[None, None]
    if max(heat.shape) > side:
        height, width = (max(1, length * side // max(heat.shape)) for length in heat.shape)
        size = (height, width)
        rows = functional.adaptive_avg_pool2d(rows, size)
    reach = float(rows.abs().max())
    if reach == 0:
        return ["no evidence"]
    steps = (rows[0, 0] / reach * 4).trunc().int() + 4  # 0..8
    return ["".join("#%=-·░▒▓█"[step] * 2 for step in row).rstrip() for row in steps.tolist()]
