"""Sets hold the label as often as they promise, whatever the network."""

import pytest
import torch
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.evaluation.conformal import PredictionSets, prediction_sets, set_scores
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.held_out import HeldOut

CLASSES = tuple("abcdefgh")


def drawn(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Probabilities (N, K) of a network that is too sure, and labels (N,): 54 % right."""
    scores = torch.randn(count, len(CLASSES), generator=generator) * 2
    labels = torch.multinomial((scores / 2).softmax(dim=1), 1, generator=generator)[:, 0]
    return scores.softmax(dim=1), labels


def held_out(probabilities: Tensor, labels: Tensor) -> HeldOut:
    return HeldOut.of(Evaluation(probabilities, labels, CLASSES, [""] * len(labels)))


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_sets_hold_the_label_as_often_as_promised(coverage: float) -> None:
    generator = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(300):
        sets = prediction_sets(held_out(*drawn(150, generator)), coverage)
        scores = set_scores(sets, *drawn(400, generator))
        shares.append(scores.covered / scores.count)
    mean = sum(shares) / len(shares)
    assert coverage - 0.005 <= mean <= coverage + 1 / 151 + 0.005


@pytest.mark.parametrize("groups", [6, 12, 40])
def test_of_pictures_in_groups_the_promise_is_kept_for_a_picture_of_another_group(groups: int) -> None:
    """Groups of 1 to 20 pictures; all of one give about as little to their label."""
    generator, held = torch.Generator().manual_seed(groups), []
    for _ in range(1_000):
        sizes = torch.randint(1, 21, (groups + 1,), generator=generator)
        owners = torch.arange(groups + 1).repeat_interleave(sizes)
        own = torch.rand(groups + 1, generator=generator)[owners]
        values = (own + torch.rand(len(owners), generator=generator) / 20).clamp(0, 1)
        new = owners == groups
        pictures = HeldOut(~new[~new], values[~new], values[~new], owners[~new])
        held.append((values[new] >= prediction_sets(pictures, 0.8).probability).double().mean())
    assert float(torch.stack(held).mean()) >= 0.8 - 0.03  # two standard errors


def test_the_threshold_is_the_quantile_of_one_picture_more() -> None:
    label_probability = torch.arange(1, 20) / 20  # 19 pictures
    pictures = HeldOut(torch.ones(19, dtype=torch.bool), label_probability, label_probability)
    assert prediction_sets(pictures, 0.9).probability == pytest.approx(2 / 20)  # the 18th of 19, from above
    assert prediction_sets(pictures, 0.95).probability == pytest.approx(1 / 20)
    assert prediction_sets(pictures, 0.96) == PredictionSets(0.96, 0.0, 19)  # that takes 24
    assert bool(prediction_sets(pictures, 0.96).of(torch.rand(5, 3)).all())


def test_a_set_names_the_most_probable_first_and_is_never_empty() -> None:
    sets = PredictionSets(0.9, 0.3, 100)
    assert sets.names(torch.tensor([0.35, 0.2, 0.45]), ("a", "b", "c")) == ("c", "a")
    assert sets.names(torch.tensor([0.28, 0.25, 0.25, 0.22]), ("a", "b", "c", "d")) == ("a",)


def test_the_scores_of_sets_are_counted() -> None:
    rows = torch.tensor([[0.9, 0.1, 0.0], [0.5, 0.45, 0.05], [0.4, 0.3, 0.3], [0.2, 0.7, 0.1]])
    found = set_scores(PredictionSets(0.9, 0.3, 50), rows, torch.tensor([0, 1, 2, 0]))
    assert (found.count, found.covered, found.one, found.two, found.more) == (4, 3, 2, 1, 1)
    assert found.size == 7 / 4
    assert found.interval[0] < 0.75 < found.interval[1]


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1.0, 95.0, float("nan")])
def test_a_coverage_that_makes_no_sense_is_refused(coverage: float) -> None:
    pictures = held_out(*drawn(20, torch.Generator().manual_seed(0)))
    with pytest.raises(UsageError, match=r"Expected a coverage above 0 and below 1, such as 0\.95; got"):
        prediction_sets(pictures, coverage)
