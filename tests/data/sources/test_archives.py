"""Archives are read in place, and nothing in them leads out."""

import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pellucid.data.sources import archives, tree
from pellucid.data.sources.detect import list_pictures
from pellucid.errors import PellucidError, UsageError
from tests.data.folders import picture, planted
from tests.data.sources.written import FILES, contents, contents_of_others, labels, tarred, zipped


def test_a_folder_a_zip_and_every_tar_are_the_same_pictures(tmp_path: Path) -> None:
    folder = list_pictures(planted(tmp_path / "pets", FILES))
    archives = [zipped(tmp_path / "pets.zip", FILES), tarred(tmp_path / "pets.tar", FILES)]
    for suffix in ("gz", "bz2", "xz"):
        archives.append(tarred(tmp_path / f"pets.tar.{suffix}", FILES, f"w:{suffix}"))
    archives.append(
        tarred(tmp_path / "gnu.tar", {f"./{name}": FILES[name] for name in FILES}, "w", tarfile.GNU_FORMAT)
    )
    archives.append(zipped(tmp_path / "wrapped.zip", {f"some pets/{name}": FILES[name] for name in FILES}))
    for path in archives:
        listing = list_pictures(path)
        assert labels(listing) == labels(folder)
        assert contents(listing) == contents(folder) == FILES
        assert all(listing.stamp(index) for index in range(len(listing.pictures)))


def test_long_and_korean_names_come_out_of_every_archive(tmp_path: Path) -> None:
    name = f"고양이/{'a' * 120}/{'나' * 40}.png"
    files = {name: picture(1), "개/1.png": picture(2)}
    listings = [list_pictures(zipped(tmp_path / "a.zip", files))]
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        listings.append(list_pictures(tarred(tmp_path / f"{form}.tar", files, "w", form)))
    for listing in listings:
        assert contents(listing) == files


@pytest.mark.parametrize(
    "name",
    ["../out/1.png", "/etc/1.png", "cat/../../1.png", "C:/1.png", "cat\\..\\1.png", "a" * 5000 + "/1.png"],
)
def test_an_archive_with_a_hostile_name_is_not_read(name: str, tmp_path: Path) -> None:
    files = {"cat/1.png": picture(1), "dog/1.png": picture(2), name: picture(3)}
    for path in (zipped(tmp_path / "a.zip", files), tarred(tmp_path / "a.tar", files)):
        with pytest.raises(UsageError, match=r"would be outside of it\. The archive is not read"):
            list_pictures(path)


def test_headers_made_to_take_time_are_refused(tmp_path: Path) -> None:
    """A pax header of 180 kB, and nine headers for one member."""
    records = {f"comment{number}": "x" * 900 for number in range(200)}
    for name, size, count in (("long", 200, 1), ("many", 1, 9)):
        path = tmp_path / f"{name}.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            header = tarfile.TarInfo("cat/1.png")
            header.pax_headers = dict(list(records.items())[:size])
            block = header.tobuf(tarfile.PAX_FORMAT)
            archive.fileobj.write(block[: -tarfile.BLOCKSIZE] * count + block[-tarfile.BLOCKSIZE :])
        with pytest.raises(PellucidError, match="headers with a name, the last of"):
            list_pictures(path)


def test_names_of_hundreds_of_folders_within_each_other_are_refused(tmp_path: Path) -> None:
    files = {"cat/1.png": picture(1), f"dog/{'a/' * 300}1.png": picture(2)}
    for path in (zipped(tmp_path / "a.zip", files), tarred(tmp_path / "a.tar", files)):
        with pytest.raises(UsageError, match="lies in 301 folders within each other"):
            list_pictures(path)


def test_two_members_of_one_name_links_and_cuts_are_told(tmp_path: Path) -> None:
    twice = tmp_path / "twice.tar"
    with tarfile.open(twice, "w") as archive:
        for name in ("cat/1.png", "./cat/1.png"):
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(UsageError, match="two members named"):
        list_pictures(twice)
    linked = tmp_path / "linked.tar"
    with tarfile.open(linked, "w") as archive:
        for name in ("cat/1.png", "dog/1.png"):
            archive.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("cat/passwd.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    listing = list_pictures(linked)
    assert len(listing.pictures) == 2
    assert any("skipped 1 link or device" in note for note in map(str, listing.notes))
    whole = tarred(tmp_path / "whole.tar.gz", FILES, "w:gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.zip").write_bytes(zipped(tmp_path / "w.zip", FILES).read_bytes()[:-30])
    (tmp_path / "noise.tar").write_bytes(np.random.default_rng(0).bytes(2048))
    for name in ("cut.tar.gz", "cut.zip", "noise.tar"):
        with pytest.raises(PellucidError, match=r"cut off or damaged"):
            list_pictures(tmp_path / name)


def test_a_damaged_member_of_a_zip_is_one_unreadable_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:  # stored, so that a byte can be changed
        for name, content in FILES.items():
            archive.writestr(name, content)
    path.write_bytes(path.read_bytes().replace(FILES["train/cat/1.png"][-30:], b"x" * 30))
    listing = list_pictures(path)
    broken = [one.source for one in listing.pictures].index("train/cat/1.png")
    with pytest.raises(UsageError, match=r"'train/cat/1\.png' of .* cannot be read: Bad CRC"):
        listing.read(broken)
    assert len(contents_of_others(listing, broken)) == 4


BOMB = bytes(64 << 20)  # of a picture that is none, packed to a thousandth


def test_a_member_that_is_mostly_nothing_is_one_unreadable_picture(tmp_path: Path) -> None:
    listing = list_pictures(zipped(tmp_path / "a.zip", {**FILES, "train/cat/3.png": BOMB}))
    bomb = [one.source for one in listing.pictures].index("train/cat/3.png")
    with pytest.raises(UsageError, match=r"would be 1,0\d\d times as large as it is packed\. No picture is"):
        listing.read(bomb)
    assert len(contents_of_others(listing, bomb)) == 5


def test_what_a_member_is_packed_to_may_be_a_lie(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {**FILES, "train/cat/3.png": BOMB})
    with zipfile.ZipFile(path) as archive:
        packed = archive.getinfo("train/cat/3.png").compress_size
    path.write_bytes(
        path.read_bytes().replace(packed.to_bytes(4, "little"), (60 << 20).to_bytes(4, "little"))
    )
    listing = list_pictures(path)
    with pytest.raises(UsageError, match="times as large as it is packed"):
        listing.read([one.source for one in listing.pictures].index("train/cat/3.png"))


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
@pytest.mark.parametrize("name", ["train/cat/3.png", ".hidden/3.png"])
def test_a_compressed_tar_that_fills_memory_is_not_read(tmp_path: Path, kind: str, name: str) -> None:
    path = tarred(tmp_path / f"a.tar.{kind}", {**FILES, name: BOMB}, f"w:{kind}")
    with pytest.raises(PellucidError, match="a member of 67,108,864 bytes in an archive of"):
        list_pictures(path)


def test_nor_is_one_that_fills_it_bit_by_bit(tmp_path: Path) -> None:
    """No member of it is larger than a picture, all together are."""
    many = {f"train/cat/{number}.png": bytes(4 << 20) for number in range(10, 20)}
    path = tarred(tmp_path / "a.tar.gz", {**FILES, **many}, "w:gz")
    with pytest.raises(PellucidError, match="a member of 4,194,304 bytes in an archive of"):
        list_pictures(path)


def test_hidden_members_and_files_too_large_for_a_picture_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(3).bytes(3 << 20)
    more = {**FILES, ".trash/3.png": noise, "train/cat/3.png": noise}
    path = tarred(tmp_path / "a.tar.gz", more, "w:gz")
    monkeypatch.setattr(tree, "MAX_FILE_BYTES", 1 << 20)
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 1 << 20)
    tracemalloc.start()
    listing = list_pictures(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 << 20
    large = [one.source for one in listing.pictures].index("train/cat/3.png")
    with pytest.raises(UsageError, match=r"has 3,145,728 bytes; the limit of a file is 1,048,576"):
        listing.read(large)
    assert len(contents_of_others(listing, large)) == 5


def test_two_members_that_become_one_name_once_it_is_decoded_are_told(tmp_path: Path) -> None:
    """The same name in UTF-8, once declared as such and once not."""
    path = tmp_path / "twice.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(("cat/1.png", "cat/é.png", "cat/zz.png", "dog/1.png")):
            archive.writestr(name, picture(number))
    path.write_bytes(path.read_bytes().replace(b"cat/zz.png", "cat/é.png".encode()))
    with pytest.raises(UsageError, match=r"has two members named 'cat/é\.png'"):
        list_pictures(path)
