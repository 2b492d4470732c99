"""Inference: pictures scaled to floats, in batches of one shape, through a network in evaluation mode."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from pellucid.errors import PellucidError, UsageError

VALUES_PER_BATCH = 1 << 19  # about 2 MB of float input, which is fastest, and at most
PICTURES_PER_BATCH = 128

_refuse_channels_last: "WeakKeyDictionary[nn.Module, bool]" = WeakKeyDictionary()  # of the networks tried


def scaled(images: Tensor) -> Tensor:
    """Pictures (B, C, H, W), uint8 0..255, as float32 0..1 in channels-last memory; floats keep their values.

    The memory format is asked for explicitly: a tensor of one channel already counts as channels last for
    `contiguous`, and every later layer would then run in the slower format.
    """
    if images.dim() != 4:  # features of a backbone
        return images
    floats = torch.empty(images.shape, memory_format=torch.channels_last).copy_(images)
    return floats if images.is_floating_point() else floats.div_(255)


def laid_out_for(network: nn.Module, images: Tensor) -> Tensor:
    """Pictures (B, C, H, W) in a memory format that the network takes: as they are, or contiguous where it
    fails on channels last, as `view` after a convolution does.

    Each network is tried once, with two black pictures.
    """
    if images.dim() != 4 or images.stride(1) != 1 or images.shape[2:].numel() == 1:
        return images
    if network not in _refuse_channels_last:
        black = torch.zeros_like(images[:2], memory_format=torch.channels_last)
        refuses = False
        state = evaluation_mode(network), torch.random.fork_rng(devices=[]), torch.no_grad()
        with state[0], state[1], state[2], network_errors():
            try:
                network(black)
            except RuntimeError as error:  # another one comes again, from where the network is really asked
                refuses = "view size is not compatible" in str(error)
        _refuse_channels_last[network] = refuses
    if not _refuse_channels_last[network]:
        return images
    return torch.empty(images.shape, dtype=images.dtype, device=images.device).copy_(images)


def refuse_lazy(network: nn.Module) -> None:
    """Raises UsageError for a network of lazy layers that never ran: asking it would make its weights."""
    if lazy := [name for name, weight in network.named_parameters() if is_lazy(weight)]:
        raise UsageError(
            f"This network has weights that its first run will make: {', '.join(lazy[:5])}. Run it once on a "
            "picture, then ask again."
        )


@contextmanager
def network_errors() -> Iterator[None]:
    """Inside the block an error that a network raises by itself becomes a UsageError that quotes it."""
    try:
        yield
    except (PellucidError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(
            f"The network itself fails: {type(error).__name__}: {reason}. Expected a module that takes float "
            "pictures (B, C, H, W) of the size given, as its only argument, and can be differentiated."
        ) from error


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

    network  that the batches are for, see `batch_size` and `laid_out_for`

    One shape and one memory format mean one order of summation, so a picture's scores depend neither on the
    rest of its batch nor on how it was read.
    """
    size = batch_size(network, images, most) if len(images) else 1
    for start in range(0, len(images), size):
        pictures = images[start : start + size]
        count = len(pictures)
        if count < size:
            pictures = torch.cat([pictures, pictures.new_zeros(size - count, *images.shape[1:])])
        batch = scaled(pictures)
        yield start, batch if network is None else laid_out_for(network, batch), count


def passes_affordable(network: nn.Module, images: Tensor, budget: int) -> int:
    """How many of `images` (N, C, H, W) the network can run within a number of multiply-adds, those of
    convolutions and matrix products."""
    network = getattr(network, "_orig_mod", network)  # that inside of torch.compile, which counts nothing
    picture, counter = scaled(images[:1]), FlopCounterMode(display=False)
    weight = next((weight for weight in network.parameters() if weight.is_floating_point()), None)
    if weight is not None:
        picture = picture.to(weight.device, weight.dtype)
    # Without gradients the counter fails where a weight, such as a class token, is given to a module.
    with evaluation_mode(network), torch.random.fork_rng(devices=[]), torch.enable_grad(), counter:
        network(picture)
    return budget // max(1, counter.get_total_flops() // 2)


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards every module is in the mode it was in before."""
    with restored_modes(network):
        with suppress(NotImplementedError):  # of a module that torch.export made, which has one mode only
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
