"""From a drawing to pixels, as a data set's pictures were made; assets/pad/strokes.js does it, too, byte
for byte.

Only additions, multiplications, divisions, comparisons and square roots of doubles, in one fixed order:
each is exact to the last bit in Python and in a browser, so both put out the same bytes.

MNIST's rule is that of its reconstruction (Yadav and Bottou, "Cold Case: the Lost MNIST Digits",
arXiv:1905.10498): the ink's longer side fills 20 pixels, gray comes from area alone, and the centre of mass
goes to the middle of 28x28 by whole pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pellucid.assets import constants

PAD: int = constants("strokes")["pad"]  # units a side of the square that strokes are drawn on
SMALLEST: int = constants("strokes")["smallest"]  # units: a dot is not blown up to a disc
AT_ONCE = 256  # pictures measured at a time: what stays near the processor

Point = tuple[float, float]
Stroke = Sequence[Point]  # (x, y) in units of the pad: a polyline drawn without lifting the pen
Pixels = NDArray[np.uint8]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """How the pictures of a data set were placed, all in their pixels.

    size     side of the square picture
    box      height and width that the ink fills
    pen      width of the pen
    centre   "mass": the centre of mass goes to the middle by whole pixels, as MNIST did;
             "box": the middle of the ink's box goes there
    """

    size: int
    box: tuple[int, int]
    pen: float
    centre: Literal["mass", "box"] = "mass"


# MNIST's is its maker's. That of the 8x8 digits is ours: of the pens and boxes tried, networks of four seeds
# read this one best, and its strokes are about as wide as theirs (1.5 pixels; theirs 1.4 to 2.0).
RULES: dict[str, Rule] = {
    "mnist": Rule(28, (20, 20), 2.6),
    "digits": Rule(8, (8, 5), 1.3, centre="box"),
}


def place(strokes: Sequence[Stroke], rule: Rule, *, pen: float | None = None) -> Pixels:
    """The drawing (size, size) as `rule` would have made it, white on black; all black without strokes.

    The strokes are enlarged or shrunk, their shape kept, until their ink fits the box, drawn with a round
    pen of `pen` pixels (the rule's own without one), and placed.
    """
    drawn = [stroke for stroke in strokes if len(stroke)]
    if not drawn:
        return np.zeros((rule.size, rule.size), dtype=np.uint8)
    pen = rule.pen if pen is None else pen
    mass = rule.centre == "mass"
    high, wide = rule.box if mass else (rule.size, rule.size)
    inked = _bytes(_coverage(_fitted(drawn, rule, pen, (high / 2, wide / 2)), (high, wide), pen))
    return _centred(inked, rule.size) if mass else inked


def draw_free(strokes: Sequence[Stroke], size: tuple[int, int], pen: float) -> Pixels:
    """The drawing (H, W) just where it is on the pad, with a pen of `pen` pixels; white on black."""
    drawn = [stroke for stroke in strokes if len(stroke)]
    if not drawn:
        return np.zeros(size, dtype=np.uint8)
    down, across = size[0] / PAD, size[1] / PAD
    lines = [[(x * across, y * down) for x, y in stroke] for stroke in drawn]
    return _bytes(_coverage(lines, size, pen))


def place_picture(pixels: Pixels, rule: Rule) -> Pixels:
    """A picture (H, W) of white ink on black, of any size, as `rule` would have made it (size, size)."""
    rows, columns = np.nonzero(pixels.any(axis=1))[0], np.nonzero(pixels.any(axis=0))[0]
    if not len(rows):
        return np.zeros((rule.size, rule.size), dtype=np.uint8)
    top, left = int(rows[0]), int(columns[0])
    high, wide = int(rows[-1]) - top + 1, int(columns[-1]) - left + 1
    step = max(high / rule.box[0], wide / rule.box[1])  # source pixels a pixel
    mass = rule.centre == "mass"
    box = rule.box if mass else (rule.size, rule.size)
    start = (top + high / 2 - box[0] * step / 2, left + wide / 2 - box[1] * step / 2)
    shrunk = _bytes(_shared_out(pixels, box, start, step))
    return _centred(shrunk, rule.size) if mass else shrunk


def as_ink(pixels: Pixels) -> Pixels:
    """A photograph or scan (H, W) of writing as white ink on black, gray edges kept.

    Bright paper is turned dark; the paper's own level, the median of the border, becomes black, and what
    is under half of Otsu's threshold (1979) with it.
    """
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    level = int(np.sort(border)[len(border) // 2])
    if level > 127:
        pixels, level = 255 - pixels, 255 - level
    ink = np.maximum(pixels, np.uint8(level)) - np.uint8(level)
    threshold = _otsu(ink)
    ink[ink < (threshold + 1) // 2] = 0
    return ink


def measure(images: Pixels) -> dict[str, Doubles]:
    """What sets one drawing apart from another: five figures (N,) each, for pictures (N, H, W) of ink.

    stroke width  in pixels: twice the ink divided by the length of its edge
    size          in pixels: the longer side of the box of pixels that are at least half ink
    row, column   in pixels: the centre of mass, counted from the first pixel's middle
    ink           in pixels: the sum of all

    A black picture has zeros.
    """
    parts = [_measured(images[start : start + AT_ONCE]) for start in range(0, max(1, len(images)), AT_ONCE)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _measured(images: Pixels) -> dict[str, Doubles]:
    ink = images.astype(np.float64) / 255  # (N, H, W)
    total = ink.sum(axis=(1, 2))
    some = np.maximum(total, 1e-9)
    height, width = ink.shape[1:]
    half: NDArray[np.bool_] = ink >= 0.5
    around = np.pad(ink, ((0, 0), (0, 1), (0, 1)))
    down, across = around[:, 1:, :-1] - ink, around[:, :-1, 1:] - ink
    edge = np.sqrt(down * down + across * across).sum(axis=(1, 2))
    return {
        "stroke width": 2 * total / np.maximum(edge, 1e-9),
        "size": np.maximum(_span(half.any(axis=2)), _span(half.any(axis=1))),
        "row": (ink.sum(axis=2) @ np.arange(height)) / some,
        "column": (ink.sum(axis=1) @ np.arange(width)) / some,
        "ink": total,
    }


def _fitted(
    strokes: Sequence[Stroke], rule: Rule, pen: float, middle: tuple[float, float]
) -> list[list[Point]]:
    """The strokes in pixels: as large as the box allows with its pen, the middle of their box at `middle`."""
    left, right = min(x for s in strokes for x, _ in s), max(x for s in strokes for x, _ in s)
    top, bottom = min(y for s in strokes for _, y in s), max(y for s in strokes for _, y in s)
    across = (rule.box[1] - pen) / max(right - left, SMALLEST)
    down = (rule.box[0] - pen) / max(bottom - top, SMALLEST)
    zoom = min(across, down)
    x0, y0 = (left + right) / 2, (top + bottom) / 2
    return [[((x - x0) * zoom + middle[1], (y - y0) * zoom + middle[0]) for x, y in s] for s in strokes]


def _coverage(lines: Sequence[Stroke], size: tuple[int, int], pen: float) -> Doubles:
    """How much of each pixel (H, W) a round pen covers, 0..1, by its distance to the nearest line."""
    y = (np.arange(size[0], dtype=np.float64) + 0.5)[:, None]
    x = (np.arange(size[1], dtype=np.float64) + 0.5)[None, :]
    nearest = np.full(size, np.inf)
    for line in lines:
        for (ax, ay), (bx, by) in zip(line, [*line[1:], line[-1]], strict=True):
            vx, vy = bx - ax, by - ay
            length = vx * vx + vy * vy
            along = ((x - ax) * vx + (y - ay) * vy) / length if length > 0 else np.zeros(size)
            along = np.minimum(1, np.maximum(0, along))
            dx, dy = x - (ax + along * vx), y - (ay + along * vy)
            nearest = np.minimum(nearest, dx * dx + dy * dy)
    covered: Doubles = np.minimum(1, np.maximum(0, pen / 2 + 0.5 - np.sqrt(nearest)))
    return covered


def _bytes(ink: Doubles) -> Pixels:
    """Ink of any unit as 0..255, the most of it 255."""
    most = ink.max()
    if most <= 0:
        return np.zeros(ink.shape, dtype=np.uint8)
    whole: Pixels = np.floor(ink / most * 255 + 0.5).astype(np.uint8)
    return whole


def _centred(inked: Pixels, size: int) -> Pixels:
    """`inked` moved by whole pixels into a picture (size, size), its centre of mass in the middle."""
    rows = inked.sum(axis=1, dtype=np.int64).tolist()
    columns = inked.sum(axis=0, dtype=np.int64).tolist()
    down, across = _offset(rows, size), _offset(columns, size)
    placed = np.zeros((size, size), dtype=np.uint8)
    for row in range(max(0, -down), min(len(rows), size - down)):
        for column in range(max(0, -across), min(len(columns), size - across)):
            placed[row + down, column + across] = inked[row, column]
    return placed


def _offset(sums: list[int], size: int) -> int:
    """By how many pixels to move so that the centre of mass lies within half a pixel of the middle."""
    moment = sum(value * (2 * index + 1) for index, value in enumerate(sums))
    return math.trunc(size / 2 + 1 - moment / (2 * sum(sums)))


def _shared_out(pixels: Pixels, size: tuple[int, int], start: tuple[float, float], step: float) -> Doubles:
    """Area resampling: every source pixel's ink, shared out among the pixels (H, W) it lies under."""
    across = np.zeros((pixels.shape[0], size[1]))
    for weight, column, place in _overlaps(size[1], start[1], step, pixels.shape[1]):
        across[:, place] += weight * pixels[:, column]
    shared = np.zeros(size)
    for weight, row, place in _overlaps(size[0], start[0], step, pixels.shape[0]):
        shared[place] += weight * across[row]
    return shared


def _overlaps(size: int, start: float, step: float, source: int) -> list[tuple[float, int, int]]:
    """(length shared, source pixel, pixel) along one side."""
    found = []
    for place in range(size):
        low, high = start + place * step, start + (place + 1) * step
        for pixel in range(max(0, math.floor(low)), min(source, math.ceil(high))):
            found.append((min(pixel + 1, high) - max(pixel, low), pixel, place))
    return found


def _otsu(ink: Pixels) -> int:
    """The level 1..255 that parts dark from bright best (N. Otsu, 1979); exact, in whole numbers."""
    blocks = np.array_split(ink.ravel(), 1 + (ink.size >> 20))  # bincount makes 64-bit numbers of a block
    counts = np.sum([np.bincount(block, minlength=256) for block in blocks], axis=0).tolist()
    total, moment = sum(counts), sum(level * count for level, count in enumerate(counts))
    best, threshold, below, below_moment = -1.0, 1, 0, 0
    for level in range(1, 256):
        below += counts[level - 1]
        below_moment += (level - 1) * counts[level - 1]
        above = total - below
        if below == 0 or above == 0:
            continue
        distance = below_moment / below - (moment - below_moment) / above
        between = below * above * distance * distance
        if between > best:
            best, threshold = between, level
    return threshold


def _span(some: Any) -> Doubles:
    """(N,) the distance from the first to the last True of each row (N, L), both counted; 0 without any."""
    length = some.shape[1]
    first = some.argmax(axis=1)
    last = length - 1 - some[:, ::-1].argmax(axis=1)
    return np.where(some.any(axis=1), last - first + 1, 0).astype(np.float64)
