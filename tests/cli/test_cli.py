"""What a person meets at the command line: one clear message, the documented exit code, nothing lost."""

import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid import cli, data, prediction
from pellucid.classifier import Classifier
from pellucid.cli import train
from pellucid.cli.output import Output
from pellucid.data import DATASETS, load
from pellucid.data.dataset import Origin, Splits
from pellucid.errors import PellucidError
from pellucid.evaluation.evaluation import Evaluation
from pellucid.files import sha256
from pellucid.recipe import RECIPES, Recipe
from pellucid.runs.fit import fit
from pellucid.runs.run import Run
from tests.toys import (
    QUICK,
    Call,
    economical,
    only_class,
    pellucid,
    rows_of,
    surroundings,
    toy_dataset,
    toy_splits,
    write_picture,
)

CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
TRAIN = ("train", "digits", "--epochs", "2", "--threads", "1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder in which `pellucid train digits` was run as a person would, and what it printed."""
    place = tmp_path_factory.mktemp("trained")
    return place, pellucid(*TRAIN, cwd=place)


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toys") / "run"
    splits = toy_splits()
    with economical():
        fit(splits.train, splits.validation, replace(QUICK, epochs=1), folder=folder, origin=Origin("toys"))
    return folder


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """`toys` is a data set the command line knows, in three parts whatever the seed; its report is empty."""
    known = replace(
        DATASETS["digits"], name="toys", parse=lambda *_: toy_splits(), shape=(1, 16, 16), pictures=240
    )
    monkeypatch.setitem(DATASETS, "toys", known)
    monkeypatch.setattr(train, "write_and_name", lambda run, *_: (run.folder / "report.html").touch())


def test_train_ends_with_a_judged_run_and_its_report(trained: tuple[Path, Any]) -> None:
    place, done = trained
    assert (done.returncode, done.stderr) == (0, "")
    folder = place / "runs" / "digits-tutorial-1"
    assert (place / "runs" / "latest").resolve() == folder
    assert {path.name for path in folder.iterdir()} == {
        "recipe.json", "metrics.csv", "split.csv", "model.safetensors", "model.json", "environment.json",
        "snapshots.safetensors", "evaluation.json", "predictions.csv", "report.html", "diagnostics.csv",
        "faithfulness.json",
    }  # fmt: skip
    assert "8x8 gray uint8, train 1,150, validation 287, test 360 pictures" in done.stdout
    assert len(re.findall(r"^epoch +\d/2 ", done.stdout, re.MULTILINE)) == 2
    assert f"Test set: {Run.open(folder).evaluation().verdict}" in done.stdout  # type: ignore[union-attr]
    assert done.stdout.splitlines()[-1] == "Report: runs/digits-tutorial-1/report.html"
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["command"].endswith("train digits --epochs 2 --threads 1")


def test_piped_output_has_no_control_codes(trained: tuple[Path, Any]) -> None:
    assert trained[1].stdout.isprintable() is False  # it has lines
    assert not CONTROLS.search(trained[1].stdout)


def test_the_same_command_in_another_process_gives_the_same_weights(
    trained: tuple[Path, Any], tmp_path: Path
) -> None:
    recipe = trained[0] / "runs" / "latest" / "recipe.json"
    done = pellucid("train", "digits", "--recipe", recipe, "--json", cwd=tmp_path, PYTHONHASHSEED="5")
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert events == ["data", "recipe", "epoch", "epoch", "evaluation", "report"]
    one, other = (place / "runs" / "latest" / "model.safetensors" for place in (trained[0], tmp_path))
    assert sha256(one) == sha256(other)


@pytest.mark.parametrize("command", ["report", "export"])
def test_pages_speak_the_language_of_the_locale_unless_told_otherwise(
    trained: tuple[Path, Any], tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    run = Path(shutil.copytree(trained[0] / "runs" / "digits-tutorial-1", tmp_path / "run"))
    page = run / {"report": "report.html", "export": "page.html"}[command]
    monkeypatch.setenv("LC_MESSAGES", "ko_KR.UTF-8")
    assert call(command, run)[0] == 0
    assert '<html lang="ko">' in page.read_text(encoding="utf-8")
    assert call(command, run, "--lang", "en")[0] == 0
    assert '<html lang="en">' in page.read_text(encoding="utf-8")


def test_an_exported_page_carries_the_snapshots_of_the_training(
    trained: tuple[Path, Any], tmp_path: Path, call: Call
) -> None:
    run = trained[0] / "runs" / "latest"
    assert call("export", run, "--out", tmp_path / "page.html")[0] == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    data = json.loads(page.partition('id="live-data">')[2].partition("</script>")[0])
    assert data["pad"]["snapshots"]["steps"] == [step for _, step, _ in Run.open(run).snapshots()]
    assert len(page) < 3_000_000


def test_predict_evaluate_and_report_agree_with_python_to_the_last_digit(
    trained: tuple[Path, Any], tmp_path: Path, call: Call
) -> None:
    run = trained[0] / "runs" / "latest"
    test = load("digits").test
    files = [write_picture(tmp_path / f"{n}.png", test.images[n]) for n in range(4)]
    expected = Classifier.load(run).predict(test.images)[:4]
    recorded = Evaluation.load(run, test.classes).probabilities[:4]
    assert torch.equal(recorded, expected)
    code, out, _ = call("predict", run, *files, "--json")
    assert code == 0
    answers = [json.loads(line) for line in out.splitlines()]
    found = [[answer["probabilities"][name] for name in test.classes] for answer in answers]
    assert torch.equal(torch.tensor(found), expected)
    assert call("predict", run, *files, "--csv", "table.csv")[0] == 0
    rows = rows_of(tmp_path / "table.csv")
    found = [[float(row[f"p({name})"]) for name in test.classes] for row in rows]
    assert torch.equal(torch.tensor(found), expected)
    assert [row["source"] for row in rows] == [str(file) for file in files]
    code, out, _ = call("predict", run, *files)
    assert [line.partition(": ")[0] for line in out.splitlines()] == [str(file) for file in files]


@pytest.mark.slow
def test_many_files_get_the_answers_each_would_get_alone(
    toy_run: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "READ_AT_ONCE", 3)
    files = [write_picture(Path(f"{n}.png"), image) for n, image in enumerate(toy_dataset(7).images)]
    files.insert(4, Path("absent.png"))
    code, out, err = call("predict", toy_run, *files, "--json")
    assert (code, err.count("absent.png")) == (2, 1)
    alone = "".join(call("predict", toy_run, file, "--json")[1] for file in files)
    assert out == alone
    assert len(out.splitlines()) == 7


def test_another_process_predicts_the_same_digits(trained: tuple[Path, Any], tmp_path: Path) -> None:
    run = trained[0] / "runs" / "latest"
    image = load("digits").test.images[7]
    done = pellucid("predict", run, write_picture(tmp_path / "7.png", image), "--json", cwd=tmp_path)
    found = list(json.loads(done.stdout)["probabilities"].values())
    assert torch.equal(torch.tensor(found), Classifier.load(run).predict(image[None])[0])


def test_the_test_set_is_opened_once_and_again_is_counted(
    trained: tuple[Path, Any], tmp_path: Path, call: Call
) -> None:
    run = shutil.copytree(trained[0] / "runs" / "latest", tmp_path / "copy")
    before = (run / "evaluation.json").read_bytes()
    (run / "predictions.csv").touch()
    assert call("evaluate", run)[0] == 0
    assert (run / "evaluation.json").read_bytes() == before
    code, out, _ = call("evaluate", run, "--again", "--json")
    assert code == 0
    assert json.loads(out)["event"] == "evaluation"
    facts = json.loads((run / "evaluation.json").read_text())
    assert facts["opened"] == 2
    assert facts["accuracy"] == json.loads(before)["accuracy"]
    (run / "evaluation.json").write_text("{")
    code, _, err = call("evaluate", run)
    assert (code, "cannot be read as JSON" in err) == (1, True)
    assert call("evaluate", run, "--again")[0] == 0


def test_a_bare_train_prints_three_examples(call: Call) -> None:
    code, out, err = call("train")
    assert (code, out) == (2, "")
    assert len(re.findall(r"^  pellucid train \w+", err, re.MULTILINE)) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "digits", "epochs=5"], "did you mean --epochs 5?"),
        (["train", "digits", "--lr", "3"], "Unknown option '--lr'. Did you mean --learning-rate 3?"),
        (["train", "digits", "--batch_size=3"], "Did you mean --batch-size 3?"),
        (["train", "digits", "--epochs"], "requires an argument: --epochs NUMBER."),
        (["train", "digits", "--epochs", "x"], "Expected a whole number for --epochs; got 'x'."),
        (["train", "digits", "--epochs", "2000000"], "Expected --epochs from 1 to 1,000,000; got 2000000."),
        (["train", "digits", "--snapshots", "17"], "Expected a whole number from 0 to 16 for --snapshots"),
        (["train", "./photoz"], "'./photoz' does not exist. Expected a folder of pictures"),
        (["train", "-"], "'-' is not read: pellucid takes files"),
        (["train", "https://a.org/b.zip"], "'https://a.org/b.zip' is an address. Download it first"),
        (["train", "digits", "mnist"], "Too many words: 'mnist'. Expected: pellucid train [DATA] [OPTIONS]."),
        (["predict"], "RUN is missing. Expected: pellucid predict RUN FILE... [OPTIONS]. For example: "),
        (["predict", "runs/latest", "-"], "'-' is not read"),
        (["live", "x", "--port", "99999"], "Expected --port from 0 to 65,535"),
        (["trian"], "Unknown command 'trian'. Did you mean 'train'?"),
        (["eval"], "Unknown command 'eval'. Did you mean: pellucid evaluate?"),
        (["./photos"], "To train on pictures: pellucid train ./photos"),
        (["help", "trian"], "Unknown command 'trian'. Did you mean 'train'?"),
        (["datasets", "--data-dir", "nowhere"], "--data-dir 'nowhere' does not exist."),
        (["--json"], "Options follow a command: pellucid COMMAND [OPTIONS]."),
        (["train", "digits", "learning_rate=0.1"], "did you mean --learning-rate 0.1?"),
        (["train", "digits", "batch-size=8"], "did you mean --batch-size 8?"),
        (["train", "minst"], "Unknown data set 'minst'. Did you mean 'mnist'?"),
        (["check", "digit"], "Unknown data set 'digit'. Did you mean 'digits'?"),
        (["train", "digits", "--model", "tutorail"], "Unknown model 'tutorail'. Did you mean 'tutorial'?"),
        (["train", "digits", "--recipe", "coarse"], "Unknown recipe 'coarse'. Did you mean 'course'?"),
        (["train", "digits", "--epochs", "0"], "Expected --epochs from 1 to 1,000,000; got 0."),
        (["train", "digits", "--learning-rate", "nan"], "Expected --learning-rate above 0"),
        (["train", "digits", "--validation", "1.5"], "Expected --validation between 0 and 1"),
        (["train", "digits", "--optimizer", "sgd"], "Unknown optimizer 'sgd'. Known: adam, adamw, muon."),
        (["train", "digits", "--recipe", "no.json"], "'no.json' is not a file."),
        (["train", "digits", "--resume", "x"], "--resume goes on with a run as it was begun"),
        (["train", "--resume", "x", "--epochs", "3"], "--resume goes on with a run as it was begun"),
        (["train", "--resume", "x", "--snapshots", "3"], "--resume goes on with a run as it was begun"),
        (["train", "digits", "--lang", "fr"], "Unknown language 'fr'. Known: en, ko."),
        (["report", "nowhere", "--lang", "fr"], "Unknown language 'fr'. Known: en, ko."),
        (["export", "nowhere", "--lang", "fr"], "Unknown language 'fr'. Known: en, ko."),
        (["train", "--resume", "nowhere"], "'nowhere' has nothing to resume"),
        (
            ["evaluate", "nowhere"],
            "'nowhere' is not a folder. Expected the folder of a run: train one first",
        ),
        (["evaluate", "."], "'.' holds no model.json. Expected a run's folder"),
        (["report", "nowhere"], "'nowhere' is not a folder."),
        (["predict", "nowhere", "x.png"], "'nowhere' holds no model.json."),
        (["explain", "nowhere", "x.png"], "'nowhere' holds no model.json."),
    ],
)
def test_a_mistake_is_answered_with_what_to_do_and_exit_2(call: Call, words: list[str], message: str) -> None:
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("pellucid: ")
    assert "Traceback" not in err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "words", [["--no-such"], ["trian"], ["train", "digits", "--epochs", "x"], ["predict"]]
)
def test_words_the_parser_does_not_know_exit_2(call: Call, words: list[str]) -> None:
    code, _, err = call(*words)
    assert code == 2
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["-h"], ["help"], ["train", "-h"], ["help", "train"], ["train", "--help"]])
def test_help_is_asked_for_in_every_usual_way(call: Call, words: list[str]) -> None:
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert out.startswith("Usage: pellucid ")
    assert "  pellucid train digits" in out
    assert "list[" not in out


def test_sample_pictures_are_written_once_and_overwrite_nothing(call: Call) -> None:
    assert call("samples") == (0, "Written: photos, three.png, four.png, seven.png\n", "")
    assert len(list(Path("photos").glob("*/*.png"))) == 600
    before = Path("seven.png").read_bytes()
    code, _, err = call("samples")
    assert (code, "'photos' is there already and is not overwritten" in err) == (2, True)
    assert Path("seven.png").read_bytes() == before


def test_a_reader_that_leaves_stops_training_with_the_command_that_goes_on(tmp_path: Path) -> None:
    words = "train digits --epochs 400 --threads 1 --out run"
    command = f"{sys.executable} -c 'from pellucid.cli import main; main()' {words} | head -1"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, env=surroundings(), cwd=tmp_path, timeout=110
    )
    assert done.stdout.startswith("digits: 8x8 gray")
    assert "Traceback" not in done.stderr
    assert "pellucid train --resume run" in done.stderr


def test_ctrl_c_in_a_later_stage_ends_with_the_command_for_it(
    call: Call, toys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "evaluate", interrupted)
    code, _, err = call("train", "toys", "--epochs", "1", "--threads", "1", "--out", "run")
    assert code == 130
    assert err == "pellucid: Stopped by Ctrl-C. To do this part again: pellucid evaluate run\n"


def test_every_setting_of_a_recipe_has_a_flag_and_reaches_the_run(call: Call, toys: None) -> None:
    flags = set(inspect.signature(train.train).parameters)
    assert {field.name for field in fields(Recipe)} <= flags
    other: dict[str, Any] = {
        "model": "tutorial", "epochs": 1, "batch_size": 40, "optimizer": "adam", "learning_rate": 0.002,
        "schedule": "constant", "weight_decay": 0.02, "label_smoothing": 0.1, "patience": 4,
        "validation": 0.3, "seed": 7, "precision": "float32", "threads": 1,
        "augment": "shift,flip", "balance": "weights", "fine_tune": 0,
    }  # fmt: skip
    own = {"size": 0, "group_by": ""}  # for pictures of one's own; a known set refuses them
    assert other.keys() | own.keys() == {field.name for field in fields(Recipe)}
    words = [word for name, value in other.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    code, _, err = call("train", "toys", *words, "--out", "run", "--quiet")
    assert (code, err) == (0, "")
    assert json.loads(Path("run/recipe.json").read_text()) == {**other, **own}


def test_what_will_be_done_with_the_pictures_is_said_before_training(call: Call, toys: None) -> None:
    settings = ("--epochs", "1", "--threads", "1", "--augment", "flip,crop", "--balance", "sampler")
    _, out, _ = call("train", "toys", *settings)
    told, first = out.index("augmented: crop,flip; balanced by sampler"), out.index("epoch  1/1")
    assert told < first
    assert "not augmented" in call("train", "toys", "--epochs", "1", "--threads", "1")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--augment", "flop"), "Unknown augmentation 'flop'. Did you mean 'flip'?"),
        (("--balance", "weight"), "Unknown balance 'weight'. Known: none, weights, sampler."),
    ],
)
def test_a_misspelt_way_to_treat_pictures_is_told_before_they_are_loaded(
    call: Call, words: tuple[str, str], message: str
) -> None:
    code, out, err = call("train", "mnist", *words)
    assert (code, out) == (2, "")
    assert message in err


def test_json_gives_json_lines_and_nothing_else(call: Call, toys: None) -> None:
    code, out, err = call("train", "toys", "--epochs", "2", "--threads", "1", "--json")
    assert (code, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events] == ["data", "recipe", "epoch", "epoch", "evaluation"]
    assert (events[1]["model"], events[1]["epochs"]) == ("tutorial", 2)
    assert events[2].keys() >= {"epoch", "seconds", "loss", "accuracy", "val_loss", "val_accuracy", "best"}
    assert events[4]["count"] == 48
    for words in (["check", "toys", "--json"], ["datasets", "--json"]):
        code, out, _ = call(*words)
        assert code == 0
        assert all(isinstance(json.loads(line), dict) for line in out.splitlines())


def test_quiet_and_json_together_print_nothing(call: Call, toys: None) -> None:
    words = ("train", "toys", "--epochs", "1", "--threads", "1", "--quiet", "--json")
    assert call(*words) == (0, "", "")


def test_check_tells_what_there_is_before_training(call: Call) -> None:
    code, out, _ = call("check", "digits")
    assert code == 0
    assert "10 classes" in out
    assert len(re.findall(r"^  \d +\d+ +\d+ +\d+$", out, re.MULTILINE)) == 10
    assert "Test pictures that are also in training or validation: none." in out
    assert out.splitlines()[-2:] == ["Nothing found that is wrong.", "Page: check-digits.html"]
    assert Path("check-digits.html").is_file()


@pytest.fixture
def leaky(monkeypatch: pytest.MonkeyPatch) -> Splits:
    """`toys` holds three training pictures in its test part."""
    splits = toy_splits()
    images = splits.test.images.clone()
    images[:3] = splits.train.images[:3]
    leaky = replace(splits, test=replace(splits.test, images=images), origin=Origin("toys", known=True))
    monkeypatch.setattr(data, "load_by", lambda *_, **__: leaky)
    monkeypatch.setitem(DATASETS, "toys", DATASETS["digits"])
    return leaky


def test_check_ends_with_3_when_what_fail_on_names_is_found(call: Call, leaky: Splits) -> None:
    code, out, err = call("check", "toys", "--fail-on", "unreadable,leak", "--no-page")
    assert (code, err) == (3, "pellucid: 'toys' has what --fail-on names: leak (3).\n")
    assert "error: 3 test pictures are also in training or validation, pixel for pixel" in out
    assert call("check", "toys", "--fail-on", "unreadable,blank", "--no-page")[0] == 0
    assert list(Path().iterdir()) == []
    code, out, err = call("check", "toys", "--fail-on", "leek")
    assert (code, out) == (2, "")
    assert "--fail-on does not know 'leek'. Did you mean 'leak'?" in err


def test_check_in_json_names_every_picture(call: Call, leaky: Splits) -> None:
    code, out, _ = call("check", "toys", "--json", "--out", "page.html", "--fail-on", "leak")
    facts = json.loads(out)
    assert code == 3
    assert facts["test_pictures_seen_in_training"] == 3
    assert facts["repeated"] == {"train": 0, "validation": 0, "test": 0}
    assert facts["path"] == "page.html"
    leak = facts["findings"][0]
    assert (leak["kind"], leak["severity"], leak["count"]) == ("leak", "error", 3)
    sources = {picture["source"] for group in leak["groups"] for picture in group["pictures"]}
    assert sources == {*leaky.train.sources[:3], *leaky.test.sources[:3]}


def test_check_never_writes_into_the_data(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = toy_dataset(80)
    for number, (image, label) in enumerate(zip(pictures.images, pictures.labels.tolist(), strict=True)):
        folder = Path("pets") / pictures.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        write_picture(folder / f"{number}.png", image)
    before = sorted(Path().rglob("*"))
    code, _, err = call("check", "pets", "--out", "pets/page.html")
    assert (code, "which is never written" in err) == (2, True)
    monkeypatch.chdir("pets")
    code, out, err = call("check", ".")
    assert (code, err) == (0, "")
    assert "No page: this is the data's own folder" in out
    monkeypatch.chdir("..")
    assert sorted(Path().rglob("*")) == before


def test_train_tells_what_is_wrong_and_the_score_without_leaking_pictures(
    call: Call, leaky: Splits, toys: None
) -> None:
    code, out, _ = call("train", "toys", "--epochs", "1", "--threads", "1", "--out", "run")
    assert code == 0
    assert "error: 3 test pictures are also in training or validation" in out
    assert "Look at them with: pellucid check toys" in out
    alone = Run.open(Path("run")).without_leaking()
    assert "of 45 right" in alone
    assert f"Without test pictures that were also used in training or validation: {alone}" in out
    events = call("train", "toys", "--epochs", "1", "--threads", "1", "--out", "other", "--json")[1]
    assert json.loads(events.splitlines()[0])["findings"][0]["kind"] == "leak"


def test_lists_and_versions_answer(call: Call) -> None:
    for words, expected in [
        (["models"], "tutorial: "),
        (["datasets"], "digits: "),
        (["doctor"], "precision auto: "),
        (["--version"], "pellucid "),
    ]:
        code, out, _ = call(*words)
        assert (code, expected in out) == (0, True)
    code, out, err = call()
    assert (code, "Usage: " in out + err) == (2, True)


def test_out_is_exact_and_a_folder_that_holds_something_is_left_alone(call: Call, toys: None) -> None:
    Path("mine").mkdir()
    Path("mine/note.txt").write_text("mine")
    code, _, err = call("train", "toys", "--out", "mine")
    assert code == 2
    assert "'mine' is not empty. Expected a new or empty folder: name another with --out." in err
    assert [path.name for path in Path("mine").iterdir()] == ["note.txt"]
    assert "'mine/note.txt' is a file" in call("train", "toys", "--out", "mine/note.txt")[2]
    assert call("train", "toys", "--epochs", "1", "--threads", "1", "--out", "deep/er", "--quiet")[0] == 0
    assert Path("deep/er/report.html").is_file()


def test_one_class_only_is_refused_and_leaves_nothing(
    call: Call, toys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = toy_splits()
    one = replace(splits, train=only_class(splits.train, "box"))
    monkeypatch.setattr(data, "load_by", lambda *_, **__: one)
    code, _, err = call("train", "toys")
    assert code == 2
    assert "Expected training pictures of at least two classes; got 36 pictures of box." in err
    assert not Path("runs").exists()


def test_fewer_pictures_than_a_batch_train(call: Call, toys: None) -> None:
    words = ("--epochs", "1", "--threads", "1", "--batch-size", "5000", "--quiet")
    assert call("train", "toys", *words) == (0, "", "")


def test_a_loss_that_is_no_number_exits_1_with_advice_and_a_run_that_can_be_judged(
    call: Call, toys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.training import loop

    real, steps = loop.apply_augmentations, iter(range(1000))

    def breaks_down(images: torch.Tensor, *rest: Any, **options: Any) -> Any:
        return real(images * float("nan") if next(steps) == 4 else images, *rest, **options)

    monkeypatch.setattr(loop, "apply_augmentations", breaks_down)
    code, _, err = call("train", "toys", "--epochs", "3", "--threads", "1", "--out", "run")
    assert code == 1
    assert "epoch 2, step 2: the loss is nan" in err
    assert "Try a smaller --learning-rate" in err
    assert "Traceback" not in err
    assert call("evaluate", "run")[0] == 0
    assert len(Run.open(Path("run")).history) == 1


def test_a_folder_that_may_not_be_written_is_told(
    call: Call, toys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    code, _, err = call("train", "toys", "--epochs", "1")
    assert code == 1
    assert "pellucid: Cannot write 'runs': Permission denied. Make room or choose a folder" in err
    monkeypatch.setattr(Path, "exists", refuse)
    code, _, err = call("train", "toys", "--out", "x")
    assert (code, err) == (1, "pellucid: 'x': Permission denied.\n")


def test_a_name_that_is_too_long_is_told(call: Call) -> None:
    for words in (
        ["evaluate", "x" * 300],
        ["predict", "x" * 300, "y.png"],
        ["train", "digits", "--out", "x" * 300],
    ):
        code, _, err = call(*words)
        assert code in (1, 2)
        assert err.startswith("pellucid: ")
        assert "Traceback" not in err


@pytest.mark.parametrize("damage", ["model.json", "model.safetensors", "metrics.csv", "environment.json"])
def test_a_damaged_run_exits_1_with_the_name_of_the_file(toy_run: Path, call: Call, damage: str) -> None:
    run = shutil.copytree(toy_run, Path("copy"))
    (run / damage).write_bytes((run / damage).read_bytes()[:40])
    code, _, err = call("evaluate", run)
    assert code == 1
    assert damage in err


def test_wrong_pictures_are_named_and_the_others_answered(toy_run: Path, call: Call) -> None:
    good = write_picture(Path("good.png"), toy_dataset(1).images[0])
    write_picture(Path("large.png"), torch.zeros(1, 20, 30, dtype=torch.uint8))
    write_picture(Path("colour.png"), toy_dataset(1, channels=3).images[0])
    Path("text.png").write_text("not a picture")
    Path("cut.png").write_bytes(good.read_bytes()[:60])
    Path("folder.png").mkdir()
    wrong = ["large.png", "colour.png", "text.png", "cut.png", "folder.png", "absent.png"]
    code, out, err = call("predict", toy_run, *wrong, good)
    assert code == 2
    assert out.startswith("good.png: ")
    assert len(out.splitlines()) == 1
    messages = err.splitlines()
    for name, message in zip(wrong, messages, strict=True):
        assert message.startswith(f"pellucid: '{name}' "), message
    assert "is 30x20 gray; this classifier was trained on 16x16 gray pictures" in messages[0]
    assert call("predict", toy_run, "large.png", "colour.png", "--scaling", "stretch")[0] == 0
    assert "Unknown scaling 'squeeze'" in call("predict", toy_run, good, "--scaling", "squeeze")[2]


NAMES = [
    "\x1b[31mred\x1b[0m.png", "bell\x07.png", "back\b\b\b.png", "line\nfeed.png", "return\rhere.png",
    "\x9b2J.png", "\u202egnp.exe", "[bold]markup.png", ":cat:.png", "한 글.png",
    os.fsdecode(b"caf\xe9.png"),
]  # fmt: skip


def test_no_file_name_steers_the_terminal(toy_run: Path, call: Call) -> None:
    image = toy_dataset(1).images[0]
    for name in NAMES:
        write_picture(Path("plain.png"), image).rename(name)
    code, out, err = call("predict", toy_run, *NAMES, "--csv", "table.csv", "--json")
    assert (code, err) == (0, "")
    assert [json.loads(line)["source"] for line in out.splitlines()] == NAMES
    assert [row["source"] for row in rows_of(Path("table.csv"))][:-1] == NAMES[:-1]
    code, out, err = call("predict", toy_run, *NAMES)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == len(NAMES)
    assert not CONTROLS.search(out)
    assert "\u202e" not in out
    assert "[bold]markup.png: " in out
    assert ":cat:.png: " in out
    assert "한 글.png: " in out
    absent = [f"absent-{name}" for name in NAMES]
    code, out, err = call("predict", toy_run, *absent)
    assert (code, out) == (2, "")
    assert not CONTROLS.search(err)
    assert "\u202e" not in err


def test_a_reader_that_leaves_early_is_no_error_with_a_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -c 'from pellucid.cli import main; main()' --help | true"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, env=surroundings(), cwd=tmp_path
    )
    assert "Traceback" not in done.stderr


def test_an_error_of_our_own_is_one_line_and_its_code(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    class Peculiar(PellucidError):
        exit_code = 77

    def fails(*_: Any, **__: Any) -> None:
        raise Peculiar("it \x1b[2J went wrong")

    monkeypatch.setattr(data, "load_by", fails)
    assert call("check", "digits") == (77, "", "pellucid: it \\x1b[2J went wrong\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_mid_training_saves_and_the_run_goes_on(
    tmp_path: Path, call: Call, number: int, code: int
) -> None:
    words = ["train", "digits", "--epochs", "400", "--threads", "1", "--out", "run", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from pellucid.cli import main; main()", *words],
        cwd=tmp_path, env=surroundings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]  # data, recipe, two epochs
    assert [json.loads(line)["event"] for line in lines] == ["data", "recipe", "epoch", "epoch"]
    begun = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert time.monotonic() - begun < 30
    assert "pellucid: Stopped and saved in 'run'. Go on with: pellucid train --resume run;" in err
    assert "Traceback" not in err
    run = Run.open(tmp_path / "run")
    assert len(run.history) >= 2
    assert call("evaluate", "run")[0] == 0
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


def test_resume_from_the_command_line_ends_like_one_never_stopped(
    call: Call, toys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "toys", "--epochs", "2", "--threads", "1", "--quiet", "--out")
    assert call(*words, "whole")[0] == 0
    seen = Output._show_event

    def interrupting(self: Output, event: Any, recipe: Recipe) -> None:
        seen(self, event, recipe)
        if getattr(event, "step", 0) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Output, "_show_event", interrupting)
        assert call(*words, "stopped")[0] == 130
    assert call("train", "--resume", "stopped", "--quiet") == (0, "", "")
    assert sha256(Path("whole/model.safetensors")) == sha256(Path("stopped/model.safetensors"))
    assert Path("stopped/report.html").is_file()
    assert not Path("stopped/checkpoint.safetensors").exists()


def test_every_recipe_can_be_named(call: Call, toys: None) -> None:
    for name in RECIPES:
        words = ("--recipe", name, "--epochs", "1", "--threads", "1", "--quiet", "--out", name)
        assert call("train", "toys", *words)[0] == 0
        assert Run.open(Path(name)).recipe.epochs == 1


def test_threads_that_wait_soon_sleep_unless_the_person_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["pellucid", "--version"])
    for policy, count, kept in ((None, None, "1000"), ("ACTIVE", None, None), (None, "7", "7")):
        for name, given in (("OMP_WAIT_POLICY", policy), ("GOMP_SPINCOUNT", count)):
            monkeypatch.delenv(name, raising=False)
            if given is not None:
                monkeypatch.setenv(name, given)
        with pytest.raises(SystemExit):
            cli.main()
        assert os.environ.get("GOMP_SPINCOUNT") == kept
        assert os.environ.get("OMP_WAIT_POLICY") == policy
    monkeypatch.setenv("GOMP_SPINCOUNT", "")  # so that what the last call set is taken back
