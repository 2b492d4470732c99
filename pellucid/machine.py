"""What this machine offers, as shown by `pellucid doctor` and recorded in environment.json.

Nothing here changes a result, only how long it takes.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

# From glibc's malloc.h: how many blocks are mapped, how much is returned, by how much the heap grows.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
HEAP_GROWTH_BYTES = 64 << 20
# Variables by which torch's libraries choose other instructions, or fewer digits.
LIMITING = (
    "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE",
    "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS",
)  # fmt: skip


def processor() -> str:
    """The processor's name, as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def instructions() -> str:
    """The processor's features, as the system lists them; empty if it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return ""


def cores() -> int:
    """How many processor cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # exists only on Linux
        return os.cpu_count() or 1


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """torch computes with `number` threads inside the block, 0 for as many as before, and then as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def available_memory() -> int | None:
    """The bytes of memory this process can still get, by the system and its container; None where unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no cgroup, or "max"
        return free
    return max(0, min(free, limit - used))


def multiplies_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 natively; emulated, it would be slower than float32."""
    import torch  # slow to load: `cores` and `processor` do without

    capabilities = torch.cpu.get_capabilities()
    native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return bool(native and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def instruction_set() -> str:
    """What torch computes with on this processor: "AVX512; avx2 avx512_bf16 fma3", with any variable that
    limits it. Another set adds in another order, so that the last digits differ."""
    import torch

    names = [
        name
        for name, present in sorted(torch.cpu.get_capabilities().items())
        if present is True and name.startswith(("amx", "avx", "fma", "sve", "neon", "bf16", "i8mm", "dot"))
    ]
    limits = [f"{name}={os.environ[name]}" for name in LIMITING if os.environ.get(name)]
    return f"{torch.backends.cpu.get_cpu_capability()}; {' '.join([*names, *limits])}"


@cache
def keep_memory() -> bool:
    """From now on, keep freed memory in this process; returns False if the system cannot do that.

    Otherwise the C library returns every large tensor to the system, and each training step spends a third of
    its time on mapping and zeroing new pages. The memory kept is no more than the peak anyway.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: HEAP_GROWTH_BYTES}
    accepted = {name: mallopt(name, value) for name, value in settings.items()}
    return all(accepted.values())
