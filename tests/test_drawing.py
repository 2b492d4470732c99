"""Charts and pictures say what the numbers say."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid import drawing
from pellucid.evaluation import Bin, Evaluation
from pellucid.training import Epoch

HISTORY = [Epoch(n, n * 1.0, 1e-3, 1 / n, 1 - 0.3 / n, 1.1 / n, 1 - 0.4 / n, n == 3) for n in range(1, 5)]


def decoded(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))


def test_the_scale_ends_in_the_ends_of_viridis() -> None:
    ends = drawing.coloured(torch.tensor([-5.0, 0.0, 2.0, 9.0]), 0, 2)
    assert ends[0].tolist() == ends[1].tolist() == list(drawing.VIRIDIS[0])
    assert ends[2].tolist() == ends[3].tolist() == list(drawing.VIRIDIS[-1])


def test_an_empty_map_is_drawn_at_the_bottom_not_divided_by_zero() -> None:
    assert drawing.coloured(torch.zeros(2, 2), 0, 0).reshape(-1, 3).tolist() == [list(drawing.VIRIDIS[0])] * 4


def test_nothing_is_in_the_middle_of_the_signed_scale() -> None:
    middle = drawing.coloured(torch.tensor([0.0]), -3, 3, colours=drawing.SIGNED)[0]
    assert len(set(middle.tolist())) == 1  # gray


def test_tiles_stand_in_rows_with_gaps_between() -> None:
    sheet = drawing.tiled(np.full((5, 2, 3), 7, dtype=np.uint8), 3, gap=2)
    assert sheet.size == (3 * 3 + 2 * 2, 2 * 2 + 2)
    assert sheet.getpixel((0, 0)) == (7, 7, 7, 255)
    assert sheet.getpixel((3, 0))[3] == 0
    assert sheet.getpixel((12, 5))[3] == 0  # the sixth place is empty


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_picture_survives_its_address(channels: int, mode: str) -> None:
    image = torch.randint(0, 256, (channels, 5, 4), dtype=torch.uint8)
    shown = decoded(drawing.data_address(Image.fromarray(drawing.picture(image))))
    assert shown.mode == mode
    assert np.array_equal(drawing.picture(image), np.array(shown.convert("RGB")))


def test_curves_are_well_formed_and_mark_the_best_epoch() -> None:
    chart = drawing.line_chart("Loss <by> epoch", HISTORY, ("loss", "val_loss"), unit="nats")
    root = ElementTree.fromstring(chart)
    assert root.find("title").text == "Loss <by> epoch"  # type: ignore[union-attr]
    assert len(re.findall("<polyline", chart)) == 2
    assert "best: 3" in chart
    assert "epoch 4: validation 0.2750" in chart


def test_one_epoch_and_values_that_are_no_numbers_can_be_drawn() -> None:
    odd = Epoch(1, 1.0, 1e-3, float("nan"), 0.0, float("inf"), 0.0, False)
    for history in ([HISTORY[0]], [odd], [odd, HISTORY[1]]):
        chart = drawing.line_chart("Loss", history, ("loss", "val_loss"), unit="nats")
        ElementTree.fromstring(chart)
        assert "nan" not in re.sub(r"<title>.*?</title>", "", chart)


def test_every_group_of_answers_is_a_point() -> None:
    chart = drawing.reliability_chart([Bin(0.5, 0.4, 10), Bin(0.9, 1.0, 10)])
    assert chart.count("<circle") == 2
    assert "10 answers: 50.0% sure, 40.0% right" in chart


def test_figures_for_notebooks_are_pictures() -> None:
    evaluation = Evaluation(torch.eye(3), torch.tensor([0, 1, 1]), ("a", "b", "c"), ["1", "2", "3"])
    figures = [
        drawing.plot_history(HISTORY),
        drawing.plot_confusion(evaluation),
        drawing.plot_feature_maps(torch.rand(16, 4, 4), title="conv1"),
        drawing.plot_explanation(
            torch.zeros(1, 8, 8, dtype=torch.uint8),
            {"gradient x activation": torch.zeros(2, 2)},
            {"conv1": torch.rand(20, 4, 4), "dense1": torch.rand(5)},
            "title",
        ),
    ]
    assert all(drawing.png(figure).startswith(b"\x89PNG") for figure in figures)
