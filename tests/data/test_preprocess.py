"""Every picture becomes the one right tensor, or is refused in words."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pellucid.data.preprocess import Preprocess
from pellucid.decode.images import read_header
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
        r".*`fit=stretch`",
    ):
        GRAY.read(stored(np.zeros((5, 6), np.uint8)))


def test_a_coloured_picture_is_refused_by_a_gray_network() -> None:
    with pytest.raises(UsageError, match=r"^The array is 6x4 colour; .* trained on 6x4 gray"):
        GRAY.read(RAINBOW)


def test_stretch_averages_when_it_shrinks() -> None:
    checkers = np.kron(np.indices((4, 6)).sum(0) % 2, np.ones((2, 2))) * 255
    assert torch.equal(
        replace(GRAY, fit="stretch").read(checkers.astype(np.uint8)),
        torch.from_numpy((np.indices((4, 6)).sum(0) % 2 * 255).astype(np.uint8))[None],
    )


def test_stretch_makes_any_size_and_colour_fit() -> None:
    stretching = replace(GRAY, fit="stretch")
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
    older = {"channels": 3, "height": 4, "width": 6, "fit": "none"}
    assert Preprocess(**older) == COLOUR
    assert COLOUR.to_json() == {**older, "background": 0, "white": 65535}


def test_gray_stays_gray_and_a_colour_network_sees_it_three_times() -> None:
    content = stored(Image.fromarray(RAMP), "JPEG", quality=95)
    gray, colour = GRAY.read(content), COLOUR.read(content)
    assert torch.equal(colour, gray.expand(3, 4, 6))


# --- pictures of other proportions

WIDE, TALL = (90, 30), (25, 83)  # width and height
TARGETS = (Preprocess(3, 24, 24), Preprocess(3, 16, 40), Preprocess(1, 31, 20))


def noise(size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.random.default_rng(sum(size)).integers(0, 256, (size[1], size[0], 3), np.uint8)


@pytest.mark.parametrize("form", TARGETS, ids=str)
@pytest.mark.parametrize("size", [WIDE, TALL, (24, 24), (7, 300), (500, 8)])
def test_pad_shows_the_whole_picture_in_its_proportions_on_the_ground(
    form: Preprocess, size: tuple[int, int]
) -> None:
    pixels, ground = noise(size), 200
    padded = replace(form, fit="pad", background=ground).read(pixels)
    assert padded.shape == (form.channels, form.height, form.width)
    scale = min(form.width / size[0], form.height / size[1])
    width, height = (max(1, int(side * scale + 0.5)) for side in size)  # ties do not occur in these
    left, top = (form.width - width) // 2, (form.height - height) // 2
    inner = replace(form, height=height, width=width, fit="stretch").read(pixels)
    assert torch.equal(padded[:, top : top + height, left : left + width], inner)
    outside = torch.ones(form.height, form.width, dtype=torch.bool)
    outside[top : top + height, left : left + width] = False
    assert bool((padded[:, outside] == ground).all())
    assert height == form.height or width == form.width


@pytest.mark.parametrize("form", TARGETS, ids=str)
@pytest.mark.parametrize("size", [WIDE, TALL, (24, 24), (7, 300), (500, 8)])
def test_crop_is_the_middle_in_the_networks_proportions(form: Preprocess, size: tuple[int, int]) -> None:
    pixels = noise(size)
    scale = min(size[0] / form.width, size[1] / form.height)
    width, height = (min(side, max(1, int(part * scale + 0.5)))
                     for side, part in zip(size, (form.width, form.height), strict=True))  # fmt: skip
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    middle = np.ascontiguousarray(pixels[top : top + height, left : left + width])
    stretched = replace(form, fit="stretch")
    assert torch.equal(replace(form, fit="crop").read(pixels), stretched.read(middle))


def test_pictures_of_the_networks_proportions_are_the_same_by_any_fit() -> None:
    pixels = noise((64, 48))
    forms = [Preprocess(3, 24, 32, fit, 77) for fit in ("stretch", "pad", "crop")]
    first, *others = (form.read(pixels) for form in forms)
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_a_file_is_the_same_tensor_alone_and_in_a_process_of_its_own(fit: Any) -> None:
    form = Preprocess(3, 24, 40, fit, 128)
    content = stored(noise(WIDE))
    decoded = form.decode(content, name="It")
    assert form.read(content).numpy().tobytes() == decoded.pixels
    assert form.read(noise(WIDE)).numpy().tobytes() == decoded.pixels


def test_sixteen_bits_are_the_same_tensor_alone_in_a_process_of_its_own_and_opened(tmp_path: Path) -> None:
    """Of a camera with ten bits: what is white in training is white in prediction."""
    values = np.linspace(0, 1023, 64).reshape(8, 8).astype(np.uint16)
    form = Preprocess(1, 8, 8, white=1023)
    Image.fromarray(values).save(tmp_path / "deep.png")
    expected = torch.from_numpy(np.round(values / 1023 * 255).astype(np.uint8))[None]
    content = (tmp_path / "deep.png").read_bytes()
    for picture in (tmp_path / "deep.png", content, Image.open(io.BytesIO(content))):
        assert torch.equal(form.read(picture), expected)
    assert form.decode(content, name="It").pixels == expected.numpy().tobytes()


def test_an_unknown_fit_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"^Unknown fit 'squeeze'\. Known: none, stretch, pad, crop\.$"):
        GRAY.with_fit("squeeze")


# --- files of several frames or pages


def frames(kind: str, count: int, *, damaged: bool = False) -> bytes:
    images = [Image.fromarray(noise((20, 14 + number))).crop((0, 0, 20, 14)) for number in range(count)]
    file = io.BytesIO()
    how = {"lossless": True} if kind == "WEBP" else {}
    images[0].save(file, kind, save_all=True, append_images=images[1:], **how)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_read_and_the_header_says_so(kind: str) -> None:
    form = Preprocess(3, 14, 20)
    many, single = frames(kind, 3), frames(kind, 1)
    assert read_header(many).has_more
    assert not read_header(single).has_more
    assert torch.equal(form.read(many), form.read(single))
    assert form.decode(many, name="It").pixels == form.decode(single, name="It").pixels
    assert form.decode(many, name="It").header == read_header(many)


def test_damage_behind_the_first_frame_does_not_lose_it() -> None:
    content = frames("GIF", 3)
    cut = content[: len(frames("GIF", 1)) + 40]
    assert torch.equal(Preprocess(3, 14, 20).read(cut), Preprocess(3, 14, 20).read(frames("GIF", 1)))
