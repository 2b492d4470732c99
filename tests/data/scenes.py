"""Scenes with a cat and a dog, and annotations that draw boxes around them."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.data.folders import planted

SIDE = 96
NAMES = ("cat", "dog")
# Of every picture: a cat on the left, a dog on the right, as x, y, width, height.
PLACES = ((6, 20, 30, 24), (50, 40, 24, 36))


def scene(number: int) -> bytes:
    """A bright cat and a dark dog on noise, no two pictures alike."""
    random = np.random.default_rng(number)
    pixels = random.integers(60, 140, (SIDE, SIDE, 3), np.uint8)
    for (x, y, width, height), level in zip(PLACES, (200, 5), strict=True):
        pixels[y : y + height, x : x + width] = level + random.integers(0, 30, (height, width, 3))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def coco(count: int, more: list[dict[str, Any]] | None = None, *, size: int = SIDE) -> bytes:
    marks = [
        {"image_id": number, "category_id": category, "bbox": list(box)}
        for number in range(count)
        for category, box in enumerate(PLACES)
    ]
    images = [
        {"id": number, "file_name": f"{number:03}.png", "width": size, "height": size}
        for number in range(count)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    return json.dumps(
        {"images": images, "annotations": [*marks, *(more or [])], "categories": categories}
    ).encode()


def voc(boxes: Mapping[str, tuple[int, int, int, int]]) -> bytes:
    objects = "".join(
        f"<object><name>{name}</name><part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax>"
        f"<ymax>2</ymax></bndbox></part><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
        f"<xmax>{x + width}</xmax><ymax>{y + height}</ymax></bndbox></object>"
        for name, (x, y, width, height) in boxes.items()
    )
    size = f"<size><width>{SIDE}</width><height>{SIDE}</height><depth>3</depth></size>"
    return f"<annotation>{size}{objects}</annotation>".encode()


def coco_folder(folder: Path, count: int = 40, more: list[dict[str, Any]] | None = None) -> Path:
    files = {f"images/{number:03}.png": scene(number) for number in range(count)}
    return planted(folder, {**files, "annotations/instances.json": coco(count, more)})


def voc_folder(folder: Path, count: int = 40) -> Path:
    pictures = {f"JPEGImages/{number:03}.png": scene(number) for number in range(count)}
    annotation = voc(dict(zip(NAMES, PLACES, strict=True)))
    return planted(folder, pictures | {f"Annotations/{number:03}.xml": annotation for number in range(count)})


# Of five pictures, what is wrong with a further box on each.
FAULTS: list[dict[str, Any]] = [
    {"image_id": 0, "category_id": 0, "bbox": [10, 10, 0, 20]},
    {"image_id": 1, "category_id": 0, "bbox": [200, 10, 20, 20]},
    {"image_id": 2, "category_id": 1, "bbox": [10, 10, 5, 50]},
    {"image_id": 3, "category_id": 1},
    {"image_id": 4, "category_id": 1, "bbox": list(PLACES[0])},  # the cat's, called a dog
]
