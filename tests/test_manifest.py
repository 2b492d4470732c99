"""A folder with a manifest knows each of its files, and what is lost with it."""

import os
from pathlib import Path

import pytest

from pellucid import files
from pellucid.files import read_csv, read_json, remove, seal, write_csv, write_json, write_text
from pellucid.manifest import (
    LOSSES,
    NAME,
    DamagedFile,
    Entry,
    damages,
    is_listed,
    name_damages,
    read_manifest,
    read_sealed,
    text_of,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder with three files."""
    seal(tmp_path)
    write_json(tmp_path / "recipe.json", {"a": 1})
    write_csv(tmp_path / "metrics.csv", ("a", "b"), [(1, 2)])
    write_text(tmp_path / "report.html", "<p>")
    return tmp_path


def test_every_file_that_is_written_is_listed_and_one_that_is_removed_is_not(folder: Path) -> None:
    entries = read_manifest(folder)
    assert entries is not None
    assert {name: entry.size for name, entry in entries.items()} == {
        path.name: path.stat().st_size for path in folder.iterdir() if path.name != NAME
    }
    remove(folder / "metrics.csv")
    assert sorted(read_manifest(folder) or {}) == ["recipe.json", "report.html"]
    assert damages(folder) == []
    seal(folder)  # a second time changes nothing
    assert sorted(read_manifest(folder) or {}) == ["recipe.json", "report.html"]


def test_a_folder_without_a_manifest_is_as_it_was(tmp_path: Path) -> None:
    write_json(tmp_path / "recipe.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]
    assert read_manifest(tmp_path) is None
    assert damages(tmp_path) == []
    (tmp_path / "recipe.json").write_text('{"a": 2}')
    assert read_json(tmp_path / "recipe.json") == {"a": 2}


def test_a_file_that_was_changed_is_not_read_and_the_message_says_what_to_do(folder: Path) -> None:
    (folder / "recipe.json").write_text('{"a": 2}\n')
    message = (
        r"recipe\.json' is damaged: it has 9 bytes, \d+ were written\. Lost is the settings .* Restore it"
    )
    with pytest.raises(DamagedFile, match=message):
        read_json(folder / "recipe.json")
    text = (folder / "metrics.csv").read_text()
    (folder / "metrics.csv").write_text(text.replace("2", "3"))
    with pytest.raises(DamagedFile, match=r"its SHA-256 is not that .* Lost is the history by epoch"):
        read_csv(folder / "metrics.csv")
    (folder / "report.html").unlink()  # which is nothing that a run needs
    assert [error.name for error in damages(folder)] == ["metrics.csv", "recipe.json"]
    with pytest.raises(DamagedFile, match=r"metrics\.csv.*recipe\.json"):
        name_damages(folder)


def test_what_can_be_made_again_is_a_warning_with_the_command(folder: Path) -> None:
    (folder / "report.html").write_text("<script>")
    with pytest.warns(
        UserWarning, match=rf"report\.html' is damaged.*Write the report again: pellucid report {folder}"
    ):
        name_damages(folder)
    write_text(folder / "report.html", "<p>new")
    name_damages(folder)


def test_killed_between_manifest_and_file_either_content_is_accepted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / "recipe.json").read_bytes()
    replace = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if target.name == "recipe.json":
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        write_json(folder / "recipe.json", {"a": 2})
    assert (folder / "recipe.json").read_bytes() == before
    assert damages(folder) == []
    write_json(folder / "recipe.json", {"a": 3})
    assert read_json(folder / "recipe.json") == {"a": 3}
    (folder / "recipe.json").write_bytes(before)  # what a power cut may bring back
    assert read_json(folder / "recipe.json") == {"a": 1}


def test_a_damaged_file_may_be_written_anew_but_what_was_damaged_is_not_accepted(folder: Path) -> None:
    (folder / "recipe.json").write_text("damaged")
    write_json(folder / "recipe.json", {"a": 4})
    assert read_json(folder / "recipe.json") == {"a": 4}
    (folder / "recipe.json").write_text("damaged")
    with pytest.raises(DamagedFile):
        read_json(folder / "recipe.json")


def test_every_change_of_the_manifest_itself_is_named(folder: Path) -> None:
    content = (folder / NAME).read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 7
        (folder / NAME).write_bytes(changed)
        if changed.split() == content.split():  # spaces between entries
            continue
        with pytest.raises(Exception, match=r"manifest\.json'"):
            damages(folder)
    for end in range(0, len(content) - 1, 7):
        (folder / NAME).write_bytes(content[:end])
        with pytest.raises(DamagedFile, match=r"manifest\.json' is damaged: .*Restore it from a copy"):
            damages(folder)


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", NAME, "/etc/passwd", ""])
def test_a_manifest_lists_nothing_but_files_beside_it(folder: Path, name: str) -> None:
    (folder / NAME).write_text(text_of({name: Entry(1, "0" * 64)}))
    with pytest.raises(DamagedFile, match="which is no file of a run"):
        read_manifest(folder)


def test_a_run_without_its_manifest_is_refused(folder: Path) -> None:
    write_json(folder / "model.json", {})
    (folder / NAME).unlink()
    with pytest.raises(DamagedFile, match=r"manifest\.json' is missing\. Nothing tells"):
        name_damages(folder)


def test_what_is_edited_or_checks_itself_is_not_listed() -> None:
    assert not any(map(is_listed, (NAME, "checkpoint.safetensors", "suspects.csv", ".lock")))
    assert all(map(is_listed, LOSSES))


def test_a_file_and_its_manifest_written_while_it_is_read_are_no_damage(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, once = folder / "recipe.json", iter([True])
    sha256 = files.sha256
    assert sha256(path) == (read_manifest(folder) or {})["recipe.json"].sha256
    read = os.fdopen

    def meanwhile(*given: object, **keywords: object) -> object:
        if next(once, False):
            write_json(path, {"a": 5})
            write_json(path, {"a": 6})
        return read(*given, **keywords)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "fdopen", meanwhile)
    assert read_sealed(path, 1_000) == path.read_bytes()
