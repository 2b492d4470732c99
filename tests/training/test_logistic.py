"""The last layer is solved as scikit-learn does; its penalty is chosen on pictures that were not learned."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from torch import Tensor

from pellucid.models.head import HeadSettings
from pellucid.training import logistic


def clouds(count: int, *, noise: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """`count` points (N, 12) around three centres, and which."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(3, 12, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(count) % 3
    return centres[labels] + noise * torch.randn(count, 12, generator=generator), labels


@pytest.mark.parametrize("penalty", [1.0, 0.03])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_solution_is_that_of_scikit_learn(penalty: float, balanced: bool) -> None:
    features, labels = clouds(90)
    features, labels = features[:70], labels[:70].where(torch.arange(70) < 50, 0)  # uneven
    weights = logistic.solve(features, labels, 3, HeadSettings(penalty, balanced))
    oracle = LogisticRegression(
        C=1 / (penalty * len(labels)), class_weight="balanced" if balanced else None, tol=1e-8, max_iter=2000
    ).fit(features.double().numpy(), labels.numpy())
    assert np.allclose(weights[:, :-1].numpy(), oracle.coef_, atol=2e-3)


@pytest.mark.parametrize("held_out", [0, 30, 150])
def test_noisy_features_get_a_stronger_penalty_than_clear_ones(held_out: int) -> None:
    def chosen(noise: float) -> float:
        parts = [clouds(60, noise=noise), clouds(held_out, noise=noise, seed=1)][: 2 if held_out else 1]
        return logistic.choose_settings(parts, 3, seed=0, balance="none").penalty

    assert chosen(4.0) > chosen(0.2)
    assert chosen(4.0) == chosen(4.0)


def test_few_validation_pictures_are_joined_by_folds_that_hold_each_picture_out_once() -> None:
    labels = torch.tensor([0] * 7 + [1] * 3 + [2])
    held_out = torch.stack(list(logistic.folds(labels, 4)))
    assert held_out.sum(dim=0).tolist() == [1] * 11
    assert held_out[:, 7:10].sum(dim=1).max() == 1  # a class is in as many folds as it can be


def test_a_class_without_a_training_picture_is_never_the_answer() -> None:
    features, labels = clouds(60)
    weights = logistic.solve(features, labels.where(labels < 2, 0), 3, HeadSettings(0.1, False))
    scores = features.double() @ weights[:, :-1].T + weights[:, -1]
    assert not (scores.argmax(dim=1) == 2).any()


def uneven(common: int, rare: int, *, noise: float) -> tuple[Tensor, Tensor]:
    """Points around three centres, the third with few of them."""
    features, labels = clouds(3 * common, noise=noise)
    kept = (labels < 2) | (torch.arange(3 * common) < 3 * rare)
    return features[kept], labels[kept]


def test_classes_are_balanced_where_that_finds_rare_ones_and_not_where_they_are_even() -> None:
    rare = logistic.choose_settings([uneven(60, 6, noise=1.0)], 3, seed=0, balance="auto")
    even = logistic.choose_settings([clouds(90, noise=0.1)], 3, seed=0, balance="auto")
    assert (rare.balanced, even.balanced) == (True, False)


@pytest.mark.parametrize(("balance", "balanced"), [("none", False), ("weights", True), ("sampler", True)])
def test_what_was_asked_for_is_not_chosen(balance: Any, balanced: bool) -> None:
    chosen = logistic.choose_settings([uneven(30, 6, noise=2.5)], 3, seed=0, balance=balance)
    assert chosen.balanced is balanced


def test_the_score_that_decides_is_that_of_scikit_learn() -> None:
    scores, labels = torch.randn(50, 4, generator=torch.Generator().manual_seed(3)), torch.arange(50) % 3
    oracle = f1_score(labels.numpy(), scores.argmax(dim=1).numpy(), average="macro")
    assert logistic.macro_f1(scores, labels, 4) == pytest.approx(oracle)


@pytest.mark.parametrize("balanced", [False, True])
def test_several_labels_are_solved_one_by_one_as_scikit_learn_does(balanced: bool) -> None:
    features, classes = clouds(90)
    labels = torch.stack([classes == 0, classes != 1, torch.arange(90) % 4 == 0], dim=1)
    weights = logistic.solve(features, labels, 3, logistic.HeadSettings(0.03, balanced))
    for k in range(3):
        present = labels[:, k].numpy()
        more = {True: (len(present) - present.sum()) / present.sum(), False: 1.0} if balanced else None
        oracle = LogisticRegression(C=1 / (0.03 * 90), class_weight=more, tol=1e-8, max_iter=2000)
        oracle.fit(features.double().numpy(), present)
        assert np.allclose(weights[k, :-1].numpy(), oracle.coef_[0], atol=2e-3)
    balance: Any = "weights" if balanced else "auto"
    chosen = logistic.choose_settings([(features, labels)] * 2, 3, seed=0, balance=balance)
    assert chosen.balanced is balanced
    assert chosen.penalty in logistic.PENALTIES
