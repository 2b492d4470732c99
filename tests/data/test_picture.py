"""Every picture becomes the one right tensor, or is refused in words."""

import io
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pellucid.data.picture import FORMATS, MAX_PIXELS, Preprocess
from pellucid.errors import UsageError

GRAY = Preprocess(1, 4, 6)  # 4 high, 6 wide
COLOUR = Preprocess(3, 4, 6)
RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
RAINBOW = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=-1)


def stored(image: Image.Image | NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that tells of a size and ends there."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    empty = b"IDAT" + zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (chunk, empty, b"IEND")
    )


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


def test_a_jpeg_is_read_nearly() -> None:
    tensor = GRAY.read(stored(RAMP, "JPEG", quality=95))
    assert (tensor[0].int() - torch.from_numpy(RAMP).int()).abs().max() <= 8


def test_every_format_named_is_one_pillow_can_read() -> None:
    Image.init()
    assert set(FORMATS) <= set(Image.OPEN)


def test_a_gray_picture_serves_a_colour_network() -> None:
    assert torch.equal(COLOUR.read(stored(RAMP)), torch.from_numpy(RAMP).expand(3, 4, 6))


def test_gray_stored_as_colour_serves_a_gray_network() -> None:
    assert torch.equal(GRAY.read(np.stack([RAMP] * 3, axis=-1)), torch.from_numpy(RAMP)[None])


def test_a_picture_of_another_size_is_refused_with_both_sizes_and_the_way_out() -> None:
    with pytest.raises(
        UsageError,
        match=r"^The picture is 6x5 gray; this classifier was trained on 6x4 gray pictures\. "
        r".*--scaling stretch",
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


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    deep = (np.arange(24, dtype=np.uint16).reshape(4, 6) * 2849).astype(np.uint16)  # up to 65,527
    expected = torch.from_numpy(np.round(deep / 257.0).astype(np.uint8))[None]
    assert torch.equal(GRAY.read(stored(Image.fromarray(deep), kind)), expected)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_thirty_two_bits_are_refused_for_their_range_is_not_told(kind: type) -> None:
    with pytest.raises(UsageError, match=r"32 bits a pixel.*Convert it to 8 or 16 bits first"):
        GRAY.read(stored(Image.fromarray(RAMP.astype(kind)), "TIFF"))


def test_one_bit_is_black_and_white() -> None:
    bits = Image.fromarray(RAMP).point(lambda value: 255 * (value > 100)).convert("1")
    assert GRAY.read(stored(bits)).unique().tolist() == [0, 255]


def test_transparency_lies_on_black() -> None:
    clear = np.dstack([RAINBOW, np.zeros((4, 6), np.uint8)])
    clear[0, :, 3] = 255
    tensor = COLOUR.read(stored(clear))
    assert torch.equal(tensor[:, 0], torch.from_numpy(RAINBOW[0].T.copy()))
    assert int(tensor[:, 1:].sum()) == 0


def test_gray_with_transparency_stays_gray() -> None:
    pair = np.dstack([RAMP, np.full((4, 6), 255, np.uint8)])
    assert torch.equal(GRAY.read(stored(Image.fromarray(pair, "LA"))), torch.from_numpy(RAMP)[None])


def test_a_palette_with_a_transparent_colour_is_read() -> None:
    palette = Image.fromarray(RAINBOW).quantize(8)
    content = stored(palette, "PNG", transparency=0)
    tensor = COLOUR.read(content)
    assert tensor.shape == (3, 4, 6)
    clear = torch.from_numpy(np.array(palette) == 0)
    assert int(tensor[:, clear].sum()) == 0


def test_cmyk_becomes_colour() -> None:
    image = Image.fromarray(np.full((4, 6, 3), (250, 10, 10), np.uint8)).convert("CMYK")
    tensor = COLOUR.read(stored(image, "JPEG", quality=95))
    assert tensor[0].min() > 200
    assert tensor[1:].max() < 60


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_upright_whatever_its_exif_orientation(orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = Image.fromarray(RAMP)
    turned = image.transpose(undo[orientation]) if orientation in undo else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert torch.equal(GRAY.read(stored(turned, exif=exif)), torch.from_numpy(RAMP)[None])


def test_of_a_moving_picture_the_first_is_read() -> None:
    frames = [Image.fromarray(np.full((4, 6), value, np.uint8)) for value in (50, 200)]
    content = stored(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert GRAY.read(content).unique().tolist() == [50]


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


def test_an_absent_picture_is_named() -> None:
    with pytest.raises(UsageError, match=r"^'no/such\.png' does not exist\. Check the path\.$"):
        GRAY.read("no/such.png")
    with pytest.raises(UsageError, match="does not exist"):
        GRAY.read("nul\0.png")


def test_a_folder_is_answered_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder\. Name picture files, such as '.*/1\.png'"):
        GRAY.read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UsageError, match="is no file"):
        GRAY.read(tmp_path / "pipe.png")


def test_a_link_to_itself_does_not_exist_or_cannot_be_read(tmp_path: Path) -> None:
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    with pytest.raises(UsageError, match=r"loop\.png' (does not exist|cannot be read)"):
        GRAY.read(loop)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_picture_one_may_not_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "locked.png"
    path.write_bytes(stored(RAMP))
    path.chmod(0)
    with pytest.raises(UsageError, match="cannot be read: Permission denied"):
        GRAY.read(path)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"%PDF-1.4", b"GIF89a", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_refused_with_the_known_formats(content: bytes) -> None:
    with pytest.raises(
        UsageError, match=r"not a picture of a known format\. Expected PNG, JPEG|cannot be read"
    ):
        GRAY.read(content)


@pytest.mark.parametrize("kind", ["ICO", "PCX", "SGI", "TGA"])
def test_no_other_decoder_is_asked(kind: str) -> None:
    with pytest.raises(UsageError, match="not a picture of a known format"):
        GRAY.read(stored(Image.fromarray(np.zeros((16, 16), np.uint8)), kind))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_a_picture_cut_off_anywhere_is_refused_or_whole(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
    options = {"lossless": True} if kind == "WEBP" else {}
    content = stored(noise, kind, **options)
    reader = Preprocess(1, 40, 60)
    whole = reader.read(content)
    refused = 0
    for length in range(0, len(content), 64):
        try:
            assert torch.equal(
                reader.read(content[:length]), whole
            )  # only what follows the pixels is missing
        except UsageError as error:
            assert str(error).startswith("The picture ")  # noqa: PT017
            refused += 1
    assert refused >= len(content) // 64 * 0.9


def test_a_damaged_picture_says_that_it_may_be_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "half.png"
    path.write_bytes(stored(np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8))[:1000])
    with pytest.raises(UsageError, match=r"half\.png' cannot be read: .*It may be cut off or damaged\."):
        GRAY.read(path)


def test_a_thousand_mutated_pictures_are_read_or_refused() -> None:
    generator = np.random.default_rng(1)
    seeds = [stored(RAINBOW, kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")]
    stretching = replace(COLOUR, scaling="stretch")
    read = 0
    for number in range(1000):
        content = bytearray(seeds[number % len(seeds)])
        for position in generator.integers(0, len(content), generator.integers(1, 6)):
            content[position] = generator.integers(0, 256)
        try:
            assert stretching.read(bytes(content)).shape == (3, 4, 6)
            read += 1
        except UsageError:
            pass
    assert 100 < read < 1000


@pytest.mark.parametrize("size", [(5001, 5000), (65_535, 65_535), (2_000_000_000, 1)])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=rf"the limit (is|of) {MAX_PIXELS:,}"):
        GRAY.read(png_header(*size))


def test_a_long_thin_picture_is_read() -> None:
    strip = np.arange(65_535, dtype=np.uint32).astype(np.uint8)[None]
    assert Preprocess(1, 1, 65_535).read(stored(strip)).shape == (1, 1, 65_535)


def test_a_wrong_ending_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(stored(RAMP, "PNG"))
    assert torch.equal(GRAY.read(path), torch.from_numpy(RAMP)[None])
