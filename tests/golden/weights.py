"""The fixed weights of the golden feature maps, made from a recipe because the numbers would fill 500 kB.

NumPy alone is needed, so that the environment with Keras and the one with PyTorch draw the same numbers.

The recipe: one generator, `Generator(PCG64(42))`, draws every array of LAYERS in that order, kernel before
bias. A kernel is normal with He's deviation sqrt(2 / fan in), which keeps the maps near 1 in every layer; a
bias is normal with deviation 0.1, because a forgotten bias of zero would go unseen. Drawn as float64, then
rounded to float32.

NumPy does not promise its normal stream for ever. `fingerprint` tells whether these are still the numbers
the maps were made from; if not, run `make_keras_maps.py` again.
"""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.float32]]

# Kernels as Keras keeps them: a convolution is (H, W, inputs, outputs), a dense layer (inputs, outputs).
LAYERS: dict[str, tuple[int, ...]] = {
    "conv1": (3, 3, 1, 16),
    "conv2": (3, 3, 16, 32),
    "dense1": (7 * 7 * 32, 80),
    "dense2": (80, 10),
}
POOLED = (7, 7, 32)  # H, W, C of what dense1 sees, before it is flattened


def keras_weights() -> Weights:
    """The weights in Keras' layout: "conv1.kernel", "conv1.bias", ..., 131,130 numbers in all."""
    generator = np.random.Generator(np.random.PCG64(42))
    weights: Weights = {}
    for layer, shape in LAYERS.items():
        deviation = math.sqrt(2 / math.prod(shape[:-1]))
        weights[f"{layer}.kernel"] = generator.normal(0, deviation, shape).astype(np.float32)
        weights[f"{layer}.bias"] = generator.normal(0, 0.1, shape[-1]).astype(np.float32)
    return weights


def torch_weights(weights: Weights) -> Weights:
    """`keras_weights()` in PyTorch's layout and under its names: "conv1.weight", "conv1.bias", ...

    convolution  (H, W, inputs, outputs) -> (outputs, inputs, H, W)
    dense        (inputs, outputs) -> (outputs, inputs)
    dense1       its inputs are also put in another order: Keras flattens (H, W, C), PyTorch (C, H, W)
    """
    converted: Weights = {}
    for layer in LAYERS:
        kernel = weights[f"{layer}.kernel"]
        if kernel.ndim == 4:
            kernel = kernel.transpose(3, 2, 0, 1)
        elif layer == "dense1":
            kernel = kernel.reshape(*POOLED, -1).transpose(3, 2, 0, 1).reshape(kernel.shape[1], -1)
        else:
            kernel = kernel.T
        converted[f"{layer}.weight"] = np.ascontiguousarray(kernel)
        converted[f"{layer}.bias"] = weights[f"{layer}.bias"]
    return converted


def channels_first(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keras' maps (N, H, W, C) as PyTorch has them, (N, C, H, W); anything flat is left as it is."""
    return np.ascontiguousarray(np.moveaxis(maps, -1, 1)) if maps.ndim == 4 else maps


def fingerprint(weights: Weights) -> str:
    """SHA-256 over the names and the little-endian bytes of `keras_weights()`, in their order."""
    digest = hashlib.sha256()
    for name, values in weights.items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
    return digest.hexdigest()
