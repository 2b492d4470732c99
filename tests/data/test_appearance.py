"""Drawings are seen on their ground, 12 bits fill the range, what a mirror would belie is not mirrored."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pellucid import load
from pellucid.data.appearance import mirror_pairs
from pellucid.data.preprocess import Preprocess
from pellucid.decode.images import ImageHeader, read_header
from pellucid.errors import UsageError
from tests.data.folders import planted, png_header

Draw = Callable[[ImageDraw.ImageDraw, int], None]


def png(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def drawing(number: int, ink: tuple[int, int, int, int], ground: tuple[int, int, int, int]) -> bytes:
    """A circle or a square somewhere, on a ground that may be transparent."""
    image = Image.new("RGBA", (32, 32), ground)
    left, top = 2 + number * 5 % 13, 2 + number * 7 % 13
    draw = ImageDraw.Draw(image)
    (draw.ellipse if number % 2 else draw.rectangle)((left, top, left + 10 + number % 5, top + 12), fill=ink)
    return png(image)


def drawings(
    folder: Path, ink: tuple[int, int, int], ground: tuple[int, int, int, int], count: int = 24
) -> Path:
    names = ("square", "circle")
    return planted(folder, {f"{names[n % 2]}/{n}.png": drawing(n, (*ink, 255), ground) for n in range(count)})


CLEAR = (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("ink", "background"), [((0, 0, 0), 255), ((20, 10, 5), 255), ((255, 255, 255), 0), ((200, 80, 60), 0)]
)
def test_a_drawing_on_transparent_ground_is_seen(
    ink: tuple[int, int, int], background: int, tmp_path: Path
) -> None:
    splits = load(drawings(tmp_path / "data", ink, CLEAR))
    assert splits.origin.preprocess is not None
    assert splits.origin.preprocess.background == background
    for _, part in splits.items():
        assert (part.images.float().flatten(1).std(dim=1) > 30).all()
    notes = "\n".join(map(str, splits.origin.notes))
    assert ("they are put on white" in notes) == (background == 255)


def test_dark_and_light_drawings_together_are_put_between(tmp_path: Path) -> None:
    folder = drawings(tmp_path / "data", (0, 0, 0), CLEAR)
    planted(folder, {f"circle/light{n}.png": drawing(n, (255, 255, 255, 255), CLEAR) for n in range(12)})
    splits = load(folder)
    assert splits.origin.preprocess is not None
    assert splits.origin.preprocess.background == 128
    assert all((part.images.float().flatten(1).std(dim=1) > 30).all() for _, part in splits.items())


def test_black_drawings_that_differ_are_in_several_parts(tmp_path: Path) -> None:
    splits = load(drawings(tmp_path / "data", (0, 0, 0), CLEAR, count=40))
    assert all(len(part) for _, part in splits.items())


def deep(bits: int, number: int) -> bytes:
    random = np.random.default_rng(number)
    values = random.integers(0, 2**bits, (16, 16), endpoint=False).astype(np.uint16)
    values[0, 0] = 2**bits - 1
    return png(Image.fromarray(values))


@pytest.mark.parametrize(("bits", "white"), [(8, 255), (12, 4095), (14, 16383), (16, 65535)])
def test_as_many_bits_as_are_used_fill_the_range(bits: int, white: int, tmp_path: Path) -> None:
    folder = planted(tmp_path / "data", {f"{'ab'[n % 2]}/{n}.png": deep(bits, n) for n in range(24)})
    splits = load(folder)
    preprocess = splits.origin.preprocess
    assert preprocess is not None
    assert preprocess.white == white
    assert int(splits.train.images.max()) == 255
    assert len(splits.train.images.unique()) > 200
    assert any(f"{white:,} is read as white" in str(note) for note in splits.origin.notes) == (bits < 16)
    assert Preprocess(**preprocess.to_json()) == preprocess


@pytest.mark.parametrize(
    ("classes", "pairs"),
    [
        (("left", "right"), 1),
        (("turn left", "turn right", "stop"), 1),
        (("Links", "Rechts"), 1),
        (("왼쪽", "오른쪽"), 1),
        (("좌회전", "우회전", "직진"), 1),
        (("cat", "dog"), 0),
        (("left", "up"), 0),
        (("bright", "blight"), 0),
    ],
)
def test_names_pair_left_and_right(classes: tuple[str, ...], pairs: int) -> None:
    assert len(mirror_pairs(classes)) == pairs


def arrow(number: int, *, right: bool) -> NDArray[np.uint8]:
    random = np.random.default_rng(number)
    image = Image.new("RGB", (32, 32), tuple(random.integers(150, 255, 3).tolist()))
    top = int(random.integers(-3, 4))
    shape = [
        (4, 13 + top),
        (18, 13 + top),
        (18, 8 + top),
        (28, 16 + top),
        (18, 24 + top),
        (18, 19 + top),
        (4, 19 + top),
    ]
    ImageDraw.Draw(image).polygon(shape, fill=tuple(random.integers(0, 90, 3).tolist()))
    pixels: NDArray[np.uint8] = np.asarray(image)
    return pixels if right else pixels[:, ::-1].copy()


@pytest.mark.parametrize(
    ("names", "words"), [(("east", "west"), "mirrored, most pictures"), (("left", "right"), "")]
)
def test_what_a_mirror_would_belie_is_not_flipped(names: tuple[str, str], words: str, tmp_path: Path) -> None:
    arrows = {f"{names[n % 2]}/{n}.png": png(Image.fromarray(arrow(n, right=n % 2 == 1))) for n in range(120)}
    splits = load(planted(tmp_path / "data", arrows))
    assert splits.origin.augmentation == "crop,colour"
    assert any("no mirroring" in str(note) and words in str(note) for note in splits.origin.notes)


def test_what_looks_the_same_in_a_mirror_is_flipped(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    files = {}
    for number in range(120):
        pixels = random.integers(0, 256, (16, 16, 3)).astype(np.uint8)
        pixels[:8] //= 1 + 2 * (number % 2)
        files[f"{'ab'[number % 2]}/{number}.png"] = png(Image.fromarray(pixels))
    assert load(planted(tmp_path / "data", files)).origin.augmentation == "crop,flip,colour"


def test_a_photo_of_48_megapixels_is_read_at_a_part_of_its_size(tmp_path: Path) -> None:
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
    content = png(small.resize((8000, 6000), Image.Resampling.NEAREST), "JPEG")
    assert read_header(content) == ImageHeader(8000, 6000, "RGB")
    read = Preprocess(3, 60, 80, "stretch").read(content).float()
    expected = Preprocess(3, 60, 80).read(np.asarray(small)).float()
    assert (read - expected).abs().mean() < 12


def test_a_scan_of_35_megapixels_is_read_and_the_limit_is_memory() -> None:
    scan = png(Image.new("L", (4961, 7016), 200))
    assert Preprocess(1, 32, 32, "stretch").read(scan).unique().tolist() == [200]
    with pytest.raises(UsageError, match=r"has 11000x11000 pixels, 363 MB when decoded; the limit is 300 MB"):
        read_header(png_header(11_000, 11_000, colour=True))


def test_heic_is_tried_again_when_the_extra_was_installed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = drawings(tmp_path / "data", (0, 0, 0), (250, 250, 250, 255))
    planted(folder, {"circle/photo.heic": b"\0\0\0\x18ftypheic\0\0\0\0"})
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (unreadable,) = load(folder).origin.unreadable
    assert "pip install 'pellucid[heic]'" in unreadable.reason
    installed = SimpleNamespace(register_heif_opener=lambda: None)
    monkeypatch.setitem(sys.modules, "pillow_heif", installed)  # the file itself is damaged
    (unreadable,) = load(folder).origin.unreadable
    assert "pip install" not in unreadable.reason


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    heif.register_heif_opener()
    files = {}
    for number in range(24):
        image = Image.new("RGB", (64, 48), ((200, 30, 30), (30, 30, 200))[number % 2])
        ImageDraw.Draw(image).rectangle((number, number, number + 12, number + 9), fill=(250, 250, 250))
        files[f"{'ab'[number % 2]}/{number}.heic"] = png(image, "HEIF")
    splits = load(planted(tmp_path / "data", files))
    assert sum(len(part) for _, part in splits.items()) == 24
    assert float(splits.train.images.float().std()) > 30
