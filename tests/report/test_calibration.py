"""Confidence is laid beside accuracy, group by group, as scikit-learn groups them."""

import math
import re
from dataclasses import replace

import pytest
import torch
from sklearn.calibration import calibration_curve

from pellucid.evaluation.calibration import NOT_FITTED, TOO_FEW, TemperatureFit
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
    assert section.calibration.confidence == pytest.approx(0.75)
    assert section.calibration.accuracy == 0.75
    assert section.calibration.error == pytest.approx((0.4 + 0.3 + 0.8 + 0.1) / 4)
    assert section.loss == pytest.approx(-sum(map(math.log, (0.9, 0.2, 0.6, 0.7))) / 4)
    expected = [Bin(0.6, 1.0, 1, 0.6, 0.6), Bin(0.7, 1.0, 1, 0.7, 0.7)]
    expected += [Bin(0.8, 0.0, 1, 0.8, 0.8), Bin(0.9, 1.0, 1, 0.9, 0.9)]
    for group, wanted in zip(section.bins, expected, strict=True):
        assert vars(group) == pytest.approx(vars(wanted))
    body = str(rendered(uneven, "calibration").body)
    assert re.findall('href="#mistakes;([^"]+)">([^<]+)', body) == [
        ("from=0.8;to=0.8;order=confidence", "0.0 %")
    ]


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
    assert section.calibration.error == pytest.approx(abs(accuracies - confidences).mean())


def test_the_page_says_what_was_measured_and_draws_a_point_for_every_group(uneven: ReportContext) -> None:
    shown = rendered(uneven, "calibration")
    limit = uneven.evaluation.calibration.error_limit * 100
    assert words(shown.answer).startswith(
        "Confidence agrees with accuracy, as far as 4 pictures can show. Mean confidence is 75.0 %, accuracy "
        f"75.0 %; group by group the two differ by 40.0 points, where chance alone makes up to {limit:.1f}."
    )
    assert str(shown.body).count("<circle") == 4
    assert str(shown.body).count('class="band"') == str(shown.body).count('class="isotonic"') == 1
    assert re.search(
        '<td><a href="#bin-2">1</a></td><td>80.0 %</td><td><a [^>]+>0.0 %</a></td>', str(shown.body)
    )


def test_points_are_claimed_only_where_chance_does_not_make_them(context: ReportContext) -> None:
    few = judged(context, answers(context, [0.9] * 3 + [0.2]))  # 87 % confident on average, and right on 75 %
    assert few.evaluation.calibration.gap > 0.1
    assert "as far as 4 pictures can show" in rendered(few, "calibration").answer
    modest = judged(context, answers(context, [0.6] * 40))
    assert "On average it is 40.0 points underconfident." in rendered(modest, "calibration").answer
    sure = judged(context, answers(context, [0.02] * 20 + [0.98] * 20))
    assert "On average it is 48.0 points overconfident." in rendered(sure, "calibration").answer


def test_of_groups_it_says_how_many_and_of_few_that_nothing_can_be_said(context: ReportContext) -> None:
    plain = judged(context, answers(context, [0.8] * 40))
    for count, words_said in (
        (20, "underconfident"),
        (4, "The pictures belong to only 4 groups: too few to say whether confidence agrees with accuracy."),
    ):
        groups = torch.arange(40) % count
        grouped = replace(plain, full_evaluation=replace(plain.full_evaluation, groups=groups))
        shown = rendered(grouped, "calibration")
        assert words_said in words(str(shown.answer))
        assert f"The pictures belong to {count} groups, so chance is also drawn by" in words(str(shown.body))
    assert "Mammen" not in rendered(plain, "calibration").body


def test_it_says_what_the_temperature_changed_and_on_what_it_was_fitted(context: ReportContext) -> None:
    fit = TemperatureFit("validation", 1200, "", 0.31, 0.1234, 0.05, 0.0021)
    fitted = replace(
        context.run, calibration=fit, classifier=replace(context.run.classifier, temperature=0.5)
    )
    found = judged(replace(context, run=fitted), answers(context, [0.8] * 40))
    section = calibration.gather(found)
    held_out, test = section.measured
    assert (held_out.pictures, held_out.fitted, held_out.loss_after, held_out.error_after) == (
        1200, True, 0.1234, 0.0021,
    )  # fmt: skip
    assert test.loss_after == found.evaluation.loss
    scores = torch.tensor([0.8, 0.2], dtype=torch.float64).log() * 0.5
    assert test.loss_before == pytest.approx(-float(scores.log_softmax(dim=0)[0]), abs=1e-6)
    body = words(str(rendered(found, "calibration").body))
    assert "scores are divided by a temperature of 0.5, fitted on 1,200 validation pictures" in body
    assert "<td>0.3100</td><td>0.1234</td><td>5.00</td><td>0.21</td>" in body


def test_a_temperature_that_was_not_fitted_is_explained(context: ReportContext) -> None:
    few = replace(context.run, calibration=TemperatureFit("validation", 30, TOO_FEW))
    body = words(str(rendered(replace(context, run=few), "calibration").body))
    assert "30 pictures held out are too few to fit a temperature on, which takes 50." in body
    stopped = replace(context.run, calibration=NOT_FITTED)
    body = words(str(rendered(replace(context, run=stopped), "calibration").body))
    assert "(temperature 1): training ended before a temperature could be fitted." in body
    assert "What the temperature changed" not in body
