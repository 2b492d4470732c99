"""A pair is named only where other pictures of the same kind would name it, too."""

import pytest
import torch

from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.intervals import Sampling
from pellucid.evaluation.metrics import Confusion
from pellucid.evaluation.most_confused import in_words, seed_of, steadily_on_top


def mistaken(counts: dict[int, int], *, of: int = 1000) -> tuple[torch.Tensor, torch.Tensor]:
    """So many mistakes of each kind, one a picture."""
    cells = torch.tensor([kind for kind, count in counts.items() for _ in range(count)], dtype=torch.int64)
    return cells, torch.arange(len(cells))


@pytest.mark.parametrize(
    ("counts", "named"),
    [
        ({5: 40, 7: 10, 9: 8}, [5]),
        ({5: 12, 7: 11, 9: 2}, [5, 7]),
        ({9: 10, 5: 12, 7: 11}, [5, 7, 9]),
        (dict.fromkeys(range(20), 4), []),
        ({3: 1}, []),
        ({}, []),
    ],
)
def test_pairs_that_are_about_equally_common_are_not_told_apart(
    counts: dict[int, int], named: list[int]
) -> None:
    assert steadily_on_top(*mistaken(counts), Sampling(1000), seed=1) == named


def test_one_group_that_is_confused_alone_decides_nothing() -> None:
    cells, pictures = mistaken({5: 40, 7: 10})
    groups = torch.cat([torch.zeros(40, dtype=torch.int64), torch.arange(1, 961)])
    assert steadily_on_top(cells, pictures, Sampling(1000), seed=1) == [5]
    assert steadily_on_top(cells, pictures, Sampling(1000, groups), seed=1) == [5, 7]
    assert steadily_on_top(cells, pictures, Sampling(1000, groups % 9), seed=1) == [], "too few groups"


def test_the_same_evaluation_names_the_same_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (300,), generator=generator)
    scores = torch.randn(300, 4, generator=generator)
    scores[torch.arange(300), labels] += 1
    names = tuple("abcd")
    evaluations = [
        Evaluation(scores.softmax(dim=1), labels, names, [f"{n}" for n in range(300)]) for _ in range(2)
    ]
    assert evaluations[0].verdict == evaluations[1].verdict
    assert seed_of(labels) == seed_of(labels.clone()) != seed_of(labels.flip(0))


def test_the_words_claim_no_more_than_was_found() -> None:
    first, second = Confusion("a", "b", 8), Confusion("b", "a", 1)
    assert in_words([first]) == "most confused: a -> b, 8 times"
    assert in_words([first, second]) == "among the most confused: a -> b (8 times), b -> a (once)"
    assert in_words([]) == ""
