"""Pictures to measure on that come along, so that nothing must be found or downloaded."""

import torch
from torch import nn

from pellucid.data import load
from pellucid.data.dataset import Dataset

PICTURES = 48_000


def strokes() -> Dataset:
    """The embedded digits, enlarged to 28x28 and repeated: pooling takes many times longer on noise."""
    splits = load("digits")
    images = nn.functional.interpolate(splits.train.images.float(), (28, 28), mode="bilinear").to(torch.uint8)
    indices = torch.arange(PICTURES) % len(images)
    sources = [str(number) for number in range(PICTURES)]
    return Dataset(images[indices], splits.train.labels[indices], splits.train.classes, sources)
