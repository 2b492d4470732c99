"""A flat map of pictures is that of scikit-learn, and says how little it keeps."""

import pytest
import torch
from sklearn.decomposition import PCA

from pellucid.classifier import Classifier
from pellucid.data.dataset import Splits
from pellucid.errors import UsageError
from pellucid.explanation.embedding import embed, flattened
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
    assert flattened(torch.nn.functional.pad(flat, (0, 5))).kept == 1
    deep = flattened(torch.randn(100, 60, generator=generator))
    assert deep.chance == pytest.approx(10 / 99)
    assert deep.chance < deep.kept < 0.4
    assert "of true neighbours kept (by chance 10.1 %)" in deep.sentence


def test_t_sne_keeps_more_neighbours_than_principal_directions(reader: Classifier, digits: Splits) -> None:
    images = digits.test.images[:120]
    first = embed(reader, images, method="t-sne")
    assert first.points.shape == (120, 2)
    assert first.points.abs().max() == pytest.approx(1)
    assert first.kept > embed(reader, images).kept


def test_another_method_or_too_few_pictures_are_refused(reader: Classifier, digits: Splits) -> None:
    with pytest.raises(UsageError, match=r"Unknown method 'umap'\. Known: pca, t-sne"):
        embed(reader, digits.test.images, method="umap")
    with pytest.raises(UsageError, match="at least 3 pictures to lay out; got 2"):
        embed(reader, digits.test.images[:2])
    assert flattened(torch.ones(4, 1)).points.tolist() == [[0, 0]] * 4
