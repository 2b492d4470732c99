"""`compare`: what a reader gets in the terminal, as JSON, as a page."""

import json
import re
from pathlib import Path

import torch

from pellucid.explanation.similarity import LayerSimilarity
from pellucid.report.compare_page import heat_cells, luminance
from tests.asking import Ran


def test_every_number_on_the_heat_map_can_be_read() -> None:
    columns = tuple(str(number) for number in range(101))
    for cell in heat_cells(LayerSimilarity(("a",), columns, torch.linspace(0, 1, 101)[None], {}))[0]:
        ground = luminance(int(band) for band in re.findall(r"\d+", cell.colour))
        written = 1.0 if cell.dark else 0.0  # in white or in black
        assert (max(ground, written) + 0.05) / (min(ground, written) + 0.05) >= 4.5


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
