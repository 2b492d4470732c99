"""What a person meets at the command line: one clear message, the documented exit code, nothing lost."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pellucid import cli, data
from pellucid.errors import PellucidError
from tests.toys import Call, surroundings


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
    assert (code, err) == (
        1,
        "pellucid: 'x': You may not read or write it. Change its permissions, or name another.\n",
    )


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


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_was_closed_before_the_command_began_does_not_end_it(closed: str) -> None:
    """As some schedulers start commands."""
    command = f"{shlex.quote(sys.executable)} -m pellucid datasets {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=surroundings())
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    wrong = f"{shlex.quote(sys.executable)} -m pellucid predict nowhere nothing.png {closed}"
    done = subprocess.run(["sh", "-c", wrong], capture_output=True, text=True, env=surroundings())
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
