"""The temperature is the one with the least loss; a gap is told only where chance does not make it."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import norm
from sklearn.isotonic import IsotonicRegression
from torch import Tensor
from torch.nn import functional

from pellucid.classifier import LEAST_TEMPERATURE, MOST_TEMPERATURE
from pellucid.evaluation.calibration import (
    calibration_of,
    error_of,
    fit_temperature,
    isotonic_reliability,
)
from pellucid.evaluation.metrics import bins_of_equal_number


def drawn(count: int, *, classes: int = 10, spread: float = 4.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores (N, K), and labels (N,) drawn from their softmax: at temperature 1 perfectly calibrated."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(count, classes, generator=generator) * spread
    return scores, torch.multinomial(scores.softmax(dim=1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_by_which_scores_were_wrong_is_found_again(temperature: float) -> None:
    scores, labels = drawn(20_000)
    assert fit_temperature(scores * temperature, labels) == pytest.approx(temperature, rel=0.02)


def test_it_has_the_least_loss_of_all_with_one_more_picture_wrong() -> None:
    scores, labels = drawn(300)
    scores, count = scores.double() * 1.7, len(labels)
    smoothing = 10 / 9 / (count + 2)  # torch spreads it over the label too

    def loss(power: float) -> float:
        scaled = scores / float(np.exp(power))
        return float(functional.cross_entropy(scaled, labels, label_smoothing=smoothing))

    expected = float(
        np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9}).x)
    )
    assert fit_temperature(scores, labels) == pytest.approx(expected, rel=1e-4)


def test_it_does_not_depend_on_the_order_of_pictures_nor_on_what_is_added_to_all_scores_of_one() -> None:
    scores, labels = drawn(500)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(1))
    found = fit_temperature(scores, labels)
    assert fit_temperature(scores[order], labels[order]) == pytest.approx(found, rel=1e-5)
    assert fit_temperature(scores + torch.arange(500)[:, None] / 100, labels) == pytest.approx(
        found, rel=1e-4
    )


@pytest.mark.parametrize("count", [50, 400])
def test_pictures_without_a_mistake_do_not_make_it_certain(count: int) -> None:
    """Laplace's rule of succession: none wrong of N is no more than about one in N + 2."""
    labels = torch.arange(count) % 4
    scores = functional.one_hot(labels, 4) * 3.0
    confidence = (scores / fit_temperature(scores, labels)).softmax(dim=1).amax(dim=1)
    assert confidence.mean() == pytest.approx((count + 1) / (count + 2), abs=1e-4)


def test_scores_that_say_nothing_or_the_opposite_end_at_the_limits() -> None:
    labels = torch.arange(100) % 4
    right = functional.one_hot(labels, 4).double()
    assert fit_temperature(torch.zeros(100, 4), labels) == 1.0
    assert fit_temperature(-right, labels) == MOST_TEMPERATURE
    assert fit_temperature(right * 1e-6, labels) == LEAST_TEMPERATURE


def test_several_labels_have_one_temperature() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(5000, 6, generator=generator) * 2
    labels = torch.rand(5000, 6, generator=generator) < scores.sigmoid()
    assert fit_temperature(scores * 2.5, labels) == pytest.approx(2.5, rel=0.03)


def test_the_error_of_equal_confidences_does_not_depend_on_the_order_of_pictures() -> None:
    """One half right with a confidence of one half is calibrated, whichever half comes first."""
    confidence, right = torch.full((100,), 0.5), torch.arange(100) < 50
    for seed in range(5):
        order = torch.randperm(100, generator=torch.Generator().manual_seed(seed))
        assert error_of(bins_of_equal_number(confidence, right[order], 10)) == 0
    assert error_of(bins_of_equal_number(confidence, right, 10)) == 0
    rounded = (torch.rand(1000, generator=torch.Generator().manual_seed(9)) * 8).round() / 8
    right = torch.rand(1000, generator=torch.Generator().manual_seed(8)) < rounded
    errors = set()
    for seed in range(5):
        order = torch.randperm(1000, generator=torch.Generator().manual_seed(seed))
        errors.add(error_of(bins_of_equal_number(rounded[order], right[order], 10)))
    assert max(errors) - min(errors) < 1e-12


@pytest.mark.parametrize("ties", [False, True])
def test_a_calibrated_network_is_called_wrong_in_about_one_of_twenty_cases(ties: bool) -> None:
    wide = gaps = 0
    for seed in range(300):
        scores, labels = drawn(150, seed=seed)
        if ties:  # as few confidences as pictures of few kinds have
            scores, labels = drawn(150, classes=2, spread=1, seed=seed)
            scores = (scores * 2).round() / 2
            generator = torch.Generator().manual_seed(seed)
            labels = torch.multinomial(scores.softmax(dim=1), 1, generator=generator)[:, 0]
        probabilities = scores.softmax(dim=1)
        right = probabilities.argmax(dim=1) == labels
        found = calibration_of(probabilities.amax(dim=1), right, seed=seed)
        wide, gaps = wide + found.error_shown, gaps + found.gap_shown
    assert 9 <= wide <= 21
    assert 9 <= gaps <= 21


def test_one_that_is_not_calibrated_is_called_so() -> None:
    scores, labels = drawn(2000)
    for factor, sign in ((0.5, -1), (2.0, 1)):
        probabilities = (scores * factor).softmax(dim=1)
        found = calibration_of(probabilities.amax(dim=1), probabilities.argmax(dim=1) == labels)
        assert found.gap_shown
        assert found.error_shown
        assert found.gap * sign > 0.02
        assert found.gap == pytest.approx(found.confidence - found.accuracy)


def test_the_same_predictions_get_the_same_limits() -> None:
    scores, labels = drawn(400)
    confidence, right = scores.softmax(dim=1).amax(dim=1), scores.argmax(dim=1) == labels
    order = torch.randperm(400, generator=torch.Generator().manual_seed(3))
    first, second = calibration_of(confidence, right), calibration_of(confidence[order], right[order])
    assert (first.error_limit, first.gap_low, first.gap_high) == (
        second.error_limit, second.gap_low, second.gap_high,
    )  # fmt: skip


def test_predictions_without_doubt_leave_chance_nothing() -> None:
    found = calibration_of(torch.ones(40), torch.ones(40, dtype=torch.bool))
    assert (found.error, found.error_limit, found.gap_low, found.gap_high) == (0, 0, 0, 0)
    assert not found.gap_shown
    assert calibration_of(torch.ones(40), torch.arange(40) > 0).gap_shown


def test_the_reliability_without_bins_is_scikit_learns_isotonic_regression() -> None:
    scores, labels = drawn(700, seed=4)
    scores = (scores * 4).round() / 4
    confidence, right = scores.softmax(dim=1).amax(dim=1), scores.argmax(dim=1) == labels
    found = isotonic_reliability(confidence, right)
    oracle = IsotonicRegression(y_min=0, y_max=1).fit(confidence.double().numpy(), right.double().numpy())
    assert found.accuracy.numpy() == pytest.approx(oracle.predict(found.confidence.numpy()), abs=1e-9)
    assert bool((found.accuracy.diff() >= 0).all())
    inside = (found.low <= found.accuracy) & (found.accuracy <= found.high)
    assert inside.double().mean() > 0.8
    low, high = found.low.numpy(), found.high.numpy()
    assert np.all(low <= high)
    wrong = isotonic_reliability((scores * 3).softmax(dim=1).amax(dim=1), right)
    outside = (wrong.accuracy < wrong.low) | (wrong.accuracy > wrong.high)
    assert outside.double().mean() > 0.5


def in_groups(seed: int, *, groups: int = 150, together: float = 0.4, sure: float = 1.5) -> list[Tensor]:
    """Confidences (N,), whether right (N,), drawn from them, and groups (N,) of about ten whose pictures are
    right or wrong together the more, the nearer `together` is to 1."""
    draws = np.random.default_rng(seed)
    owner = np.repeat(np.arange(groups), draws.geometric(0.1, groups))
    confidence = 1 / (1 + np.exp(-draws.normal(sure, 1.2, len(owner)) - draws.normal(0, 0.6, groups)[owner]))
    shared, own = draws.normal(size=groups)[owner], draws.normal(size=len(owner))
    right = norm.cdf(np.sqrt(together) * shared + np.sqrt(1 - together) * own) < confidence
    return [torch.from_numpy(each) for each in (confidence, right, owner)]


@pytest.mark.parametrize("together", [0.0, 0.4])
def test_groups_that_are_right_or_wrong_together_are_called_wrong_no_more_often(together: float) -> None:
    wide = gaps = blind = 0
    for seed in range(100):
        confidence, right, groups = in_groups(seed, together=together)
        found = calibration_of(confidence, right, groups, seed=seed)
        wide, gaps = wide + found.error_shown, gaps + found.gap_shown
        blind += calibration_of(confidence, right, seed=seed).gap_shown
    assert 1 <= wide <= 10
    assert 1 <= gaps <= 10
    assert blind > 20 or not together  # as if each stood alone


def test_few_groups_with_mistakes_are_not_trusted() -> None:
    """Ninety-five in a hundred groups are right as a whole: the other five say little."""
    found = [calibration_of(*in_groups(seed, groups=60, together=0.98, sure=3.5)) for seed in range(100)]
    assert sum(each.gap_shown for each in found) <= 10
    assert sum(each.error_shown for each in found) <= 10


def test_an_uncalibrated_network_is_called_so_by_groups_too_and_below_ten_nothing_is_said() -> None:
    confidence, right, groups = in_groups(1, groups=100)
    for shifted, words in ((confidence * 0.7, "underconfident"), ((confidence + 3) / 4, "overconfident")):
        found = calibration_of(shifted, right, groups)
        assert found.gap_shown
        assert found.groups == 100
        assert words in found.sentence
    certain = calibration_of(
        torch.full((400,), 0.7), torch.ones(400, dtype=torch.bool), torch.arange(400) // 8
    )
    assert certain.gap_shown  # fifty groups, each right: not even whole groups at 70 % would do that
    few = calibration_of((confidence + 3) / 4, right, groups % 9)
    assert not few.gap_shown
    assert not few.error_shown
    assert few.sentence == (
        "The pictures belong to only 9 groups: too few to say whether confidence agrees with accuracy."
    )


def test_by_groups_the_order_of_pictures_does_not_matter_and_bands_only_widen() -> None:
    confidence, right, groups = in_groups(2, groups=40)
    confidence = (confidence * 20).round() / 20  # many of equal confidence
    found = calibration_of(confidence, right, groups)
    order = torch.randperm(len(right), generator=torch.Generator().manual_seed(4))
    other = calibration_of(confidence[order], right[order], groups[order])
    assert (other.error_limit, other.gap_low) == pytest.approx((found.error_limit, found.gap_low), abs=1e-9)
    alone = calibration_of(confidence, right)
    assert found.error_limit >= alone.error_limit
    assert found.gap_low <= alone.gap_low < alone.gap_high <= found.gap_high
    narrow, wide = isotonic_reliability(confidence, right), isotonic_reliability(confidence, right, groups)
    assert torch.equal(narrow.accuracy, wide.accuracy)
    assert bool((wide.low <= narrow.low).all() and (wide.high >= narrow.high).all())
    assert float((wide.high - wide.low).mean()) > 1.1 * float((narrow.high - narrow.low).mean())
