"""A probe reads what a ridge regression reads, and a layer leads only where it does so beyond chance."""

import torch
from sklearn.linear_model import Ridge
from torch import Tensor
from torch.nn import functional

from pellucid.explanation.probes import RIDGE, leading_layers, probe_hits


def ridge_hits(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The same by scikit-learn, fold by fold."""
    hits = []
    for held_out in torch.arange(len(features)).tensor_split(3):
        rest = torch.ones(len(features), dtype=torch.bool)
        rest[held_out] = False
        mean, spread = features[rest].mean(dim=0), features[rest].std(dim=0, correction=0)
        scaled = functional.pad(((features - mean) / spread).double(), (0, 1), value=1.0)
        model = Ridge(RIDGE, fit_intercept=False).fit(scaled[rest], functional.one_hot(labels[rest], classes))
        hits.append(torch.from_numpy(model.predict(scaled[held_out])).argmax(dim=1) == labels[held_out])
    return torch.cat(hits)


def test_probes_are_scikit_learns_ridge_regression() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (90,), generator=generator)
    features = torch.randn(90, 6, generator=generator) + functional.one_hot(labels, 3).repeat(1, 2)
    found = probe_hits(features, labels, 3)
    assert torch.equal(found, ridge_hits(features, labels, 3))
    assert 0.5 < found.double().mean() < 1


def test_a_probe_with_more_features_than_pictures_is_the_same_regression() -> None:
    generator = torch.Generator().manual_seed(6)
    labels = torch.arange(30) % 3
    features = torch.randn(30, 80, generator=generator)
    features[:, :3] += functional.one_hot(labels, 3)
    assert torch.equal(probe_hits(features, labels, 3), ridge_hits(features, labels, 3))


def test_several_labels_are_found_when_exactly_they_are() -> None:
    labels = torch.randint(0, 2, (60, 2), generator=torch.Generator().manual_seed(3)).bool()
    assert probe_hits(labels.float() * 4 - 2, labels, 2).all()
    noise = torch.randn(60, 5, generator=torch.Generator().manual_seed(4))
    assert probe_hits(noise, labels, 2).double().mean() < 0.6


def test_layers_that_read_alike_are_rarely_told_apart_and_a_better_one_is() -> None:
    """Four layers that are right on 90 % of 512 pictures, independently: the worst case, over 300 samples."""
    generator = torch.Generator().manual_seed(5)
    alone = 0
    for _ in range(300):
        hits = {name: torch.rand(512, generator=generator) < 0.9 for name in "abcd"}
        alone += len(leading_layers(hits)) == 1
    assert alone <= 15
    hits = {name: torch.rand(512, generator=generator) < share for name, share in (("a", 0.8), ("b", 0.97))}
    assert leading_layers(hits) == ["b"]
    assert leading_layers({"a": hits["b"], "b": hits["b"]}) == ["a", "b"]
    assert leading_layers({}) == []
