"""Charts say what the numbers say."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch

from pellucid.evaluation.calibration import isotonic_reliability
from pellucid.evaluation.intervals import Estimate
from pellucid.evaluation.metrics import Bin, bins_of_equal_number, wilson
from pellucid.evaluation.selective import risk_coverage
from pellucid.plots import charts
from pellucid.training.loop import Epoch
from tests.toys import HISTORY


def test_curves_are_well_formed_and_mark_the_best_epoch() -> None:
    chart = charts.line_chart("Loss <by> epoch", HISTORY, ("loss", "val_loss"), unit="nats")
    root = ElementTree.fromstring(chart)
    assert root.find("title").text == "Loss <by> epoch"  # type: ignore[union-attr]
    assert len(re.findall("<polyline", chart)) == 2
    assert "best: 3" in chart
    assert "epoch 4: validation 0.2750" in chart


def test_one_epoch_and_values_that_are_no_numbers_can_be_drawn() -> None:
    odd = Epoch(1, 1.0, 1e-3, float("nan"), 0.0, float("inf"), 0.0, False)
    for history in ([HISTORY[0]], [odd], [odd, HISTORY[1]]):
        chart = charts.line_chart("Loss", history, ("loss", "val_loss"), unit="nats")
        ElementTree.fromstring(chart)
        assert "nan" not in re.sub(r"<title>.*?</title>", "", chart)


def test_every_group_of_answers_is_a_point() -> None:
    chart = charts.reliability_chart([Bin(0.5, 0.4, 10, 0.4, 0.6), Bin(0.9, 1.0, 10, 0.8, 1.0)])
    assert chart.count("<circle") == 2
    assert "10 predictions: confidence 50.0 %, accuracy 40.0 %" in chart
    ElementTree.fromstring(chart)


def test_reliability_without_bins_and_the_error_by_coverage_stay_inside_their_charts() -> None:
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(500, generator=generator) / 2 + 0.5
    right = torch.rand(500, generator=generator) < confidence
    bins = bins_of_equal_number(confidence, right, 10)
    drawn = (
        (charts.reliability_chart(bins, isotonic_reliability(confidence, right)), "isotonic", 340, 340),
        (charts.risk_chart(risk_coverage(confidence, right)), "validation", 560, 296),
    )
    for chart, name, width, height in drawn:
        (line,) = [
            each for each in ElementTree.fromstring(chart).iter("polyline") if each.get("class") == name
        ]
        points = [tuple(map(float, point.split(","))) for point in line.get("points", "").split()]
        assert len(points) == 200
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
        assert [x for x, _ in points] == sorted(x for x, _ in points)
        assert chart.count('class="band"') == 1


def test_a_damage_is_a_curve_from_the_undamaged_accuracy_on() -> None:
    scores = [Estimate(0.9, (0.8, 0.95)), Estimate(0.0, None)]
    chart = charts.stress_chart("blur", ["2 %", "4 %"], scores, 1.0)
    assert chart.count("<circle") == 2
    assert chart.count('class="whisker"') == 1
    assert "2 %: 90.0 %, 95 % interval 80.0 % to 95.0 %" in chart
    points = re.findall(r"([\d.]+),([\d.]+)", re.search(r'points="([^"]+)"', chart)[1])  # type: ignore[index]
    assert len(points) == 3
    assert [float(y) for _, y in points] == sorted(float(y) for _, y in points)
    ElementTree.fromstring(chart)


@pytest.mark.parametrize("share", [0.0, 0.31, 0.94, 0.9998, 1.0])
def test_an_interval_stays_on_its_strip(share: float) -> None:
    low, high = wilson(share, 400)
    strip = ElementTree.fromstring(charts.interval_strip(share, (low, high)))
    places = [float(circle.get("cx", "")) for circle in strip.iter("circle")]
    ends = [float(x) for path in strip.iter("path") for x in re.findall(r"[MH]([\d.-]+)", path.get("d", ""))]
    assert all(0 <= x <= 260 for x in (*places, *ends))


@pytest.mark.parametrize("last", [1, 2, 3, 7, 8, 20, 30, 99, 1000])
def test_epochs_on_the_axis_are_few_and_in_range(last: int) -> None:
    history = [replace(HISTORY[0], epoch=number) for number in range(1, last + 1)]
    drawn = ElementTree.fromstring(charts.line_chart("Loss", history, ("loss", "val_loss"), unit="nats"))
    ticks = [int(text.text or "") for text in drawn.iter("text") if text.get("text-anchor") == "middle"]
    assert ticks[0] == 1
    assert ticks == sorted(set(ticks))
    assert ticks[-1] <= last
    assert len(ticks) <= 8
