"""What this machine offers, found when it is needed and told by `doctor` and environment.json.

Nothing here changes an answer: only how long it takes.
"""

import ctypes
import os
import platform
import sys
from functools import cache
from pathlib import Path

# Of glibc's malloc.h: how many blocks are mapped, how much is given back, by how much the heap grows.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
GROWTH = 64 << 20


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def instructions() -> str:
    """All that the processor can do, as the system lists it; empty where it tells nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return ""


def cores() -> int:
    """How many processor cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux tells
        return os.cpu_count() or 1


def multiplies_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 natively; emulated, it would be slower than float32."""
    import torch  # slow to load: `cores` and `processor` do without

    found = torch.cpu.get_capabilities()
    native = found.get("avx512_bf16") or found.get("amx_bf16") or found.get("bf16")
    return bool(native and torch.ops.mkldnn._is_mkldnn_bf16_supported())


@cache
def keep_memory() -> bool:
    """Memory that is freed stays with this process, from now on; False where the system cannot be told to.

    Otherwise the C library returns every large tensor to the system, and each step of training begins with
    thousands of fresh pages to be mapped and zeroed: a third of its time. What is kept is what was held at
    most anyway.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: GROWTH}
    accepted = {name: mallopt(name, value) for name, value in settings.items()}
    return all(accepted.values())
