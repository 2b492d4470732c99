"""The report holds what was measured, shows it safely, and survives a part that fails."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.data.dataset import Dataset, Origin, Splits
from pellucid.evaluation.evaluation import Evaluation
from pellucid.formatting import percent
from pellucid.pad.section import SCRIPTS
from pellucid.recipe import Recipe
from pellucid.report import layers, report
from pellucid.report.context import ReportContext
from pellucid.runs.fit import fit
from pellucid.runs.run import Run
from tests.pages import HOSTILE, Elements, section
from tests.toys import toy_splits


@pytest.fixture(scope="module")
def records(made: tuple[Run, Splits, Evaluation]) -> dict[str, report.SectionRecord]:
    """What every section gathers, once."""
    context = report.ReportContext(*made)
    return {name: gather(context) for name, _, gather in report.SECTIONS}


def renamed(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    sources = [f"{classes[n % len(classes)]}/{n}.png" for n in range(len(dataset))]
    return Dataset(dataset.images, dataset.labels, classes, sources)


def test_the_words_come_before_the_pictures(page: str) -> None:
    """Pictures in the head would have to be read before a word is painted: 300 ms of a page of mistakes."""
    assert page.index("background-image: url(data:") > page.index("</main>")


def test_the_verdict_is_the_evaluation(page: str, made: tuple[Run, Splits, Evaluation]) -> None:
    evaluation = made[2]
    text = " ".join(Elements(page).text.split())
    assert f"{percent(evaluation.accuracy)} right on pictures it never saw" in text
    assert evaluation.interval is not None
    low, high = (percent(bound) for bound in evaluation.interval)
    assert f"{evaluation.correct} of {evaluation.count} right, 95 % interval {low} to {high}" in text


def test_no_part_failed_and_every_part_is_there(page: str) -> None:
    assert "could not be made" not in page
    assert "built-in method" not in page  # a dict's method where its value was meant
    parts = [attributes["id"] for attributes in Elements(page).of_class("part")]
    assert parts == [key for key, _, _ in report.SECTIONS]


def test_it_needs_no_other_file_and_no_network(page: str, made: tuple[Run, Splits, Evaluation]) -> None:
    for tag, attributes in Elements(page).found:
        for name in ("src", "href", "data", "action"):
            address = attributes.get(name)
            beside = tag == "a" and address is not None and (made[0].folder / address).is_file()
            assert address is None or address.startswith(("data:", "#")) or beside, (tag, address)
    assert "default-src 'none'" in page
    assert not re.search(r"url\((?!data:)|@import", page)


def test_every_picture_has_words_and_every_link_a_target(page: str) -> None:
    elements = Elements(page).found
    assert all(attributes.get("alt") for tag, attributes in elements if tag == "img")
    assert all(attributes.get("aria-label") for _, attributes in elements if attributes.get("role") == "img")
    names = [str(attributes["id"]) for _, attributes in elements if "id" in attributes]
    assert len(names) == len(set(names))
    links = [str(attributes["href"]) for tag, attributes in elements if tag == "a"]
    assert {link[1:].partition(";")[0] for link in links if link.startswith("#")} <= set(names)


def test_probabilities_are_there_to_the_last_digit(page: str, made: tuple[Run, Splits, Evaluation]) -> None:
    values = [float(a["value"] or "nan") for tag, a in Elements(page).found if tag == "data" and "value" in a]
    first = made[2].probabilities[0].max()
    assert any(torch.equal(torch.tensor(value, dtype=torch.float32), first) for value in values)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    splits = toy_splits()
    for number, classes in enumerate((HOSTILE[:4], HOSTILE[2:])):
        hostile = Splits(*(renamed(part, classes) for _, part in splits.items()))
        folder = tmp_path / str(number)
        run = fit(
            hostile.train, hostile.validation, Recipe(epochs=1), folder=folder, origin=Origin("<u>toy</u>")
        )
        evaluation = run.evaluate(hostile.test)
        page = report.write_report(run, hostile, evaluation).read_text(encoding="utf-8")
        elements = Elements(page)
        tags = [tag for tag, _ in elements.found]
        assert "could not be made" not in page
        # The page's own, what the map shows, and the drawing's.
        assert tags.count("script") == 6 + len(SCRIPTS) + ('id="listed"' in page)
        assert tags.count("u") == 0
        assert not [attributes for tag, attributes in elements.found if attributes.get("src") == "x"]
        assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
        assert "{{ 7 * 7 }}" in page.replace("&#123;", "{")
        assert all(name in elements.text for name in classes)


def test_a_part_that_fails_says_so_and_the_others_stand(
    monkeypatch: pytest.MonkeyPatch, made: tuple[Run, Splits, Evaluation]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no maps <today>")

    monkeypatch.setattr(layers, "record", broken)
    page = report.render(report.ReportContext(*made))
    assert 'made:</strong> <span lang="en" translate="no">RuntimeError: no maps &lt;today&gt;</span>' in page
    assert page.count("could not be made") == 1
    assert 'class="matrix' in page


@pytest.mark.parametrize("failing", [entry[0] for entry in report.SECTIONS])
def test_whichever_part_fails_the_page_stands(
    monkeypatch: pytest.MonkeyPatch,
    made: tuple[Run, Splits, Evaluation],
    records: dict[str, report.SectionRecord],
    failing: str,
) -> None:
    def broken(_: object) -> report.SectionRecord:
        raise ValueError("broken")

    sections = [
        (key, title, broken if key == failing else lambda _, key=key: records[key])
        for key, title, _ in report.SECTIONS
    ]
    monkeypatch.setattr(report, "SECTIONS", sections)
    page = report.render(report.ReportContext(*made))
    assert page.count("could not be made") == 1
    assert "right on pictures it never saw" in page


def test_an_evaluation_of_other_pictures_is_not_shown_beside_these(
    made: tuple[Run, Splits, Evaluation],
) -> None:
    run, splits, evaluation = made
    sources = [f"other/{n}" for n in range(evaluation.count)]
    other = Evaluation(evaluation.probabilities, evaluation.labels, evaluation.classes, sources)
    page = report.render(report.ReportContext(run, splits, other))
    assert "is of other pictures than the test set holds" in page


def test_every_section_is_reported_before_it_is_made(page: str, steps: list[tuple[str, int, int]]) -> None:
    names = [name for name, _, _ in report.SECTIONS]
    assert steps == [(name, number, len(names)) for number, name in enumerate(names, 1)]


def test_a_training_that_ended_early_says_so_in_the_verdict(made: tuple[Run, Splits, Evaluation]) -> None:
    run = replace(made[0], ended="the loss is <nan>")
    page = report.render(report.ReportContext(run, *made[1:]))
    assert "Training ended before its last epoch:" in page
    assert "the loss is &lt;nan&gt;" in page


OURS = ("guess", "counterfactual", "neighbours", "embedding", "layer_stats")


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
