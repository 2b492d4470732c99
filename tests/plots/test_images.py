"""Pictures show what the numbers say."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.plots import images


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


def test_a_map_in_characters_keeps_its_sign() -> None:
    rows = images.text_map(torch.tensor([[1.0, 0.0], [-1.0, 0.5]]))
    assert rows == ["██··", "##▒▒"]
    assert images.text_map(torch.zeros(3, 3)) == ["no evidence"]
    assert len(images.text_map(torch.rand(100, 50))) == 28
