"""A task owns what differs between one class per picture and several labels: loss, probabilities, answer."""

import pytest
import torch
from sklearn.metrics import log_loss
from torch.nn import functional

from pellucid.task import OneClass, SeveralLabels, answer_names, label_sets, shares_of, shows, task_of

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [-3.0, 0.1, 4.0]])
SEVERAL = torch.tensor([[True, False, True], [False, False, True]])


def test_labels_tell_their_task() -> None:
    assert task_of(torch.tensor([0, 2])) == OneClass()
    assert task_of(SEVERAL) == SeveralLabels((0.5, 0.5, 0.5))


def test_the_loss_of_several_labels_is_their_mean_binary_cross_entropy() -> None:
    task = task_of(SEVERAL)
    oracle = sum(
        log_loss(row.int().numpy(), chances.numpy(), labels=[0, 1])
        for row, chances in zip(SEVERAL, LOGITS.double().sigmoid(), strict=True)
    )
    assert float(task.total_loss(LOGITS, SEVERAL)) == pytest.approx(oracle)
    assert float(task.loss(LOGITS, SEVERAL)) == pytest.approx(oracle / 2)


def test_smoothing_moves_both_targets_towards_one_half() -> None:
    smoothed = functional.binary_cross_entropy_with_logits(LOGITS, SEVERAL.float() * 0.8 + 0.1)
    assert float(task_of(SEVERAL).loss(LOGITS, SEVERAL, smoothing=0.2)) == pytest.approx(float(smoothed))


def test_weights_count_a_rare_label_more_where_it_is_present() -> None:
    task, weights = task_of(SEVERAL), torch.tensor([3.0, 1.0, 1.0])
    more = task.loss(LOGITS, SEVERAL, weights) - task.loss(LOGITS, SEVERAL)
    assert float(more) == pytest.approx(2 * float(functional.softplus(torch.tensor(-2.0))) / 6)


def test_a_label_is_given_from_its_own_threshold_on() -> None:
    task = SeveralLabels((0.9, 0.5, 0.6))
    chances = torch.tensor([[0.89, 0.5, 0.61], [0.95, 0.2, 0.1]])
    assert task.predictions(chances).tolist() == [[False, True, True], [True, False, False]]
    assert answer_names(task, chances[0], ("a", "b", "c")) == ("c", "b")
    assert answer_names(task, torch.zeros(3), ("a", "b", "c")) == ()
    assert task.confidence(chances).tolist() == pytest.approx([0.11, 0.8])
    logits = chances.logit()
    assert task.right(logits, torch.tensor([[False, True, True], [True, True, False]])).tolist() == [
        True,
        False,
    ]


def test_labels_of_either_kind_are_asked_alike() -> None:
    one = torch.tensor([0, 2])
    assert shows(one, 2).tolist() == [False, True]
    assert shows(SEVERAL, 0).tolist() == [True, False]
    assert shows(SEVERAL, torch.tensor([1, 2])).tolist() == [False, True]
    assert shares_of(one, 3).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert shares_of(SEVERAL, 3).tolist() == [[1, 0, 1], [0, 0, 1]]
    assert label_sets(one).tolist() == [0, 2]
    assert len(set(label_sets(SEVERAL[[0, 1, 0]]).tolist())) == 2
