"""Charts and pictures say what the numbers say."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.metrics import Bin, wilson
from pellucid.plots import charts, figures, images
from pellucid.training.loop import Epoch

HISTORY = [Epoch(n, n * 1.0, 1e-3, 1 / n, 1 - 0.3 / n, 1.1 / n, 1 - 0.4 / n, n == 3) for n in range(1, 5)]


def decoded(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))


def test_the_scale_ends_in_the_ends_of_viridis() -> None:
    ends = images.coloured(torch.tensor([-5.0, 0.0, 2.0, 9.0]), 0, 2)
    assert ends[0].tolist() == ends[1].tolist() == list(images.VIRIDIS[0])
    assert ends[2].tolist() == ends[3].tolist() == list(images.VIRIDIS[-1])


def test_an_empty_map_is_drawn_at_the_bottom_not_divided_by_zero() -> None:
    assert images.coloured(torch.zeros(2, 2), 0, 0).reshape(-1, 3).tolist() == [list(images.VIRIDIS[0])] * 4


def test_nothing_is_in_the_middle_of_the_signed_scale() -> None:
    middle = images.coloured(torch.tensor([0.0]), -3, 3, colours=images.SIGNED)[0]
    assert len(set(middle.tolist())) == 1  # gray


def test_the_scale_is_viridis() -> None:
    from matplotlib import colormaps

    table = colormaps["viridis"](np.arange(256), bytes=True)[:, :3].astype(int)
    assert np.abs(images.coloured(torch.arange(256), 0, 255).astype(int) - table).max() <= 4


def test_places_on_a_scale_are_rounded_clipped_and_never_divided_by_zero() -> None:
    values = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, float("nan")])
    assert images.scale_places(values, 0, 1).tolist() == [0, 0, 128, 255, 255, 0]
    assert images.scale_places(values, 0, 0).tolist() == [0] * 6


def cell(atlas: images.Atlas, place: int) -> np.ndarray:
    top, left = place // atlas.columns * atlas.height, place % atlas.columns * atlas.width
    pixels = np.array(decoded(atlas.address).convert("RGB"))
    return pixels[top : top + atlas.height, left : left + atlas.width]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("number", [1, 2, 7, 50])
def test_every_picture_stands_in_its_place_to_the_pixel(channels: int, number: int) -> None:
    pictures = torch.randint(0, 256, (number, channels, 5, 4), dtype=torch.uint8)
    atlas = images.fitted_atlas(pictures, budget=10**9)
    assert (atlas.count, atlas.remark) == (number, "")
    for place in range(number):
        assert np.array_equal(cell(atlas, place), images.picture(pictures[place]))


@pytest.mark.parametrize(("channels", "shades"), [(1, "16 shades of gray"), (3, "lossy compression")])
def test_what_does_not_fit_is_given_up_in_the_stated_order(channels: int, shades: str) -> None:
    pictures = torch.randint(0, 256, (64, channels, 32, 32), dtype=torch.uint8)
    exact = len(images.fitted_atlas(pictures, budget=10**9).address)
    remarks = []
    for budget in (exact - 1, exact // 6, exact // 60):
        atlas = images.fitted_atlas(pictures, budget=budget)
        assert len(atlas.address) <= budget
        remarks.append(atlas.remark)
    assert remarks[0] == f"in {shades}"
    assert "16 × 16" in remarks[1]
    assert "of 64 pictures" in remarks[2]


def test_sixteen_shades_are_the_nearest_of_sixteen() -> None:
    gray = np.arange(256, dtype=np.uint8).reshape(8, 32)[:, :31]  # an odd width fills half a byte
    shown = np.array(Image.open(io.BytesIO(images.encoded_png(gray, bits=4))).convert("L"))
    assert shown.shape == gray.shape
    assert np.abs(shown.astype(int) - gray).max() <= 9


def test_large_pictures_are_averaged_down() -> None:
    pictures = torch.zeros(2, 1, 100, 50, dtype=torch.uint8)
    pictures[:, :, ::2] = 255
    atlas = images.fitted_atlas(pictures, budget=10**9, side=50)
    assert (atlas.width, atlas.height) == (25, 50)
    assert atlas.remark == "at 25 × 50 pixels"
    assert set(cell(atlas, 1).ravel().tolist()) == {128}


def test_a_map_is_stored_in_the_colours_of_its_scale() -> None:
    maps = torch.rand(6, 3, 3)
    atlas = images.palette_atlas(images.scale_places(maps, 0, 1), 4)
    places = torch.from_numpy(images.scale_places(maps, 0, 1)).double()
    assert np.array_equal(cell(atlas, 5), images.coloured(places[5], 0, 255))


def test_curves_are_well_formed_and_mark_the_best_epoch() -> None:
    chart = charts.line_chart("Loss <by> epoch", HISTORY, ("loss", "val_loss"), unit="nats")
    root = ElementTree.fromstring(chart)
    assert root.find("title").text == "Loss <by> epoch"  # type: ignore[union-attr]
    assert len(re.findall("<polyline", chart)) == 2
    assert "best: 3" in chart
    assert "epoch 4: validation 0.2750" in chart


def test_one_epoch_and_values_that_are_no_numbers_can_be_drawn() -> None:
    odd = Epoch(1, 1.0, 1e-3, float("nan"), 0.0, float("inf"), 0.0, False)
    for history in ([HISTORY[0]], [odd], [odd, HISTORY[1]]):
        chart = charts.line_chart("Loss", history, ("loss", "val_loss"), unit="nats")
        ElementTree.fromstring(chart)
        assert "nan" not in re.sub(r"<title>.*?</title>", "", chart)


def test_every_group_of_answers_is_a_point() -> None:
    chart = charts.reliability_chart([Bin(0.5, 0.4, 10), Bin(0.9, 1.0, 10)])
    assert chart.count("<circle") == 2
    assert "10 answers: 50.0% sure, 40.0% right" in chart
    ElementTree.fromstring(chart)


@pytest.mark.parametrize("share", [0.0, 0.31, 0.94, 0.9998, 1.0])
def test_an_interval_stays_on_its_strip(share: float) -> None:
    low, high = wilson(share, 400)
    strip = ElementTree.fromstring(charts.interval_strip(low, share, high))
    places = [float(circle.get("cx", "")) for circle in strip.iter("circle")]
    ends = [float(x) for path in strip.iter("path") for x in re.findall(r"[MH]([\d.-]+)", path.get("d", ""))]
    assert all(0 <= x <= 260 for x in (*places, *ends))


@pytest.mark.parametrize("last", [1, 2, 3, 7, 8, 20, 30, 99, 1000])
def test_epochs_on_the_axis_are_few_and_in_range(last: int) -> None:
    ticks = charts._whole_ticks(last)
    assert ticks[0] == 1
    assert ticks == sorted(set(ticks))
    assert ticks[-1] <= last
    assert len(ticks) <= 8


def test_figures_for_notebooks_are_pictures() -> None:
    evaluation = Evaluation(torch.eye(3), torch.tensor([0, 1, 1]), ("a", "b", "c"), ["1", "2", "3"])
    drawn = [
        figures.plot_history(HISTORY),
        figures.plot_confusion(evaluation),
        figures.plot_feature_maps(torch.rand(16, 4, 4), title="conv1"),
        figures.plot_explanation(
            torch.zeros(1, 8, 8, dtype=torch.uint8),
            {"gradient x activation": torch.zeros(2, 2)},
            {"conv1": torch.rand(20, 4, 4), "dense1": torch.rand(5)},
            "title",
        ),
    ]
    assert all(figures.png(figure).startswith(b"\x89PNG") for figure in drawn)
