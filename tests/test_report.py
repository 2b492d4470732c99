"""The report holds what was measured, shows it safely, and survives a part that fails."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from pellucid import report
from pellucid.data.dataset import Dataset, Splits
from pellucid.evaluation import Evaluation, percent
from pellucid.recipe import Recipe
from pellucid.run import Run, fit
from tests.toys import toy_splits

HOSTILE = ("<b>0</b>", '"><script>alert(1)</script>', "{{ 7 * 7 }}", "한글", "‮olleh")


class Elements(HTMLParser):
    """Every element and attribute of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Splits, Evaluation]:
    splits = toy_splits()
    run = fit(
        splits.train, splits.validation, Recipe(epochs=2), folder=tmp_path_factory.mktemp("run"), data="toy"
    )
    return run, splits, run.evaluate(splits.test)


@pytest.fixture(scope="module")
def page(made: tuple[Run, Splits, Evaluation]) -> str:
    return report.write_report(*made).read_text(encoding="utf-8")


def renamed(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    sources = [f"{classes[n % len(classes)]}/{n}.png" for n in range(len(dataset))]
    return Dataset(dataset.images, dataset.labels, classes, sources)


def test_the_verdict_is_the_evaluation(page: str, made: tuple[Run, Splits, Evaluation]) -> None:
    evaluation = made[2]
    text = " ".join(Elements(page).text.split())
    assert f"{percent(evaluation.accuracy)} right on pictures it never saw" in text
    assert f"{evaluation.correct} of {evaluation.count} right, 95 % interval" in text


def test_no_part_failed_and_every_part_is_there(page: str) -> None:
    assert "could not be made" not in page
    parts = [
        attributes["id"] for tag, attributes in Elements(page).found if attributes.get("class") == "part"
    ]
    assert parts == [key for key, _, _ in report.SECTIONS]


def test_it_needs_no_other_file_and_no_network(page: str) -> None:
    for tag, attributes in Elements(page).found:
        for name in ("src", "href", "data", "action"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:", "#")), (tag, address)
    assert "default-src 'none'" in page
    assert not re.search(r"url\((?!data:)|@import", page)


def test_every_channel_of_every_convolution_is_shown(page: str) -> None:
    pictures = [
        a["alt"] for tag, a in Elements(page).found if tag == "img" and "channels" in (a["alt"] or "")
    ]
    for name, number in {"conv1": 16, "conv2": 32}.items():
        assert pictures.count(f"{name}: {number} channels") in (2, 3)  # one for each example picture


def test_every_picture_has_words_and_every_link_a_target(page: str) -> None:
    elements = Elements(page).found
    assert all(attributes.get("alt") for tag, attributes in elements if tag == "img")
    names = {attributes["id"] for _, attributes in elements if "id" in attributes}
    links = {attributes["href"][1:] for tag, attributes in elements if tag == "a"}  # type: ignore[index]
    assert links <= names


def test_hostile_names_are_text(tmp_path: Path) -> None:
    splits = toy_splits()
    classes = HOSTILE[: len(splits.train.classes)]
    hostile = Splits(*(renamed(part, classes) for _, part in splits.items()))
    run = fit(hostile.train, hostile.validation, Recipe(epochs=1), folder=tmp_path / "run", data="<i>toy</i>")
    page = report.write_report(run, hostile, run.evaluate(hostile.test)).read_text(encoding="utf-8")
    tags = [tag for tag, _ in Elements(page).found]
    assert tags.count("script") == 1
    assert tags.count("i") == page.count("<i></i>") + page.count('<i class="bar"')
    assert classes[0] in Elements(page).text
    assert "49" not in re.findall(r"<th scope=\"col\">(.*?)</th>", page)


def test_a_part_that_fails_says_so_and_the_others_stand(
    monkeypatch: pytest.MonkeyPatch, made: tuple[Run, Splits, Evaluation]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no maps <today>")

    monkeypatch.setattr(report, "explain", broken)
    page = report.render(report.Material(*made))
    assert "This part could not be made: RuntimeError: no maps &lt;today&gt;" in page
    assert page.count("could not be made") == 1
    assert 'class="matrix"' in page


def test_ten_thousand_pictures_and_many_mistakes_stay_under_five_megabytes(
    made: tuple[Run, Splits, Evaluation],
) -> None:
    run, splits, _ = made
    generator = torch.Generator().manual_seed(1)
    shape = (10_000, *splits.test.images.shape[1:])
    number = len(splits.test.classes)
    labels = torch.randint(0, number, (10_000,), generator=generator)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    test = Dataset(images, labels, splits.test.classes, [f"noise/{n}" for n in range(10_000)])
    probabilities = torch.rand(10_000, number, generator=generator).softmax(dim=1)
    evaluation = Evaluation(probabilities, labels, test.classes, test.sources)
    page = report.render(report.Material(run, Splits(splits.train, splits.validation, test), evaluation))
    assert "could not be made" not in page
    assert len(page.encode()) < 5_000_000


def test_a_probability_is_that_of_predict_and_of_the_table_to_the_last_digit(
    page: str, made: tuple[Run, Splits, Evaluation]
) -> None:
    run, splits, evaluation = made
    shown = [
        attributes["title"]
        for tag, attributes in Elements(page).found
        if tag == "span" and "title" in attributes
    ]
    rows = (run.folder / "predictions.csv").read_text(encoding="utf-8").splitlines()[1:]
    for index in range(10):
        alone = run.classifier.predict(splits.test.images[index : index + 1])[0]
        assert torch.equal(alone, evaluation.probabilities[index])
        exact = f"{float(alone.max()):.9g}"
        assert shown[index] == exact
        assert exact in rows[index].split(",")
