"""How many wrong labels `label_errors` finds, planted ones and those of MNIST's own test part.

    PELLUCID_DATA=... python benchmarks/label_errors.py

Shares are of the wrong labels that are among as many of the least probable labels, and among twice as many.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from pellucid import Dataset, Recipe, Splits, fit, load
from pellucid.training.margins import Margins

# Test pictures of MNIST whose labels people who looked at them have doubted, by index.
DOUBTED = (947, 2462, 2597, 2654, 3558, 5937, 6651)
ALSO_DOUBTED = (1621, 1901, 2130, 3520, 6783, 8527, 9679, 9729)


def flipped(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset, set[str]]:
    """The pictures with a share of wrong labels, as they were, and the sources of those that are wrong."""
    generator = torch.Generator().manual_seed(seed)
    count, classes = round(share * len(dataset)), len(dataset.classes)
    chosen = torch.randperm(len(dataset), generator=generator)[:count]
    labels = dataset.labels.clone()
    labels[chosen] = (labels[chosen] + torch.randint(1, classes, (count,), generator=generator)) % classes
    wrong = Dataset(dataset.images, labels, dataset.classes, dataset.sources)
    return wrong, dataset, {dataset.sources[index] for index in chosen.tolist()}


class Timed:
    """The processor seconds that methods of Margins take, while the block lasts."""

    def __init__(self) -> None:
        self.seconds, self.methods = 0.0, {name: getattr(Margins, name) for name in ("add", "count")}

    def __enter__(self) -> "Timed":
        for name, method in self.methods.items():
            setattr(Margins, name, self.timed(method))
        return self

    def __exit__(self, *_: object) -> None:
        for name, method in self.methods.items():
            setattr(Margins, name, method)

    def timed(self, method: Callable[..., None]) -> Callable[..., None]:
        """The method, its time added up."""

        def call(margins: Margins, *values: torch.Tensor) -> None:
            start = time.process_time()
            method(margins, *values)
            self.seconds += time.process_time() - start

        return call


def planted(name: str, share: float, seed: int, folder: Path) -> None:
    """Prints how many planted labels are found, and what keeping the margins took."""
    splits = load(name)
    train, before, wrong = flipped(splits.train, share, seed)
    begun = time.process_time()
    with Timed() as timed:
        run = fit(train, splits.validation, Recipe.named("fast"), folder=folder, origin=splits.origin)
    seconds = time.process_time() - begun
    found = run.label_errors(replace(splits, train=train))
    judged = found.parts[0]
    suspects = [judged.sources[index] for index in judged.order.tolist()]
    once, twice = (len(wrong & set(suspects[: times * len(wrong)])) / len(wrong) for times in (1, 2))
    looks = {each.source for each in found.suspects if each.part == "train"}
    right = dict(zip(before.sources, before.label_names, strict=True))
    suggested = [each for each in found.suspects if each.source in wrong]
    agreed = sum(each.suggested_label == right[each.source] for each in suggested)
    learned = run.history[-1].accuracy
    print(
        f"{name}, {len(wrong)} of {len(train)} labels wrong (seed {seed}): {once:.1%} in 1x, {twice:.1%} in "
        f"2x; {len(looks)} called suspect, {len(looks & wrong)} of them wrong; suggestion right for {agreed} "
        f"of {len(suggested)}; accuracy on the training labels {learned:.4f}; margins took "
        f"{timed.seconds:.2f} of {seconds:.1f} s of the processor ({timed.seconds / seconds:.2%})",
        flush=True,
    )


def doubted(folder: Path) -> None:
    """Prints how many of MNIST's doubted test labels are in the first 200, and the causes of its mistakes."""
    splits: Splits = load("mnist")
    run = fit(splits, Recipe.named("fast"), folder=folder)
    run.evaluate(splits.test)
    (test,) = (part for part in run.label_errors(splits).parts if part.part == "test")
    first = set(test.order[:200].tolist())
    every = DOUBTED + ALSO_DOUBTED
    print(
        f"mnist, test part: {len(first & set(DOUBTED))} of {len(DOUBTED)} and {len(first & set(every))} of "
        f"{len(every)} in the first 200; {int(test.suspect.sum())} called suspect",
        flush=True,
    )
    start = time.perf_counter()
    causes = run.causes(splits)
    print(
        f"{causes!r}, {time.perf_counter() - start:.1f} s after {run.history[-1].seconds:.1f} s of training"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        for seed in range(3):
            planted("digits", 0.03, seed, place / f"digits-{seed}")
        for seed in range(2):
            planted("mnist", 0.01, seed, place / f"mnist-{seed}")
        doubted(place / "mnist")
