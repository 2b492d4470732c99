"""Inference: pictures scaled to floats, in batches of one shape, through a network in evaluation mode."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

VALUES_PER_BATCH = 1 << 19  # about 2 MB of float input, which is fastest, and at most
PICTURES_PER_BATCH = 128


def scaled(images: Tensor) -> Tensor:
    """Pictures (B, C, H, W), uint8 0..255, as float32 0..1 in channels-last memory; floats keep their values.

    The memory format is asked for explicitly: a tensor of one channel already counts as channels last for
    `contiguous`, and every later layer would then run in the slower format.
    """
    if images.dim() != 4:  # features of a backbone
        return images
    floats = torch.empty(images.shape, memory_format=torch.channels_last).copy_(images)
    return floats if images.is_floating_point() else floats.div_(255)


def batch_size(network: nn.Module | None, images: Tensor, most: int = PICTURES_PER_BATCH) -> int:
    """How many of `images` (B, C, H, W) run at once through `network`: about as many as are fastest.

    A pretrained network brings them to the size `resize_to` first, often a larger one.
    """
    inside = math.prod(getattr(network, "resize_to", (0,)))  # a pixel, not a value: its stem halves the sides
    return max(1, min(most, VALUES_PER_BATCH // max(1, images[0].numel(), inside)))


def fixed_batches(
    images: Tensor, most: int = PICTURES_PER_BATCH, *, network: nn.Module | None = None
) -> Iterator[tuple[int, Tensor, int]]:
    """(start, batch, count): scaled batches (B, C, H, W) of one shape, whose first `count` pictures are those
    from `start` on; the last batch is padded with black pictures.

    network  that the batches are for, see `batch_size`

    One shape and one memory format mean one order of summation, so a picture's scores depend neither on the
    rest of its batch nor on how it was read.
    """
    size = batch_size(network, images, most) if len(images) else 1
    for start in range(0, len(images), size):
        pictures = images[start : start + size]
        count = len(pictures)
        if count < size:
            pictures = torch.cat([pictures, pictures.new_zeros(size - count, *images.shape[1:])])
        yield start, scaled(pictures), count


def passes_affordable(network: nn.Module, images: Tensor, budget: int) -> int:
    """How many of `images` (N, C, H, W) the network can run within a number of multiply-adds, those of
    convolutions and matrix products."""
    network = getattr(network, "_orig_mod", network)  # that inside of torch.compile, which counts nothing
    picture, counter = scaled(images[:1]), FlopCounterMode(display=False)
    weight = next((weight for weight in network.parameters() if weight.is_floating_point()), None)
    if weight is not None:
        picture = picture.to(weight.device, weight.dtype)
    with evaluation_mode(network), torch.random.fork_rng(devices=[]), torch.no_grad(), counter:
        network(picture)
    return budget // max(1, counter.get_total_flops() // 2)


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards every module is in the mode it was in before."""
    with restored_modes(network):
        network.eval()
        yield


@contextmanager
def restored_modes(network: nn.Module) -> Iterator[None]:
    """Whatever the block does, afterwards every module is in the mode (training or not) it was in before."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
