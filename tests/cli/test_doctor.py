"""`doctor` tells what pellucid runs on, in words and in JSON alike."""

import json
import platform

import pytest
import torch

import pellucid
from pellucid import machine
from tests.toys import Call


def test_json_holds_the_facts_of_this_machine(call: Call) -> None:
    code, out, err = call("doctor", "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert facts == {
        "pellucid": pellucid.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": machine.processor(),
        "cores": machine.cores(),
        "threads": torch.get_num_threads(),
        "precision": "bfloat16" if machine.multiplies_bfloat16() else "float32",
        "memory_kept": machine.keep_memory(),
        "convolution": "torch's: PELLUCID_KERNELS is off",
    }


def test_a_person_reads_the_same_facts(call: Call) -> None:
    facts = json.loads(call("doctor", "--json")[1])
    code, out, _ = call("doctor")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"pellucid {facts['pellucid']}, Python {facts['python']}, torch {facts['torch']}"
    assert lines[1] == (
        f"processor: {facts['processor']}, {facts['cores']} cores, {facts['threads']} threads"
    )
    assert lines[-1] == f"convolution: {facts['convolution']}"
    assert call("doctor", "--quiet") == (0, "", "")


@pytest.mark.parametrize(
    ("native", "words"),
    [
        (True, "precision auto: bfloat16, since this processor multiplies bfloat16 natively"),
        (False, "precision auto: float32, since this processor multiplies bfloat16 only by emulation"),
    ],
)
def test_the_precision_follows_what_the_processor_can_do(
    call: Call, monkeypatch: pytest.MonkeyPatch, native: bool, words: str
) -> None:
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda: native)
    assert words in call("doctor")[1].splitlines()


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (True, "memory: kept between steps"),
        (False, "memory: returned between steps: this system has no glibc"),
    ],
)
def test_it_says_whether_memory_is_kept(
    call: Call, monkeypatch: pytest.MonkeyPatch, kept: bool, words: str
) -> None:
    monkeypatch.setattr(machine, "keep_memory", lambda: kept)
    assert words in call("doctor")[1].splitlines()


def test_an_argument_it_does_not_take_is_refused(call: Call) -> None:
    code, out, err = call("doctor", "digits")
    assert (code, out) == (2, "")
    assert err.startswith("pellucid: ")
    assert "digits" in err
