"""A folder of one's own from the first command to the last: understood, judged, reported, never touched."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pellucid.classifier import Classifier
from pellucid.cli import application
from pellucid.data import load_again, split_by_content
from pellucid.errors import UsageError
from pellucid.files import read_json
from pellucid.report import data as data_section
from pellucid.report import report
from pellucid.report.context import ReportContext
from pellucid.runs.environment import ENVIRONMENT
from pellucid.runs.run import RECIPE, Run
from pellucid.runs.tables import SPLIT
from tests.data.folders import planted, shapes, state
from tests.data.scenes import FAULTS, coco_folder
from tests.toys import economical, rows_of

QUICKLY = (
    "--epochs",
    "1",
    "--batch-size",
    "16",
    "--threads",
    "1",
    "--precision",
    "float32",
    "--snapshots",
    "0",
)
TRAIN = (*QUICKLY, "--model", "tutorial", "--recipe", "course")


def asked(*words: str | Path) -> None:
    """A command, in this process."""
    application()([str(word) for word in words], standalone_mode=False)


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Few threads; in place of the report, which takes seconds and is tested elsewhere, an empty page."""

    def blank(run: Run, *_: object, **__: object) -> Path:
        path = run.folder / "report.html"
        path.write_text("", encoding="utf-8")
        return path

    with economical(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_report", blank)
        yield


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that writes beside itself, as `check` does, writes into the test's own folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every mess at once: parts, a stray picture, hidden, empty, cut off, no picture at all."""
    folder = shapes(tmp_path_factory.mktemp("data") / "my pictures", parts=("train", "test"), count=12)
    mess = {
        "stray.png": b"",
        "README.md": b"# mine",
        ".ipynb_checkpoints/1.png": b"",
        "train/owl/": b"",
        "train/dark/cut.png": (folder / "train/dark/000.png").read_bytes()[:-50],
        "train/dark/notes.txt": b"",
        "test/dark/.DS_Store": b"",
    }
    return planted(folder, mess)


@pytest.fixture(scope="module")
def run(messy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    asked("train", messy, "--out", folder, "--quiet", *TRAIN)
    return folder


def test_no_command_touches_the_folder(messy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = state(messy)
    asked("check", messy)
    asked("train", messy, "--out", tmp_path / "run", "--quiet", *TRAIN)
    asked("evaluate", tmp_path / "run", "--again")
    asked("report", tmp_path / "run", "--quiet")
    asked("predict", tmp_path / "run", messy / "test")
    asked("explain", tmp_path / "run", messy / "test" / "dark" / "000.png")
    assert state(messy) == before


def test_the_report_counts_what_is_unreadable_and_names_it(run: Path, messy: Path) -> None:
    opened = Run.open(run)
    splits = opened.splits()
    evaluation = opened.evaluation() or opened.evaluate(splits.test)
    reading = data_section.gather(ReportContext(opened, splits, evaluation)).reading
    assert reading is not None
    assert reading.unreadable[0][0] == "train/dark/cut.png"
    assert (reading.found, reading.read) == (49, 48)


def test_a_run_whose_pictures_an_earlier_pellucid_parted_otherwise_is_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shapes(tmp_path / "pictures")
    monkeypatch.setattr(split_by_content, "TEST_KEY", b"as it was")
    asked("train", folder, "--out", tmp_path / "run", "--quiet", *TRAIN)
    opened = Run.open(tmp_path / "run")
    then = opened.splits()
    monkeypatch.undo()
    assert load_again(opened.origin).test.sources != then.test.sources
    now = opened.splits()
    assert [part.sources for _, part in now.items()] == [part.sources for _, part in then.items()]
    (folder / now.train.sources[0]).unlink()
    with pytest.raises(UsageError, match="its fingerprint has changed"):
        opened.splits()


def test_what_was_understood_is_said_before_training(
    messy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked("train", messy, "--out", tmp_path / "run", *TRAIN)
    said = capsys.readouterr().out
    before, training, _ = said.partition("epoch  1/1")
    assert training
    for words in (
        "'test', 'train' with one folder per class in each: 49 pictures of 2 classes.",
        "skipped 1 picture that is in no class's folder: 'stray.png'.",
        "skipped 1 hidden folder.",
        "folders without pictures: 'train/owl'.",
        "1 picture is unreadable and passed over: 'train/dark/cut.png'",
        "for validation (20 % asked for); pictures that are added later can move some of these.",
        "Pictures found: 49 = 48 read + 1 unreadable.",
    ):
        assert words in before


def test_a_run_tells_where_its_pictures_lie_and_finds_them_again(
    messy: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = read_json(run / ENVIRONMENT)["origin"]
    assert told["location"] == str(messy)
    assert (told["found"], told["read"], len(told["unreadable"])) == (49, 48, 1)
    assert Run.open(run).classifier.classes == ("bright", "dark")
    assert {row["split"] for row in rows_of(run / SPLIT)} == {"train", "validation", "test"}
    monkeypatch.chdir(tmp_path)
    asked("evaluate", run, "--again")
    moved = tmp_path / "moved"
    messy.rename(moved)
    try:
        with pytest.raises(UsageError, match="does not exist"):
            asked("report", run)
        asked("report", run, "--data-dir", moved, "--quiet")
    finally:
        moved.rename(messy)


def test_pictures_that_have_changed_since_are_not_taken_for_the_same(run: Path, messy: Path) -> None:
    source = next(row["source"] for row in rows_of(run / SPLIT) if row["split"] == "train")
    content = (messy / source).read_bytes()
    other = (messy / "test" / "bright" / "003.png").read_bytes()
    (messy / source).write_bytes(other)
    try:
        with pytest.raises(UsageError, match="no longer what"):
            asked("evaluate", run, "--again")
    finally:
        (messy / source).write_bytes(content)


def test_test_pictures_that_have_changed_since_are_refused_or_judged_without_a_trace(
    run: Path, messy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = next(row["source"] for row in rows_of(run / SPLIT) if row["split"] == "test")
    content, known = (messy / source).read_bytes(), (run / "evaluation.json").read_bytes()
    other = next(row["source"] for row in rows_of(run / SPLIT) if row["split"] == "train")
    (messy / source).write_bytes((messy / other).read_bytes())
    try:
        count = sum(row["split"] == "test" for row in rows_of(run / SPLIT))
        with pytest.raises(UsageError, match=f"other test pictures than .* 1 of {count} are gone or changed"):
            asked("report", run)
        capsys.readouterr()
        asked("evaluate", run, "--again")
        assert "These are other test pictures than before" in capsys.readouterr().out
    finally:
        (messy / source).write_bytes(content)
    assert (run / "evaluation.json").read_bytes() == known
    asked("report", run, "--quiet")


def test_a_recipe_and_a_split_replay_a_run(messy: Path, run: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    asked("train", messy, "--recipe", run / RECIPE, "--split", run / SPLIT, "--out", again, "--quiet")
    first, second = Run.open(run), Run.open(again)
    assert first.environment["fingerprints"] == second.environment["fingerprints"]
    assert read_json(run / "model.json")["sha256"] == read_json(again / "model.json")["sha256"]


def test_size_and_groups_are_part_of_the_recipe(messy: Path, tmp_path: Path) -> None:
    asked(
        "train", messy, "--out", tmp_path / "new", "--quiet", "--size", "24", "--group-by", r"(\d+)\.", *TRAIN
    )
    opened = Run.open(tmp_path / "new")
    assert (opened.recipe.size, opened.recipe.group_by) == (24, r"(\d+)\.")
    assert opened.classifier.preprocess.fit == "stretch"


def test_settings_of_your_own_pictures_are_refused_for_known_ones(run: Path, messy: Path) -> None:
    with pytest.raises(UsageError, match="`size` is for your own pictures; 'digits' is known"):
        asked("train", "digits", "--size", "32")
    with pytest.raises(UsageError, match="as skip or stop; got 'ask'"):
        asked("check", messy, "--on-unreadable", "ask")
    with pytest.raises(UsageError, match=r"train/dark/cut\.png"):
        asked("check", messy, "--on-unreadable", "stop")
    with pytest.raises(UsageError, match="--resume goes on with a run as it was begun"):
        asked("train", "--resume", run, "--on-unreadable", "stop")


def test_check_counts_in_json(messy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked("check", messy, "--json")
    facts = json.loads(capsys.readouterr().out)["origin"]
    assert facts["found"] == facts["read"] + len(facts["unreadable"]) == 49


def test_a_run_without_a_folder_named_is_called_after_the_data(
    messy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked("train", f"{messy}/", "--quiet", *TRAIN)
    assert (tmp_path / "runs" / "my pictures-tutorial-1" / "report.html").is_file()


def test_a_stopped_run_goes_on_with_its_pictures(
    messy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    def killed(*arguments: object, **_: object) -> None:
        raise Killed

    folder = tmp_path / "run"

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "save", killed)
        with pytest.raises(Killed):
            asked("train", messy, "--out", folder, "--quiet", *TRAIN, "--epochs", "2")
    asked("train", "--resume", folder, "--quiet")
    assert Run.open(folder).evaluation() is not None


def test_size_and_fit_are_taken_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shapes(tmp_path / "photos")
    asked("check", folder, "--size", "10x24", "--fit", "crop", "--no-page")
    out = capsys.readouterr().out
    assert "are read as 24 wide and 10 high, colour: the middle, with the rest cut off." in out
    asked("train", folder, *TRAIN, "--size", "10x24", "--fit", "crop", "--out", tmp_path / "run", "--quiet")
    recipe = read_json(tmp_path / "run" / RECIPE)
    assert (recipe["size"], recipe["fit"]) == ([10, 24], "crop")
    asked("train", folder, "--recipe", tmp_path / "run" / RECIPE, "--out", tmp_path / "again", "--quiet")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "again")]
    assert weights[0] == weights[1]
    capsys.readouterr()
    picture = folder / "dark" / "000.png"
    asked("predict", tmp_path / "run", picture, "--json")
    cropped = json.loads(capsys.readouterr().out)
    asked("predict", tmp_path / "run", picture, "--fit", "pad", "--json")
    assert json.loads(capsys.readouterr().out)["probabilities"] != cropped["probabilities"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--size", "64x"), r"Expected size from 8 to 1,024 pixels .* such as 64x96; got 64x\."),
        (("--size", "4x64"), r"got 4x64\."),
        (("--size", "2000"), r"got 2000\."),
        (("--fit", "squeeze"), r"Unknown fit 'squeeze'\. Known: stretch, pad, crop\."),
    ],
)
def test_a_size_or_fit_that_is_none_is_refused(tmp_path: Path, words: tuple[str, str], message: str) -> None:
    folder = shapes(tmp_path / "photos", count=4)
    for command in ("train", "check"):
        with pytest.raises(UsageError, match=message):
            asked(command, folder, *words)


def test_boxes_are_cropped_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="needs a folder or an archive with annotations"):
        asked("check", shapes(tmp_path / "photos", count=4), "--crop-boxes", "--no-page")
    asked("check", coco_folder(tmp_path / "scenes", 12, FAULTS), "--crop-boxes", "--no-page")
    out = capsys.readouterr().out
    assert "each box is a picture, with a margin of 10 % of its sides around it" in out
    assert "Pictures found: 28 = 23 read + 5 unreadable." in out
    assert "error: 5 boxes of 28 cannot be read as pictures. [unreadable]" in out
