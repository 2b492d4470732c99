"""Two networks are as alike as they are: same up to rotation, order of channels, and answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pellucid.classifier import Classifier
from pellucid.data.dataset import Splits
from pellucid.errors import UsageError
from pellucid.explanation.activations import record
from pellucid.explanation.similarity import align_channels, compare_layers, disagreements, linear_cka


def test_cka_agrees_with_its_formula_and_ignores_rotation_and_scale() -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(50, 8, generator=generator), torch.randn(50, 5, generator=generator)
    a, b = (x - x.mean(0)).double().numpy(), (y - y.mean(0)).double().numpy()
    formula = np.linalg.norm(b.T @ a) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert linear_cka(x, y) == pytest.approx(formula)
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q
    assert linear_cka(x, 3 * x @ rotation + 1) == pytest.approx(1, abs=1e-6)
    assert linear_cka(x, torch.ones(50, 2)) == 0


def test_a_network_is_like_itself_and_less_like_an_untaught_one(
    reader: Classifier, untaught: Classifier, digits: Splits
) -> None:
    images = digits.test.images[:100]
    itself = compare_layers(reader, reader, images)
    assert itself.rows == itself.columns
    torch.testing.assert_close(itself.matrix.diagonal(), torch.ones(len(itself.rows)))
    other = compare_layers(reader, untaught, images)
    assert torch.equal(other.matrix, compare_layers(reader, untaught, images).matrix)
    dense = other.rows.index("dense1")
    assert other.matrix[dense, dense] < 0.9
    low, high = other.intervals["dense1"]
    assert low < high < 1
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
