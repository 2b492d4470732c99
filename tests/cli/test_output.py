"""What is printed: plain text in a pipe, JSON lines on request, no control code from any name."""

import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pellucid.cli.output import Output, problem, with_flags
from pellucid.errors import UsageError
from pellucid.files import claim_empty_folder
from pellucid.recipe import Recipe
from pellucid.runs.several import PlannedTraining
from pellucid.training.loop import Step
from tests.toys import Call, rows_of, toy_dataset, write_picture

CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def test_piped_output_has_no_control_codes(trained: tuple[Path, Any]) -> None:
    assert trained[1].stdout.isprintable() is False  # it has lines
    assert not CONTROLS.search(trained[1].stdout)


def test_json_gives_json_lines_and_nothing_else(call: Call, toys: None) -> None:
    code, out, err = call("train", "toys", "--epochs", "2", "--threads", "1", "--json")
    assert (code, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events] == ["data", "recipe", "plan", "epoch", "epoch", "evaluation"]
    assert (events[1]["model"], events[1]["epochs"]) == ("tutorial", 2)
    assert (events[2]["models"], events[2]["seconds"] > 0) == (["tutorial"], True)
    assert events[3].keys() >= {"epoch", "seconds", "loss", "accuracy", "val_loss", "val_accuracy", "best"}
    assert events[5]["count"] == 48
    for words in (["check", "toys", "--json"], ["datasets", "--json"]):
        code, out, _ = call(*words)
        assert code == 0
        assert all(isinstance(json.loads(line), dict) for line in out.splitlines())


def test_quiet_and_json_together_print_nothing(call: Call, toys: None) -> None:
    words = ("train", "toys", "--epochs", "1", "--threads", "1", "--quiet", "--json")
    assert call(*words) == (0, "", "")


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


def test_a_full_folder_is_refused_by_the_name_of_the_argument_and_by_its_flag(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine", "utf-8")
    with pytest.raises(UsageError) as refused, claim_empty_folder(tmp_path):
        pass
    assert str(refused.value).endswith("Expected a new or empty folder: name another with `folder`.")
    assert with_flags(str(refused.value)).endswith("name another with --out.")


def test_a_terminal_shows_how_many_pictures_have_their_features() -> None:
    def screen(events: list[Step], *pictures: int) -> str:
        shown, output = io.StringIO(), Output()
        output.console = Console(file=shown, force_terminal=True, width=120, highlight=False)
        with output.training(Recipe(epochs=1)) as (show, show_pictures):
            for done in pictures:
                show_pictures("features", done, 1_200)
            for event in events:
                show(event)
        return shown.getvalue()

    assert "features 600/1,200" in screen([], 300, 600)
    then = screen([Step(1, 1, 8, 0.5, 0.01, 100.0)], 600, 1_200)
    assert "epoch 1/1, step 1/8" in then


def test_a_terminal_shows_where_several_trainings_stand() -> None:
    shown, output = io.StringIO(), Output()
    output.console = Console(file=shown, force_terminal=True, width=120, highlight=False)
    plan = [PlannedTraining(f"seed {number} of 2", 4, seconds) for number, seconds in ((1, 30.0), (2, 90.0))]
    with output.trainings() as (watch, show):
        assert watch.planned is not None
        watch.planned(plan)
        show(Step(2, 4, 8, 0.5, 0.01, 100.0, "seed 2 of 2, all pictures"))
    text = shown.getvalue()
    assert "2 trainings to do, about 2 min 0 s in all." in text
    assert "seed 2 of 2, all pictures: epoch 2/4" in text
    assert "loss 0.500" in text


def test_no_line_of_a_message_begins_as_a_message_does(capsys: pytest.CaptureFixture[str]) -> None:
    problem("'a\npellucid: all is well\n  and more' is not there.")
    assert capsys.readouterr().err == "pellucid: 'a\n  pellucid: all is well\n  and more' is not there.\n"
