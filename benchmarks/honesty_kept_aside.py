"""Do the tests of maps tell good networks from bad ones on pictures by which no threshold was set?

    python benchmarks/honesty_kept_aside.py MNIST_FOLDER [PHOTOS_FOLDER]

Three kinds of network, each with three seeds: well trained, trained on shuffled labels, with random weights;
judged on the second half of MNIST's test pictures. With PHOTOS_FOLDER (train/CLASS/*, test/CLASS/*) the same
on photographs of 32 x 32. One line a network: accuracy, and which methods passed.
"""

import sys
from pathlib import Path

import torch

from pellucid.classifier import Classifier
from pellucid.data import load
from pellucid.data.dataset import Dataset
from pellucid.data.preprocess import Preprocess
from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.faithfulness import edges, evaluate_maps
from pellucid.models import build
from pellucid.recipe import Recipe
from pellucid.training.loop import train

SEEDS = (11, 12, 13)


def broken(network: torch.nn.Module, images: torch.Tensor, target: object, **_: object) -> torch.Tensor:
    """A method that never asks the network."""
    return edges(images)


def judged(name: str, learned: Dataset, chosen: Dataset, aside: Dataset, recipe: Recipe) -> None:
    """Train the three kinds of network and print what the tests say of each."""
    for seed in SEEDS:
        for kind in ("trained", "shuffled", "random"):
            network = build("tutorial", learned.channels, len(learned.classes), learned.size, seed=seed)
            if kind != "random":
                generator = torch.Generator().manual_seed(seed)
                order = torch.randperm(len(learned), generator=generator)
                labels = learned.labels[order] if kind == "shuffled" else learned.labels
                pictures = Dataset(learned.images, labels, learned.classes, learned.sources)
                for _ in train(network, pictures, chosen, recipe):
                    pass
            classifier = Classifier(
                network, learned.classes, Preprocess(learned.channels, *learned.size), "tutorial"
            )
            methods = {**EXPLAINERS, "edges (broken)": broken}
            told = evaluate_maps(classifier, aside, methods, seed=seed)  # type: ignore[arg-type]
            passed = [test.method for test in told.tests if test.outcome == "passed"]
            leads = {test.method: round(min(lead.mean for lead in test.leads), 3) for test in told.tests}
            print(
                f"{name} {kind} seed {seed}: accuracy {told.accuracy:.3f}; passed {passed}; {leads}",
                flush=True,
            )


def photographs(folder: Path) -> tuple[Dataset, Dataset]:
    """The photographs of `folder`/train and `folder`/test, 32 x 32 in colour."""
    read = Preprocess(3, 32, 32, "stretch").read
    parts = []
    for part in ("train", "test"):
        classes = tuple(sorted(path.name for path in (folder / part).iterdir() if path.is_dir()))
        files = [
            (path, k) for k, name in enumerate(classes) for path in sorted((folder / part / name).iterdir())
        ]
        images = torch.stack([read(path) for path, _ in files])
        labels = torch.tensor([k for _, k in files])
        parts.append(Dataset(images, labels, classes, [path.name for path, _ in files]))
    return parts[0], parts[1]


def main() -> None:
    """MNIST's second half, then the photographs."""
    splits = load("mnist", data_dir=Path(sys.argv[1]))
    half = len(splits.test) // 2
    aside = splits.test.subset(torch.arange(half, len(splits.test)))
    some = splits.train.subset(torch.arange(12_000))
    judged("mnist", some, splits.validation.subset(torch.arange(2000)), aside, Recipe(epochs=4))
    if len(sys.argv) > 2:
        learned, aside = photographs(Path(sys.argv[2]))
        order = torch.randperm(len(learned), generator=torch.Generator().manual_seed(0))
        fifth = len(order) // 5
        chosen, rest = learned.subset(order[:fifth]), learned.subset(order[fifth:])
        judged("photos", rest, chosen, aside, Recipe(epochs=20, batch_size=32))


if __name__ == "__main__":
    main()
