"""The new last layer sees features of mean 0, none of which counts far more than the others."""

import pytest
import torch
from sklearn.preprocessing import StandardScaler

from pellucid.models.head import Head


@pytest.fixture
def features() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(50, 6, generator=generator) * torch.tensor([1.0, 5, 0.1, 2, 1, 1]) + 3
    drawn[:, 4] = 7.0  # always the same
    return drawn


def test_before_it_was_fitted_features_stay_as_they_are(features: torch.Tensor) -> None:
    head = Head(6, 3)
    assert torch.equal(head.normalized(features), features)
    assert torch.equal(head(features), head.dense(features))


def test_it_normalises_as_scikit_learn_does_but_by_the_root_of_the_deviations(features: torch.Tensor) -> None:
    head = Head(6, 3)
    head.fit_normalization(features)
    scaler = StandardScaler().fit(features.double().numpy())
    expected = torch.from_numpy(scaler.transform(features.double().numpy()))
    own = torch.from_numpy(scaler.var_).sqrt()
    expected = expected * (own / own.square().mean().sqrt()).sqrt()
    normalized = head.normalized(features)
    assert (normalized[:, :4].double() - expected[:, :4]).abs().max() < 1e-4
    assert torch.equal(normalized[:, 4], torch.zeros(50)), "a constant feature is no feature"
    assert normalized.isfinite().all()


def test_a_feature_that_hardly_ever_moves_does_not_outweigh_the_others() -> None:
    features = torch.randn(200, 4, generator=torch.Generator().manual_seed(3))
    features[:, 3] *= 1e-3
    head = Head(4, 2)
    head.fit_normalization(features)
    moved = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    assert float(head.normalized(moved)[0, 3]) < 60  # 1,000 of its own standard deviations


def test_a_solved_layer_is_taken_over(features: torch.Tensor) -> None:
    head = Head(6, 3)
    head.fit_normalization(features)
    weights = torch.randn(3, 7, generator=torch.Generator().manual_seed(2)).double()
    head.put(weights)
    expected = head.normalized(features).double() @ weights[:, :-1].T + weights[:, -1]
    torch.testing.assert_close(head(features).double(), expected, atol=1e-4, rtol=1e-4)
    assert head.dense.weight.requires_grad, "it can still be trained"


def test_mean_and_deviation_are_saved_with_the_weights_and_not_trained(features: torch.Tensor) -> None:
    head, other = Head(6, 3), Head(6, 3)
    head.fit_normalization(features)
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(features), head(features))
    assert {name for name, _ in head.named_parameters()} == {"dense.weight", "dense.bias"}


def test_features_of_another_number_are_refused() -> None:
    with pytest.raises(RuntimeError, match="size"):
        Head(6, 3)(torch.zeros(2, 5))
