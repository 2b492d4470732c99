"""Confidence is laid beside accuracy, group by group, as scikit-learn groups them."""

import math

import pytest
import torch
from sklearn.calibration import calibration_curve

from pellucid.evaluation.metrics import Bin
from pellucid.report import calibration
from pellucid.report.context import ReportContext
from tests.report.sections import answers, judged, rendered, words


@pytest.fixture
def uneven(context: ReportContext) -> ReportContext:
    """Confident by 0.75 on average, and right on 0.75: only group by group the two differ."""
    return judged(context, answers(context, [0.9, 0.2, 0.6, 0.7]))


def test_a_network_that_is_right_on_average_can_still_be_wrong_in_every_group(uneven: ReportContext) -> None:
    section = calibration.gather(uneven)
    assert section.confidence == pytest.approx(0.75)
    assert section.accuracy == 0.75
    assert section.error == pytest.approx((0.4 + 0.3 + 0.8 + 0.1) / 4)
    assert section.loss == pytest.approx(-sum(map(math.log, (0.9, 0.2, 0.6, 0.7))) / 4)
    expected = [Bin(0.6, 1.0, 1), Bin(0.7, 1.0, 1), Bin(0.8, 0.0, 1), Bin(0.9, 1.0, 1)]
    for group, wanted in zip(section.bins, expected, strict=True):
        assert (group.accuracy, group.count) == (wanted.accuracy, wanted.count)
        assert group.confidence == pytest.approx(wanted.confidence)


def test_the_groups_are_those_of_scikit_learn(context: ReportContext) -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(40, 4, generator=generator).softmax(dim=1)
    section = calibration.gather(judged(context, scores))
    labels = context.splits.test.labels[:40]
    right = (scores.argmax(dim=1) == labels).numpy()
    confidence = scores.amax(dim=1).numpy()
    accuracies, confidences = calibration_curve(right, confidence, n_bins=10, strategy="quantile")
    assert [group.count for group in section.bins] == [4] * 10
    assert [group.accuracy for group in section.bins] == pytest.approx(accuracies.tolist())
    assert [group.confidence for group in section.bins] == pytest.approx(confidences.tolist())
    assert section.error == pytest.approx(abs(accuracies - confidences).mean())


def test_the_page_says_what_was_measured_and_draws_a_point_for_every_group(uneven: ReportContext) -> None:
    shown = rendered(uneven, "calibration")
    assert words(shown.answer).startswith(
        "Mean confidence is 75.0 %, accuracy 75.0 %; group by group the two differ by 40.0 points."
    )
    assert str(shown.body).count("<circle") == 4
    assert "<td>1</td><td>80.0 %</td><td>0.0 %</td>" in shown.body
