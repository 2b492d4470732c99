"""The memory that a training step needs, measured on two pictures: a batch is worked through in parts that
bound it, and a training that is still too large is refused."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
from pellucid.inference import laid_out_for, restored_modes, scaled
from pellucid.machine import available_memory
from pellucid.recipe import Recipe
from pellucid.training.sampling import seeded_random_numbers

MEASURED = 2  # pictures; batch norm needs more than one
# More than a step stores per value of a picture in most networks: what fits by this is not measured.
BYTES_PER_VALUE = 4_000
STEP_BYTES = 1 << 30  # that a step may store for its backward pass; a batch that needs more is parted
PART_BYTES = 512 << 20  # that each part of it then stores


def pictures_at_once(network: nn.Module, images: Tensor, batch_size: int, *, bfloat16: bool) -> int:
    """How many pictures of a batch go through the network at once: all, unless that stores over STEP_BYTES.

    images  (N, ...), of which a few are measured where that is needed

    It depends on network, shape and batch alone, not on the machine: the same seed trains the same weights.
    """
    if batch_size <= MEASURED or batch_size * images[0].numel() * BYTES_PER_VALUE <= STEP_BYTES:
        return batch_size
    _, per_picture = step_memory(network, images[:MEASURED], bfloat16=bfloat16)
    return _parted(batch_size, per_picture)


def _parted(batch_size: int, per_picture: int) -> int:
    if batch_size * per_picture <= STEP_BYTES:
        return batch_size
    return max(MEASURED, min(batch_size, PART_BYTES // per_picture))


def check_memory(network: nn.Module, train_set: Dataset, recipe: Recipe) -> None:
    """Raises UsageError when one step of training needs more memory than this machine has available.

    `recipe.precision` must be resolved. Costs nothing for pictures and batches that are small for the
    machine, otherwise a forward pass of two pictures.
    """
    available = available_memory()
    batch_size = min(recipe.batch_size, len(train_set))
    values = train_set.images[0].numel()
    if available is None or batch_size * values * BYTES_PER_VALUE <= available:
        return
    low = recipe.precision == "bfloat16"
    fixed, per_picture = step_memory(network, train_set.images[:MEASURED], bfloat16=low)
    needed = fixed + _parted(batch_size, per_picture) * per_picture
    if needed <= available:
        return
    shape = "x".join(map(str, train_set.images.shape[1:]))
    fits = (available - fixed) // per_picture
    advice = f"up to `batch_size={fits}` fits" if fits >= 1 else "not even one picture fits"
    raise UsageError(
        f"A step of training on {batch_size} pictures of {shape} needs about {_gigabytes(needed)} of memory, "
        f"and {_gigabytes(available)} are available: {advice}. Train on smaller batches or smaller pictures, "
        "such as `size=64`."
    )


def step_memory(network: nn.Module, images: Tensor, *, bfloat16: bool = False) -> tuple[int, int]:
    """The bytes that a step of training needs, whatever the batch, and those for each picture of it.

    images  (B, C, H, W), B > 1, to measure on: all that a forward pass stores for the backward pass,
            and the largest of it twice more, for gradients

    Modes, buffers and torch's random state are restored.
    """
    weights = {parameter.data_ptr() for parameter in network.parameters()}
    stored: dict[int, int] = {}

    def store(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    buffers = [buffer.clone() for buffer in network.buffers()]
    try:
        with (
            restored_modes(network),
            seeded_random_numbers(0),
            torch.enable_grad(),
            torch.autocast("cpu", torch.bfloat16, enabled=bfloat16),
            torch.autograd.graph.saved_tensors_hooks(store, lambda tensor: tensor),
        ):
            network.train()
            logits = network(laid_out_for(network, scaled(images))).float()  # (B, K)
            functional.cross_entropy(logits, torch.zeros(len(images), dtype=torch.int64))
    finally:
        for buffer, before in zip(network.buffers(), buffers, strict=True):
            buffer.copy_(before)
    activations = sum(stored.values()) + 2 * max(stored.values(), default=0)
    parameters = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
    # Weights, their gradients, two moments of Adam, and the best weights so far.
    return 5 * parameters, max(1, activations // len(images))


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
