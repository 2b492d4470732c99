"""A file is there whole or not at all, whatever the system refuses and whenever."""

import contextlib
import errno
import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pellucid import files
from pellucid.errors import PellucidError, UsageError
from tests.released import CLAIMING, begun, ended, go, said
from tests.toys import rows_of, surroundings

# Every call of one write that the system can refuse, in the order of the write.
STAGES = ("tempfile.mkstemp", "os.fdopen", "os.fsync file", "Path.chmod", "Path.replace", "os.fsync folder")
REFUSALS = (errno.ENOSPC, errno.EACCES, errno.EIO, errno.EROFS, errno.EDQUOT)


def refuse(monkeypatch: pytest.MonkeyPatch, stage: str, number: int) -> None:
    """From now on `stage` fails with the error `number`."""
    fsync = os.fsync

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    def fsync_but(kind: Callable[[int], bool]) -> Callable[[int], None]:
        return lambda fd: fail() if kind(os.fstat(fd).st_mode) else fsync(fd)

    monkeypatch.setattr(
        *{
            "tempfile.mkstemp": (files.tempfile, "mkstemp", fail),
            "os.fdopen": (os, "fdopen", fail),
            "os.fsync file": (os, "fsync", fsync_but(stat.S_ISREG)),
            "Path.chmod": (Path, "chmod", fail),
            "Path.replace": (Path, "replace", fail),
            "os.fsync folder": (os, "fsync", fsync_but(stat.S_ISDIR)),
        }[stage]
    )


@pytest.mark.parametrize("number", REFUSALS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_refused_write_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, number: int
) -> None:
    path = tmp_path / "model.json"
    files.write_bytes(path, b"old")
    with monkeypatch.context() as patch, pytest.raises(PellucidError) as caught:
        refuse(patch, stage, number)
        files.write_bytes(path, b"new")
    assert f"Cannot write '{path}'" in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert caught.value.exit_code == 1
    # Once renamed, the new file is there whole; that its name is durable is what could not be promised.
    assert path.read_bytes() == (b"new" if stage == "os.fsync folder" else b"old")
    assert [found.name for found in tmp_path.iterdir()] == ["model.json"]


@pytest.mark.parametrize("after", [0, 1, 100_000])
def test_a_disk_that_fills_up_in_the_middle_leaves_the_old_file(tmp_path: Path, after: int) -> None:
    path = tmp_path / "x"
    files.write_bytes(path, b"old")
    with pytest.raises(PellucidError, match="No space left"), files.replacing(path) as file:
        file.write(b"n" * after)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_any_error_while_writing_leaves_the_old_file_and_passes_on(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "x"
    files.write_bytes(path, b"old")
    with pytest.raises(error), files.replacing(path) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_real_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """A limit on the size of files is a disk that fills up, without needing one."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    code = f"""
import resource, signal
from pathlib import Path
from pellucid.errors import PellucidError
from pellucid.files import write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_bytes(Path({str(path)!r}), bytes(200_000))
except PellucidError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=surroundings())
    assert "File too large" in done.stdout, done.stderr
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_flushed_before_the_rename_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(fd: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        fsync(fd)

    def noted_replace(path: Path, target: Path) -> Path:
        order.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    files.write_text(tmp_path / "x", "text")
    assert order == ["file", "rename", "folder"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=r"nowhere/x.*No such file or directory.*Make room or choose"):
        files.write_text(tmp_path / "nowhere" / "x", "text")


def test_a_new_file_has_the_rights_any_new_file_has(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_text(tmp_path / "x", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    "value", [{"a": [1, 2.5, None, True, "ä\n\u2028"]}, [], "word", {"deep": {"er": [0.1 + 0.2]}}]
)
def test_json_comes_back_as_it_went(tmp_path: Path, value: Any) -> None:
    files.write_json(tmp_path / "x.json", value)
    assert files.read_json(tmp_path / "x.json") == value


def test_json_has_null_for_what_json_has_not(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"a": float("nan"), "b": [float("inf"), (-float("inf"), 1.0)]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [None, [None, 1.0]]}


def test_half_a_file_name_is_written_and_comes_back_from_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    files.write_json(tmp_path / "x.json", {"source": name})
    files.write_csv(tmp_path / "x.csv", ["source"], [[name]])
    assert files.read_json(tmp_path / "x.json") == {"source": name}
    assert rows_of(tmp_path / "x.csv") == [{"source": "caf\\udce9.png"}]


@pytest.mark.parametrize(
    "text", ['a,"b"', "two\nlines", "carriage\rreturn", "both\r\n", "  ", "'quoted'", "ü한"]
)
def test_a_table_comes_back_as_it_went(tmp_path: Path, text: str) -> None:
    files.write_csv(tmp_path / "x.csv", ["name", "number"], [[text, 0.1 + 0.2], ["plain", 3]])
    assert files.read_csv(tmp_path / "x.csv") == rows_of(tmp_path / "x.csv")
    assert files.read_csv(tmp_path / "x.csv")[0] == {"name": text, "number": repr(0.1 + 0.2)}


@pytest.mark.parametrize(
    "text", ["=cmd|' /C calc'!A0", "+1+cmd()", "-x", "@SUM(1)", "\tcell", "\rcell", "'=x", "''=x", "-", "=1"]
)
def test_a_cell_that_a_spreadsheet_would_run_is_kept_from_it(tmp_path: Path, text: str) -> None:
    """And it comes back as it was."""
    files.write_csv(tmp_path / "x.csv", [text, "n"], [[text, -0.5], ["-1.5e-3", "+7"]])
    for row in rows_of(tmp_path / "x.csv"):
        assert next(iter(row)) == f"'{text}"
    assert rows_of(tmp_path / "x.csv")[0][f"'{text}"] == f"'{text}"
    assert files.read_csv(tmp_path / "x.csv") == [{text: text, "n": "-0.5"}, {text: "-1.5e-3", "n": "+7"}]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 5000, b"NaNa", b"\x00"])
def test_damaged_json_is_refused_with_the_name_of_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(PellucidError, match=r"x\.json' cannot be read as JSON"):
        files.read_json(path)


@pytest.mark.parametrize("content", ["[1]", '"word"', "7", "null", "true"])
def test_json_that_is_no_object_is_refused_where_one_is_needed(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(PellucidError, match="expected one JSON object; got"):
        files.read_object(tmp_path / "x.json")


@pytest.mark.parametrize("content", [b"a,b\n\xff,1\n", b"a\n" + b"x" * 200_000 + b"\n"])
def test_a_damaged_table_is_refused_with_the_name_of_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(PellucidError, match=r"x\.csv' cannot be read as a table"):
        files.read_csv(tmp_path / "x.csv")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=r"x\.json' is missing"):
        files.read_json(tmp_path / "x.json")
    with pytest.raises(PellucidError, match=r"x\.csv' cannot be read as a table.*No such file"):
        files.read_csv(tmp_path / "x.csv")


def test_a_folder_is_claimed_when_new_or_empty_and_never_when_it_holds_something(tmp_path: Path) -> None:
    with files.claim_empty_folder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "a").exists(), "nothing was put into it"
    (tmp_path / "a" / "b").mkdir(parents=True)
    with files.claim_empty_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "mine").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"), files.claim_empty_folder(tmp_path / "a" / "b"):
        pass
    with pytest.raises(UsageError, match="is a file"), files.claim_empty_folder(tmp_path / "a/b/mine"):
        pass
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["mine"]
    assert (tmp_path / "a" / "b" / "mine").read_text() == "mine"


def test_a_beginning_that_ends_with_an_error_leaves_nothing_and_more_than_that_stays(tmp_path: Path) -> None:
    folder, beginning = tmp_path / "run", ("recipe.json", "manifest.json")
    with pytest.raises(ZeroDivisionError), files.claim_empty_folder(folder, beginning):
        files.seal(folder)
        files.write_text(folder / "recipe.json", "{}")
        raise ZeroDivisionError
    assert not folder.exists()
    with pytest.raises(ZeroDivisionError), files.claim_empty_folder(folder, beginning):
        files.write_text(folder / "recipe.json", "{}")
        files.write_text(folder / "model.json", "{}")
        raise ZeroDivisionError
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "recipe.json"]


def test_numbered_folders_take_the_smallest_free_number(tmp_path: Path) -> None:
    names = [files.claim_numbered_folder(tmp_path / "runs", "toys").name for _ in range(3)]
    assert names == ["toys-1", "toys-2", "toys-3"]
    (tmp_path / "runs" / "toys-2").rmdir()
    assert files.claim_numbered_folder(tmp_path / "runs", "toys").name == "toys-2"


def test_latest_points_to_a_run_and_a_persons_own_folder_stays(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        files.point(tmp_path / "latest", tmp_path / name)
        assert (tmp_path / "latest").resolve() == tmp_path / name
    (tmp_path / "mine").mkdir()
    files.point(tmp_path / "mine", tmp_path / "first")
    assert not (tmp_path / "mine").is_symlink()


def test_removing_is_certain_and_needs_nothing_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    files.remove(tmp_path / "x")
    files.remove(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "x").write_bytes(content)
    assert files.sha256(tmp_path / "x") == hashlib.sha256(content).hexdigest()


def test_lines_of_several_writers_stay_whole_and_a_refusal_is_explained(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pellucid.files import append_line\n"
        "for n in range(50): append_line(Path('made/lines.txt'), sys.argv[1] * 200)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, letter], cwd=tmp_path, env=surroundings())
        for letter in "ab"
    ]
    assert [process.wait() for process in running] == [0, 0]
    lines = (tmp_path / "made" / "lines.txt").read_text().splitlines()
    assert sorted(lines) == ["a" * 200] * 50 + ["b" * 200] * 50
    with pytest.raises(PellucidError, match="Cannot write"):
        files.append_line(tmp_path / "made" / "lines.txt" / "below", "x")


def test_a_line_of_which_a_part_was_written_is_told_and_spoils_none_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / "lines.txt", os.write
    files.append_line(path, "first")
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:3]))
    with pytest.raises(PellucidError, match="No space left on device"):
        files.append_line(path, "second")
    monkeypatch.undo()
    files.append_line(path, "third")
    assert path.read_text() == "first\nsec\nthird\n"


def test_what_was_appended_before_an_error_stays(tmp_path: Path) -> None:
    path = tmp_path / "download.part"

    def blocks() -> Any:
        yield b"cd"
        raise PellucidError("the server went away")

    files.append(path, [b"ab--"], at=0)
    with pytest.raises(PellucidError, match="went away"):
        files.append(path, blocks(), at=2)
    assert path.read_bytes() == b"abcd"
    files.settle(path, tmp_path / "download")
    assert (tmp_path / "download").read_bytes() == b"abcd"
    assert not path.exists()


def test_one_at_a_time_is_in_a_block_that_is_entered_alone(tmp_path: Path) -> None:
    waited: list[int] = []
    with files.alone(tmp_path / "lock") as first:
        with files.alone(tmp_path / "lock", seconds=0.2, waiting=lambda: waited.append(1)) as second:
            assert (first, second) == (True, False)
        assert waited
    with files.alone(tmp_path / "lock", seconds=0) as third:
        assert third


def test_alone_leaves_an_error_of_the_block_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of the block"), files.alone(tmp_path / "lock"):
        raise OSError("of the block")
    with pytest.raises(PellucidError, match="Cannot write"), files.alone(tmp_path / "no" / "lock"):
        pass


def test_a_folder_that_holds_something_stays(tmp_path: Path) -> None:
    (tmp_path / "folder" / "mine").mkdir(parents=True)
    assert not files.remove_folder(tmp_path / "folder")
    assert files.remove_folder(tmp_path / "folder" / "mine")
    assert files.remove_folder(tmp_path / "folder")
    assert files.remove_folder(tmp_path / "folder")  # it need not have been there


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(PellucidError, match="Cannot write"),
        files.claim_empty_folder(tmp_path / "file" / "run"),
    ):
        pass


def test_of_several_that_claim_a_folder_at_once_one_goes_on_and_the_others_are_told_who(
    tmp_path: Path,
) -> None:
    processes = [begun(CLAIMING, tmp_path, f"{number}") for number in range(4)]
    for process in processes:
        go(process)
    answers = [said(process) for process in processes]
    (winner,) = (process for process, answer in zip(processes, answers, strict=True) if answer == "claimed")
    refusals = [answer for answer in answers if answer != "claimed"]
    who = rf"'{tmp_path}' is being written by process {winner.pid} on \S+ since \d{{4}}-\d\d-\d\d .* UTC\."
    assert len(refusals) == 3
    assert all(re.match(who, refusal) for refusal in refusals), refusals
    winners = f"{processes.index(winner)}"
    assert {path.name for path in tmp_path.iterdir()} == {files.CLAIM, winners}
    assert files.sha256(tmp_path / winners), "reading is free"
    go(winner)
    ended(processes)
    assert {path.name for path in tmp_path.iterdir()} == {winners}


def test_the_claim_of_a_killed_process_needs_no_attention(tmp_path: Path) -> None:
    killed, later = begun(CLAIMING, tmp_path, "killed"), begun(CLAIMING, tmp_path, "later")
    go(killed)
    assert said(killed) == "claimed"
    killed.kill()
    ended([killed])
    go(later)
    assert said(later) == "claimed"
    with pytest.raises(PellucidError, match=f"process {later.pid} on"), files.claim(tmp_path):
        pass
    ended([later])
    with files.claim(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"killed", "later"}


def test_a_claim_is_granted_again_to_its_own_thread_and_to_no_other(tmp_path: Path) -> None:
    answers: list[str] = []

    def claim() -> None:
        try:
            with files.claim(tmp_path):
                answers.append("claimed")
        except PellucidError as error:
            answers.append(str(error))

    with files.claim(tmp_path), files.claim(tmp_path):
        thread = threading.Thread(target=claim)
        thread.start()
        thread.join()
        assert f"process {os.getpid()} on" in answers.pop()
    claim()
    assert answers == ["claimed"]


def test_a_child_inherits_no_claim(tmp_path: Path) -> None:
    """Neither a program that is started nor a forked process keeps the folder when its parent is gone."""
    program = CLAIMING.replace(
        'print("claimed", flush=True)',
        """import os, subprocess
        started = subprocess.Popen(["sleep", "100"])
        forked = os.fork() or os.execvp("python3", ["python3", "-c", "import time; time.sleep(100)"])
        copied = os.fork()
        if not copied:
            os.read(0, 1)  # keeps every file that it inherited, for as long as it is there
            os._exit(0)
        print("claimed", started.pid, forked, copied, flush=True)""",
    )
    parent = begun(program, tmp_path, "parent")
    go(parent)
    word, *children = said(parent).split()
    assert word == "claimed"
    try:
        parent.kill()
        parent.wait(timeout=60)
        until, claimed = time.monotonic() + 60, False
        while not claimed:  # a forked child closes what it inherited as soon as it runs
            try:
                with files.claim(tmp_path):
                    claimed = True
            except PellucidError:
                assert time.monotonic() < until
    finally:
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        ended([parent])


@pytest.mark.parametrize("kind", ["link", "second name"])
def test_a_lock_that_leads_elsewhere_changes_nothing_there(tmp_path: Path, kind: str) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run").mkdir()
    if kind == "link":
        (tmp_path / "run" / files.CLAIM).symlink_to(tmp_path / "mine")
        with pytest.raises(PellucidError, match="Cannot write"), files.claim(tmp_path / "run"):
            pass
    else:
        (tmp_path / "run" / files.CLAIM).hardlink_to(tmp_path / "mine")
        with files.claim(tmp_path / "run"):
            pass
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_lock_that_its_holder_removes_meanwhile_is_not_taken_for_the_one_that_follows(
    tmp_path: Path,
) -> None:
    """Whoever opened the file before it was removed has to look again, or two would go on."""
    path, opened = tmp_path / "lock", os.open
    with contextlib.ExitStack() as first, pytest.MonkeyPatch.context() as patch:
        first.enter_context(files.alone(path))

        def open_and_lose(*words: Any) -> int:
            descriptor = opened(*words)
            patch.undo()
            first.close()
            path.unlink()
            return descriptor

        patch.setattr(os, "open", open_and_lose)
        with files.alone(path, seconds=0) as second, files.alone(path, seconds=0) as third:
            assert (second, third) == (True, False)


WRITING = """
import os, sys
from pathlib import Path
from pellucid.files import replacing
print("ready", flush=True)
sys.stdin.readline()
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.readline()
"""


def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    killed, living = begun(WRITING, tmp_path / "killed"), begun(WRITING, tmp_path / "living")
    mine = tmp_path / ".letter.txt.abcdefgh.part"  # another program's
    mine.write_text("mine")
    for process in (killed, living):
        go(process)
        assert said(process) == "writing"
    killed.kill()
    ended([killed])
    assert sum(".pellucid-" in path.name for path in tmp_path.iterdir()) == 2
    files.write_text(tmp_path / "other", "other")
    assert sum(".pellucid-" in path.name for path in tmp_path.iterdir()) == 1
    go(living)
    ended([living])
    assert {path.name for path in tmp_path.iterdir()} == {"other", "living", mine.name}
    assert (tmp_path / "living").read_bytes() == b"half"
