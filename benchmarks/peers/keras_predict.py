"""Keras predicting with the tutorial network: the peer of `pellucid predict`.

    python keras_predict.py measure --out result.json
    python keras_predict.py measure --model network.keras --picture digit.png --out result.json

`measure` starts the three other tasks as processes of their own, so that each pays for its own imports:

make MODEL PICTURE     writes the page's network with random weights and a picture, where none were given
one MODEL PICTURE      loads both and prints the class: what a person waits for, timed from outside as a
                       whole process, `--repeats` times after one that warms the disk's cache
many MODEL             predicts `--count` pictures with `predict` for each size of batch, `--repeats` times;
                       `predict_seconds` from pictures already scaled to float32, and
                       `scale_and_predict_seconds` from uint8; loading and the first batch are in neither
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray


def main() -> None:
    options = parsed()
    if options.task == "make":
        make(options.model, options.picture)
    elif options.task == "one":
        print(most_likely(options.model, options.picture))
    elif options.task == "many":
        print(json.dumps(many(options.model, options.count, options.batch_sizes, options.repeats)))
    else:
        measure(options)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Keras on the tutorial network.")
    tasks = parser.add_subparsers(dest="task", required=True)
    for name in ("make", "one"):
        task = tasks.add_parser(name)
        task.add_argument("model", type=Path)
        task.add_argument("picture", type=Path)
    task = tasks.add_parser("many")
    task.add_argument("model", type=Path)
    add_sizes(task)
    task = tasks.add_parser("measure")
    task.add_argument("--model", type=Path, help="a .keras file; without it, the network is made here")
    task.add_argument("--picture", type=Path, help="a 28x28 gray PNG; without it, one is made here")
    task.add_argument("--out", type=Path, required=True, help="where the result goes, as JSON")
    add_sizes(task)
    return parser.parse_args()


def add_sizes(task: argparse.ArgumentParser) -> None:
    task.add_argument("--count", type=int, default=100_000, help="how many pictures")
    task.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 256, 1024, 4096])
    task.add_argument("--repeats", type=int, default=3)


def measure(options: argparse.Namespace) -> None:
    """Runs the tasks as processes and writes their figures to `--out`."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "network.keras", Path(folder) / "picture.png"
        if not (options.model and options.picture):
            started_process("make", *made)
        model, picture = options.model or made[0], options.picture or made[1]
        started_process("one", model, picture)
        one = [started_process("one", model, picture)[1] for _ in range(options.repeats)]
        one_peak = peak_rss_bytes(resource.RUSAGE_CHILDREN)
        sizes = [str(size) for size in options.batch_sizes]
        repeated = ["--count", str(options.count), "--repeats", str(options.repeats), "--batch-sizes", *sizes]
        printed, _ = started_process("many", model, *repeated)
    result = {
        "program": "keras_predict",
        "model": options.model.name if options.model else "made here, random weights",
        "one_process_seconds": one,
        "one_process_seconds_median": statistics.median(one),
        "one_peak_rss_bytes": one_peak,
        "many": json.loads(printed.splitlines()[-1]),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    best = result["many"]["best"]
    print(f"one picture: {result['one_process_seconds_median']:.2f} s as a process")
    print(
        f"{best['predict_seconds_median']:.2f} s for {options.count:,} pictures, {best['batch_size']} a batch"
    )


def started_process(task: str, *arguments: str | Path) -> tuple[str, float]:
    """What a task printed, and the seconds from its start to its end."""
    started = time.perf_counter()
    command = [sys.executable, __file__, task, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout, time.perf_counter() - started


def make(model: Path, picture: Path) -> None:
    """`model` holds the page's network with random weights, `picture` a 28x28 gray PNG of a bar."""
    import keras
    import numpy as np
    import tensorflow as tf

    network = keras.Sequential(
        [
            keras.layers.Input((28, 28, 1)),
            keras.layers.Conv2D(16, kernel_size=3, activation="relu", padding="same"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Conv2D(32, kernel_size=3, activation="relu", padding="same"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(80, activation="relu"),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    network.save(model)
    pixels = np.zeros((28, 28, 1), np.uint8)
    pixels[4:24, 12:16] = 255
    picture.write_bytes(tf.io.encode_png(pixels).numpy())


def most_likely(model: Path, picture: Path) -> int:
    """The class of one picture, by the shortest way Keras has."""
    import keras
    import tensorflow as tf

    network = keras.models.load_model(model)
    pixels = tf.io.decode_png(tf.io.read_file(str(picture)), channels=1)  # (28, 28, 1)
    return int(network.predict(pixels[None] / 255, verbose=0).argmax())


def many(model: Path, count: int, batch_sizes: list[int], repeats: int) -> dict[str, Any]:
    """Seconds to predict `count` pictures for each size of batch, with versions and peak memory."""
    import keras
    import numpy as np
    import tensorflow as tf

    network = keras.models.load_model(model)
    pictures = np.random.default_rng(0).integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
    timings = [timed(network, pictures, size, repeats) for size in batch_sizes]
    return {
        "pictures": count,
        "best": min(timings, key=lambda timing: timing["predict_seconds_median"]),
        "timings": timings,
        "peak_rss_bytes": peak_rss_bytes(resource.RUSAGE_SELF),
        "versions": {
            "python": sys.version.split()[0],
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
        },
    }


def timed(
    network: "keras.Model", pictures: "NDArray[np.uint8]", batch_size: int, repeats: int
) -> dict[str, Any]:
    """Seconds to predict all `pictures` (N, 28, 28, 1), `repeats` times, `batch_size` at a time."""
    ready = scaled(pictures)
    network.predict(ready[:batch_size], batch_size=batch_size, verbose=0)
    predict_seconds, scale_and_predict_seconds = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        network.predict(ready, batch_size=batch_size, verbose=0)
        predict_seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        network.predict(scaled(pictures), batch_size=batch_size, verbose=0)
        scale_and_predict_seconds.append(time.perf_counter() - started)
    return {
        "batch_size": batch_size,
        "predict_seconds": predict_seconds,
        "predict_seconds_median": statistics.median(predict_seconds),
        "scale_and_predict_seconds": scale_and_predict_seconds,
        "scale_and_predict_seconds_median": statistics.median(scale_and_predict_seconds),
    }


def scaled(pictures: "NDArray[np.uint8]") -> "NDArray[np.float32]":
    """uint8 -> float32 in 0..1"""
    import numpy as np

    return np.multiply(pictures, np.float32(1 / 255), dtype=np.float32)


def peak_rss_bytes(whose: int) -> int:
    """The most memory one process held. Linux counts kilobytes, macOS bytes."""
    peak = resource.getrusage(whose).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
