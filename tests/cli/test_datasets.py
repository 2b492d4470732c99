"""`datasets` lists what is known by name, and where on this machine it lies."""

import json
from pathlib import Path

from pellucid.data import DATASETS
from tests.toys import Call


def test_every_known_data_set_is_listed_with_its_size_and_licence(call: Call) -> None:
    code, out, err = call("datasets")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 2 * len(DATASETS)
    for (name, known), line in zip(DATASETS.items(), lines[::2], strict=True):
        assert line.startswith(f"{name}: {known.title}; {known.pictures:,} pictures")
        assert line.endswith(f"; {known.licence}")
    assert "mnist: " in out
    mnist = next(line for line in lines if line.startswith("mnist: "))
    assert f", {DATASETS['mnist'].download_bytes / 1e6:.1f} MB; " in mnist


def test_what_is_not_here_is_said_to_be_downloaded_when_used(call: Call) -> None:
    lines = call("datasets")[1].splitlines()
    places = dict(zip([line.partition(": ")[0] for line in lines[::2]], lines[1::2], strict=True))
    assert places["mnist"] == "    not on this machine yet: downloaded when it is first used"
    assert places["digits"] != places["mnist"], "the digits come with scikit-learn"


def test_sets_that_share_an_archive_say_whose_size_it_is(call: Call) -> None:
    lines = call("datasets")[1].splitlines()
    for line in (line for line in lines if line.startswith("emnist-")):
        assert " MB for all of emnist; " in line


def test_json_has_the_same_of_each(call: Call) -> None:
    rows = [json.loads(line) for line in call("datasets", "--json")[1].splitlines()]
    assert [row["name"] for row in rows] == list(DATASETS)
    for row in rows:
        known = DATASETS[row["name"]]
        assert (row["pictures"], row["licence"]) == (known.pictures, known.licence)
        assert (row["title"], row["download_bytes"]) == (known.title, known.download_bytes)
        assert (row["path"] is None) == (row["name"] != "digits")


def test_a_copy_in_the_folder_that_is_named_is_found(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "mnist"
    folder.mkdir(parents=True)
    for file in DATASETS["mnist"].files:
        (folder / file.name).write_bytes(bytes(file.size))
    code, out, _ = call("datasets", "--data-dir", "mine", "--json")
    found = {row["name"]: row["path"] for row in map(json.loads, out.splitlines())}
    assert code == 0
    assert found["mnist"] is not None
    assert Path(found["mnist"]).resolve() == folder.resolve()
    assert found["kmnist"] is None


def test_a_folder_that_is_none_is_refused(call: Call) -> None:
    code, out, err = call("datasets", "--data-dir", "absent")
    assert (code, out) == (2, "")
    assert "--data-dir 'absent' does not exist. Expected a folder that holds data sets." in err


def test_quiet_prints_nothing(call: Call) -> None:
    assert call("datasets", "--quiet") == (0, "", "")
