"""The report's inner sections hold what the library found, and say so where there is little to find."""

import re
from dataclasses import replace

import pytest
import torch

from pellucid.data.dataset import Dataset, Origin, Splits
from pellucid.evaluation.evaluation import Evaluation
from pellucid.recipe import Recipe
from pellucid.report import counterfactual, embedding, guess, layer_stats, neighbours, report
from pellucid.report.context import ReportContext
from pellucid.runs.fit import fit
from pellucid.runs.run import Run
from tests.toys import toy_splits

OURS = ("guess", "counterfactual", "neighbours", "embedding", "layer_stats")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ReportContext:
    splits = toy_splits()
    folder = tmp_path_factory.mktemp("run")
    run = fit(splits.train, splits.validation, Recipe(epochs=2), folder=folder, origin=Origin("toy"))
    return ReportContext(run, splits, run.evaluate(splits.test))


@pytest.fixture(scope="module")
def page(context: ReportContext) -> str:
    return report.render(context)


def section(page: str, key: str) -> str:
    begun = page.index(f'<section class="part" id="{key}"')
    return page[begun : page.index("</section>", begun)]


def test_a_change_that_is_shown_was_confirmed_and_the_least_stands_first(context: ReportContext) -> None:
    section_ = counterfactual.gather(context)
    assert section_.examined == len(section_.rows) >= 2
    for row in section_.rows:
        amounts = [float(change.amount) for change in row.changes if change.confirmed]
        assert amounts == sorted(amounts)
        others = set(context.evaluation.classes) - {row.picture.prediction}
        assert {change.prediction for change in row.changes} == others
        assert all((change.after is not None) == change.confirmed for change in row.changes)
        if row.smallest.confirmed:
            assert float(row.smallest.amount) == min(amounts)


def test_neighbours_are_training_pictures_the_most_similar_first(context: ReportContext) -> None:
    section_ = neighbours.gather(context)
    train = context.splits.train
    for row in section_.rows:
        similarities = [float(tile.similarity) for tile in row.neighbours]
        assert similarities == sorted(similarities, reverse=True)
        for tile in row.neighbours:
            assert tile.label == train.classes[int(train.labels[list(train.sources).index(tile.source)])]
        assert 0 <= row.novelty <= 100


def test_guesses_are_offered_the_prediction_and_the_sections_caveats_are_printed(
    context: ReportContext, page: str
) -> None:
    section_ = guess.gather(context)
    assert 2 <= len(section_.questions) <= 10
    assert all(question.picture.prediction in question.choices for question in section_.questions)
    for key, words in {
        "guess": "So few pictures make a weak test",
        "counterfactual": "the network&#39;s decision boundary, not a person&#39;s",
        "neighbours": "not the cause of its prediction",
        "embedding": "distances mislead",
        "layer_stats": "need not use what a probe can read",
    }.items():
        assert words in section(page, key)


def test_the_map_shows_the_share_of_neighbours_kept_and_rings_every_mistake(
    context: ReportContext, page: str
) -> None:
    section_, shown = embedding.gather(context), section(page, "embedding")
    assert section_.mistakes == len(context.evaluation.mistakes)
    assert shown.count('class="px a-map wrong"') == 2 * section_.mistakes
    assert shown.count('class="px a-map') == 2 * section_.count
    assert all(0 <= x <= 1000 and 0 <= y <= 1000 for each in section_.maps for x, y in each.positions)
    for each in section_.maps:
        assert re.search(rf"{each.title}</b> keeps {100 * each.preserved:.1f}", shown)


def test_layer_statistics_have_every_layer_and_a_run_without_diagnostics_says_so(
    context: ReportContext,
) -> None:
    section_ = layer_stats.gather(context)
    assert [layer.name for layer in section_.layers][:2] == ["conv1", "pool1"]
    assert len(section_.charts) == 2
    assert all("<svg" in chart and "conv1" in chart for chart in section_.charts)
    assert section_.parameters == sum(w.numel() for w in context.run.classifier.network.parameters())
    old = replace(context, run=replace(context.run, folder=context.run.folder / "elsewhere"))
    assert layer_stats.gather(old).charts == []


def test_nothing_leaves_the_page_and_nothing_is_written_as_html(page: str) -> None:
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "fetch(", "XMLHttpRequest", "eval("):
        assert word not in page


def test_names_of_classes_cannot_become_code(context: ReportContext) -> None:
    hostile = ('"><script>x</script>', "<i onclick=y>", "</script>", "{{ 1 }}")
    known = len(context.evaluation.classes)
    classes = tuple(f"{hostile[n % 4]}{n}" for n in range(known))

    def renamed(part: Dataset) -> Dataset:
        return Dataset(part.images, part.labels, classes, part.sources)

    evaluation = context.evaluation
    run: Run = replace(context.run, classifier=replace(context.run.classifier, classes=classes))
    splits = Splits(*(renamed(part) for _, part in context.splits.items()))
    renamed_evaluation = Evaluation(evaluation.probabilities, evaluation.labels, classes, evaluation.sources)
    page = report.render(ReportContext(run, splits, renamed_evaluation))
    for key in OURS:
        text = section(page, key)
        assert 'class="failed"' not in text
        assert "<script>x" not in text
        assert "<i onclick" not in text


def test_colour_pictures_are_covered_and_everything_is_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = []
    for part, count in (("train", 60), ("validation", 20), ("test", 20)):
        labels = torch.arange(count) % 2
        images = torch.randint(0, 90, (count, 3, 12, 12), generator=generator)
        images[labels == 1, 0] += 120
        sources = [f"{part}/{n}" for n in range(count)]
        parts.append(Dataset(images.to(torch.uint8), labels, ("plain", "red"), sources))
    splits = Splits(*parts)
    run = fit(splits.train, splits.validation, Recipe(epochs=2, batch_size=16), origin=Origin("colours"))
    page = report.render(ReportContext(run, splits, run.evaluate(splits.test)))
    for key in OURS:
        assert 'class="failed"' not in section(page, key)
