"""Where a bound of memory is promised, the work is done by a process that cannot have more.

Each child loads what it needs and then limits itself to so many MB beyond that: with more, it fails.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.serving import limits
from tests.data.folders import picture
from tests.data.sources.written import tarred, zipped
from tests.serving.decoders import turned
from tests.toys import surroundings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="where what is written to can be limited")

CONFINE = """
import resource, sys

def confine(megabytes, beyond=True):
    with open("/proc/self/statm") as file:
        held = int(file.read().split()[5]) * resource.getpagesize()
    most = held * beyond + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))

"""
LISTED = """
from pathlib import Path
from pellucid.data.sources import archives
from pellucid.data.sources.detect import list_pictures
from pellucid.errors import PellucidError

def read(listing, index):
    try:
        return str(len(listing.read(index)))
    except PellucidError as error:
        return str(error)

def read_all(path):
    try:
        listing = list_pictures(Path(path))
    except PellucidError as error:
        return print(error)
    for index, each in enumerate(listing.pictures):
        print(each.source, read(listing, index))

read_all(sys.argv[2])  # what is loaded late is loaded
confine(int(sys.argv[3]))
read_all(sys.argv[1])
"""


def done(code: str, *arguments: str | Path, seconds: float = 600) -> str:
    """What a child with this code says; it must not fail."""
    words = [sys.executable, "-c", CONFINE + code, *map(str, arguments)]
    ended = subprocess.run(
        words, capture_output=True, text=True, timeout=seconds, env=surroundings(), check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_child_cannot_have_more_than_it_is_given() -> None:
    code = "confine(32)\nbytes(16 << 20)\ntry:\n    bytes(33 << 20)\nexcept MemoryError:\n    print('no')"
    assert done(code) == "no\n"


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return zipped(
        tmp_path / "pets.zip",
        {f"cat/{number}.png": picture(number) for number in range(2)} | {"dog/1.png": picture(3)},
    )


def written_empty(archive: zipfile.ZipFile, name: str, megabytes: int) -> None:
    with archive.open(name, "w") as member:
        for _ in range(megabytes):
            member.write(bytes(1 << 20))


@pytest.mark.timeout(600)
def test_a_zip_that_unpacks_to_more_than_pictures_can_need_takes_no_more_memory(
    tmp_path: Path, pets: Path
) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/1.png", picture(1))
        archive.writestr("dog/1.png", picture(2))
        written_empty(archive, "dog/2.png", 100)
        written_empty(archive, "dog/3.png", 300)
    said = done(LISTED, bomb, pets, "48")
    assert "times as large as it is packed" in said
    assert "has 314,572,800 bytes; the limit of a file is 268,435,456" in said


@pytest.mark.timeout(600)
def test_a_compressed_tar_is_kept_up_to_its_limit(tmp_path: Path, pets: Path) -> None:
    noise = {f"dog/{number}.png": np.random.default_rng(number).bytes(4 << 20) for number in range(10)}
    path = tarred(tmp_path / "a.tar.gz", {"cat/1.png": picture(1), **noise}, "w:gz")
    limited = LISTED.replace("confine(", "archives.MAX_UNPACKED_BYTES = 12 << 20\nconfine(")
    assert "GB of pictures. A compressed tar is unpacked to memory" in done(limited, path, pets, "36")


def test_a_file_larger_than_any_picture_takes_no_memory(tmp_path: Path, pets: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "folder" / label).mkdir(parents=True)
        (tmp_path / "folder" / label / "1.png").write_bytes(picture(1))
    with (tmp_path / "folder" / "dog" / "2.png").open("wb") as file:
        file.truncate(1 << 30)  # of nothing: it takes no room on the disk
    assert "has 1,073,741,824 bytes; the limit of a file is" in done(LISTED, tmp_path / "folder", pets, "48")


DECODED = """
from pathlib import Path
import numpy
from pellucid.decode.images import DecodeSettings, decode_bytes

content, small = (Path(name).read_bytes() for name in sys.argv[1:3])
settings = DecodeSettings(3, 64, 64, "stretch", 0)
decode_bytes(small, settings, name="The picture")
confine(int(sys.argv[3]), beyond=sys.argv[4] == "beyond")
found = decode_bytes(content, settings, name="The picture")
print(found.reason or len(found.pixels))
"""


def drawn(mode: str, pixels: float) -> Image.Image:
    """A square image of so many pixels, half of it empty."""
    side = int(pixels**0.5)
    colour = (30, 20, 10, 90)[-len(mode) :] if mode in ("RGB", "RGBA", "LA") else 3
    image = Image.new(mode, (side, side), colour)
    if mode == "P":
        image.putpalette([30, 20, 10, 9, 8, 7] * 4)
    image.paste(0 if isinstance(colour, int) else (0,) * len(mode), (0, 0, side // 2, side))
    return image


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, "PNG", compress_level=1, **options)
    return path


@pytest.mark.parametrize(("mode", "megabytes"), [("RGBA", 120), ("I;16", 90), ("LA", 120)])
def test_a_picture_is_converted_in_little_more_memory_than_it_takes_itself(
    mode: str, megabytes: int, tmp_path: Path
) -> None:
    """12 million pixels of four, two and four bytes, and their copies in three, one and three."""
    large, small = saved(tmp_path / "a.png", drawn(mode, 12e6)), saved(tmp_path / "b.png", drawn(mode, 4_000))
    assert done(DECODED, large, small, str(megabytes), "beyond") == f"{3 * 64 * 64}\n"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("mode", "pixels"),
    [("RGB", 99e6), ("RGBA", 74e6), ("LA", 74e6), ("L", 178e6), ("1", 178e6), ("P", 99e6), ("I;16", 149e6)],
)
def test_any_picture_up_to_the_limit_is_decoded_within_a_gigabyte(
    mode: str, pixels: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each lies on its side, so that it is held twice."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    options = {"transparency": 0} if mode == "P" else {}
    large = saved(tmp_path / "a.png", drawn(mode, pixels), exif=turned(), **options)
    small = saved(tmp_path / "b.png", drawn(mode, 4_000), **options)
    assert done(DECODED, large, small, str(limits.DECODE_BYTES >> 20), "in all", seconds=1500) == "12288\n"


LIVE = """
import asyncio
from pathlib import Path
from pellucid.live import application, served
from pellucid.pad.section import Subject
from pellucid.serving.decoding import DecodingPool
from tests.networks import classifier
from tests.serving.asking import PORT, ask, posting

content, small = (Path(name).read_bytes() for name in sys.argv[1:3])
runs = [served("digits", Subject(classifier("tutorial"), "mnist"), torch_only=True)]
with DecodingPool() as decoders:
    app = application(runs, port=PORT, decoders=decoders)
    def sent(file):
        return ask(app, "POST", b"/picture", posting(b"image/png", len(file)), body=file)
    sent(small)
    confine(int(sys.argv[3]))
    for _ in range(3):
        answer = sent(content)
        print(answer.status, len(answer.body))
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["RGBA", "L"])
def test_a_strangers_picture_adds_no_more_than_64_mb_to_the_server(mode: str, tmp_path: Path) -> None:
    """24.9 million pixels in the largest file that is taken; decoding them here would take 100 MB."""
    large, small = (saved(tmp_path / f"{pixels}.png", drawn(mode, pixels)) for pixels in (24.9e6, 4_000))
    with large.open("ab") as file:
        file.write(bytes(10_000_000 - large.stat().st_size))  # behind its end, where no decoder looks
    assert done(LIVE, large, small, "64") == "200 784\n" * 3


TRAINED = """
from pellucid.cli import main
confine(1536, beyond=False)
sys.argv = ["pellucid", *sys.argv[1:]]
main()
"""


def photographs(folder: Path) -> None:
    """Forty pictures of two classes: most small, some as large as they come from cameras and scanners."""
    random = np.random.default_rng(0)
    for number in range(40):
        coarse = random.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        size = {0: (4990, 4990), 1: (6000, 4000), 2: (8000, 9000)}.get(number // 2, (640, 480))
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR)
        path = folder / ("dark", "light")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=80)
    large = drawn("RGBA", 60e6)
    large.putpixel((9, 9), (255, 0, 0, 255))
    saved(folder / "dark" / "scan.png", large)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "words", [("check", "--no-page"), ("train", "--model", "compact", "--epochs", "1", "--size", "224")]
)
def test_check_and_train_hold_less_than_a_gigabyte_and_a_half_whatever_the_pictures_sizes(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photographs(tmp_path / "photographs")
    verb, *options = words
    done(TRAINED, verb, "photographs", *options, seconds=1500)
