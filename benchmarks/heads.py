"""What a last layer does on the features of lite0: loss and accuracy of five folds over training and
validation pictures, by which depths it sees, how these are scaled and how large the picture is. Test pictures
play no role.

python benchmarks/heads.py FOLDER [SIDE ...]     sides in pixels; those that lite0 uses unless given
"""

import sys

import torch
from torch import Tensor
from torch.nn import functional

import pellucid
from pellucid.data.dataset import joined
from pellucid.inference import evaluation_mode
from pellucid.machine import torch_threads
from pellucid.models.lite0 import Lite0
from pellucid.training.logistic import PENALTIES, HeadSettings, folds, solve

BATCH = 16
LAST = 1280  # of the features, those of the last maps
SEED = 1


def features(network: Lite0, images: Tensor, side: int) -> Tensor:
    """(N, 1904) of uint8 pictures (N, C, H, W) at a longer side of so many pixels."""
    scale = side / max(images.shape[2:])
    height, width = (max(32, round(length * scale)) for length in images.shape[2:])
    network.resize.size = height, width
    with evaluation_mode(network), torch.inference_mode():
        return torch.cat([network.features(part.float() / 255) for part in images.split(BATCH)])


def scaled(learned: Tensor, held_out: Tensor, *, evened: bool) -> tuple[Tensor, Tensor]:
    """Both of mean 0, divided by each feature's deviation, or by its geometric mean with that of all."""
    own, mean = torch.std_mean(learned, dim=0, correction=0)
    by = (own * own.square().mean().sqrt()).sqrt() if evened else own
    by = torch.where(own > 1e-6, by, 1.0)
    return (learned - mean) / by, (held_out - mean) / by


def judged(x: Tensor, labels: Tensor, classes: int, *, evened: bool) -> tuple[float, float, float]:
    """The penalty of the lowest loss, that loss, and the accuracy."""
    found = []
    for penalty in PENALTIES:
        loss = right = 0.0
        for held_out in folds(labels, SEED):
            learned, others = scaled(x[~held_out], x[held_out], evened=evened)
            weights = solve(learned, labels[~held_out], classes, HeadSettings(penalty, balanced=False))
            scores = others.double() @ weights[:, :-1].T + weights[:, -1]
            loss += float(functional.cross_entropy(scores, labels[held_out], reduction="sum"))
            right += int((scores.argmax(dim=1) == labels[held_out]).sum())
        found.append((loss / len(labels), right / len(labels), penalty))
    loss, accuracy, penalty = min(found)
    return penalty, loss, accuracy


if __name__ == "__main__":
    folder, *given = sys.argv[1:]
    splits = pellucid.load(folder)
    pictures, count = joined([splits.train, splits.validation]), len(splits.train.classes)
    lite0 = pellucid.build("lite0", splits.train.channels, count, splits.train.size, seed=0)
    assert isinstance(lite0, Lite0)
    with torch_threads(1):
        for side in [int(word) for word in given] or [max(lite0.resize_to)]:
            x = features(lite0, pictures.images, side)
            for name, part in (("last maps", x[:, -LAST:]), ("four depths", x)):
                for evened in (False, True):
                    penalty, loss, accuracy = judged(part, pictures.labels, count, evened=evened)
                    way = "evened" if evened else "own deviation"
                    print(
                        f"{folder}: {len(x)} pictures at {side}, {name}, {way}: "
                        f"loss {loss:.4f}, accuracy {accuracy:.4f}, penalty {penalty}",
                        flush=True,
                    )
