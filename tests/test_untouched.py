"""Nobody's pictures are written: not one byte, time stamp or file, whatever command is given.

All commands run in one process of their own. There a hook that Python calls before every opening, renaming,
removing or stamping of a file refuses what would change the folder of pictures, and writes it down. A hash of
the folder, times and inodes included, is compared beside it. Where the system allows it, all is done once
more with the folder mounted read-only.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid.cli import COMMANDS
from tests.data.folders import planted, shapes, state
from tests.toys import ROOT

TRAIN = (
    "--epochs 1 --batch-size 16 --threads 1 --precision float32 --snapshots 0 --model tutorial "
    "--recipe course --quiet"
).split()

# Every command as it is given for DATA, a folder of pictures, from another folder.
GIVEN = [
    ["check", "DATA"],
    ["train", "DATA", "--out", "one", *TRAIN],
    ["train", "DATA", "--out", "two", "--seed", "7", *TRAIN],
    ["evaluate", "one", "--again"],
    ["predict", "one", "DATA/test", "DATA/train/dark/000.png"],
    ["explain", "one", "DATA/test/dark/000.png", "DATA/test/bright/001.png", "--neighbours", "3"],
    ["explain", "one", "DATA/test/dark/000.png", "--out", "explained.html", "--change"],
    ["compare", "one", "two"],
    ["labels", "one"],
    ["check", "DATA/test", "--against", "one"],
    ["repeat", "DATA", "--recipe", "one", "--seeds", "2", "--out", "seeds", "--quiet"],
    ["forecast", "DATA", "--recipe", "one", "--out", "ahead", "--quiet"],
    ["report", "one", "--quiet"],
    ["export", "one"],
    ["live", "one", "two", "--no-open", "--port", "PORT"],
    ["datasets", "--data-dir", "DATA"],
    ["models"],
    ["cache"],
    ["cache", "--clear", "DATA"],
    ["check", "DATA", "--no-page"],  # from nothing again, in worker processes
    ["doctor"],
    ["samples", "samples"],
    ["help", "train"],
]

# Arguments: the folder, the commands as JSON, where to write down what was refused.
GUARDED = '''
import json, os, signal, sys, threading, time, urllib.request

data, commands, refused = os.path.realpath(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
CHANGING = (
    "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.utime", "os.chmod", "os.chown", "os.lchown",
    "os.truncate", "os.link", "os.symlink", "os.setxattr", "os.removexattr", "os.chflags", "os.lockf",
    "os.mknod", "os.mkfifo", "shutil.rmtree", "tempfile.mkstemp", "tempfile.mkdtemp", "sqlite3.connect",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def below(name):
    if not isinstance(name, (str, bytes, os.PathLike)):
        return False
    path = os.path.realpath(os.fsdecode(name))
    return path == data or path.startswith(data + os.sep)


def guard(event, arguments):
    changing, names = event in CHANGING, arguments
    if event == "open":
        *names, mode, flags = arguments
        changing = bool((flags or 0) & WRITING) or any(letter in str(mode or "") for letter in "wax+")
    if changing and any(below(name) for name in names):
        with open(refused, "a") as file:
            print(event, *arguments, file=file)
        raise PermissionError(f"{event} {arguments}")


sys.addaudithook(guard)

from pellucid.cli import application
from pellucid.data.store import headers, pixels

pixels.MIN_FOR_DECODE_WORKERS = headers.MIN_FOR_HEADER_WORKERS = 1


def visited(port):
    """Somebody who opens the live page, sends it a picture, and leaves; then Ctrl-C."""
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(address + "/runs").read()
            break
        except OSError:
            time.sleep(0.1)
    with open(os.path.join(data, "test", "dark", "000.png"), "rb") as file:
        picture = file.read()
    headers = {"Content-Type": "image/png", "Origin": address}
    urllib.request.urlopen(urllib.request.Request(address + "/picture", picture, headers)).read()
    print("visited", flush=True)
    os.kill(os.getpid(), signal.SIGINT)


for words in commands:
    print("command", *words, flush=True)
    if words[0] == "live":
        threading.Thread(target=visited, args=(words[-1],), daemon=True).start()
    application()(words, standalone_mode=False)
print("all done", flush=True)
'''

READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = shapes(tmp_path / "my pictures", parts=("train", "test"), count=50)
    cut = (folder / "train/dark/000.png").read_bytes()[:-50]
    return planted(folder, {"README.md": b"# mine", "train/dark/cut.png": cut, "train/.hidden/1.png": b""})


def given(photos: Path) -> list[list[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return [[word.replace("DATA", str(photos)).replace("PORT", port) for word in words] for words in GIVEN]


def guarded(photos: Path, folder: Path, commands: list[list[str]], *before: str) -> str:
    """All commands in a process with the hook, its own folder under `folder`; gives what was refused."""
    here = folder / "here"
    here.mkdir()
    refused = folder / "refused.txt"
    command = [*before, sys.executable, "-c", GUARDED, str(photos), json.dumps(commands), str(refused)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PELLUCID_CACHE": str(folder / "cache")}
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=280)
    assert done.stdout.endswith("all done\n"), done.stdout[-2000:] + done.stderr[-4000:]
    assert "visited\n" in done.stdout
    return refused.read_text() if refused.exists() else ""


def test_every_command_is_tried() -> None:
    assert {words[0] for words in GIVEN} == {command.__name__.rstrip("_") for command, _ in COMMANDS}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_command_changes_a_byte_a_time_or_an_inode(photos: Path, tmp_path: Path) -> None:
    before = state(photos)
    assert guarded(photos, tmp_path, given(photos)) == ""
    assert state(photos) == before


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_command_works_on_a_folder_mounted_read_only(photos: Path, tmp_path: Path) -> None:
    mounting = ["unshare", "--mount", "sh", "-c", READ_ONLY, str(photos)]
    before = state(photos)
    trying = ["touch", str(photos / "new")]
    if not shutil.which("unshare") or subprocess.run([*mounting, "true"], capture_output=True).returncode:
        pytest.skip("this person may not mount a folder read-only")
    assert subprocess.run([*mounting, *trying], capture_output=True).returncode, "it is not read-only"
    assert guarded(photos, tmp_path, given(photos), *mounting) == ""
    assert state(photos) == before


@pytest.mark.parametrize(
    "change",
    [
        "open(f'{data}/new.txt', 'w')",
        "open(f'{data}/README.md', 'ab')",
        "os.open(f'{data}/README.md', os.O_RDWR)",
        "os.utime(f'{data}/README.md', (1, 1))",
        "os.rename(f'{data}/README.md', f'{data}/../README.md')",
        "os.chdir(data); os.mkdir('new')",
        "os.symlink('README.md', f'{data}/link')",
    ],
)
def test_the_hook_refuses_every_way_of_changing_something(photos: Path, tmp_path: Path, change: str) -> None:
    script = GUARDED.split("from pellucid.cli")[0] + change
    refused = tmp_path / "refused.txt"
    done = subprocess.run(
        [sys.executable, "-c", script, str(photos), "[]", str(refused)], capture_output=True
    )
    assert b"PermissionError" in done.stderr
    assert refused.read_text()
