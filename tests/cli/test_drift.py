"""`check --against RUN` says whether pictures are like those the run was taught on, and in which way not."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pellucid.runs.run import Run
from tests.toys import Call, toy_dataset, write_picture


def write_folder(name: str, images: Tensor) -> Path:
    Path(name).mkdir()
    for number, image in enumerate(images):
        write_picture(Path(name) / f"{number}.png", image)
    return Path(name)


def darker(images: Tensor) -> Tensor:
    return (images.float() * 0.6).to(torch.uint8)


def test_pictures_of_the_kind_taught_show_no_difference(toy_run: Path, call: Call) -> None:
    write_folder("new", toy_dataset(60, seed=5).images)
    code, out, err = call("check", "new", "--against", toy_run, "--fail-on", "drift,unreadable")
    assert (code, err) == (0, "")
    first, second, last = out.splitlines()
    assert first == "No difference shown: 60 pictures, compared with 48 held out of training."
    assert second.startswith("Unlike anything taught: ")
    assert "called different in at most 5.0 % of cases." in last
    assert "of bursts, of copies or of frames of a film they are too sure" in last
    assert list(Path().iterdir()) == [Path("new")]


def test_what_differs_is_said_and_ends_with_3_where_asked(toy_run: Path, call: Call) -> None:
    images = darker(toy_dataset(60, seed=5).images)
    write_folder("new", images)
    code, out, err = call("check", "new", "--against", toy_run, "--fail-on", "drift")
    found = Run.open(toy_run).drift([str(Path("new") / f"{n}.png") for n in range(60)])
    assert found.found
    assert code == 3
    assert err == f"pellucid: 'new' has what --fail-on names: drift ({len(found.differences)}).\n"
    assert "  They are darker: mean brightness " in out
    assert call("check", "new", "--against", toy_run)[0] == 0
    facts = json.loads(call("check", "new", "--against", toy_run, "--json")[1])
    assert (facts["found"], facts["pictures"], facts["unreadable"]) == (True, 60, 0)
    assert [test["name"] for test in facts["tests"]] == [test.name for test in found.tests]
    assert [test["p"] for test in facts["tests"]] == [test.p for test in found.tests]


def test_unreadable_files_are_named_and_the_others_compared(toy_run: Path, call: Call) -> None:
    write_folder("new", toy_dataset(40, seed=5).images)
    (Path("new") / "cut.png").write_bytes(b"no picture")
    code, out, err = call("check", "new", "--against", toy_run, "--fail-on", "unreadable")
    assert code == 3
    assert "cut.png" in err
    assert "unreadable (1)" in err
    assert "40 pictures, compared with 48" in out


def test_pictures_that_are_not_there_are_said_to_be_missing_once(toy_run: Path, call: Call) -> None:
    code, out, err = call("check", "nowhere", "--against", toy_run)
    assert (code, out) == (2, "")
    assert err == "pellucid: 'nowhere' does not exist. Expected a picture, or a folder of pictures.\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--against", "RUN", "--group-by", "x"], "without labels: leave --group-by out"),
        (["--against", "RUN", "--fail-on", "leak"], "--fail-on does not know 'leak' with --against"),
        (["--fail-on", "drift"], "name it with --against RUN"),
        (["--against", "RUN"], "Expected at least 10 pictures to compare"),
        (["--against", "nowhere"], "'nowhere' is not a folder"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    toy_run: Path, call: Call, words: list[str], message: str
) -> None:
    write_folder("new", toy_dataset(4).images)
    code, out, err = call("check", "new", *(str(toy_run) if word == "RUN" else word for word in words))
    assert (code, out) == (2, "")
    assert message in err
