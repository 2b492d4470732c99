"""Classes are matched by their names alone."""

import os
from pathlib import Path

import pytest

from pellucid.data.sources.detect import list_pictures
from pellucid.data.sources.listing import natural_key
from pellucid.errors import UsageError
from tests.data.folders import planted


def test_natural_order_takes_any_name() -> None:
    names = ["a10", "a2", "A3", "", "９", "²", "10", "9" * 5000, "\udcff", "9"]
    backwards = list(reversed(names))
    assert sorted(names, key=natural_key) == sorted(backwards, key=natural_key)
    assert sorted(["a10", "a2", "A3"], key=natural_key) == ["a2", "A3", "a10"]


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes there")
def test_a_folder_whose_name_is_not_utf_8_is_refused_and_named(tmp_path: Path) -> None:
    folder = planted(tmp_path / "pictures", ["dog/1.png"])
    korean = os.fsencode(folder) + b"/" + "고양이".encode("euc-kr")
    Path(os.fsdecode(korean)).mkdir()
    (Path(os.fsdecode(korean)) / "1.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"not UTF-8: in EUC-KR it would be '고양이'.* Rename the folder"):
        list_pictures(folder)
    unknown = {"dog/1.png": b"", "\udcff\udcff/1.png": b""}
    with pytest.raises(UsageError, match=r"The class b'\\xff\\xff' has a name that is not UTF-8\."):
        list_pictures(planted(tmp_path / "unknown", unknown))
