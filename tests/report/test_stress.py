"""The section shows every curve, the same picture at every strength, and what a damage turned wrong."""

from dataclasses import replace

import numpy as np
import pytest

from pellucid.evaluation.stress import DAMAGES, Stress
from pellucid.report import stress
from pellucid.report.context import ReportContext
from tests.pages import Elements
from tests.report.sections import drawn, rendered, tile


def with_turned(context: ReportContext) -> Stress:
    """The stress of the context, at every strength of which its first picture was turned wrong."""
    curves = [
        replace(
            curve,
            points=tuple(
                replace(point, turned=(replace(point.example, label="bar", prediction="box", correct=False),))
                for point in curve.points
            ),
        )
        for curve in context.stress.curves
    ]
    found = replace(context.stress, curves=tuple(curves))
    context.__dict__["stress"] = found
    return found


def test_each_strength_has_its_figure_its_picture_and_opens_what_it_turned_wrong(
    context: ReportContext,
) -> None:
    context = replace(context)
    found = with_turned(context)
    record = stress.gather(context)
    assert [curve.title for curve in record.curves] == [str(damage.title) for damage in DAMAGES.values()]
    for curve, measured in zip(record.curves, found.curves, strict=True):
        assert curve.chart.count("<circle") == len(measured.points)
        for row, point in zip(curve.points, measured.points, strict=True):
            assert row.share == point.accuracy.value
            assert row.example.cell is not None
            pixels = tile(record.atlases["stress"], row.example.cell)[..., 0]
            assert np.abs(pixels.astype(int) - point.example.image[0].numpy()).max() <= 9
    answer, body = drawn("stress", record)
    assert answer.startswith(f"All {found.count} test pictures were damaged.")
    links = {a["href"] for tag, a in Elements(answer + body).found if tag == "a" and "href" in a}
    ids = {f"#{a['id']}" for _, a in Elements(body).found if a.get("id")}
    assert links <= ids | {"#stress", "#predictions"}
    points = [row for curve in record.curves for row in curve.points]
    assert {f"#{row.id}" for row in points} == links - {"#stress", "#predictions"}
    assert body.count('class="opened"') == len(points)


def test_a_failure_is_told_in_its_place(context: ReportContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(context: ReportContext) -> Stress:
        raise ValueError("no memory left")

    monkeypatch.setattr(ReportContext, "stress", property(fails))
    section = rendered(context, "stress")
    assert section.record is None
    assert "ValueError: no memory left" in section.body
