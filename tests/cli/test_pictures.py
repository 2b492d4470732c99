"""A terminal shows how far the pictures are loaded; a pipe gets nothing of that."""

import io
import sys
from pathlib import Path

import pytest

from pellucid.cli.pictures import load, progress, splits_of
from pellucid.data.dataset import Choices
from pellucid.errors import UsageError
from pellucid.runs.run import Run
from tests.toys import toy_dataset, write_picture


class Terminal(io.StringIO):
    """An error stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def on_a_terminal(patch: pytest.MonkeyPatch) -> Terminal:
    """From here on the error stream is a terminal. No fixture: pytest puts its own stream back after one."""
    screen = Terminal()
    patch.setattr(sys, "stderr", screen)
    return screen


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Twelve pictures of each of four classes."""
    pictures = toy_dataset(48)
    for number, (image, label) in enumerate(zip(pictures.images, pictures.labels.tolist(), strict=True)):
        folder = tmp_path / "pets" / pictures.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        write_picture(folder / f"{number}.png", image)
    return tmp_path / "pets"


def test_in_a_pipe_there_is_no_progress() -> None:
    assert progress(True) is None
    assert progress(False) is None


def test_a_download_is_counted_in_megabytes_and_pictures_by_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = on_a_terminal(monkeypatch)
    for downloaded, expected in (
        (True, "\rx: 1.5 of 3.0 MB"),
        (False, "\rx: 1,500,000 of 3,000,000 pictures"),
    ):
        show = progress(downloaded)
        assert show is not None
        screen.truncate(0)
        screen.seek(0)
        show("x", 1_500_000, 3_000_000)
        assert screen.getvalue() == expected


def test_the_line_ends_when_all_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_a_terminal(monkeypatch)
    show = progress(False)
    assert show is not None
    for done in (1, 2):
        show("decoded", done, 2)
    assert screen.getvalue() == "\rdecoded: 1 of 2 pictures\rdecoded: 2 of 2 pictures\n"


def test_loading_a_folder_shows_its_pictures(monkeypatch: pytest.MonkeyPatch, pets: Path) -> None:
    screen = on_a_terminal(monkeypatch)
    splits = load(str(pets), Choices(), None)
    assert sum(len(part) for _, part in splits.items()) == 48
    assert screen.getvalue().endswith("\rdecoded: 48 of 48 pictures\n")


def test_loading_in_a_pipe_prints_nothing(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(str(pets), Choices(), None)
    assert capsys.readouterr() == ("", "")


def test_the_pictures_of_a_run_are_those_it_was_trained_on(place: Path) -> None:
    run = Run.open(place / "one")
    fingerprints = {name: part.fingerprint for name, part in splits_of(run, None).items()}
    assert fingerprints == {**run.environment["fingerprints"], "test": fingerprints["test"]}


def test_what_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"does not exist"):
        load(str(tmp_path / "absent"), Choices(), None)
