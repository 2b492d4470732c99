"""Two networks are as alike as they are: same up to rotation, order of channels, and answers."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.classifier import Classifier
from pellucid.data.dataset import Splits
from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from pellucid.explanation.activations import record
from pellucid.explanation.similarity import align_channels, compare_layers, disagreements, linear_cka


def unbiased(first: np.ndarray, second: np.ndarray) -> float:
    """The product of two kernels as it is defined: a mean over all quadruples of different pictures (Song et
    al., equation 4)."""
    total, number = 0.0, 0
    for i, j, q, r in permutations(range(len(first)), 4):
        total += first[i, j] * (second[i, j] + second[q, r] - 2 * second[i, q])
        number += 1
    return total / number


def test_cka_agrees_with_its_definition_and_ignores_rotation_and_scale() -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(9, 4, generator=generator), torch.randn(9, 3, generator=generator)
    k, m = (each.double().numpy() @ each.double().numpy().T for each in (x, y))
    assert linear_cka(x, y) == pytest.approx(unbiased(k, m) / np.sqrt(unbiased(k, k) * unbiased(m, m)))
    x = torch.randn(50, 8, generator=generator)
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q
    assert linear_cka(x, 3 * x @ rotation + 1) == pytest.approx(1, abs=1e-6)
    assert linear_cka(x, torch.ones(50, 2)) == 0


def test_features_that_have_nothing_in_common_are_not_alike_however_many_they_are() -> None:
    generator = torch.Generator().manual_seed(2)
    values = [
        linear_cka(torch.randn(40, 400, generator=generator), torch.randn(40, 400, generator=generator))
        for _ in range(30)
    ]
    assert abs(sum(values) / len(values)) < 0.02  # the usual one: above 0.9


def features_of(images: torch.Tensor, seed: int) -> Classifier:
    """A network whose only layer has weights of that seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 6))
    channels, height, width = images.shape[1:]
    return Classifier(network, tuple("abcdef"), Preprocess(channels, height, width), "another")


def test_an_interval_contains_its_value_and_mostly_the_true_one() -> None:
    generator = torch.Generator().manual_seed(3)

    def drawn(count: int) -> torch.Tensor:
        return torch.randint(0, 256, (count, 1, 2, 3), generator=generator).to(torch.uint8)

    first, second = (features_of(drawn(1), seed) for seed in (1, 2))
    true = float(compare_layers(first, second, drawn(1500)).matrix[1, 1])
    inside = 0
    for _ in range(80):
        found = compare_layers(first, second, drawn(25))
        low, high = found.intervals["1"]
        assert low < found.matrix[1, 1] < high
        inside += low <= true <= high
    assert inside >= 70  # 76 expected


def test_a_network_is_like_itself_and_less_like_an_untaught_one(
    reader: Classifier, untaught: Classifier, digits: Splits
) -> None:
    images = digits.test.images[:100]
    itself = compare_layers(reader, reader, images)
    assert itself.rows == itself.columns
    assert itself.matrix.diagonal().tolist() == pytest.approx([1] * len(itself.rows))
    assert all(low == high == pytest.approx(1) for low, high in itself.intervals.values())
    other = compare_layers(reader, untaught, images)
    assert torch.equal(other.matrix, compare_layers(reader, untaught, images).matrix)
    dense = other.rows.index("dense1")
    assert other.matrix[dense, dense] < 0.9
    low, high = other.intervals["dense1"]
    assert low < other.matrix[dense, dense] < high < 1
    with pytest.raises(UsageError, match="at least 10 pictures"):
        compare_layers(reader, reader, images[:9])


def test_shuffled_channels_are_found_again(reader: Classifier, digits: Splits) -> None:
    maps = record(reader.network, digits.test.images[:30], ["conv2"])["conv2"]
    order = torch.randperm(maps.shape[1], generator=torch.Generator().manual_seed(2))
    alive = maps.amax(dim=(0, 2, 3)) > 0
    for pair in align_channels(maps, maps[:, order]):
        if alive[pair.first]:
            assert int(order[pair.second]) == pair.first
            assert pair.correlation == pytest.approx(1)
    coarse = torch.nn.functional.avg_pool2d(maps, 2)
    assert all(pair.first == pair.second for pair in align_channels(maps, coarse) if alive[pair.first])


def test_disagreements_are_all_found_the_surest_first(
    reader: Classifier, misled: Classifier, digits: Splits
) -> None:
    images = digits.test.images[:60]
    found = disagreements(reader, misled, images)
    ours, theirs = reader.predict(images), misled.predict(images)
    differing = torch.nonzero(ours.argmax(1) != theirs.argmax(1))[:, 0].tolist()
    assert sorted(one.index for one in found) == differing
    sure = [min(one.first_confidence, one.second_confidence) for one in found]
    assert sure == sorted(sure, reverse=True)
    assert found[0].first == reader.classes[int(ours[found[0].index].argmax())]
    assert disagreements(reader, reader, images) == []
    with pytest.raises(UsageError, match="two classifiers of the same classes"):
        disagreements(reader, replace(reader, classes=tuple("abcdefghij")), images)
