"""What a picture's first bytes say is read once, and no picture is decoded for it."""

from collections import Counter
from pathlib import Path

from pellucid.data.store import pixels
from tests.data.listings import file_bytes, listed


def test_a_survey_decodes_nothing_and_tells_sizes_and_modes(
    photos: Path, cache: Path, decodes: Counter[bytes]
) -> None:
    (photos / "cat" / "gray.png").write_bytes(file_bytes(60, size=(9, 7), mode="L"))
    (photos / "cat" / "bad.png").write_text("x")
    looked = pixels.read_headers(listed(photos), cache=cache)
    assert looked.sizes == {(20, 14): 24, (9, 7): 1}
    assert looked.modes == {"RGB": 24, "L": 1}
    assert looked.channels == 3
    assert [bad.source for bad in looked.unreadable] == ["cat/bad.png"]
    assert [n for n, info in enumerate(looked.files) if info is None] == [12]
    assert not decodes
    heard: list[str] = []
    pixels.read_headers(listed(photos, heard=heard.append), cache=cache)
    assert heard == []


def test_only_gray_modes_are_one_channel(tmp_path: Path, cache: Path) -> None:
    for n, mode in enumerate(("L", "1", "LA")):
        path = tmp_path / "photos" / "a" / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_bytes(n, mode=mode))
    assert pixels.read_headers(listed(tmp_path / "photos"), cache=cache).channels == 1
