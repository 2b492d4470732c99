"""The report's inner sections hold what the library found, and say so where there is little to find."""

import re
from dataclasses import replace

import pytest
import torch

from pellucid.data.dataset import Dataset, Origin, Splits
from pellucid.evaluation.evaluation import Evaluation
from pellucid.recipe import Recipe
from pellucid.report import counterfactual, embedding, guess, layer_stats, neighbours, report
from pellucid.report.context import Material
from pellucid.runs.fit import fit
from pellucid.runs.run import Run
from tests.toys import toy_splits

OURS = ("guess", "counterfactual", "neighbours", "embedding", "layer_stats")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    splits = toy_splits()
    folder = tmp_path_factory.mktemp("run")
    run = fit(splits.train, splits.validation, Recipe(epochs=2), folder=folder, origin=Origin("toy"))
    return Material(run, splits, run.evaluate(splits.test))


@pytest.fixture(scope="module")
def page(material: Material) -> str:
    return report.render(material)


def section(page: str, key: str) -> str:
    begun = page.index(f'<section class="part" id="{key}"')
    return page[begun : page.index("</section>", begun)]


def test_a_change_that_is_shown_was_confirmed_and_the_least_stands_first(material: Material) -> None:
    told = counterfactual.change(material)
    assert told["tried"] == len(told["rows"]) >= 2
    for row in told["rows"]:
        amounts = [float(way["amount"]) for way in row["ways"] if way["confirmed"]]
        assert amounts == sorted(amounts)
        assert {way["to"] for way in row["ways"]} == set(material.evaluation.classes) - {
            row["tile"]["predicted"]
        }
        assert all((way["after"] is not None) == way["confirmed"] for way in row["ways"])
        if row["least"]["confirmed"]:
            assert float(row["least"]["amount"]) == min(amounts)


def test_neighbours_are_training_pictures_the_likest_first(material: Material) -> None:
    told = neighbours.neighbours(material)
    train = material.splits.train
    for row in told["rows"]:
        likeness = [float(one["similarity"]) for one in row["alike"]]
        assert likeness == sorted(likeness, reverse=True)
        for one in row["alike"]:
            assert one["label"] == train.classes[int(train.labels[list(train.sources).index(one["source"])])]
        assert 0 <= row["unlike"] <= 100


def test_guesses_are_offered_the_networks_answer_and_the_sections_caveats_are_printed(
    material: Material, page: str
) -> None:
    told = guess.guess(material)
    assert 2 <= len(told["questions"]) <= 10
    assert all(question["tile"]["predicted"] in question["choices"] for question in told["questions"])
    for key, words in {
        "guess": "A test on so few pictures is weak",
        "counterfactual": "the network&#39;s border, not a human&#39;s",
        "neighbours": "not the cause of the answer",
        "embedding": "distances lie",
        "layer_stats": "need not be used by the network",
    }.items():
        assert words in section(page, key)


def test_the_map_tells_the_share_of_true_neighbours_and_rings_every_mistake(
    material: Material, page: str
) -> None:
    told, shown = embedding.map_of_pictures(material), section(page, "embedding")
    assert told["wrong"] == len(material.evaluation.mistakes)
    assert shown.count('class="px a-map wrong"') == 2 * told["wrong"]
    assert shown.count('class="px a-map') == 2 * told["count"]
    assert all(0 <= x <= 1000 and 0 <= y <= 1000 for one in told["maps"] for x, y in one["places"])
    for one in told["maps"]:
        assert re.search(rf"{one['title']}</b> keeps {100 * one['kept']:.1f}", shown)


def test_health_has_every_layer_and_a_run_without_its_record_says_so(material: Material) -> None:
    told = layer_stats.health(material)
    assert [layer["name"] for layer in told["layers"]][:2] == ["conv1", "pool1"]
    assert len(told["charts"]) == 2
    assert all("<svg" in chart and "conv1" in chart for chart in told["charts"])
    assert told["parameters"] == sum(w.numel() for w in material.run.classifier.network.parameters())
    old = replace(material, run=replace(material.run, folder=material.run.folder / "elsewhere"))
    assert layer_stats.health(old)["charts"] == []


def test_nothing_leaves_the_page_and_nothing_is_written_as_html(page: str) -> None:
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "fetch(", "XMLHttpRequest", "eval("):
        assert word not in page


def test_names_of_classes_cannot_become_code(material: Material) -> None:
    hostile = ('"><script>x</script>', "<i onclick=y>", "</script>", "{{ 1 }}")
    known = len(material.evaluation.classes)
    classes = tuple(f"{hostile[n % 4]}{n}" for n in range(known))

    def renamed(part: Dataset) -> Dataset:
        return Dataset(part.images, part.labels, classes, part.sources)

    evaluation = material.evaluation
    run: Run = replace(material.run, classifier=replace(material.run.classifier, classes=classes))
    splits = Splits(*(renamed(part) for _, part in material.splits.items()))
    told = Evaluation(evaluation.probabilities, evaluation.labels, classes, evaluation.sources)
    page = report.render(Material(run, splits, told))
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
    page = report.render(Material(run, splits, run.evaluate(splits.test)))
    for key in OURS:
        assert 'class="failed"' not in section(page, key)
