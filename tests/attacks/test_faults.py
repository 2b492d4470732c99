"""Whatever the disk does, and whenever the process is killed: it is told, and the next command ends in the
same bytes. Here some of the faults that benchmarks/faults.py tries."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.attacks.faults import compiled, preloaded
from tests.toys import ROOT

EVERY = 300


def test_a_fault_at_an_operation_on_a_file_is_told_and_the_next_command_ends_in_the_same_bytes(
    tmp_path: Path,
) -> None:
    library = compiled(tmp_path)
    if library is None:
        pytest.skip("this needs Linux and a C compiler")
    script = ROOT / "benchmarks" / "faults.py"
    done = preloaded(library, script, "--every", str(EVERY), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    operations = [int(each) for each in re.findall(r"(\d+) operations: \{.*'fsync'.*'rename'", done.stdout)]
    faults = [int(each) for each in re.findall(r"  (\d+) of [\d,]+ faults", done.stdout)]
    assert len(operations) == len(faults) == 2, done.stdout
    assert min(operations) > 500
    assert min(faults) >= 10
    for name in ("SIGKILL", "EIO", "ENOSPC", "EACCES", "gone on with", "trained anew"):
        assert name in done.stdout
