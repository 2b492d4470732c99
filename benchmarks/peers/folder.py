"""What others make of a folder of few pictures: HOG and logistic regression, a forest on pixels, a small CNN,
the last maps of a pretrained backbone and logistic regression.

    python folder.py FOLDER SPLIT.json hog|forest|cnn|backbone ...

SPLIT.json holds {"train": [[file, class], ...], "test": [...]}, files below FOLDER; Pillow reads them here
once more. What is left open (the strength of a penalty, the epoch) is chosen on training pictures alone.
Prints, for each, {"correct": ..., "count": ..., "seconds": ..., "processor": ...}, reading included.
hog and forest need scikit-image and scikit-learn; cnn and backbone run in pellucid's own environment.
"""

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CNN_SIDE = 48
STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # C of logistic regression, times the number of pictures
UPDATES = 300  # that the small CNN gets, in batches of
BATCH = 32

Pictures = NDArray[np.uint8]  # (N, side, side, 3), or (N, side, side) gray
Labels = NDArray[np.int64]


def main() -> None:
    folder, split, *contenders = sys.argv[1:]
    parts = json.loads(Path(split).read_text(encoding="utf-8"))
    classes = sorted({label for _, label in parts["train"]})
    for contender in contenders:
        learn, side, mode = CONTENDERS[contender]
        started, worked = time.perf_counter(), time.process_time()
        train, test = (pictures(Path(folder), parts[part], side, mode) for part in ("train", "test"))
        labels, truth = (
            np.array([classes.index(label) for _, label in parts[part]]) for part in ("train", "test")
        )
        correct = int((learn(train, labels, test) == truth).sum())
        print(json.dumps({"correct": correct, "count": len(truth), "seconds": time.perf_counter() - started,
                          "processor": time.process_time() - worked}), flush=True)  # fmt: skip


def pictures(folder: Path, rows: list[list[str]], side: int, mode: str) -> Pictures:
    """Every picture stretched to `side` pixels a side."""
    return np.stack([np.asarray(opened(folder / file, mode).resize((side, side))) for file, _ in rows])


def opened(file: Path, mode: str) -> Image.Image:
    """A picture as people see it: transparent ground is white."""
    image = Image.open(file)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return image.convert(mode)


def hog_and_regression(train: Pictures, labels: Labels, test: Pictures) -> Labels:
    """Histograms of oriented gradients (Dalal and Triggs 2005) and multinomial logistic regression."""
    from skimage.feature import hog

    seen, unseen = (np.stack([hog(one, pixels_per_cell=(8, 8)) for one in part]) for part in (train, test))
    return regression(seen, labels, unseen)


def backbone_and_regression(train: Pictures, labels: Labels, test: Pictures) -> Labels:
    """EfficientNet-Lite0 as published, the means of its last maps, and multinomial logistic regression."""
    import torch

    from pellucid.models import lite0

    network = lite0.Backbone().eval()
    network.load_state_dict(lite0.published_weights())
    with torch.inference_mode():
        seen, unseen = (
            np.concatenate([means(network, part[at : at + 16]) for at in range(0, len(part), 16)])
            for part in (train, test)
        )
    return regression(seen, labels, unseen)


def means(network: Any, pictures: Pictures) -> NDArray[np.float32]:
    """The mean of each of the last maps, (B, 1280), of pictures scaled as the network was trained."""
    import torch

    from pellucid.models import lite0

    scaled = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 127) / 128
    return np.asarray(network(scaled)[:, -lite0.LAST_MAPS :])


def regression(seen: NDArray[Any], labels: Labels, unseen: NDArray[Any]) -> Labels:
    """Multinomial logistic regression, its strength chosen by three folds."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    warnings.simplefilter("ignore")  # classes of fewer pictures than folds
    # Turned to as many axes as there are pictures, nothing is lost, and the regression is many times faster.
    steps = make_pipeline(StandardScaler(), PCA(), LogisticRegression(max_iter=100, tol=1e-3))
    grid = {"logisticregression__C": [strength * 100 / len(labels) for strength in STRENGTHS]}
    search = GridSearchCV(steps, grid, cv=StratifiedKFold(3, shuffle=True, random_state=0))
    return np.asarray(search.fit(seen, labels).predict(unseen))


def forest(train: Pictures, labels: Labels, test: Pictures) -> Labels:
    """300 trees on the pixels."""
    from sklearn.ensemble import RandomForestClassifier

    trees = RandomForestClassifier(300, random_state=0)
    return np.asarray(trees.fit(train.reshape(len(train), -1), labels).predict(test.reshape(len(test), -1)))


def small_cnn(train: Pictures, labels: Labels, test: Pictures) -> Labels:
    """Three convolutions, two dense layers; Adam, shifted pictures, the best epoch on a fifth kept aside."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(64 * (CNN_SIDE // 8) ** 2, 128), nn.ReLU(), nn.Dropout(0.5)]
    network = nn.Sequential(*layers, nn.Linear(128, int(labels.max()) + 1))
    images = torch.from_numpy(train).permute(0, 3, 1, 2).float() / 255
    mean, deviation = images.mean((0, 2, 3), keepdim=True), images.std((0, 2, 3), keepdim=True)
    images, targets = (images - mean) / deviation, torch.from_numpy(labels)
    order = torch.randperm(len(images))
    aside, learn = order[: len(order) // 5], order[len(order) // 5 :]
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    best: tuple[float, dict[str, Any]] = (0.0, {})
    for _ in range(-(-UPDATES * BATCH // len(learn))):
        network.train()
        for batch in learn[torch.randperm(len(learn))].split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(shifted(images[batch])), targets[batch]).backward()
            optimizer.step()
        accuracy = float((answers(network, images[aside]) == targets[aside]).float().mean())
        if accuracy >= best[0]:
            best = accuracy, {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(best[1])
    unseen = (torch.from_numpy(test).permute(0, 3, 1, 2).float() / 255 - mean) / deviation
    return np.asarray(answers(network, unseen))


def shifted(images: Any) -> Any:
    """A batch moved by up to 4 pixels."""
    import torch

    wide = torch.nn.functional.pad(images, (4, 4, 4, 4), mode="replicate")
    down, right = (int(place) for place in torch.randint(0, 9, (2,)))
    return wide[:, :, down : down + CNN_SIDE, right : right + CNN_SIDE]


def answers(network: Any, images: Any) -> Any:
    """The class of each picture."""
    import torch

    network.eval()
    with torch.no_grad():
        return torch.cat([network(batch).argmax(1) for batch in images.split(256)])


CONTENDERS = {
    "hog": (hog_and_regression, 96, "L"),
    "forest": (forest, 32, "RGB"),
    "cnn": (small_cnn, CNN_SIDE, "RGB"),
    "backbone": (backbone_and_regression, 224, "RGB"),
}

if __name__ == "__main__":
    main()
