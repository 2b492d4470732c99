"""Average precision and F1 are scikit-learn's; thresholds are chosen on the pictures given."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch import Tensor

from pellucid.evaluation.precision_recall import (
    average_precisions,
    bootstrapped,
    bounds,
    chosen_thresholds,
    f1_scores,
)


def drawn(count: int = 60, classes: int = 4, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Probabilities, many of them equal, and labels they say something of."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.rand(count, classes, generator=generator) < 0.3
    scores = (0.4 * labels + torch.rand(count, classes, generator=generator) * 0.6).mul(20).round().div(20)
    return scores.clamp(0, 1), labels


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_and_f1_are_those_of_scikit_learn(seed: int) -> None:
    scores, labels = drawn(seed=seed)
    found = average_precisions(scores, labels).tolist()
    assert found == pytest.approx(average_precision_score(labels.numpy(), scores.numpy(), average=None))
    given = scores >= 0.5
    assert f1_scores(given, labels).tolist() == pytest.approx(
        f1_score(labels.numpy(), given.numpy(), average=None, zero_division=0)
    )


def test_a_label_that_does_not_occur_has_no_average_precision() -> None:
    scores, labels = drawn()
    labels[:, 1] = False
    assert average_precisions(scores, labels).isnan().tolist() == [False, True, False, False]


def test_scores_of_drawn_pictures_are_those_of_scikit_learn_on_them() -> None:
    scores, labels = drawn(30)
    found = bootstrapped(scores, labels, seed=3)
    generator = torch.Generator().manual_seed(3)
    indices = torch.randint(0, 30, (30,), generator=generator).numpy()
    oracle = average_precision_score(labels.numpy()[indices], scores.numpy()[indices], average=None)
    assert found[0].tolist() == pytest.approx(oracle)
    assert torch.equal(found, bootstrapped(scores, labels, seed=3))


def test_an_interval_surrounds_the_score_and_narrows_with_more_pictures() -> None:
    widths = []
    for count in (50, 800):
        scores, labels = drawn(count)
        low, high = bounds(bootstrapped(scores, labels)[:, 0], count)
        assert low < float(average_precisions(scores, labels)[0]) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_a_perfect_score_is_not_certain() -> None:
    low, high = bounds(torch.ones(500, dtype=torch.float64), 20)
    assert (low, high) == (pytest.approx(0.839, abs=1e-3), 1.0)


def test_a_threshold_has_the_highest_f1_that_any_has() -> None:
    scores, labels = drawn(200)
    task = chosen_thresholds(scores, labels)
    given = task.predictions(scores).numpy()
    for k, threshold in enumerate(task.thresholds):
        best = max(
            f1_score(labels[:, k].numpy(), scores[:, k].numpy() >= level, zero_division=0)
            for level in np.unique(scores[:, k].numpy())
        )
        assert f1_score(labels[:, k].numpy(), given[:, k]) == pytest.approx(best)
        assert 0 < threshold < 1


def test_a_label_with_too_few_pictures_keeps_one_half() -> None:
    scores, labels = drawn(200)
    labels[:, 0], labels[:, 1] = False, True
    labels[:4, 0] = True
    assert chosen_thresholds(scores * 0.2, labels).thresholds[:2] == (0.5, 0.5)
    assert chosen_thresholds(scores * 0.2, labels).thresholds[2] < 0.2
