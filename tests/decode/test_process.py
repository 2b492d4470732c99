"""A process that answers on pipes ends with whoever started it, however that ends."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from pellucid.decode.process import WorkerProcess, command
from pellucid.decode.workers import WORKER_COMMAND
from tests.data.store.packing import until, workers_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers are started on POSIX systems")


def test_a_command_names_its_module_and_its_numbers() -> None:
    assert command("one.two", 3, 4).endswith("from one.two import serve; serve(int(sys.argv[1]), 3, 4)")


def test_a_process_answers_and_runs_until_it_is_closed() -> None:
    process = WorkerProcess(WORKER_COMMAND)
    try:
        process.requests.write(b"[null, []]\n")
        process.requests.flush()
        assert process.responses.readline() == b"[]\n"
        assert process.runs
    finally:
        process.close()
    assert not process.runs
    process.close()  # once more changes nothing


def test_who_waits_for_an_answer_goes_on_when_the_process_is_killed() -> None:
    process = WorkerProcess(WORKER_COMMAND)
    killer = threading.Timer(0.1, process.kill)
    killer.start()
    assert process.responses.readline() == b""
    killer.join()
    process.close()


@pytest.mark.parametrize("executable", ["", "/nowhere/python"])
def test_where_python_cannot_be_started_again_that_is_an_error(
    executable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(OSError, match=r"cannot be started again|No such file"):
        WorkerProcess(WORKER_COMMAND)


CALLER = """
import sys
from pellucid.decode.process import WorkerProcess
from pellucid.decode.workers import WORKER_COMMAND
process = WorkerProcess(WORKER_COMMAND)
process.requests.write(b"[null, []]\\n")
process.requests.flush()
print(process.responses.readline(), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_caller_that_is_killed_leaves_no_process() -> None:
    caller = subprocess.Popen([sys.executable, "-c", CALLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert caller.stdout is not None
    assert caller.stdout.readline() == b"b'[]\\n'\n"
    assert len(workers_of(caller.pid)) == 1
    caller.send_signal(signal.SIGKILL)
    caller.communicate()
    assert until(lambda: not workers_of(caller.pid))


def test_a_process_whose_input_ends_ends() -> None:
    """How a caller's end is noticed where the system does not tell of it."""
    process = WorkerProcess(WORKER_COMMAND)
    process.requests.close()
    assert until(lambda: not process.runs)
    process.close()
