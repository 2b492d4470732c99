"""Pictures through a network: scaled in one place, in batches of one shape, in evaluation mode."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

VALUES_A_BATCH = 1 << 19  # about 2 MB of float input, and no more than so many pictures: what is quickest
PICTURES_A_BATCH = 128


def scaled(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 0..1, channels last: the one place where pictures are scaled. Floats stay.

    The layout is asked for by name: of a tensor with one channel, `contiguous` thinks that it has it already,
    and every layer behind would then work in the slower one.
    """
    if images.dim() != 4:  # what a backbone made of pictures
        return images
    floats = torch.empty(images.shape, memory_format=torch.channels_last).copy_(images)
    return floats if images.is_floating_point() else floats.div_(255)


def fixed_batches(images: Tensor) -> Iterator[tuple[int, Tensor, int]]:
    """(start, batch, filled): scaled batches of one shape; the last is filled up with black pictures.

    One shape and one layout in memory mean one way of adding numbers up, so a picture's scores depend
    neither on its neighbours nor on how it was read.
    """
    size = max(1, min(PICTURES_A_BATCH, VALUES_A_BATCH // max(1, images[0].numel()))) if len(images) else 1
    for start in range(0, len(images), size):
        pictures = images[start : start + size]
        filled = len(pictures)
        if filled < size:
            pictures = torch.cat([pictures, pictures.new_zeros(size - filled, *images.shape[1:])])
        yield start, scaled(pictures), filled


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network is in evaluation mode inside the block; afterwards every module is as it was."""
    with modes_kept(network):
        network.eval()
        yield


@contextmanager
def modes_kept(network: nn.Module) -> Iterator[None]:
    """Whatever the block does, afterwards every module is in the mode, training or not, it was in before."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
