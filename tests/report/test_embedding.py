"""The map of pictures is the same each time, says what it keeps, and rings every mistake."""

import json
import re

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from pellucid.explanation.neighbours import hidden_features
from pellucid.report import embedding
from pellucid.report.context import ReportContext
from tests.pages import section as part
from tests.report.sections import answers, drawn, judged, tile


@pytest.fixture(scope="module")
def found(context: ReportContext) -> embedding.EmbeddingSection:
    return embedding.gather(context)


def test_the_map_shows_the_share_of_neighbours_kept_and_rings_every_mistake(
    context: ReportContext, page: str, found: embedding.EmbeddingSection
) -> None:
    shown = part(page, "embedding")
    assert found.mistakes == len(context.evaluation.mistakes)
    assert shown.count('class="px a-map wrong"') == 2 * found.mistakes
    assert shown.count('class="px a-map') == 2 * found.count
    assert all(0 <= x <= 1000 and 0 <= y <= 1000 for each in found.maps for x, y in each.positions)
    for each in found.maps:
        assert re.search(rf"{each.title}</b> keeps {100 * each.preserved:.1f}", shown)
    assert "distances mislead" in shown


def test_it_is_the_same_each_time_and_does_not_touch_the_random_numbers_of_others(
    context: ReportContext, found: embedding.EmbeddingSection
) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    again = embedding.gather(context)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert again.maps == found.maps
    assert again.thumbnails == found.thumbnails


def test_the_first_map_is_scikit_learns_principal_components(
    context: ReportContext, found: embedding.EmbeddingSection
) -> None:
    indices = [thumbnail.picture.index for thumbnail in found.thumbnails]
    features = hidden_features(context.run.classifier, context.splits.test.images[indices]).double().numpy()
    points = PCA(2).fit_transform(features)
    points = points / abs(points).max()
    drawn = np.array(found.maps[0].positions) / 1000 * 2 - 1  # (N, 2), y downwards
    for axis in (0, 1):
        expected, shown = points[:, axis], drawn[:, axis]
        assert min(abs(shown - expected).max(), abs(shown + expected).max()) < 0.003  # of either sign
    assert [each.title for each in found.maps] == ["PCA", "t-SNE"]


def test_what_is_kept_is_what_a_plain_search_finds(
    context: ReportContext, found: embedding.EmbeddingSection
) -> None:
    indices = [thumbnail.picture.index for thumbnail in found.thumbnails]
    features = hidden_features(context.run.classifier, context.splits.test.images[indices]).double().numpy()

    def nearest(rows: np.ndarray) -> list[set[int]]:
        distances = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
        np.fill_diagonal(distances, np.inf)
        return [set(np.argsort(row, kind="stable")[:10].tolist()) for row in distances]

    true = nearest(features)
    for each in found.maps:
        flat = nearest(np.array(each.positions, dtype=float))
        kept = sum(len(one & other) for one, other in zip(true, flat, strict=True)) / (10 * len(true))
        assert each.preserved == pytest.approx(kept, abs=0.02)  # positions are rounded to thousandths
        assert each.chance == pytest.approx(10 / (len(true) - 1))
        assert each.preserved > each.chance


def test_of_many_pictures_the_worst_mistakes_come_first(
    context: ReportContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "MAX_PICTURES", 20)
    monkeypatch.setattr(embedding, "MAX_MISTAKES", 6)
    many = judged(context, answers(context, [0.9, 0.1] * 24))
    section = embedding.gather(many)
    shown = [thumbnail.picture.index for thumbnail in section.thumbnails]
    assert shown == sorted(set(shown))
    assert 6 < section.count == len(shown) <= 20
    assert section.total == 48
    assert set(many.evaluation.mistakes[:6].tolist()) <= set(shown)
    assert section.total_mistakes == 24
    assert section.mistakes == sum(index % 2 for index in shown)


@pytest.mark.parametrize("count", [1, 2])
def test_of_too_few_pictures_there_is_no_map(context: ReportContext, count: int) -> None:
    few = judged(context, answers(context, [0.9] * count))
    section = embedding.gather(few)
    assert (section.maps, section.count) == ([], count)
    assert "There are too few pictures for a map." in drawn("embedding", section)[1]


def test_thumbnails_are_the_pictures_and_the_script_is_told_of_each(
    context: ReportContext, found: embedding.EmbeddingSection
) -> None:
    for thumbnail in found.thumbnails:
        shown = tile(found.atlases["map"], thumbnail.cell)[..., 0]
        assert np.array_equal(shown, context.splits.test.images[thumbnail.picture.index, 0].numpy())
    columns = json.loads(json.dumps(found.to_json()))
    assert columns["index"] == [thumbnail.picture.index for thumbnail in found.thumbnails]
    predicted = context.evaluation.predictions[columns["index"]]
    assert columns["wrong"] == (predicted != context.evaluation.labels[columns["index"]]).tolist()
    assert len(columns["label"]) == len(columns["description"]) == found.count
