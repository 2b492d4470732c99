"""An image file becomes the one right picture, or is refused in words."""

import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.data.preprocess import Preprocess
from pellucid.decode import images
from pellucid.decode.images import FORMATS, ImageHeader, decode_bytes, decode_image, read_header
from pellucid.errors import UsageError
from tests.data.folders import png_header
from tests.serving.decoders import pictures
from tests.stored import COLOUR, GRAY, RAINBOW, RAMP, stored


def test_a_jpeg_is_read_nearly() -> None:
    tensor = GRAY.read(stored(RAMP, "JPEG", quality=95))
    assert (tensor[0].int() - torch.from_numpy(RAMP).int()).abs().max() <= 8


def test_every_format_named_is_one_pillow_can_read() -> None:
    Image.init()
    assert set(FORMATS) <= set(Image.OPEN)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    deep = (np.arange(24, dtype=np.uint16).reshape(4, 6) * 2849).astype(np.uint16)  # up to 65,527
    expected = torch.from_numpy(np.round(deep / 257.0).astype(np.uint8))[None]
    assert torch.equal(GRAY.read(stored(Image.fromarray(deep), kind)), expected)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_thirty_two_bits_are_refused_for_their_range_is_not_told(kind: type) -> None:
    with pytest.raises(UsageError, match=r"32 bits per pixel.*Convert it to 8 or 16 bits first"):
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
    with pytest.raises(UsageError, match="is not a regular file"):
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
    stretching = replace(COLOUR, fit="stretch")
    read = 0
    for number in range(1000):
        content = bytearray(seeds[number % len(seeds)])
        for position in generator.integers(0, len(content), generator.integers(1, 6)):
            content[position] = generator.integers(0, 256)
        seen = stretching.decode(bytes(content), name="It")
        try:
            pixels = stretching.read(bytes(content))
            assert pixels.shape == (3, 4, 6)
            assert seen.pixels == pixels.numpy().tobytes()
            assert len(seen.sketch) == 16
            read += 1
        except UsageError as error:
            assert seen.reason == str(error).replace("The picture", "It", 1)  # noqa: PT017
    assert 100 < read < 1000


@pytest.mark.parametrize("size", [(20_000, 20_000), (65_535, 65_535), (2_000_000_000, 1)])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(
        UsageError, match=r"pixels.*; the limit is 300 MB|more pixels than the limit of 178,956,970"
    ):
        GRAY.read(png_header(*size))


def test_a_pixel_of_sixteen_bits_counts_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.decode.images.MAX_DECODED_BYTES", 100)
    assert read_header(stored(np.zeros((8, 8), np.uint8))) == ImageHeader(8, 8, "L")
    with pytest.raises(UsageError, match=r"has 8x8 pixels, .* when decoded; the limit is"):
        read_header(stored(np.zeros((8, 8), np.uint16)))


def test_a_long_thin_picture_is_read() -> None:
    strip = np.arange(65_535, dtype=np.uint32).astype(np.uint8)[None]
    assert Preprocess(1, 1, 65_535).read(stored(strip)).shape == (1, 1, 65_535)


def test_a_wrong_ending_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(stored(RAMP, "PNG"))
    assert torch.equal(GRAY.read(path), torch.from_numpy(RAMP)[None])


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_format_that_tells_how_the_camera_was_held_is_turned(kind: str, orientation: int) -> None:
    blocks = np.kron(np.array([[0, 90, 180], [250, 120, 30]], np.uint8), np.ones((16, 16), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(blocks)
    options = {"lossless": True} if kind == "WEBP" else {}
    shape = (32, 48) if orientation < 5 else (48, 32)
    turned = Preprocess(1, *shape).read(stored(image, kind, exif=exif, **options))[0].int()  # (H, W)
    right = {
        1: blocks, 2: blocks[:, ::-1], 3: blocks[::-1, ::-1], 4: blocks[::-1],
        5: blocks.T, 6: np.rot90(blocks, -1), 7: blocks[::-1, ::-1].T, 8: np.rot90(blocks),
    }[orientation]  # fmt: skip
    assert (turned - torch.from_numpy(right.astype(np.int32))).abs().max() <= (3 if kind == "JPEG" else 0)


@pytest.mark.parametrize("level", [0, 77, 255])
def test_transparency_lies_on_the_background_that_was_trained_on(level: int) -> None:
    clear = np.dstack([RAINBOW, np.zeros((4, 6), np.uint8)])
    half = np.dstack([np.full((4, 6, 3), 255, np.uint8), np.full((4, 6), 128, np.uint8)])
    for kind in ("PNG", "WEBP", "TIFF"):
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        reader = replace(COLOUR, background=level)
        assert reader.read(stored(clear, kind, **options)).unique().tolist() == [level]
        (mixed,) = reader.read(stored(half, kind, **options)).unique().tolist()
        assert abs(mixed - (255 * 128 + level * 127) / 255) <= 1
    gray = Image.fromarray(np.dstack([RAMP, np.zeros((4, 6), np.uint8)]), "LA")
    assert replace(GRAY, background=level).read(stored(gray)).unique().tolist() == [level]


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_a_palette_is_read_to_the_pixel(kind: str) -> None:
    palette = Image.fromarray(RAINBOW).quantize(16)
    expected = torch.from_numpy(np.array(palette.convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(COLOUR.read(stored(palette, kind)), expected)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF"])
def test_a_palette_of_grays_serves_a_gray_network(kind: str) -> None:
    palette = Image.fromarray(RAMP).convert("P")
    assert torch.equal(GRAY.read(stored(palette, kind)), torch.from_numpy(RAMP)[None])


def test_a_moving_palette_with_a_clear_colour_gives_its_first_frame_on_the_background() -> None:
    frames = [Image.fromarray(np.full((4, 6), value, np.uint8)).convert("P") for value in (0, 200)]
    content = stored(frames[0], "GIF", save_all=True, append_images=frames[1:], transparency=0)
    assert replace(COLOUR, background=50).read(content).unique().tolist() == [50]


def test_sixteen_bits_of_colour_are_scaled_not_clipped() -> None:
    deep = np.arange(72, dtype=np.uint16).reshape(4, 6, 3) * 900
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    parts = (
        b"IHDR" + struct.pack(">IIBBBBB", 6, 4, 16, 2, 0, 0, 0),
        b"IDAT" + zlib.compress(rows),
        b"IEND",
    )
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts
    )
    expected = torch.from_numpy(deep / 257).permute(2, 0, 1)
    assert (COLOUR.read(content) - expected).abs().max() <= 1


def test_a_phones_picture_of_two_is_its_first() -> None:
    first, second = (Image.fromarray(np.full((4, 6, 3), level, np.uint8)) for level in (40, 200))
    content = stored(first, "MPO", save_all=True, append_images=[second])
    assert (COLOUR.read(content).int() - 40).abs().max() <= 2


def test_a_large_jpeg_gives_what_its_pixels_give() -> None:
    """No decoder's short cut: a picture is the same tensor whatever kind of file it lies in."""
    large = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)
    content = stored(large, "JPEG")
    decoded = np.asarray(Image.open(io.BytesIO(content)))
    reader = Preprocess(3, 16, 24, "stretch")
    assert torch.equal(reader.read(content), reader.read(decoded))


def test_a_header_tells_size_and_mode_and_decodes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(png_header(300, 200))  # there is no pixel behind it
    assert read_header(path) == read_header(path.read_bytes()) == ImageHeader(300, 200, "L")
    with pytest.raises(UsageError, match=r"^Photo 7 is not a picture of a known format"):
        read_header(b"text", name="Photo 7")
    with pytest.raises(UsageError, match=r"^The picture has more pixels than the limit of 178,956,970"):
        read_header(png_header(17330, 17330))


@pytest.mark.parametrize(
    "content", [b"text", png_header(17330, 17330), stored(RAMP)[:40], stored(RAMP.repeat(2, 1))]
)
def test_every_refusal_names_the_picture(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.png"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"^'.*mine\.png' "):
        GRAY.read(path)
    with pytest.raises(UsageError, match=r"^Photo 7 "):
        GRAY.read(content, name="Photo 7")


def test_threads_read_what_one_reads_and_leave_warnings_as_they_were() -> None:
    odd = Image.fromarray(RAINBOW).quantize(8)
    contents = [stored(odd, "PNG", transparency=bytes(range(8))), stored(RAINBOW), stored(RAMP), b"text"] * 60
    before = list(warnings.filters)

    def read(content: bytes) -> torch.Tensor | None:
        try:
            return COLOUR.read(content)
        except UsageError:
            return None

    alone = [read(content) for content in contents]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(read, contents))
    assert warnings.filters == before
    for one, other in zip(alone, together, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)  # type: ignore[arg-type]


def sketch(content: bytes) -> bytes:
    seen = COLOUR_OF_ANY.decode(content, name="")
    assert seen.reason == ""
    return seen.sketch


COLOUR_OF_ANY = Preprocess(3, 8, 8, "stretch")


SOFT = Image.fromarray(np.random.default_rng(5).integers(0, 256, (5, 7, 3), np.uint8)).resize((90, 70))


def of_every_kind() -> dict[str, bytes]:
    """One picture, or what is left of it, in the ways there are to store it."""
    glass, gray = SOFT.convert("RGBA"), SOFT.convert("L")
    glass.putalpha(gray)
    deep = np.asarray(gray, np.uint16) * 257 + 90
    held = Image.Exif()
    held[0x0112] = 6
    return {
        "photo": stored(SOFT, "JPEG", quality=60),
        "photo in gray": stored(gray, "JPEG"),
        "photo for print": stored(SOFT.convert("CMYK"), "JPEG"),
        "photo held upright": stored(SOFT, "JPEG", exif=held),
        "small": stored(SOFT.resize((20, 9))),
        "long": stored(SOFT.resize((300, 3))),
        "16 bits": stored(Image.fromarray(deep)),
        "16 bits of a scanner": stored(Image.fromarray(deep), "TIFF"),
        "plain text of 16 bits": b"P2 3 2 65535 " + b" ".join(b"%d" % (n * 12_345) for n in range(6)),
        "black and white": stored(gray.convert("1")),
        "palette": stored(SOFT.quantize(20)),
        "palette with a clear colour": stored(SOFT.quantize(20), transparency=3),
        "palette with clear colours": stored(SOFT.quantize(20), transparency=bytes(range(0, 200, 10))),
        "glass": stored(glass),
        "gray glass": stored(glass.convert("LA")),
        "gray with a clear level": stored(gray, transparency=int(np.asarray(gray)[0, 0])),
        "moving": stored(
            SOFT.quantize(20), "GIF", save_all=True, append_images=[SOFT.rotate(90).quantize(9)]
        ),
        "film": stored(SOFT, "TIFF", compression="jpeg"),
    }


@pytest.mark.parametrize("kind", of_every_kind())
def test_a_picture_saved_again_has_the_same_sketch_whatever_file_it_was_in(kind: str) -> None:
    content = of_every_kind()[kind]
    shown = Image.fromarray(np.array(decode_image(content, 0)))  # without what the file told besides
    copies = [stored(shown), stored(shown.convert("RGB"), "TIFF"), stored(shown.convert("RGBA"), "PNG")]
    copies += [stored(shown, "WEBP", lossless=True), stored(shown, "PNG", compress_level=0), content]
    assert {sketch(copy) for copy in copies} == {sketch(content)}
    array = COLOUR_OF_ANY.decode(np.array(shown), name="")
    assert array.sketch == sketch(content)


def test_a_sketch_does_not_depend_on_what_the_picture_is_made_into() -> None:
    for content in of_every_kind().values():
        forms = [COLOUR_OF_ANY, Preprocess(1, 3, 90, "stretch"), Preprocess(3, 64, 64, "stretch", 200)]
        assert len({form.decode(content, name="").sketch for form in forms}) == 1


def test_other_pictures_have_other_sketches() -> None:
    turned = [SOFT.transpose(turn) for turn in Image.Transpose]
    assert len({sketch(stored(image)) for image in (SOFT, *turned)}) == 8
    blank = np.zeros((30, 31, 3), np.uint8)  # no larger than a sketch: every pixel counts
    assert len({sketch(stored(blank)), sketch(stored(blank.transpose(1, 0, 2)))}) == 2
    page = np.full((400, 300), 255, np.uint8)  # with next to nothing on it
    dots = [page.copy() for _ in range(40)]
    for number, dot in enumerate(dots):
        dot[10 * number + 1, 7 * number + 2] = 0
    assert len({sketch(stored(dot)) for dot in (page, *dots)}) == 41
    for at in np.ndindex(4, 6, 3):
        other = RAINBOW.copy()
        other[at] ^= 1
        assert sketch(stored(other)) != sketch(stored(RAINBOW))


def test_a_picture_converted_in_strips_is_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Preprocess(3, 16, 12, "pad", 90, 4095).decode_settings
    whole = {name: decode_bytes(content, settings, name=name) for name, content in pictures()}
    monkeypatch.setattr(images, "STRIP_PIXELS", 97)  # three rows
    for name, content in pictures():
        assert decode_bytes(content, settings, name=name) == whole[name], name


def test_a_black_drawing_on_nothing_is_sketched_alike_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = Image.new("RGBA", (29, 37))
    drawing.putpixel((3, 30), (0, 0, 0, 255))
    files = [stored(drawing), stored(Image.new("RGBA", (29, 37)))]
    settings = COLOUR.with_fit("stretch").decode_settings
    whole = [decode_bytes(file, settings, name="") for file in files]
    assert whole[0].sketch != whole[1].sketch
    monkeypatch.setattr(images, "STRIP_PIXELS", 97)
    assert [decode_bytes(file, settings, name="") for file in files] == whole


@pytest.mark.parametrize(
    ("mode", "bytes_per_pixel"), [("P", 3), ("LA", 4), ("RGB", 3), ("L", 1), ("1", 1), ("I;16", 2)]
)
def test_the_limit_counts_what_a_picture_takes_when_decoded(
    mode: str, bytes_per_pixel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = stored(Image.new(mode, (100, 70)))
    monkeypatch.setattr(images, "MAX_DECODED_BYTES", 7_000 * bytes_per_pixel)
    assert read_header(content).width == 100
    monkeypatch.setattr(images, "MAX_DECODED_BYTES", 7_000 * bytes_per_pixel - 1)
    with pytest.raises(UsageError, match="The picture has 100x70 pixels"):
        read_header(content)


def test_without_memory_a_picture_is_refused_and_not_called_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "transpose", full)
    turned = next(content for name, content in pictures() if name == "on its side")
    with pytest.raises(
        UsageError, match=r"^The picture takes more memory to decode than there is for one pic"
    ):
        decode_image(turned, 0)


@pytest.mark.parametrize("mode", ["RGBA", "I;16", "P"])
def test_how_a_large_image_uses_its_values_is_looked_up_strip_by_strip(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    if mode == "RGBA":
        image = Image.fromarray(random.integers(0, 256, (70, 50, 4)).astype(np.uint8))
    elif mode == "I;16":
        image = Image.fromarray(random.integers(0, 60_000, (70, 50)).astype(np.uint16))
    else:
        image = Image.fromarray(random.integers(0, 4, (70, 50)).astype(np.uint8)).convert("P")
        image.info["transparency"] = 1
    file = io.BytesIO()
    image.save(file, "PNG")
    whole = images.ink_of(file.getvalue(), name="it")
    monkeypatch.setattr(images, "STRIP_PIXELS", 500)
    strips = images.ink_of(file.getvalue(), name="it")
    assert strips.highest == whole.highest
    assert strips.brightness == (None if whole.brightness is None else pytest.approx(whole.brightness))
    assert whole.highest or whole.brightness is not None
