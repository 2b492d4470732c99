"""The tutorial network trained in Keras, as a program of its own: the peer pellucid is measured against.

    python keras_tutorial.py --data-dir DIR --split none --seed 42 --out result.json
    python keras_tutorial.py --data-dir DIR --split split.csv --seed 42 --out result.json --mode honest

page    The page as it is written: a random fifth is held out (random_state 42), yet early stopping watches
        the *test set*, and the weights at the end are those of the last epoch, not of the best one.
        `validation` in the result is therefore the test set; `page_evaluate` is the page's own last line,
        the held-out fifth. `--seed` stands where the page fixes 42.
honest  The same network and training, but early stopping watches the validation pictures of `--split`, the
        best weights are put back, and the test set is evaluated once, afterwards.

Where the page had to bend: MNIST comes from files instead of a download, Keras 3 wants `metrics` as a list,
the checkpoint goes to a temporary folder, and the page's drawing (steps 9 to 11) is left out, which spares
Keras that time. The page seeds NumPy and TensorFlow; Keras 3 draws its first weights from Python's `random`,
which stays unseeded there, so `keras.utils.set_random_seed` seeds all three.

`process_seconds` counts from this file's first line, so imports are in it and the start of Python is not.
`cpu_seconds` is the work of all threads, the figure that a busy machine changes least.
"""
# ruff: noqa: E402  the clock starts before the imports, which are part of the process

import time

STARTED = time.perf_counter()

import argparse
import csv
import gzip
import json
import os
import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import sklearn
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from tensorflow import keras

IMPORTED = time.perf_counter()


class Labelled(NamedTuple):
    """Pictures (N, 28, 28, 1), 0..1, with their labels (N,)."""

    images: NDArray[np.float64]
    labels: NDArray[np.uint8]


class Parts(NamedTuple):
    """What is learned from, what early stopping watches, what the page's last line measures, the test set."""

    train: Labelled
    validation: Labelled
    held_out: Labelled
    test: Labelled


def main() -> None:
    options = parsed()
    whole, test = prepared(options.data_dir, "train"), prepared(options.data_dir, "t10k")
    keras.utils.set_random_seed(options.seed)
    parts = page_parts(whole, test) if options.mode == "page" else split_parts(whole, test, options.split)
    model = tutorial_network()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "best_model_Q2.h5"
        started = time.perf_counter()
        history = fitted(model, parts, checkpoint)
        fit_seconds = time.perf_counter() - started
        if options.mode == "honest":
            model.load_weights(checkpoint)
    started = time.perf_counter()
    loss, accuracy = model.evaluate(*(parts.held_out if options.mode == "page" else test))
    evaluate_seconds = time.perf_counter() - started
    process_seconds = time.perf_counter() - STARTED
    result = {
        "program": f"keras_tutorial {options.mode}",
        "seed": options.seed,
        "epochs": len(history["loss"]),
        "best_epoch": int(np.argmin(history["val_loss"])) + 1,
        "import_seconds": IMPORTED - STARTED,
        "fit_seconds": fit_seconds,
        "evaluate_seconds": evaluate_seconds,
        "process_seconds": process_seconds,
        "cpu_seconds": time.process_time(),
        "pictures": {name: len(part.images) for name, part in parts._asdict().items()},
        "validation": "test set" if options.mode == "page" else "validation split",
        "history": history,
        **judged(options.mode, history, loss, accuracy),
        "peak_rss_bytes": peak_rss_bytes(),
        "versions": versions(),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{options.mode}: {fit_seconds:.1f} s of fitting, test accuracy {result['test_accuracy']:.4f}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The tutorial network trained in Keras.")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of MNIST's four .gz files")
    parser.add_argument(
        "--split", type=Path, default="none", help="pellucid's split.csv, or none (page mode)"
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--out", type=Path, required=True, help="where the result goes, as JSON")
    parser.add_argument("--mode", choices=["page", "honest"], default="page")
    options = parser.parse_args()
    if options.mode == "page" and options.split != Path("none"):
        parser.error("the page makes its own split: use --split none, or --mode honest")
    if options.mode == "honest" and options.split == Path("none"):
        parser.error("--mode honest needs --split split.csv")
    return options


def prepared(folder: Path, name: str) -> Labelled:
    """MNIST's "train" or "t10k" part as the page prepares it: (N, 28, 28, 1) in 0..1, as float64."""
    images = read_idx(folder / f"{name}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{name}-labels-idx1-ubyte.gz")
    return Labelled(images.reshape(-1, 28, 28, 1) / 255.0, labels)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in a gzipped IDX file of bytes: two zeros, type 8, rank, then each length in four bytes."""
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\0\0\x08":
        sys.exit(f"'{path}' is not an IDX file of bytes.")
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def page_parts(whole: Labelled, test: Labelled) -> Parts:
    """The page's parts: 8:2, and the test set as validation data."""
    train_images, held_images, train_labels, held_labels = train_test_split(
        whole.images, whole.labels, test_size=0.2, random_state=42
    )
    return Parts(Labelled(train_images, train_labels), test, Labelled(held_images, held_labels), test)


def split_parts(whole: Labelled, test: Labelled, split: Path) -> Parts:
    """The parts a split.csv names (`source,label,split,sha256`, source "mnist/train/17")."""
    indices: dict[str, list[int]] = {"train": [], "validation": []}
    with split.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            data, part, index = row["source"].split("/")
            if part != "train":
                continue
            if data != "mnist" or whole.labels[int(index)] != int(row["label"]):
                sys.exit(f"'{split}' does not belong to these pictures: see {row['source']}.")
            indices[row["split"]].append(int(index))
    train, validation = (subset(whole, indices[name]) for name in ("train", "validation"))
    return Parts(train, validation, validation, test)


def subset(part: Labelled, indices: Sequence[int]) -> Labelled:
    return Labelled(part.images[indices], part.labels[indices])


def tutorial_network() -> keras.Sequential:
    """The page's network, compiled as on the page."""
    model = keras.Sequential()
    model.add(
        keras.layers.Conv2D(16, kernel_size=3, activation="relu", padding="same", input_shape=(28, 28, 1))
    )
    model.add(keras.layers.MaxPooling2D(2))
    model.add(keras.layers.Conv2D(32, kernel_size=3, activation="relu", padding="same"))
    model.add(keras.layers.MaxPooling2D(2))
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(80, activation="relu"))
    model.add(keras.layers.Dropout(0.4))
    model.add(keras.layers.Dense(10, activation="softmax"))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def fitted(model: keras.Sequential, parts: Parts, checkpoint: Path) -> dict[str, list[float]]:
    """The history by epoch, under Keras' keys, once `model` is trained as on the page."""
    callbacks = [
        keras.callbacks.ModelCheckpoint(checkpoint, save_best_only=True),
        keras.callbacks.EarlyStopping(patience=3),
    ]
    history = model.fit(*parts.train, epochs=20, validation_data=tuple(parts.validation), callbacks=callbacks)
    return {name: [float(value) for value in values] for name, values in history.history.items()}


def judged(mode: str, history: dict[str, list[float]], loss: float, accuracy: float) -> dict[str, Any]:
    """The test set's figures, and on the page also those of its own last line.

    In page mode the test set was the validation data, so the last epoch's validation is the test of the
    weights that the page ends with.
    """
    if mode == "honest":
        return {"test_loss": loss, "test_accuracy": accuracy}
    return {
        "page_evaluate": {"loss": loss, "accuracy": accuracy},
        "test_loss": history["val_loss"][-1],
        "test_accuracy": history["val_accuracy"][-1],
    }


def peak_rss_bytes() -> int:
    """The most memory this process held. Linux counts kilobytes, macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def versions() -> dict[str, str]:
    return {
        "python": sys.version.split()[0],
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    }


if __name__ == "__main__":
    main()
