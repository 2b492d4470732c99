"""Networks with something to explain, trained once for all tests of this room."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset, Splits
from pellucid.data.preprocess import Preprocess
from pellucid.models import build
from tests.networks import PATTERNS, learned, planted


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
def noise_pictures(digits: Splits) -> Dataset:
    """Pictures unlike any digit: noise from edge to edge."""
    noise = torch.randint(0, 256, (20, 1, 8, 8), generator=torch.Generator().manual_seed(2))
    labels = torch.zeros(20, dtype=torch.int64)
    return Dataset(noise.to(torch.uint8), labels, digits.train.classes, [f"noise/{n}" for n in range(20)])
