"""Neighbours are the training pictures that a plain search finds, the most similar first."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.dataset import Splits
from pellucid.explanation import neighbours as explanation
from pellucid.explanation.neighbours import CAVEAT
from pellucid.report import neighbours
from pellucid.report.context import ReportContext
from tests.pages import section as part
from tests.report.sections import drawn, tile


def features(context: ReportContext, images: Tensor) -> NDArray[np.float64]:
    """The input of the last layer, each row of length 1, with nothing but torch and numpy."""
    network = context.run.classifier.network.eval()
    captured: list[Tensor] = []
    hook = network.get_submodule("dense2").register_forward_pre_hook(
        lambda module, inputs: captured.append(inputs[0])
    )
    with torch.no_grad():
        network(images.float() / 255)
    hook.remove()
    rows = captured[0].double().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def found(context: ReportContext) -> neighbours.NeighboursSection:
    return neighbours.gather(context)


def test_neighbours_are_training_pictures_the_most_similar_first(
    context: ReportContext, found: neighbours.NeighboursSection
) -> None:
    train = context.splits.train
    for row in found.rows:
        similarities = [float(one.similarity) for one in row.neighbours]
        assert similarities == sorted(similarities, reverse=True)
        for one in row.neighbours:
            assert one.label == train.classes[int(train.labels[list(train.sources).index(one.source)])]
        assert 0 <= row.novelty <= 100


def test_they_are_those_of_a_plain_search(
    context: ReportContext, found: neighbours.NeighboursSection
) -> None:
    train, test = context.splits.train, context.splits.test
    known = features(context, train.images)
    for row in found.rows:
        similarities = features(context, test.images[[row.picture.index]]) @ known.T
        order = np.argsort(-similarities[0], kind="stable")[:8]
        shown = [float(one.similarity) for one in row.neighbours]
        assert shown == pytest.approx(similarities[0, order].tolist(), abs=6e-4)
        assert shown[0] > np.median(similarities)
        for one, place in zip(row.neighbours, order, strict=True):
            at = list(train.sources).index(one.source)
            assert similarities[0, at] == pytest.approx(similarities[0, place], abs=1e-5)


def test_novelty_is_a_percentile_of_pictures_held_out(
    context: ReportContext, found: neighbours.NeighboursSection
) -> None:
    splits = context.splits
    known = features(context, splits.train.images)

    def distances(images: Tensor) -> NDArray[np.float64]:
        return 1 - np.sort(features(context, images) @ known.T, axis=1)[:, -5:].mean(axis=1)

    usual = distances(splits.validation.images)
    for row in found.rows:
        (own,) = distances(splits.test.images[[row.picture.index]])
        assert row.novelty == pytest.approx(100 * (usual < own).mean(), abs=100 / len(usual) + 0.5)
    assert found.held_out
    assert found.highest_novelty == max(row.novelty for row in found.rows)


def test_each_tile_is_the_training_picture_it_names(
    context: ReportContext, found: neighbours.NeighboursSection
) -> None:
    train, atlas = context.splits.train, found.atlases["neighbours"]
    for row in found.rows:
        for one in row.neighbours:
            at = list(train.sources).index(one.source)
            assert np.array_equal(tile(atlas, one.cell)[..., 0], train.images[at, 0].numpy())
            assert one.agrees == (one.label == row.picture.prediction)
        assert row.same_prediction == sum(one.agrees for one in row.neighbours)
        assert row.same_label == sum(one.label == row.picture.label for one in row.neighbours)


def test_without_validation_pictures_the_training_pictures_are_the_measure(context: ReportContext) -> None:
    splits = context.splits
    nothing = Splits(splits.train, splits.validation[:0], splits.test, splits.origin)
    alone = replace(context, all_splits=nothing)
    section = neighbours.gather(alone)
    assert not section.held_out
    _, body = drawn("neighbours", section)
    assert "was measured on the training pictures themselves" in body
    assert "held out" not in body


def test_of_many_training_pictures_some_are_searched_and_that_is_said(
    context: ReportContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explanation, "MAX_SAMPLE", 50)
    section = neighbours.gather(context)
    assert (section.searched_count, section.training_count) == (48, 144)
    assert "48 of 144 training pictures were searched" in drawn("neighbours", section)[1]


def test_its_caveat_is_printed(page: str) -> None:
    assert CAVEAT.partition(",")[2] in part(page, "neighbours")
