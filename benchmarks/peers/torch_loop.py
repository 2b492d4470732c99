"""The plain PyTorch loop most tutorials show, on the tutorial network: a peer of pellucid's.

    python torch_loop.py --data-dir DIR --split split.csv --seed 42 --out result.json
    python torch_loop.py --data-dir DIR --recipe page --out result.json
    python torch_loop.py --data-dir DIR --batch-size 256 --epochs 20 --until-accuracy 0.99 --out result.json

A DataLoader with two workers, Adam at 1e-3, float32, cross entropy, validation after each epoch. The best
weights are saved, put back at the end and judged once on the test set. Best is the lowest validation loss;
with `--until-accuracy`, which stops at that validation accuracy, it is the highest validation accuracy.

`--recipe plain` is 5 epochs of 64 pictures a step, `--recipe page` 20 of 32 with the page's early stopping;
`--epochs` and `--batch-size` change either. `process_seconds` counts from this file's first line;
`cpu_seconds` is the work of all threads and workers. Runs in pellucid's own environment.
"""
# ruff: noqa: E402  the clock starts before the imports, which are part of the process

import time

STARTED = time.perf_counter()

import argparse
import csv
import gzip
import json
import resource
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

IMPORTED = time.perf_counter()


class Recipe(NamedTuple):
    """`patience` epochs without a lower validation loss end the training; 0: never."""

    epochs: int
    batch_size: int
    patience: int


RECIPES = {"plain": Recipe(5, 64, 0), "page": Recipe(20, 32, 3)}


@dataclass
class History:
    """One number an epoch; `fit_seconds` is all of the fitting, validation and checkpoints included."""

    loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    epoch_seconds: list[float] = field(default_factory=list)
    images_per_second: list[float] = field(default_factory=list)
    best_epoch: int = 0
    fit_seconds: float = 0.0


class Measured(NamedTuple):
    loss: float
    accuracy: float


def main() -> None:
    options = parsed()
    torch.manual_seed(options.seed)
    recipe = RECIPES[options.recipe]
    recipe = recipe._replace(
        epochs=options.epochs or recipe.epochs, batch_size=options.batch_size or recipe.batch_size
    )
    whole, test = prepared(options.data_dir, "train"), prepared(options.data_dir, "t10k")
    train, validation = parts(whole, options.split)
    network = tutorial_network()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "best.safetensors"
        history = fitted(network, train, validation, recipe, options.until_accuracy, checkpoint)
        load_model(network, checkpoint)
    started = time.perf_counter()
    judged = measured(network, loader(test, 1000))
    result = {
        "program": f"torch_loop {options.recipe}",
        "seed": options.seed,
        "batch_size": recipe.batch_size,
        "until_accuracy": options.until_accuracy,
        "epochs": len(history.loss),
        "best_epoch": history.best_epoch,
        "import_seconds": IMPORTED - STARTED,
        "fit_seconds": history.fit_seconds,
        "evaluate_seconds": time.perf_counter() - started,
        "process_seconds": time.perf_counter() - STARTED,
        "cpu_seconds": cpu_seconds(),
        "pictures": {"train": len(train), "validation": len(validation), "test": len(test)},
        "validation": "validation split",
        "history": {
            name: getattr(history, name)
            for name in ("loss", "val_loss", "val_accuracy", "epoch_seconds", "images_per_second")
        },
        "test_loss": judged.loss,
        "test_accuracy": judged.accuracy,
        "peak_rss_bytes": peak_rss_bytes(resource.RUSAGE_SELF),
        "peak_rss_largest_worker_bytes": peak_rss_bytes(resource.RUSAGE_CHILDREN),
        "threads": torch.get_num_threads(),
        "versions": {
            "python": sys.version.split()[0],
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{history.fit_seconds:.1f} s of fitting, test accuracy {judged.accuracy:.4f}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The plain PyTorch loop on the tutorial network.")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of MNIST's four .gz files")
    parser.add_argument(
        "--split", type=Path, default="none", help="pellucid's split.csv, or none: a random fifth"
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--out", type=Path, required=True, help="where the result goes, as JSON")
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="plain")
    parser.add_argument("--epochs", type=int, help="at most so many, instead of the recipe's")
    parser.add_argument("--batch-size", type=int, help="instead of the recipe's")
    parser.add_argument("--until-accuracy", type=float, help="stop at this validation accuracy, such as 0.99")
    return parser.parse_args()


def prepared(folder: Path, name: str) -> TensorDataset:
    """MNIST's "train" or "t10k" part: float32 (N, 1, 28, 28) in 0..1, and labels (N,)."""
    images = torch.from_numpy(read_idx(folder / f"{name}-images-idx3-ubyte.gz"))
    labels = torch.from_numpy(read_idx(folder / f"{name}-labels-idx1-ubyte.gz"))
    return TensorDataset(images[:, None].float() / 255, labels.long())


def read_idx(path: Path) -> np.ndarray:
    """The array in a gzipped IDX file of bytes: two zeros, type 8, rank, then each length in four bytes."""
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\0\0\x08":
        sys.exit(f"'{path}' is not an IDX file of bytes.")
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape).copy()


def parts(whole: TensorDataset, split: Path) -> tuple[TensorDataset, TensorDataset]:
    """What to learn from and what to choose by: a random 8:2, the same in every run, or what a split.csv
    names (`source,label,split,sha256`, source "mnist/train/17")."""
    if split == Path("none"):
        train, validation = random_split(whole, [0.8, 0.2], torch.Generator().manual_seed(42))
        return subset(whole, train.indices), subset(whole, validation.indices)
    indices: dict[str, list[int]] = {"train": [], "validation": []}
    with split.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            data, part, index = row["source"].split("/")
            if part != "train":
                continue
            if data != "mnist" or int(whole.tensors[1][int(index)]) != int(row["label"]):
                sys.exit(f"'{split}' does not belong to these pictures: see {row['source']}.")
            indices[row["split"]].append(int(index))
    return subset(whole, indices["train"]), subset(whole, indices["validation"])


def subset(part: TensorDataset, indices: list[int]) -> TensorDataset:
    return TensorDataset(*(tensor[indices] for tensor in part.tensors))


def tutorial_network() -> nn.Sequential:
    """The page's network, logits out."""
    return nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(7 * 7 * 32, 80),
        nn.ReLU(),
        nn.Dropout(0.4),
        nn.Linear(80, 10),
    )


def fitted(
    network: nn.Module,
    train: TensorDataset,
    validation: TensorDataset,
    recipe: Recipe,
    until_accuracy: float | None,
    checkpoint: Path,
) -> History:
    """What happened by epoch, once `network` is trained; the best weights are in `checkpoint`."""
    history, best = History(), float("-inf")
    started = time.perf_counter()
    batches, validation_batches = loader(train, recipe.batch_size, shuffle=True), loader(validation, 1000)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for epoch in range(1, recipe.epochs + 1):
        epoch_started = time.perf_counter()
        history.loss.append(trained_once(network, batches, optimizer))
        history.epoch_seconds.append(time.perf_counter() - epoch_started)
        history.images_per_second.append(len(train) / history.epoch_seconds[-1])
        loss, accuracy = measured(network, validation_batches)
        history.val_loss.append(loss)
        history.val_accuracy.append(accuracy)
        print(f"epoch {epoch}: {history.epoch_seconds[-1]:.2f} s, val_loss {loss:.4f}, {accuracy:.4f}")
        score = accuracy if until_accuracy else -loss
        if score > best:
            best, history.best_epoch = score, epoch
            save_model(network, str(checkpoint))
        if until_accuracy and accuracy >= until_accuracy:
            break
        if recipe.patience and epoch - history.best_epoch >= recipe.patience:
            break
    history.fit_seconds = time.perf_counter() - started
    return history


def loader(part: TensorDataset, batch_size: int, *, shuffle: bool = False) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(part, batch_size=batch_size, shuffle=shuffle, num_workers=2)


def trained_once(
    network: nn.Module, batches: DataLoader[tuple[Tensor, ...]], optimizer: torch.optim.Optimizer
) -> float:
    """The mean loss of one epoch of training."""
    network.train()
    loss_function = nn.CrossEntropyLoss()
    total, count = 0.0, 0
    for images, labels in batches:
        optimizer.zero_grad()
        loss = loss_function(network(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        count += len(labels)
    return total / count


@torch.no_grad()
def measured(network: nn.Module, batches: DataLoader[tuple[Tensor, ...]]) -> Measured:
    """Mean loss and accuracy over `batches`."""
    network.eval()
    total, right, count = 0.0, 0, 0
    for images, labels in batches:
        logits = network(images)
        total += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        right += int((logits.argmax(1) == labels).sum())
        count += len(labels)
    return Measured(total / count, right / count)


def cpu_seconds() -> float:
    """The work of all threads and of the loaders' workers."""
    usages = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_rss_bytes(whose: int) -> int:
    """The most memory one process held. Linux counts kilobytes, macOS bytes."""
    peak = resource.getrusage(whose).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
