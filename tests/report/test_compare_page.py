"""`compare`: what a reader gets in the terminal, as JSON, as a page."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.errors import UsageError
from pellucid.explanation.similarity import LayerSimilarity
from pellucid.recipe import Recipe
from pellucid.report.compare_page import compare as compare_runs
from pellucid.report.compare_page import heat_cells, luminance
from pellucid.runs.fit import fit
from tests.asking import Ran
from tests.data.folders import shapes
from tests.resealed import change
from tests.toys import toy_splits


def test_every_number_on_the_heat_map_can_be_read() -> None:
    columns = tuple(str(number) for number in range(101))
    for cell in heat_cells(LayerSimilarity(("a",), columns, torch.linspace(0, 1, 101)[None], {}))[0]:
        ground = luminance(int(band) for band in re.findall(r"\d+", cell.colour))
        written = 1.0 if cell.dark else 0.0  # in white or in black
        assert (max(ground, written) + 0.05) / (min(ground, written) + 0.05) >= 4.5


def test_runs_judged_on_other_pictures_are_not_compared(ran: Ran, place: Path) -> None:
    facts_ = json.loads((place / "two" / "environment.json").read_text())
    shutil.copytree(place / "two", place / "three", dirs_exist_ok=True)
    change(place / "three" / "environment.json", origin={**facts_["origin"], "name": "cats"})
    done = ran("compare", "one", "three")
    assert done.returncode == 2
    assert "'three' was trained on 'cats', 'one' on 'digits'" in done.stderr


def test_a_run_by_folds_has_no_picture_left_to_compare_on(tmp_path: Path) -> None:
    recipe = Recipe(epochs=1, folds=2, threads=1)
    one, other = (fit(toy_splits(60), recipe, folder=tmp_path / name) for name in ("one", "other"))
    with pytest.raises(UsageError, match="was judged by folds and learned from all pictures"):
        compare_runs(one, other)


def test_copies_of_what_was_learned_from_are_left_out_and_no_group_is_made_of_them(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "pictures", parts=("train", "test"))
    for index in range(7):
        shutil.copy(folder / "train" / "bright" / f"{index:03}.png", folder / "test" / "bright")
    recipe = Recipe(epochs=1, threads=1)
    for seed in (1, 2):
        fit(str(folder), replace(recipe, seed=seed), folder=tmp_path / f"{seed}")
    found = compare_runs(tmp_path / "1", tmp_path / "2")
    assert (len(found.dataset), found.copies, found.groups) == (53, 7, 0)
    assert found.scope.startswith("7 test pictures are left out: what was learned from has copies of them. ")
    assert found.to_json()["copies"] == 7
