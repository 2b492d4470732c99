"""How much a network learns from a folder of few pictures: validation accuracy over three splits, seconds.

python benchmarks/few_pictures.py FOLDER MODEL [SETTING=VALUE ...]     FOLDER holds one folder per class
"""

import json
import sys
import time
from pathlib import Path
from statistics import mean, pstdev

import torch

from pellucid.data.dataset import Dataset, split
from pellucid.data.preprocess import Preprocess
from pellucid.models import build
from pellucid.recipe import changed, fast
from pellucid.training.loop import Epoch, Progress
from pellucid.training.transfer import train_network

SEEDS = (1, 2, 3)
SIDE = 32


def pictures(root: Path) -> Dataset:
    """Every picture below `root`, SIDE pixels a side, in colour."""
    files = [file for file in sorted(root.glob("*/*")) if file.is_file()]
    classes = tuple(sorted({file.parent.name for file in files}))
    read = Preprocess(3, SIDE, SIDE, "stretch").read
    labels = torch.tensor([classes.index(file.parent.name) for file in files])
    sources = [file.relative_to(root).as_posix() for file in files]
    return Dataset(torch.stack([read(file) for file in files]), labels, classes, sources)


def measured(data: Dataset, model: str, settings: dict[str, object], seed: int) -> tuple[float, float]:
    """Accuracy of the epoch of the lowest validation loss, and seconds of processor time."""
    learn, choose = split(data, fraction=0.2, seed=seed)
    recipe = changed(fast(len(learn), (3, SIDE, SIDE), model), {"seed": seed, **settings})
    network = build(model, 3, len(data.classes), (SIDE, SIDE), seed=seed)
    begun = time.process_time()
    events = train_network(network, learn, choose, recipe, progress=Progress())
    epochs = [event for event in events if isinstance(event, Epoch)]
    return min(epochs, key=lambda epoch: epoch.val_loss).val_accuracy, time.process_time() - begun


if __name__ == "__main__":
    folder, name, *given = sys.argv[1:]
    chosen = {}
    for key, value in (setting.split("=", 1) for setting in given):
        chosen[key] = json.loads(value) if value[0].isdigit() else value
    found = [measured(pictures(Path(folder)), name, chosen, seed) for seed in SEEDS]
    accuracies, seconds = zip(*found, strict=True)
    print(f"{name} {chosen}: accuracy {mean(accuracies):.3f}, standard deviation {pstdev(accuracies):.3f},")
    print(f"of {len(SEEDS)} splits {[round(accuracy, 3) for accuracy in accuracies]}; {mean(seconds):.1f} s")
