"""A limit is kept only where the less favourable end of the interval keeps it, unless asked otherwise."""

from typing import Any

import pytest
import torch

from pellucid.errors import UsageError
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.gates import known_limits
from tests.toys import given_answers


def right(correct: int, count: int) -> Evaluation:
    return given_answers([[0.9, 0.1]] * correct + [[0.2, 0.8]] * (count - correct), [0] * count)


def test_the_end_of_the_interval_decides_or_the_score_itself() -> None:
    found = right(352, 360)  # 97.8 %, 95.7 % to 98.9 %
    assert [gate.passed for gate in found.gates(min_accuracy=0.95, max_loss=0.2)] == [True, False]
    (gate,) = found.gates(min_accuracy=0.97)
    assert not gate.passed
    assert gate.sentence == (
        "failed: accuracy 97.8 %, 95 % interval 95.7 % to 98.9 %; at least 97.0 % asked for"
    )
    (gate,) = found.gates(min_accuracy=0.97, on="point")
    assert gate.passed
    assert gate.sentence == "passed: accuracy 97.8 %; at least 97.0 % asked for"


def test_without_an_interval_a_limit_is_not_kept_unless_there_never_is_one() -> None:
    few = Evaluation(
        torch.tensor([[0.9, 0.1]] * 40), torch.zeros(40, dtype=torch.int64), ("a", "b"),
        [f"{n}" for n in range(40)], groups=torch.arange(40) % 4,
    )  # fmt: skip
    (gate,) = few.gates(min_accuracy=0.5)
    assert not gate.passed
    assert "no interval (too few groups: 4)" in gate.sentence
    assert few.gates(min_accuracy=0.5, on="point")[0].passed
    (ece,) = few.gates(max_ece=0.2)
    assert (ece.passed, ece.on) == (True, "point")
    assert gate.to_json() == {
        "name": "min_accuracy", "limit": 0.5, "score": "accuracy", "on": "interval", "passed": False,
        "value": 1.0, "interval": None, "too_few": "too few groups: 4",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"min_acuracy": 0.9}, r"Unknown limit 'min_acuracy'\. Did you mean 'min_accuracy'"),
        ({"min_accuracy": 99}, r"Expected `min_accuracy` as a number from 0 to 1, such as 0.99; got 99"),
        ({"max_loss": -1}, r"Expected `max_loss` as a number 0 or more; got -1"),
        ({"max_loss": float("nan")}, "got nan"),
        ({"min_map": 0.5}, r"`min_map` is for mAP, which this evaluation does not have\. Expected min_acc"),
        ({"min_f1": 0.5, "on": "luck"}, r"Expected `on` as interval or point; got 'luck'"),
    ],
)
def test_a_limit_that_cannot_be_one_is_refused(limits: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        right(9, 10).gates(**limits)


def test_limits_that_are_not_given_are_left_out() -> None:
    assert known_limits(min_f1=None, max_ece=0.1) == {"max_ece": 0.1}


@pytest.mark.parametrize("count", [400, 1000, 10_000])
def test_a_network_that_does_not_keep_the_limit_passes_in_one_of_forty_cases_at_most(count: int) -> None:
    """A true accuracy of 98.9 % against 99 %: how often enough of the pictures are right, exactly."""
    from scipy.stats import binom  # type: ignore[import-untyped]

    enough = next(
        (
            n
            for n in range(int(0.98 * count), count + 1)
            if right(n, count).gates(min_accuracy=0.99)[0].passed
        ),
        count + 1,
    )
    assert binom.sf(enough - 1, count, 0.989) <= 0.025
    assert enough <= count, "a limit that none can keep says nothing"
