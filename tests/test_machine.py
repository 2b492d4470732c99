"""What the machine offers is told truly, and asking for it changes no answer."""

import os
import subprocess
import sys

import pytest
import torch

from pellucid import machine
from tests.toys import ROOT

FAULTS = """
import resource, torch
from pellucid.machine import keep_memory
if {keep}: assert keep_memory()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): torch.ones(12 << 20)
before = faults()
for _ in range(3): torch.ones(12 << 20)
print(faults() - before)
"""


def faults(*, keep: bool) -> int:
    """Page faults of three tensors of 48 MiB, after ten others, in a process of their own."""
    settings = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", FAULTS.format(keep=keep)]
    done = subprocess.run(words, env=settings, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be asked to keep memory")
def test_memory_that_is_kept_is_not_mapped_again() -> None:
    assert faults(keep=True) < 100
    assert faults(keep=False) > 1_000


def test_elsewhere_memory_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert machine.keep_memory.__wrapped__() is False


def test_cores_are_those_this_process_may_use() -> None:
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)


def test_bfloat16_pays_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, expected in (({"avx512_bf16": False}, False), ({}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found)
        assert machine.multiplies_bfloat16() is expected


def test_the_processor_has_a_name_and_instructions() -> None:
    assert machine.processor()
    assert sys.platform != "linux" or len(machine.instructions().split()) > 5


@pytest.mark.parametrize(("first", "kept"), [("import pellucid.training.loop", "1000"), ("import torch", "")])
def test_waiting_threads_soon_sleep_in_python_too_unless_torch_came_first(first: str, kept: str) -> None:
    code = f"{first}; import os, pellucid; print(os.environ.get('GOMP_SPINCOUNT', ''))"
    unset = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    settings = {name: value for name, value in os.environ.items() if name not in unset}
    settings["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == kept


def test_the_memory_to_be_had_is_that_of_the_system_or_less() -> None:
    available = machine.available_memory()
    if sys.platform != "linux":
        pytest.skip("only Linux says")
    assert available is not None
    assert 0 < available < 1 << 50


@pytest.mark.parametrize(("number", "inside"), [(1, 1), (3, 3), (0, 2)])
def test_threads_are_those_asked_for_inside_the_block_and_as_before_after_it(
    number: int, inside: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError), machine.torch_threads(number):
            assert torch.get_num_threads() == inside
            _ = 1 / 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
