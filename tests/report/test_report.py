"""The report holds what was measured, shows it safely, and survives a part that fails."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid import formatting
from pellucid.data.dataset import Dataset, Origin, Splits
from pellucid.errors import UsageError
from pellucid.evaluation.evaluation import Evaluation
from pellucid.explanation.attribution import EXPLAINERS
from pellucid.formatting import percent
from pellucid.pad.section import SCRIPTS
from pellucid.recipe import Recipe
from pellucid.report import layers, report
from pellucid.report.evidence import read_verdicts
from pellucid.runs.fit import fit
from pellucid.runs.run import Run
from tests.pages import HOSTILE, Elements
from tests.toys import toy_splits


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Splits, Evaluation]:
    splits = toy_splits()
    run = fit(
        splits.train,
        splits.validation,
        Recipe(epochs=2),
        folder=tmp_path_factory.mktemp("run"),
        origin=Origin("toy"),
    )
    return run, splits, run.evaluate(splits.test)


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, int, int]]:
    """What writing the page reported of its progress."""
    return []


@pytest.fixture(scope="module")
def page(made: tuple[Run, Splits, Evaluation], steps: list[tuple[str, int, int]]) -> str:
    def progress(*step) -> None:
        steps.append(step)

    return report.write_report(*made, progress=progress).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def records(made: tuple[Run, Splits, Evaluation]) -> dict[str, report.SectionRecord]:
    """What every section gathers, once."""
    context = report.ReportContext(*made)
    return {name: gather(context) for name, _, gather in report.SECTIONS}


def renamed(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    sources = [f"{classes[n % len(classes)]}/{n}.png" for n in range(len(dataset))]
    return Dataset(dataset.images, dataset.labels, classes, sources)


def invented(made: tuple[Run, Splits, Evaluation], count: int, *, right: float = 0.5) -> report.ReportContext:
    """`count` test pictures of noise with invented answers, about a share `right` of them correct."""
    run, splits, _ = made
    generator = torch.Generator().manual_seed(1)
    number = len(splits.test.classes)
    labels = torch.randint(0, number, (count,), generator=generator)
    images = torch.randint(
        0, 256, (count, *splits.test.images.shape[1:]), dtype=torch.uint8, generator=generator
    )
    test = Dataset(images, labels, splits.test.classes, [f"noise/{n}" for n in range(count)])
    answers = torch.where(torch.rand(count, generator=generator) < right, labels, (labels + 1) % number)
    scores = torch.rand(count, number, generator=generator)
    scores[torch.arange(count), answers] += 2
    evaluation = Evaluation(scores.softmax(dim=1), labels, test.classes, test.sources)
    return report.ReportContext(run, Splits(splits.train, splits.validation, test), evaluation)


def test_the_words_come_before_the_pictures(page: str) -> None:
    """Pictures in the head would have to be read before a word is painted: 300 ms of a page of mistakes."""
    assert page.index("background-image: url(data:") > page.index("</main>")


def test_the_verdict_is_the_evaluation(page: str, made: tuple[Run, Splits, Evaluation]) -> None:
    evaluation = made[2]
    text = " ".join(Elements(page).text.split())
    assert f"{percent(evaluation.accuracy)} right on pictures it never saw" in text
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


def test_every_channel_of_every_convolution_is_shown(page: str) -> None:
    grids = [a["aria-label"] or "" for a in Elements(page).of_class("grid") if "aria-label" in a]
    examples = [label for label in grids if label.startswith("conv1")]
    assert len(examples) in (2, 3)
    channels = re.findall(r'<div class="grid maps[^>]*aria-label="(conv\d)[^>]*>(.*?)</div>', page)
    shown = {name: {cells.count("<i ") for label, cells in channels if label == name} for name, _ in channels}
    assert shown == {"conv1": {16}, "conv2": {32}}


def test_every_picture_has_words_and_every_link_a_target(page: str) -> None:
    elements = Elements(page).found
    assert all(attributes.get("alt") for tag, attributes in elements if tag == "img")
    assert all(attributes.get("aria-label") for _, attributes in elements if attributes.get("role") == "img")
    names = [str(attributes["id"]) for _, attributes in elements if "id" in attributes]
    assert len(names) == len(set(names))
    links = [str(attributes["href"]) for tag, attributes in elements if tag == "a"]
    assert {link[1:] for link in links if link.startswith("#")} <= set(names)


def test_probabilities_are_there_to_the_last_digit(page: str, made: tuple[Run, Splits, Evaluation]) -> None:
    values = [float(a["value"] or "nan") for tag, a in Elements(page).found if tag == "data" and "value" in a]
    first = made[2].probabilities[0].max()
    assert any(torch.equal(torch.tensor(value, dtype=torch.float32), first) for value in values)


@pytest.mark.parametrize(
    ("probability", "words"),
    [(1.0, "100.0 %"), (0.99999, "> 99.9 %"), (0.9994, "99.9 %"), (0.0001, "< 0.1 %"), (0.0, "0.0 %")],
)
def test_nearly_certain_is_not_called_certain(probability: float, words: str) -> None:
    assert formatting.chance(probability) == words


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


def test_ten_thousand_pictures_and_many_mistakes_stay_under_five_megabytes(
    made: tuple[Run, Splits, Evaluation],
) -> None:
    page = report.render(invented(made, 10_000))
    assert "could not be made" not in page
    assert len(page.encode()) < 5_000_000
    listed = re.search(r'<script type="application/json" id="listed">(.*?)</script>', page)
    assert listed is not None
    facts = json.loads(listed[1])
    assert len(facts["index"]) == len(facts["position"]) == len(facts["source"]) > 4_000
    assert facts["label"] != facts["prediction"]


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_nothing_right_and_nothing_wrong_can_be_shown(
    made: tuple[Run, Splits, Evaluation], right: float
) -> None:
    page = report.render(invented(made, 40, right=right))
    assert "could not be made" not in page
    assert ("no mistakes</a>" in page) == (right == 1.0)
    assert ('id="listed"' in page) == (right == 0.0)


def test_many_classes_become_a_list_of_pairs_and_colour_is_shown(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(2)
    classes = tuple(f"class {n}" for n in range(40))
    labels = torch.arange(120) % 40
    parts = [
        Dataset(
            torch.randint(0, 256, (120, 3, 12, 10), dtype=torch.uint8, generator=generator),
            labels, classes, [f"{part}/{n}" for n in range(120)],
        )
        for part in ("train", "validation", "test")
    ]  # fmt: skip
    splits = Splits(*parts)
    run = fit(
        splits.train, splits.validation, Recipe(epochs=1), folder=tmp_path / "run", origin=Origin("many")
    )
    page = report.render(report.ReportContext(run, splits, run.evaluate(splits.test)))
    assert "could not be made" not in page
    assert '<table class="matrix' not in page
    assert '<ol class="pairs">' in page
    assert "10 × 12 pixels, colour, 40 classes" in " ".join(Elements(page).text.split())


@pytest.mark.parametrize("supported", [True, False])
def test_a_map_that_failed_its_tests_is_stamped_where_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, made: tuple[Run, Splits, Evaluation], supported: bool
) -> None:
    evidence = report.ReportContext(*made).evidence
    methods = tuple(replace(method, supported=supported) for method in evidence.methods)
    monkeypatch.setattr(report.ReportContext, "evidence", replace(evidence, methods=methods))
    page = report.render(report.ReportContext(*made))
    assert "could not be made" not in page
    assert ("✗ failed its tests" in page) is not supported
    assert ("Methods that failed" in page) is not supported


def test_the_score_without_leaking_pictures_stands_in_the_verdict_and_beside_the_data(
    made: tuple[Run, Splits, Evaluation], tmp_path: Path
) -> None:
    run, splits, _ = made
    copy = replace(run, folder=Path(shutil.copytree(run.folder, tmp_path / "run")))
    leaked = splits.train.subset(torch.arange(6))
    leaked = replace(leaked, sources=[f"leak/{n}" for n in range(6)])
    test = Dataset(
        torch.cat([leaked.images, splits.test.images]),
        torch.cat([leaked.labels, splits.test.labels]),
        splits.test.classes,
        [*leaked.sources, *splits.test.sources],
    )
    evaluation = copy.evaluate(test)
    without = evaluation.without(leaked.sources)
    assert without is not None
    path = report.write_report(copy, replace(splits, test=test), evaluation)
    page = path.read_text(encoding="utf-8")
    assert "could not be made" not in page
    text = " ".join(Elements(page).text.split())
    share = percent(without.accuracy)
    assert f"6 test pictures were also used in training. Without them: {share} right." in text
    assert f"Without them, {share} of {without.count} are right, 95 % interval" in text
    assert all(source in text for source in leaked.sources)


def test_it_draws_with_the_runs_own_network_and_past(page: str, made: tuple[Run, Splits, Evaluation]) -> None:
    found = re.search(r'<script type="application/json" id="live-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert data["pad"]["classes"] == list(made[1].train.classes)
    assert data["pad"]["snapshots"]["steps"] == [step for _, step, _ in made[0].snapshots()]
    assert Elements(page).of_class("part")[0]["id"] == "draw"


def test_a_network_the_page_cannot_run_still_gets_a_full_report(
    monkeypatch: pytest.MonkeyPatch, made: tuple[Run, Splits, Evaluation]
) -> None:
    def refusing(*_: object) -> None:
        raise UsageError("The page's engine cannot run 'sort': in forward, line 7.")

    monkeypatch.setattr("pellucid.pad.section.lower", refusing)
    page = report.render(report.ReportContext(*made))
    assert "The page&#39;s engine cannot run &#39;sort&#39;: in forward, line 7." in page
    assert f"pellucid live {made[0].folder.name}" in page
    assert 'id="live-data"' not in page
    assert "could not be made" not in page
    assert 'class="matrix' in page


def test_damaged_snapshots_are_reported_in_their_place(
    monkeypatch: pytest.MonkeyPatch, made: tuple[Run, Splits, Evaluation], tmp_path: Path
) -> None:
    (tmp_path / "snapshots.safetensors").write_bytes(b"no tensors")
    monkeypatch.setattr("pellucid.runs.run.SNAPSHOTS", str(tmp_path / "snapshots.safetensors"))
    page = report.render(report.ReportContext(*made))
    assert page.count("could not be made") == 1
    assert "snapshots.safetensors&#39; is damaged" in page


def leaky(made: tuple[Run, Splits, Evaluation], folder: Path) -> tuple[Run, Splits, Evaluation]:
    """The run judged on nothing but pictures it was trained on."""
    run, splits, _ = made
    copy = replace(run, folder=Path(shutil.copytree(run.folder, folder)))
    test = replace(splits.train.subset(torch.arange(20)), sources=[f"leak/{n}" for n in range(20)])
    return copy, replace(splits, test=test), copy.evaluate(test)


def test_a_score_on_pictures_that_were_all_seen_in_training_is_called_that_in_every_place(
    made: tuple[Run, Splits, Evaluation], tmp_path: Path
) -> None:
    run, splits, evaluation = leaky(made, tmp_path / "run")
    page = report.write_report(run, splits, evaluation).read_text(encoding="utf-8")
    text = " ".join(Elements(page).text.split())
    assert "right, but only on pictures it has seen in training" in text
    assert "right on pictures it never saw" not in text
    assert "Every test picture was also used in training, so this says nothing about new pictures." in text
    assert "there is no score for new pictures" in text
    assert "says nothing about new pictures" in run.without_leaking()


def test_a_training_that_ended_early_says_so_in_the_verdict(made: tuple[Run, Splits, Evaluation]) -> None:
    run = replace(made[0], ended="the loss is <nan>")
    page = report.render(report.ReportContext(run, *made[1:]))
    assert "Training ended before its last epoch:" in page
    assert "the loss is &lt;nan&gt;" in page


def test_the_run_keeps_how_its_evidence_maps_fared_until_its_weights_change(
    made: tuple[Run, Splits, Evaluation], tmp_path: Path
) -> None:
    run = replace(made[0], folder=Path(shutil.copytree(made[0].folder, tmp_path / "run")))
    (run.folder / "faithfulness.json").unlink(missing_ok=True)
    assert read_verdicts(run.folder) == {}
    report.write_report(run, *made[1:])
    verdicts = read_verdicts(run.folder)
    assert set(verdicts) == set(EXPLAINERS)
    assert {type(supported) for supported in verdicts.values()} == {bool}
    facts = json.loads((run.folder / "faithfulness.json").read_text())
    (run.folder / "faithfulness.json").write_text(json.dumps({**facts, "weights": "others"}))
    assert read_verdicts(run.folder) == {}
    (run.folder / "faithfulness.json").write_text("[1]")
    assert read_verdicts(run.folder) == {}
