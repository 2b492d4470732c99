"""Every picture becomes the one right tensor, or is refused in words."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from tests.stored import COLOUR, GRAY, RAINBOW, RAMP, stored


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_a_gray_picture_is_read_to_the_pixel(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.any"
    path.write_bytes(stored(RAMP, kind, **({"lossless": True} if kind == "WEBP" else {})))
    expected = torch.from_numpy(RAMP)[None]
    for form in (path, str(path), path.read_bytes(), RAMP, RAMP[..., None], expected):
        tensor = GRAY.read(form)
        assert tensor.dtype == torch.uint8
        assert torch.equal(tensor, expected)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_a_colour_picture_is_read_to_the_pixel(kind: str) -> None:
    content = stored(RAINBOW, kind, **({"lossless": True} if kind == "WEBP" else {}))
    expected = torch.from_numpy(RAINBOW).permute(2, 0, 1)
    for form in (content, RAINBOW, expected):
        assert torch.equal(COLOUR.read(form), expected)


def test_a_gray_picture_serves_a_colour_network() -> None:
    assert torch.equal(COLOUR.read(stored(RAMP)), torch.from_numpy(RAMP).expand(3, 4, 6))


def test_gray_stored_as_colour_serves_a_gray_network() -> None:
    assert torch.equal(GRAY.read(np.stack([RAMP] * 3, axis=-1)), torch.from_numpy(RAMP)[None])


def test_a_picture_of_another_size_is_refused_with_both_sizes_and_the_way_out() -> None:
    with pytest.raises(
        UsageError,
        match=r"^The picture is 6x5 gray; this classifier was trained on 6x4 gray pictures\. "
        r".*`scaling=stretch`",
    ):
        GRAY.read(stored(np.zeros((5, 6), np.uint8)))


def test_a_coloured_picture_is_refused_by_a_gray_network() -> None:
    with pytest.raises(UsageError, match=r"^The array is 6x4 colour; .* trained on 6x4 gray"):
        GRAY.read(RAINBOW)


def test_stretch_averages_when_it_shrinks() -> None:
    checkers = np.kron(np.indices((4, 6)).sum(0) % 2, np.ones((2, 2))) * 255
    assert torch.equal(
        replace(GRAY, scaling="stretch").read(checkers.astype(np.uint8)),
        torch.from_numpy((np.indices((4, 6)).sum(0) % 2 * 255).astype(np.uint8))[None],
    )


def test_stretch_makes_any_size_and_colour_fit() -> None:
    stretching = replace(GRAY, scaling="stretch")
    for shape in ((1, 1, 3), (2, 3, 3), (40, 6, 3), (3, 60, 3)):
        assert stretching.read(np.full(shape, 90, np.uint8)).unique().tolist() == [90]


def test_a_preprocess_tells_its_fields() -> None:
    assert Preprocess(**COLOUR.to_json()) == COLOUR


def test_nothing_is_written_to_the_pictures_own_memory() -> None:
    array = RAMP.copy()
    tensor = GRAY.read(array)
    tensor.zero_()
    assert np.array_equal(array, RAMP)


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.zeros((4, 6)), r"float64 \(4, 6\)"),
        (np.zeros((4, 6, 2), np.uint8), r"uint8 \(4, 6, 2\)"),
        (np.zeros((1, 4, 6, 1), np.uint8), r"uint8 \(1, 4, 6, 1\)"),
        (np.zeros((0, 6), np.uint8), r"uint8 \(0, 6\)"),
        (np.zeros(6, np.uint8), r"uint8 \(6,\)"),
    ],
)
def test_an_array_of_another_kind_is_refused_with_what_it_is(array: NDArray[Any], got: str) -> None:
    with pytest.raises(UsageError, match=rf"Expected a picture as uint8 \(H, W\).*got {got}"):
        GRAY.read(array)


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(4, 6, dtype=torch.uint8), torch.zeros(1, 4, 6), torch.zeros(2, 1, 4, 6, dtype=torch.uint8)],
)
def test_a_tensor_of_another_kind_is_refused_not_turned_on_its_side(tensor: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"Expected a picture as uint8 \(C, H, W\) tensor; got"):
        GRAY.read(tensor)


def test_a_preprocess_of_an_older_version_lies_on_black() -> None:
    older = {"channels": 3, "height": 4, "width": 6, "scaling": "none"}
    assert Preprocess(**older) == COLOUR
    assert COLOUR.to_json() == {**older, "background": 0, "white": 65535}


def test_gray_stays_gray_and_a_colour_network_sees_it_three_times() -> None:
    content = stored(Image.fromarray(RAMP), "JPEG", quality=95)
    gray, colour = GRAY.read(content), COLOUR.read(content)
    assert torch.equal(colour, gray.expand(3, 4, 6))
