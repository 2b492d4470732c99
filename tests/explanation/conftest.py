"""Networks with something to explain, trained once for all tests of this room."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import pellucid
from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset, Splits
from pellucid.data.preprocess import Preprocess
from pellucid.models import build

SIDE, PATCH = 16, 5
PATTERNS = torch.tensor(
    [
        [[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]],
        [[1, 0, 1, 0, 1], [1, 0, 1, 0, 1], [1, 0, 1, 0, 1], [1, 0, 1, 0, 1], [1, 0, 1, 0, 1]],
        [[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]],
    ]
)


def planted(count: int, *, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Float pictures (N, 1, 16, 16) of faint noise with one planted pattern, labels, and corners (N, 2)."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, SIDE, SIDE, generator=generator) * 0.3
    labels = torch.randint(len(PATTERNS), (count,), generator=generator)
    corners = torch.randint(SIDE - PATCH + 1, (count, 2), generator=generator)
    for image, label, (top, left) in zip(images, labels.tolist(), corners.tolist(), strict=True):
        image[0, top : top + PATCH, left : left + PATCH] += PATTERNS[label] * 0.7
    return images, labels, corners


def learned(network: nn.Module, images: Tensor, labels: Tensor, *, steps: int, rate: float) -> nn.Module:
    """The network after so many steps of Adam on random batches of 64, on one thread: it is too small for
    two, and faster so where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), rate)
    network.train()
    for _ in range(steps):
        batch = torch.randint(len(images), (64,), generator=generator)
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(network(images[batch]), labels[batch]).backward()
        optimizer.step()
    for weight in network.parameters():
        weight.grad = None
    torch.set_num_threads(threads)
    return network.eval()


@pytest.fixture(scope="session")
def finder() -> nn.Module:
    """A network that has learned to name planted patterns: two convolutions, the mean, one linear layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(12, 12, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(12, len(PATTERNS)),
        )
        images, labels, _ = planted(1500, seed=1)
        return learned(network, images, labels, steps=500, rate=1e-2)


@pytest.fixture(scope="session")
def digits() -> Splits:
    """The embedded digits, 8x8."""
    return pellucid.load("digits")


def classifier_of(digits: Splits, labels: Tensor, *, steps: int) -> Classifier:
    """The tutorial network after so many steps on the training digits with those labels."""
    size = digits.train.size
    network = build("tutorial", 1, 10, size, seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        learned(network, digits.train.images.float() / 255, labels, steps=steps, rate=3e-3)
    return Classifier(network, digits.train.classes, Preprocess(1, *size), "tutorial")


@pytest.fixture(scope="session")
def reader(digits: Splits) -> Classifier:
    """A classifier that has learned to read digits."""
    return classifier_of(digits, digits.train.labels, steps=400)


@pytest.fixture(scope="session")
def misled(digits: Splits) -> Classifier:
    """A classifier that learned shuffled labels."""
    order = torch.randperm(len(digits.train), generator=torch.Generator().manual_seed(0))
    return classifier_of(digits, digits.train.labels[order], steps=400)


@pytest.fixture
def untaught(reader: Classifier) -> Classifier:
    """A classifier with random weights."""
    return replace(reader, network=build("tutorial", 1, 10, (8, 8), seed=11))


@pytest.fixture
def strangers(digits: Splits) -> Dataset:
    """Pictures unlike any digit: noise from edge to edge."""
    noise = torch.randint(0, 256, (20, 1, 8, 8), generator=torch.Generator().manual_seed(2))
    labels = torch.zeros(20, dtype=torch.int64)
    return Dataset(noise.to(torch.uint8), labels, digits.train.classes, [f"noise/{n}" for n in range(20)])
