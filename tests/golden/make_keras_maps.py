"""Makes keras_maps.npz: what Keras' layers put out for fixed weights and two drawn pictures.

    pip install -r benchmarks/peers/requirements.txt
    python tests/golden/make_keras_maps.py

The network is that of the model `tutorial`, the weights are those of `weights.py`, and every map comes from
`keras.Model(...).predict`, as on the page. In the file, for N = 2 pictures:

    images          uint8   (N, 1, 28, 28)    what the network saw, times 255
    conv1           float32 (N, 28, 28, 16)   after its ReLU
    pool1           float32 (N, 14, 14, 16)
    conv2           float32 (N, 14, 14, 32)   after its ReLU
    pool2           float32 (N, 7, 7, 32)
    dense1          float32 (N, 80)           after its ReLU
    dense2          float32 (N, 10)           after its softmax: probabilities
    weights_sha256  str                       `fingerprint(keras_weights())` when the maps were made
    versions        str     (3,)              keras, tensorflow and numpy that made them

The maps are in Keras' layout, channels last; `weights.channels_first` turns them.
"""

import os
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from weights import LAYERS, Weights, fingerprint, keras_weights

TARGET = Path(__file__).with_name("keras_maps.npz")
Point = tuple[float, float]

# A "4" and a "2" as pen strokes, in (x, y) pixels: straight lines, a curve and empty margins.
STROKES: list[list[list[Point]]] = [
    [[(16, 4), (7, 17), (21, 17)], [(17, 11), (17, 24)]],
    [[(8, 9), (10, 6), (14, 5), (18, 7), (19, 11), (16, 15), (8, 22), (21, 22)]],
]


def main() -> None:
    weights = keras_weights()
    network = tutorial_network(weights)
    images = np.stack([drawn(strokes) for strokes in STROKES])[:, None]  # (N, 1, 28, 28)
    maps = feature_maps(network, images)
    versions = np.array([keras.__version__, tf.__version__, np.__version__])
    np.savez_compressed(TARGET, images=images, weights_sha256=fingerprint(weights), versions=versions, **maps)
    for name, values in maps.items():
        print(f"{name:8} {values.shape!s:18} {values.min():8.4f} .. {values.max():.4f}")
    print(f"{TARGET} holds {TARGET.stat().st_size:,} bytes; weights {fingerprint(weights)[:16]}...")


def tutorial_network(weights: Weights) -> keras.Model:
    """The page's network with `weights`."""
    network = keras.Sequential(
        [
            keras.layers.Input((28, 28, 1)),
            keras.layers.Conv2D(16, kernel_size=3, activation="relu", padding="same", name="conv1"),
            keras.layers.MaxPooling2D(2, name="pool1"),
            keras.layers.Conv2D(32, kernel_size=3, activation="relu", padding="same", name="conv2"),
            keras.layers.MaxPooling2D(2, name="pool2"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(80, activation="relu", name="dense1"),
            keras.layers.Dropout(0.4, name="dropout"),
            keras.layers.Dense(10, activation="softmax", name="dense2"),
        ]
    )
    for layer in LAYERS:
        network.get_layer(layer).set_weights([weights[f"{layer}.kernel"], weights[f"{layer}.bias"]])
    return network


def feature_maps(network: keras.Model, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """What each layer puts out for `images` (N, 1, 28, 28), channels last."""
    pixels = np.moveaxis(images, 1, -1).astype(np.float32) / np.float32(255)  # (N, 28, 28, 1)
    names = ["conv1", "pool1", "conv2", "pool2", "dense1", "dense2"]
    return {
        name: keras.Model(network.inputs, network.get_layer(name).output).predict(pixels, verbose=0)
        for name in names
    }


def drawn(strokes: list[list[Point]]) -> NDArray[np.uint8]:
    """A 28x28 picture of pen strokes about two pixels wide, white on black with soft edges."""
    rows, columns = np.mgrid[0:28, 0:28].astype(np.float64)
    nearest = np.full((28, 28), np.inf)
    for stroke in strokes:
        for start, end in zip(stroke, stroke[1:], strict=False):
            nearest = np.minimum(nearest, distance(columns, rows, start, end))
    return np.round(255 * np.clip(1.8 - nearest, 0, 1)).astype(np.uint8)


def distance(
    columns: NDArray[np.float64], rows: NDArray[np.float64], start: Point, end: Point
) -> NDArray[np.float64]:
    """How far each pixel's centre lies from the line between two points."""
    along = np.subtract(end, start)
    share = ((columns - start[0]) * along[0] + (rows - start[1]) * along[1]) / (along @ along)
    share = np.clip(share, 0, 1)
    return np.hypot(columns - start[0] - share * along[0], rows - start[1] - share * along[1])


if __name__ == "__main__":
    main()
