"""What is cut out of a picture is what the box is around, however the file is stored."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pellucid.data.preprocess import Preprocess
from pellucid.decode.boxes import Box, cut_out
from pellucid.decode.images import StoredImage, decode_stored
from pellucid.errors import UsageError

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)  # 100 wide, 60 high


def stored(pixels: NDArray[Any], kind: str = "PNG", **options: Any) -> StoredImage:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return decode_stored(file.getvalue(), name="It")


def cut(box: Box, image: StoredImage | None = None) -> NDArray[np.uint8]:
    result = cut_out(image or stored(PIXELS), box, name="It")
    assert isinstance(result, np.ndarray)
    return result


def test_a_tenth_is_left_around_a_box_as_far_as_the_picture_goes() -> None:
    assert np.array_equal(cut(Box(20, 10, 60, 30)), PIXELS[8:32, 16:64])
    assert np.array_equal(cut(Box(0, 0, 40, 20)), PIXELS[:22, :44])
    assert np.array_equal(cut(Box(60, 40, 130, 90)), PIXELS[35:, 53:])  # half of it is outside
    gray = PIXELS[..., 0]
    assert np.array_equal(cut(Box(20, 10, 60, 30), stored(gray)), gray[8:32, 16:64])


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (Box(20, 10, 20, 30), "It is an empty box."),
        (Box(40, 10, 20, 30), "It is an empty box."),
        (Box(100, 0, 130, 30), "It is a box outside of its picture, which has 100x60 pixels."),
        (Box(-30, -30, 0, 0), "It is a box outside of its picture, which has 100x60 pixels."),
        (Box(10, 10, 40, 17), "It is a box of 30x7 pixels; the least is 8 a side."),
        (Box(95, 10, 140, 40), "It is a box of 5x30 pixels; the least is 8 a side."),
        (
            Box(10, 10, 40, 40, (200, 120)),
            "It is a box on a picture of 200x120 pixels, as its annotation says; the file has 100x60.",
        ),
    ],
)
def test_where_there_is_nothing_to_see_the_reason_is_given(box: Box, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        cut(box)
    assert str(refused.value) == message


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_is_where_it_was_drawn_upright_or_as_stored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = stored(PIXELS, exif=exif)
    upright = np.asarray(image.image if image.turn is None else image.image.transpose(image.turn))
    high, wide = upright.shape[:2]
    shown = cut(Box(10, 10, 30, 40, (wide, high)), image)
    assert np.array_equal(shown, upright[7:43, 8:32])
    assert np.array_equal(cut(Box(10, 10, 30, 40), image), shown)  # without a size: as people see it
    if (wide, high) != (100, 60):
        lying = Image.fromarray(PIXELS[7:43, 8:32])
        assert image.turn is not None
        assert np.array_equal(
            cut(Box(10, 10, 30, 40, (100, 60)), image), np.asarray(lying.transpose(image.turn))
        )


def test_transparency_and_sixteen_bits_survive() -> None:
    clear = np.dstack([PIXELS, np.full((60, 100), 0, np.uint8)])
    deep = (PIXELS[..., 0].astype(np.uint16) << 4) + 5
    for pixels, form in (
        (clear, Preprocess(3, 24, 48, "none", 200)),
        (deep, Preprocess(1, 24, 48, white=4095)),
    ):
        content = cut_out(stored(pixels), Box(20, 10, 60, 30), name="It")
        whole = io.BytesIO()
        Image.fromarray(pixels[8:32, 16:64]).save(whole, "PNG")
        assert isinstance(content, bytes)
        assert np.array_equal(form.read(content).numpy(), form.read(whole.getvalue()).numpy())


def test_of_a_very_large_jpeg_the_same_part_is_shown_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.decode.images.LARGE_PIXELS", 2_000)
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[20:40, 40:80] = 255
    image = stored(pixels, "JPEG", quality=95)
    assert image.image.size == (50, 30)
    shown = cut(Box(40, 20, 80, 40), image)
    assert shown.shape == (12, 24, 3)
    assert shown[1:-1, 2:-2].min() > 200
