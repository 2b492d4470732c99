"""Charts for pages: SVG whose text stays text."""

import math
from collections.abc import Sequence
from html import escape

import torch
from torch import Tensor

from pellucid.evaluation.calibration import IsotonicReliability
from pellucid.evaluation.intervals import Estimate
from pellucid.evaluation.metrics import Bin, Bounds, wilson
from pellucid.evaluation.selective import RiskCoverage
from pellucid.formatting import decimal, percent
from pellucid.language import translate
from pellucid.training.loop import Epoch

KINDS = ("training", "validation")


def line_chart(title: str, history: Sequence[Epoch], names: tuple[str, str], *, unit: str) -> str:
    """Two curves by epoch, training dashed, validation solid, the best epoch marked, as inline SVG.

    unit  "nats": from zero up; "share": 0..1 shown in percent, up to 100 %
    """
    width, height, left, right, top, bottom = 560, 296, 52, 92, 46, 40
    series = [_finite_by_epoch(history, name) for name in names]
    low, high, ticks = _value_axis([value for values in series for value in values.values()], unit)
    last = max(2, len(history))

    def x(epoch: int) -> float:
        return left + (epoch - 1) / (last - 1) * (width - left - right)

    def y(value: float) -> float:
        return top + (high - min(max(value, low), high)) / (high - low) * (height - top - bottom)

    parts = [_text(0, 14, title, "start", "name")]
    for value in ticks:
        label = f"{value * 100:.4g} %" if unit == "share" else f"{value:.3g}"
        parts.append(f'<path class="grid" d="M{left} {y(value):.1f}H{width - right}"/>')
        parts.append(_text(left - 8, y(value) + 4, label, "end"))
    for place in _integer_ticks(last if len(history) > 1 else 1):
        parts.append(_text(x(place), height - bottom + 20, str(place), "middle"))
    best = next((epoch for epoch in reversed(history) if epoch.best), None)
    if best is not None:
        parts.append(f'<path class="best" d="M{x(best.epoch):.1f} {top - 18}V{height - bottom}"/>')
        anchor = "end" if x(best.epoch) > width / 2 else "start"
        nudge = -6 if anchor == "end" else 6
        parts.append(
            _text(
                x(best.epoch) + nudge,
                top - 9,
                translate("best: %(epoch)s", epoch=best.epoch),
                anchor,
                "tick mark",
            )
        )
    curves = [(kind, values) for kind, values in zip(KINDS, series, strict=True) if values]
    ends = _separate_two([y(list(values.values())[-1]) + 4 for _, values in curves])
    for (kind, values), end in zip(curves, ends, strict=True):
        points = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in values.items())
        parts.append(f'<polyline class="{kind}" points="{points}"/>')
        for epoch, value in values.items():
            description = translate(
                "epoch %(epoch)s: %(kind)s %(value)s", epoch=epoch, kind=translate(kind), value=f"{value:.4f}"
            )
            parts.append(_dot((x(epoch), y(value)), 2.75, kind, description))
        parts.append(_text(x(max(values)) + 10, end, translate(kind), "start", f"label {kind}"))
    return _chart(title, width, height, parts)


def reliability_chart(
    bins: list[Bin], isotonic: IsotonicReliability | None = None, *, several_labels: bool = False
) -> str:
    """Accuracy by confidence with 95 % intervals, and the diagonal of perfect calibration, as SVG.

    isotonic        drawn as a line, with the band that chance alone leaves a calibrated network
    several_labels  names the axes by what bins of several labels hold: how often a label is there, by its
                    probability

    Both axes begin at the lowest confidence or accuracy of a bin.
    """
    size, left, right, top, bottom = 340, 52, 14, 34, 48
    lowest = min([1.0, *(min(part.confidence, part.accuracy) for part in bins)])
    low = max(0.0, min(0.9, math.floor(lowest * 10 - 0.25) / 10))
    span_x, span_y = size - left - right, size - top - bottom

    def at(confidence: float, accuracy: float) -> tuple[float, float]:
        across, up = ((max(low, value) - low) / (1 - low) for value in (confidence, accuracy))
        return left + across * span_x, top + (1 - up) * span_y

    name, axis = translate("Accuracy by confidence"), translate("confidence")
    if several_labels:
        name, axis = translate("How often the label is there, by its probability"), translate("probability")
    parts = [_text(0, 14, name, "start", "name")]
    for share in _ticks(low, 1.0):
        across, up = at(share, share)
        parts.append(f'<path class="grid" d="M{left} {up:.1f}H{size - right}"/>')
        parts.append(_text(across, size - bottom + 19, f"{share * 100:.3g} %", "middle"))
        parts.append(_text(left - 8, up + 4, f"{share * 100:.3g} %", "end"))
    (x0, y0), (x1, y1) = at(low, low), at(1, 1)
    parts.append(f'<path class="diagonal" d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"/>')
    if isotonic is not None:
        shown = isotonic.confidence >= low
        confidence = _thinned(isotonic.confidence[shown])
        lower, upper, line = (
            [at(*pair) for pair in zip(confidence, _thinned(values[shown]), strict=True)]
            for values in (isotonic.low, isotonic.high, isotonic.accuracy)
        )
        parts.append(f'<path class="band" d="{_path([*lower, *reversed(upper)])}Z"/>')
        parts.append(f'<polyline class="isotonic" points="{_points(line)}"/>')
    for part in bins:
        below, above = wilson(part.accuracy, part.count)
        across, up = at(part.confidence, part.accuracy)
        interval = f"M{across:.1f} {at(0, below)[1]:.1f}V{at(0, above)[1]:.1f}"
        parts.append(f'<path class="whisker" d="{interval}"/>')
        values = {"confidence": percent(part.confidence), "accuracy": percent(part.accuracy)}
        values["count"] = f"{part.count:,}"
        description = (
            translate("%(count)s labels: probability %(confidence)s, there in %(accuracy)s", **values)
            if several_labels
            else translate(
                "%(count)s predictions: confidence %(confidence)s, accuracy %(accuracy)s", **values
            )
        )
        parts.append(_dot((across, up), 4.5, "validation", description))
    parts.append(_text(left + span_x / 2, size - 8, axis, "middle"))
    return _chart(name if several_labels else translate("Confidence and accuracy"), size, size, parts)


def risk_chart(curve: RiskCoverage) -> str:
    """The error among the pictures answered by the share that is answered, with its 95 % interval, as SVG."""
    width, height, left, right, top, bottom = 560, 296, 52, 14, 34, 48
    coverage, error = _thinned(curve.coverage), _thinned(curve.error)
    low, high = _thinned(curve.low), _thinned(curve.high)
    wide = [value for value, share in zip(high, coverage, strict=True) if share >= 0.5]
    most = max(1e-3, 1.1 * max(*error, *wide))

    def at(share: float, value: float) -> tuple[float, float]:
        up = min(value, most) / most
        return left + share * (width - left - right), top + (1 - up) * (height - top - bottom)

    parts = [_text(0, 14, translate("Error among the pictures answered"), "start", "name")]
    for value in _ticks(0.0, most):
        parts.append(f'<path class="grid" d="M{left} {at(0, value)[1]:.1f}H{width - right}"/>')
        parts.append(_text(left - 8, at(0, value)[1] + 4, f"{value * 100:.3g} %", "end"))
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchor = "end" if share == 1 else "middle"
        parts.append(_text(at(share, 0)[0], height - bottom + 19, f"{share * 100:.0f} %", anchor))
    lower, upper, line = (
        [at(*pair) for pair in zip(coverage, values, strict=True)] for values in (low, high, error)
    )
    parts.append(f'<path class="band" d="{_path([*lower, *reversed(upper)])}Z"/>')
    parts.append(f'<polyline class="validation" points="{_points(line)}"/>')
    parts.append(_text(left + (width - left - right) / 2, height - 8, translate("answered"), "middle"))
    return _chart(translate("Error by the share of pictures answered"), width, height, parts)


def distribution_chart(title: str, values_by_split: dict[str, Tensor], *, top: float = 255.0) -> str:
    """The distribution of the values 0..`top` of each split in 32 bins, as SVG: training dashed, the others
    solid, all on one scale."""
    width, height, left, right, above, below = 560, 240, 6, 6, 46, 34
    bins = 32
    counts = {name: torch.histc(values.float(), bins, 0, top) for name, values in values_by_split.items()}
    curves = {name: count / count.sum().clamp_min(1) for name, count in counts.items()}
    highest = max([1e-9, *(float(curve.max()) for curve in curves.values())])

    def at(step: float, share: float) -> str:
        x = left + step / bins * (width - left - right)
        return f"{x:.1f},{above + (1 - share / highest) * (height - above - below):.1f}"

    marks = {"train": "training", "validation": "validation", "test": "judged"}
    drawn = [_text(0, 14, title, "start", "name")]
    for number, (name, curve) in enumerate(curves.items()):
        kind, place = marks.get(name, "training"), width - 250 + number * 90
        drawn.append(f'<polyline class="{kind}" points="{place},30 {place + 18},30"/>')
        drawn.append(_text(place + 24, 34, translate(name), "start", "label"))
        points = " ".join(at(step + 0.5, share) for step, share in enumerate(curve.tolist()))
        drawn.append(f'<polyline class="{kind}" points="{at(0, 0)} {points} {at(bins, 0)}"/>')
    drawn.append(f'<path class="axis" d="M{left} {height - below}H{width - right}"/>')
    for value in (0, 64, 128, 192, 255):
        x = left + value / top * (width - left - right)
        anchor = "start" if value == 0 else "end" if value == top else "middle"
        drawn.append(_text(x, height - below + 18, str(value), anchor))
    return _chart(title, width, height, drawn)


def interval_strip(share: float, interval: Bounds | None, *, score: str = "") -> str:
    """A share 0..1 with its interval, where there is one, on a scale up to 100 %, as SVG.

    score  what it is when it is no share, such as "mAP": then the scale is one of plain numbers, up to 1
    """
    width, height, edge = 260, 44, 6
    low, high = interval or (share, share)
    floor = min(0.9, max(0.0, math.floor((low - 0.02) * 10) / 10)) if low < 0.98 else 0.95

    def x(value: float) -> float:
        return edge + (value - floor) / (1 - floor) * (width - 2 * edge)

    parts = [f'<path class="axis" d="M{edge} 14H{width - edge}"/>']
    for value, anchor in ((floor, "start"), ((floor + 1) / 2, "middle"), (1.0, "end")):
        parts.append(f'<path class="axis" d="M{x(value):.1f} 10V18"/>')
        parts.append(_text(x(value), 36, f"{value:.3g}" if score else f"{value * 100:.3g} %", anchor))
    if interval:
        parts.append(f'<path class="range" d="M{x(low):.1f} 14H{x(high):.1f}"/>')
    figure, *ends = (decimal(each) if score else percent(each, count=10_000) for each in (share, low, high))
    description = f"{score} {figure}" if score else translate("%(share)s right", share=figure)
    if interval:
        description += ", " + translate("95 %% interval %(low)s to %(high)s", low=ends[0], high=ends[1])
    parts.append(_dot((x(share), 14), 5, "share", description))
    return _chart(description, width, height, parts)


def _finite_by_epoch(history: Sequence[Epoch], name: str) -> dict[int, float]:
    """The values of one column of the history by epoch; those that are not finite are left out."""
    values = {epoch.epoch: float(getattr(epoch, name)) for epoch in history}
    return {epoch: value for epoch, value in values.items() if math.isfinite(value)}


def _value_axis(finite: list[float], unit: str) -> tuple[float, float, list[float]]:
    """(low, high, round numbers between) of an axis that holds every value."""
    if unit == "share":
        lowest = min([0.995, *finite])
        ticks = _ticks(lowest, 1.0)
        if lowest < ticks[0] - 1e-9:
            ticks.insert(0, max(0.0, ticks[0] - (ticks[1] - ticks[0])))
        return ticks[0], 1.0, ticks
    highest = max([1e-3, *finite])
    ticks = _ticks(0.0, highest)
    if ticks[-1] < highest - 1e-9:
        ticks.append(ticks[-1] + ticks[1])
    return 0.0, ticks[-1], ticks


def _integer_ticks(last: int) -> list[int]:
    """At most seven integers from 1 to `last`, evenly spaced."""
    step = next(step for step in _STEPS if (last - 1) / step <= 6)
    return [1, *(number for number in range(step, last + 1, step) if number > max(1, step / 2))]


_STEPS = [factor * 10**power for power in range(7) for factor in (1, 2, 5)]


def _separate_two(ends: list[float]) -> list[float]:
    """The heights of two labels, moved apart until a line of text fits between them."""
    if len(ends) < 2 or abs(ends[0] - ends[1]) >= 15:
        return ends
    middle, sign = sum(ends) / 2, 1 if ends[0] >= ends[1] else -1
    return [middle + 7.5 * sign, middle - 7.5 * sign]


def _chart(title: str, width: int, height: int, parts: list[str]) -> str:
    kind = "chart square" if width == height else "chart"
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    head = f'<svg class="{kind}" {size} role="img" aria-label="{escape(title)}">'
    return "".join([head, f"<title>{escape(title)}</title>", *parts, "</svg>"])


def _thinned(values: Tensor, most: int = 200) -> list[float]:
    """Evenly many of the values, the first and the last among them."""
    places = torch.linspace(0, len(values) - 1, min(most, len(values))).round().long()
    return [float(value) for value in values[places]]


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _dot(centre: tuple[float, float], radius: float, kind: str, description: str) -> str:
    circle = f'<circle class="{kind}" cx="{centre[0]:.1f}" cy="{centre[1]:.1f}" r="{radius}">'
    return f"{circle}<title>{escape(description)}</title></circle>"


def _ticks(low: float, high: float) -> list[float]:
    """Four or five round numbers from `low` to `high`."""
    rough = (high - low) / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [step * number for number in range(first, math.floor(high / step + 1e-9) + 1)]


def log_chart(title: str, curves: dict[str, dict[int, float]]) -> str:
    """Curves by epoch on a scale of powers of ten, each named at its end, as inline SVG.

    curves  by name, a value above zero for each epoch; others are left out
    """
    width, height, left, right, top, bottom = 560, 296, 62, 110, 36, 40
    kept = {
        name: {epoch: value for epoch, value in curve.items() if 0 < value < math.inf}
        for name, curve in curves.items()
    }
    kept = {name: curve for name, curve in kept.items() if curve}
    powers = [math.log10(value) for curve in kept.values() for value in curve.values()] or [0.0]
    low, high = math.floor(min(powers)), max(math.ceil(max(powers)), math.floor(min(powers)) + 1)
    last = max([2, *(epoch for curve in kept.values() for epoch in curve)])

    def x(epoch: int) -> float:
        return left + (epoch - 1) / (last - 1) * (width - left - right)

    def y(value: float) -> float:
        return top + (high - math.log10(value)) / (high - low) * (height - top - bottom)

    parts = [_text(0, 14, title, "start", "name")]
    for power in range(low, high + 1, max(1, (high - low) // 5)):
        parts.append(f'<path class="grid" d="M{left} {y(10.0**power):.1f}H{width - right}"/>')
        parts.append(_text(left - 8, y(10.0**power) + 4, f"{10.0**power:g}", "end"))
    for place in _integer_ticks(last):
        parts.append(_text(x(place), height - bottom + 20, str(place), "middle"))
    ends = _separate_labels({name: y(curve[max(curve)]) + 4 for name, curve in kept.items()})
    for number, (name, curve) in enumerate(kept.items()):
        points = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in sorted(curve.items()))
        parts.append(
            f'<polyline class="validation" style="opacity:{1 - 0.1 * (number % 6):.1f}" points="{points}"/>'
        )
        for epoch, value in curve.items():
            description = translate(
                "epoch %(epoch)s: %(kind)s %(value)s", epoch=epoch, kind=name, value=f"{value:.3g}"
            )
            parts.append(_dot((x(epoch), y(value)), 2.5, "validation", description))
        parts.append(_text(x(max(curve)) + 10, ends[name], name, "start", "label"))
    return _chart(title, width, height, parts)


def _separate_labels(heights: dict[str, float], *, line: float = 14) -> dict[str, float]:
    """The heights of labels, moved down from the highest until a line of text fits between any two."""
    placed: dict[str, float] = {}
    before = -math.inf
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        before = placed[name] = max(height, before + line)
    return placed


def stress_chart(title: str, strengths: Sequence[str], scores: Sequence[Estimate], undamaged: float) -> str:
    """Accuracy by the strength of a damage with 95 % intervals, on a scale of 0 to 100 %, as SVG.

    strengths  in words, at even distances
    undamaged  accuracy without damage, 0..1, drawn as a line across
    """
    width, height, left, right, top, bottom = 340, 220, 46, 14, 30, 30

    def x(place: int) -> float:
        return left + place / len(strengths) * (width - left - right)

    def y(share: float) -> float:
        return top + (1 - share) * (height - top - bottom)

    parts = [_text(0, 14, title, "start", "name")]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<path class="grid" d="M{left} {y(share):.1f}H{width - right}"/>')
        parts.append(_text(left - 8, y(share) + 4, f"{share * 100:.0f} %", "end"))
    line = f"M{left} {y(undamaged):.1f}H{width - right}"
    parts.append(f'<path class="diagonal" d="{line}"/>')
    for place, label in enumerate(["0", *strengths]):
        anchor = "end" if place == len(strengths) else "middle"
        parts.append(_text(x(place) + (right if anchor == "end" else 0), height - bottom + 20, label, anchor))
    shares = [undamaged, *(score.value for score in scores)]
    points = " ".join(f"{x(place):.1f},{y(share):.1f}" for place, share in enumerate(shares))
    parts.append(f'<polyline class="validation" points="{points}"/>')
    for place, (label, score) in enumerate(zip(strengths, scores, strict=True), 1):
        description = f"{label}: {percent(score.value)}"
        if score.interval:
            low, high = score.interval
            parts.append(f'<path class="whisker" d="M{x(place):.1f} {y(low):.1f}V{y(high):.1f}"/>')
            ends = {"low": percent(low), "high": percent(high)}
            description += ", " + translate("95 %% interval %(low)s to %(high)s", **ends)
        parts.append(_dot((x(place), y(score.value)), 3.5, "validation", description))
    return _chart(title, width, height, parts)
