"""`compare`: what a reader gets in the terminal, as JSON, as a page."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.comparison import compare
from pellucid.data.dataset import Splits
from pellucid.errors import UsageError
from pellucid.explanation.similarity import LayerSimilarity
from pellucid.report.compare_page import heat_cells, luminance, page
from tests.report.asking import Ran, classifiers


def test_two_runs_are_compared_by_answers_layers_and_channels(place: Path, digits: Splits) -> None:
    first, second = classifiers(place)
    found = compare(first, second, digits.test, names=("a", "b"))
    answers = [one.predict(digits.test.images).argmax(dim=1) for one in (first, second)]
    assert len(found.disagreements) == int((answers[0] != answers[1]).sum()) > 0
    right = [int((answer == digits.test.labels).sum()) for answer in answers]
    assert [found.right.first, found.right.second] == right
    assert right[0] - right[1] == found.right.only_first - found.right.only_second
    assert found.similarity.rows == found.similarity.columns
    assert sorted(pair.second for pair in found.pairs["conv1"]) == list(range(16))
    assert 0 < found.mean_correlation("conv1") <= 1
    made = page(found, first, second)
    assert made.count('class="tile"') == min(60, len(found.disagreements))
    assert "arXiv:2210.16156" in made
    assert "<script" not in made


def test_every_number_on_the_heat_map_can_be_read() -> None:
    columns = tuple(str(number) for number in range(101))
    for cell in heat_cells(LayerSimilarity(("a",), columns, torch.linspace(0, 1, 101)[None], {}))[0]:
        ground = luminance(int(band) for band in re.findall(r"\d+", cell.colour))
        written = 1.0 if cell.dark else 0.0  # in white or in black
        assert (max(ground, written) + 0.05) / (min(ground, written) + 0.05) >= 4.5


def test_a_run_compared_with_itself_is_alike_in_all(place: Path, digits: Splits) -> None:
    first = classifiers(place)[0]
    found = compare(first, first, digits.test)
    assert found.disagreements == []
    assert all(found.mean_correlation(name) == pytest.approx(1) for name in found.pairs)
    assert "They predict the same for every picture." in page(found, first, first)


def test_runs_of_other_pictures_or_classes_are_not_compared(place: Path, digits: Splits) -> None:
    first = classifiers(place)[0]
    others = (
        replace(first, classes=tuple(f"class {n}" for n in range(10))),
        replace(first, preprocess=replace(first.preprocess, fit="crop")),
    )
    for other in others:
        with pytest.raises(UsageError, match="same classes and pictures"):
            compare(first, other, digits.test)


def test_runs_judged_on_other_pictures_are_not_compared(ran: Ran, place: Path) -> None:
    facts_ = json.loads((place / "two" / "environment.json").read_text())
    (place / "three").mkdir(exist_ok=True)
    for name in ("recipe.json", "metrics.csv", "model.json", "model.safetensors"):
        (place / "three" / name).write_bytes((place / "two" / name).read_bytes())
    (place / "three" / "environment.json").write_text(
        json.dumps({**facts_, "origin": {**facts_["origin"], "name": "cats"}})
    )
    done = ran("compare", "one", "three")
    assert done.returncode == 2
    assert "'three' was trained on 'cats', 'one' on 'digits'" in done.stderr


def test_compare_tells_it_and_writes_a_page(ran: Ran) -> None:
    done = ran("compare", "one", "two")
    assert done.returncode == 0, done.stderr
    for words in ("They disagree on", "linear CKA", "channels paired", "Page: compare.html"):
        assert words in done.stdout
    told = json.loads(ran("compare", "one", "two", "--json").stdout)
    assert len(told["cka"]["matrix"]) == len(told["cka"]["rows"])
    assert {"index", "first", "second", "label", "source"} <= set(told["disagreements"][0])
