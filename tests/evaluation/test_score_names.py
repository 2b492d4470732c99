"""Scores are called by the field's names and written so that they claim no more than they are."""

import pytest

from pellucid.evaluation.intervals import Estimate
from pellucid.evaluation.score_names import figure_of, interval_of, title_of
from pellucid.language import lazy_gettext, use_language


def test_every_score_has_a_name_in_both_languages() -> None:
    assert [str(title_of(name)) for name in ("macro_f1", "top_3", "loss")] == [
        "macro F1", "label among the 3 likeliest", "log loss",
    ]  # fmt: skip
    with use_language("ko"):
        assert str(title_of("top_3")) == "상위 3개 안에 레이블이 있는 비율"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("accuracy", 1999 / 2000, "99.95 %"),
        ("top_2", 0.5, "50.0 %"),
        ("macro_f1", 0.99996, "0.99996"),
        ("loss", 0.08731, "0.0873"),
    ],
)
def test_a_score_is_written_in_its_own_way(name: str, value: float, text: str) -> None:
    assert figure_of(name, value, 2000) == text


def test_an_interval_or_why_there_is_none() -> None:
    assert interval_of("accuracy", Estimate(0.5, (0.4, 0.6)), 100) == "40.0 % to 60.0 %"
    assert interval_of("accuracy", Estimate(0.5, None, lazy_gettext("no picture")), 100) == "no picture"
    assert interval_of("calibration_error", Estimate(0.5, None), 100) == ""
