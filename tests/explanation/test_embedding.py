"""A flat map of pictures is that of scikit-learn, and says how little it keeps."""

import pytest
import torch
from scipy.spatial.distance import squareform
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, _t_sne, trustworthiness

from pellucid.classifier import Classifier
from pellucid.data.dataset import Splits
from pellucid.errors import UsageError
from pellucid.explanation.embedding import embed, joint_probabilities, kl_gradient, project
from pellucid.explanation.neighbours import hidden_features


def test_principal_directions_are_scikit_learns(reader: Classifier, digits: Splits) -> None:
    images = digits.test.images[:80]
    ours = embed(reader, images).points
    theirs = torch.from_numpy(PCA(2).fit_transform(hidden_features(reader, images).double().numpy()))
    theirs = theirs / theirs.abs().max()
    for axis in (0, 1):
        sign = (ours[:, axis] * theirs[:, axis]).sum().sign()
        torch.testing.assert_close(ours[:, axis], sign * theirs[:, axis].float(), atol=1e-4, rtol=0)


def test_the_share_of_neighbours_kept_is_one_where_nothing_is_lost_and_chance_for_noise() -> None:
    generator = torch.Generator().manual_seed(1)
    flat = torch.randn(100, 2, generator=generator)
    assert project(torch.nn.functional.pad(flat, (0, 5))).preserved == 1
    deep = project(torch.randn(100, 60, generator=generator))
    assert deep.chance == pytest.approx(10 / 99)
    assert deep.chance < deep.preserved < 0.4
    assert "of true neighbours preserved (by chance 10.1 %)" in deep.sentence


def test_t_sne_keeps_more_neighbours_than_principal_directions(reader: Classifier, digits: Splits) -> None:
    images = digits.test.images[:120]
    first = embed(reader, images, method="t-sne")
    assert first.points.shape == (120, 2)
    assert first.points.abs().max() == pytest.approx(1)
    assert first.preserved > embed(reader, images).preserved


def test_the_forces_of_t_sne_are_the_slope_of_the_divergence() -> None:
    generator = torch.Generator().manual_seed(2)
    wanted = joint_probabilities(torch.randn(30, 5, generator=generator), perplexity=6)
    points = torch.randn(30, 2, generator=generator).double().requires_grad_()
    squares = (points[:, None] - points).square().sum(dim=2)
    others = ~torch.eye(30, dtype=torch.bool)
    nearness = (1 / (1 + squares))[others]
    apart = (wanted[others] * (wanted[others] / (nearness / nearness.sum())).log()).sum()
    (slope,) = torch.autograd.grad(apart, points)
    torch.testing.assert_close(kl_gradient(wanted, points.detach()), slope)


def test_neighbourliness_is_scikit_learns() -> None:
    features = torch.randn(80, 5, generator=torch.Generator().manual_seed(3)).double()
    theirs = _t_sne._joint_probabilities((torch.cdist(features, features) ** 2).float().numpy(), 20.0, 0)
    ours = joint_probabilities(features, perplexity=20.0)
    assert float(ours.sum()) == pytest.approx(1)
    torch.testing.assert_close(ours, torch.from_numpy(squareform(theirs)), atol=1e-7, rtol=1e-3)


def test_all_pairs_lay_pictures_out_as_well_as_scikit_learns_exact_method(
    reader: Classifier, digits: Splits
) -> None:
    features = hidden_features(reader, digits.test.images[:120])
    ours = project(features, method="t-sne").points
    exact = TSNE(init="pca", perplexity=30.0, random_state=0, method="exact")
    theirs = torch.from_numpy(exact.fit_transform(features.double().numpy()))
    assert trustworthiness(features, ours) == pytest.approx(trustworthiness(features, theirs), abs=0.01)


def test_another_method_or_too_few_pictures_are_refused(reader: Classifier, digits: Splits) -> None:
    with pytest.raises(UsageError, match=r"Unknown method 'umap'\. Known: pca, t-sne"):
        embed(reader, digits.test.images, method="umap")
    with pytest.raises(UsageError, match="at least 3 pictures to embed; got 2"):
        embed(reader, digits.test.images[:2])
    assert project(torch.ones(4, 1)).points.tolist() == [[0, 0]] * 4
