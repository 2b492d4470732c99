"""ONNX Runtime predicting many pictures with the tutorial network: the peer of `pellucid predict`.

    python onnx_predict.py --model network.onnx --out result.json
    python onnx_predict.py --out result.json

Without `--model` the network is built here with random weights: its speed does not depend on them. A model
must take one input (N, 1, 28, 28), float32 in 0..1 or uint8, with N free; its first output is what counts.

For each size of batch, `--repeats` times: `predict_seconds` from pictures that are already what the network
takes, which is the least anyone can count, and `scale_and_predict_seconds` from uint8 pictures, which is
what a person waits for. Loading the model and the first batch, a warm-up, are in neither.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def main() -> None:
    options = parsed()
    model = options.model.read_bytes() if options.model else tutorial_network().SerializeToString()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    shape = (options.count, 1, 28, 28)
    pictures = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    timings = [timed(session, pictures, size, options.repeats) for size in options.batch_sizes]
    best = min(timings, key=lambda timing: timing["predict_seconds_median"])
    result = {
        "program": "onnx_predict",
        "model": options.model.name if options.model else "built here, random weights",
        "pictures": options.count,
        "threads": options.threads or "ONNX Runtime's choice",
        "best": best,
        "timings": timings,
        "peak_rss_bytes": peak_rss_bytes(),
        "versions": {
            "python": sys.version.split()[0],
            "onnxruntime": onnxruntime.__version__,
            "onnx": onnx.__version__,
            "numpy": np.__version__,
        },
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(
        f"{best['predict_seconds_median']:.2f} s for {options.count:,} pictures, {best['batch_size']} a batch"
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="ONNX Runtime on the tutorial network.")
    parser.add_argument("--model", type=Path, help="an .onnx file; without it, the network is built here")
    parser.add_argument("--count", type=int, default=100_000, help="how many pictures")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 256, 1024, 4096])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: ONNX Runtime chooses")
    parser.add_argument("--out", type=Path, required=True, help="where the result goes, as JSON")
    return parser.parse_args()


def timed(
    session: onnxruntime.InferenceSession, pictures: NDArray[np.uint8], batch_size: int, repeats: int
) -> dict[str, Any]:
    """Seconds to predict all `pictures` (N, 1, 28, 28), `repeats` times, `batch_size` at a time."""
    ready = as_input(session, pictures)
    predicted(session, ready[:batch_size], batch_size)
    predict_seconds, scale_and_predict_seconds = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        predicted(session, ready, batch_size)
        predict_seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        predicted(session, pictures, batch_size)
        scale_and_predict_seconds.append(time.perf_counter() - started)
    return {
        "batch_size": batch_size,
        "predict_seconds": predict_seconds,
        "predict_seconds_median": float(np.median(predict_seconds)),
        "scale_and_predict_seconds": scale_and_predict_seconds,
        "scale_and_predict_seconds_median": float(np.median(scale_and_predict_seconds)),
    }


def predicted(
    session: onnxruntime.InferenceSession, pictures: NDArray[Any], batch_size: int
) -> NDArray[np.float32]:
    """The network's first output for all pictures, in their order."""
    name = session.get_inputs()[0].name
    batches = (pictures[start : start + batch_size] for start in range(0, len(pictures), batch_size))
    return np.concatenate([session.run(None, {name: as_input(session, batch)})[0] for batch in batches])


def as_input(session: onnxruntime.InferenceSession, pictures: NDArray[Any]) -> NDArray[Any]:
    """`pictures` as the network takes them: scaled to float32 in 0..1, unless they are so already or it
    takes uint8."""
    if session.get_inputs()[0].type == "tensor(uint8)" or pictures.dtype == np.float32:
        return pictures
    return np.multiply(pictures, np.float32(1 / 255), dtype=np.float32)


def tutorial_network() -> onnx.ModelProto:
    """The page's network with random weights: float32 (N, 1, 28, 28) -> probabilities (N, 10)."""
    nodes = [
        helper.make_node("Conv", ["images", "w1", "b1"], ["c1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2", "b2"], ["c2"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("MaxPool", ["r2"], ["p2"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p2"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["d1"], transB=1),
        helper.make_node("Relu", ["d1"], ["r3"]),
        helper.make_node("Gemm", ["r3", "w4", "b4"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tutorial",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10])],
        random_weights(),
    )
    # An old operator set and file version, so that any ONNX Runtime reads what a newer onnx writes.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def random_weights() -> list[onnx.TensorProto]:
    """w1, b1, ..., w4, b4, of the usual sizes, so that ReLU meets both signs."""
    generator = np.random.default_rng(0)
    weights = []
    for number, shape in enumerate([(16, 1, 3, 3), (32, 16, 3, 3), (80, 7 * 7 * 32), (10, 80)], start=1):
        deviation = (2 / np.prod(shape[1:])) ** 0.5
        kernel = generator.normal(0, deviation, shape).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{number}"))
        weights.append(numpy_helper.from_array(np.zeros(shape[0], np.float32), f"b{number}"))
    return weights


def peak_rss_bytes() -> int:
    """The most memory this process held. Linux counts kilobytes, macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
