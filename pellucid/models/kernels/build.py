"""fused.c, compiled on the spot, once a machine: where there is a C compiler and a processor with AVX-512.

Elsewhere torch's own operations do the same sums in another order, so that answers and trained weights may
differ in their last digits; environment.json and `doctor` tell which of them ran. PELLUCID_KERNELS=off asks
for torch's.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import torch

from pellucid.cache import cache_folder
from pellucid.errors import PellucidError
from pellucid.files import make_folder, temporary_folder, write_bytes
from pellucid.machine import instructions

SOURCE = Path(__file__).with_name("fused.c")
BITS = {torch.float32: 32, torch.bfloat16: 16}
KERNELS: dict[torch.dtype, ctypes.CDLL] = {}  # empty until `prepare` found a compiler


def prepare() -> str:
    """From now on the kernels are used where they suit. Compiling them takes a second, once a machine.

    Gives in a phrase what will be used, and why: "torch's: no C compiler found".
    """
    if os.environ.get("PELLUCID_KERNELS") == "off":
        return "torch's: PELLUCID_KERNELS is off"
    return _prepared()


@cache
def _prepared() -> str:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    openmp = next(iter(sorted((Path(torch.__file__).parent / "lib").glob("libgomp*"))), None)
    if sys.platform != "linux" or openmp is None:
        return "torch's: the kernels are for Linux and torch's own OpenMP"
    if " avx512f " not in instructions():
        return "torch's: the kernels are for processors with AVX-512"
    if compiler is None:
        return "torch's: no C compiler found"
    try:
        ctypes.CDLL(str(openmp), ctypes.RTLD_GLOBAL)  # the threads torch already has, not a second set
        with ThreadPoolExecutor() as pool:
            libraries = pool.map(partial(_compiled, compiler), BITS.values())
            KERNELS.update(zip(BITS, map(ctypes.CDLL, map(str, libraries)), strict=True))
    except (OSError, PellucidError, subprocess.SubprocessError) as error:
        return f"torch's: the kernels could not be made ({type(error).__name__})"
    return "kernels compiled here"


def _compiled(compiler: str, bits: int) -> Path:
    """The library for this source, compiler and processor; it is made unless it is there."""
    made_of = [SOURCE.read_bytes(), compiler.encode(), instructions().encode()]
    key = hashlib.sha256(b"\n".join(made_of)).hexdigest()
    library = cache_folder() / f"fused-{key[:16]}-{bits}.so"
    if not library.is_file():
        make_folder(library.parent)
        with temporary_folder() as folder:
            parts = [str(folder / "fused.o"), str(folder / "fused.so")]
            flags = ["-O3", "-march=native", "-fopenmp", "-fPIC", f"-DBITS={bits}"]
            for words in ([*flags, "-c", str(SOURCE), "-o", parts[0]], ["-shared", parts[0], "-o", parts[1]]):
                subprocess.run([compiler, *words], check=True, capture_output=True, timeout=60)
            write_bytes(library, Path(parts[1]).read_bytes())
    return library
