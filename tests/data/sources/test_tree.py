"""Files are found by name, in an order of their own, and no link leads in a circle."""

from pathlib import Path

from pellucid.data.sources.detect import list_pictures
from tests.data.folders import planted


def test_a_link_to_a_folder_is_followed_but_not_round_in_a_circle(tmp_path: Path) -> None:
    folder = planted(tmp_path / "pictures", ["cat/1.png", "dog/1.png"])
    other = planted(tmp_path / "elsewhere", ["1.png"])
    (folder / "owl").symlink_to(other)
    (folder / "cat" / "round").symlink_to(folder)
    (folder / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    listing = list_pictures(folder)
    assert listing.classes == ("cat", "dog", "owl")
    assert len(listing.pictures) == 3
    assert any("skipped 1 link to a folder that contains it" in note for note in map(str, listing.notes))


def test_the_order_is_not_that_of_the_file_system(tmp_path: Path) -> None:
    names = [f"{label}/{number}.png" for label in ("b", "a") for number in (10, 9, 1)]
    first = list_pictures(planted(tmp_path / "first", names))
    second = list_pictures(planted(tmp_path / "second", reversed(names)))
    assert first.pictures == second.pictures
    assert [picture.source for picture in first.pictures][:3] == ["a/1.png", "a/9.png", "a/10.png"]
