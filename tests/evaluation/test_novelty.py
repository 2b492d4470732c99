"""Distances are those to the nearest training pictures, and as many ordinary ones are unlike as promised."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.nn import functional

from pellucid.errors import PellucidError
from pellucid.evaluation.novelty import (
    REFERENCE,
    PictureSample,
    Reference,
    appearance_of,
    neighbour_distances,
    principal_axes,
    stratified,
)


def drawn(count: int, seed: int, width: int = 12) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) + 1


def reference(held_out: int = 399) -> Reference:
    features = functional.normalize(drawn(300, 0), dim=1).half()
    mean, basis = principal_axes(features.float())
    bare = Reference(features, mean, basis, sample(19))
    return replace(bare, held_out=sampled(bare, drawn(held_out, 1)))


def sample(count: int) -> PictureSample:
    whole = torch.zeros(count)
    return PictureSample(torch.zeros(count, 12).half(), whole, whole.int(), whole, torch.zeros(count, 3))


def sampled(against: Reference, features: Tensor) -> PictureSample:
    images = torch.zeros(len(features), 1, 4, 4, dtype=torch.uint8)
    probabilities = functional.one_hot(torch.arange(len(features)) % 3, 3).float()
    return against.sample(features, probabilities, probabilities.amax(dim=1), images)


def test_the_distance_is_that_of_scikit_learn() -> None:
    rows, references = (
        functional.normalize(drawn(count, seed), dim=1) for count, seed in ((40, 3), (700, 4))
    )
    search = NearestNeighbors(n_neighbors=5, metric="cosine").fit(references)
    expected = torch.from_numpy(search.kneighbors(rows)[0]).mean(dim=1).float()
    torch.testing.assert_close(neighbour_distances(rows, references), expected, atol=1e-5, rtol=0)


def test_a_picture_among_the_references_is_no_neighbour_of_itself() -> None:
    references = functional.normalize(drawn(50, 5), dim=1)
    rest = torch.cat([references[:7], references[8:]])
    alone = neighbour_distances(references[7:8], rest)
    assert neighbour_distances(references[7:8], references, torch.tensor([7])) == pytest.approx(float(alone))
    assert neighbour_distances(references[7:8], references, torch.tensor([-1])) < alone


def test_five_of_a_hundred_ordinary_pictures_are_unlike() -> None:
    known = reference()
    beyond = known.held_out.distances > known.threshold
    assert int(beyond.sum()) == 19  # of 399: the twentieth farthest is the threshold
    found = known.novelty(drawn(4000, 2) * 7)  # of any length
    assert 0.03 < float(found.unlike.float().mean()) < 0.08
    assert torch.equal(found.unlike, found.distances > known.threshold)
    share = (known.held_out.distances[None] < found.distances[:50, None]).double().mean(dim=1) * 100
    torch.testing.assert_close(found.percentiles[:50], share)
    strange = known.novelty(-drawn(50, 3))
    assert strange.unlike.all()
    assert (strange.percentiles == 100).all()


def test_the_threshold_keeps_its_promise_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    wrong = []
    for _ in range(300):
        distances = torch.rand(39, generator=generator)
        few = replace(reference(39), held_out=replace(sample(39), distances=distances))
        wrong.append(1 - few.threshold)  # of distances spread evenly over 0..1
    assert np.mean(wrong) == pytest.approx(0.05, abs=0.006)  # 3 standard errors


def test_components_are_those_of_scikit_learn() -> None:
    for count in (200, 20):  # more pictures than features, and fewer
        rows = drawn(count, 6, 40) * torch.linspace(1, 3, 40)
        mean, basis = principal_axes(rows)
        axes = min(32, count, 40)
        expected = PCA(min(10, axes)).fit(rows)
        torch.testing.assert_close(mean, torch.from_numpy(expected.mean_).float(), atol=1e-5, rtol=0)
        overlap = (
            (torch.from_numpy(expected.components_).float() @ basis[:, : min(10, axes)]).diagonal().abs()
        )
        torch.testing.assert_close(overlap, torch.ones(len(overlap)), atol=1e-3, rtol=0)


def test_appearance_is_that_of_numpy() -> None:
    images = torch.randint(0, 256, (6, 3, 9, 7), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    found, pixels = appearance_of(images), images.double().numpy()
    np.testing.assert_allclose(found[:, 0], pixels.mean(axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found[:, 1], pixels.std(axis=(1, 2, 3)), rtol=1e-5)
    edges = [np.abs(np.diff(pixels, axis=axis)).mean(axis=(1, 2, 3)) for axis in (2, 3)]
    np.testing.assert_allclose(found[:, 2] * found[:, 1], np.mean(edges, axis=0), rtol=1e-5)
    torch.testing.assert_close(appearance_of(images.float() / 255), found)
    assert appearance_of(torch.full((1, 1, 5, 5), 9, dtype=torch.uint8)).tolist() == [[9, 0, 0]]


def test_rare_classes_are_kept_whole() -> None:
    labels = torch.tensor([0] * 100 + [1] * 10 + [2] * 50)
    chosen = stratified(labels, 60)
    assert torch.bincount(labels[chosen]).tolist() == [25, 10, 25]
    assert len(chosen.unique()) == 60
    assert stratified(labels, 500).tolist() == list(range(160))
    several = torch.ones(90, 2, dtype=torch.bool)
    assert len(stratified(several, 30).unique()) == 30


def test_what_is_saved_is_loaded_bit_for_bit_and_belongs_to_its_weights(tmp_path: Path) -> None:
    known = reference()
    known.save(tmp_path, weights="abc")
    content = (tmp_path / REFERENCE).read_bytes()
    found = Reference.load(tmp_path, weights="abc")
    found.save(tmp_path, weights="abc")
    assert (tmp_path / REFERENCE).read_bytes() == content
    assert found.threshold == known.threshold
    with pytest.raises(PellucidError, match="belongs to other weights"):
        Reference.load(tmp_path, weights="abd")
    (tmp_path / REFERENCE).write_bytes(content[:-4])
    with pytest.raises(PellucidError, match="is damaged"):
        Reference.load(tmp_path, weights="abc")
    replace(known, mean=known.mean[:-1]).save(tmp_path, weights="abc")
    with pytest.raises(PellucidError, match="is damaged"):
        Reference.load(tmp_path, weights="abc")
    (tmp_path / REFERENCE).unlink()
    with pytest.raises(PellucidError, match=r"reference\.safetensors' is missing"):
        Reference.load(tmp_path, weights="abc")
