"""fused.c, compiled once per machine where there is a C compiler and a processor with AVX-512.

Elsewhere torch's own operations compute the same sums in another order, so that scores and trained weights
may differ in their last digits: the same seed gives the same weights only with the same kind of convolution.
environment.json and `doctor` say which of them ran. PELLUCID_KERNELS=off asks for torch's.

A library in the cache has the SHA-256 of its bytes in its name and is loaded only if it has those bytes: one
that was cut short would end the process by a bus error, one that was changed would train other weights.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

import torch

from pellucid.cache import cache_folder
from pellucid.errors import PellucidError
from pellucid.files import make_folder, remove, sha256, temporary_folder, write_bytes
from pellucid.machine import instructions

SOURCE = Path(__file__).with_name("fused.c")
BITS = {torch.float32: 32, torch.bfloat16: 16}
KERNELS: dict[torch.dtype, ctypes.CDLL] = {}  # filled by `prepare`
DIGESTS: dict[torch.dtype, str] = {}  # the SHA-256 of each


def prepare() -> str:
    """Compiles and loads the kernels where they can run, which takes a second, once per machine.

    Gives a phrase that names the convolution used from now on, and why: "torch's: no C compiler found".
    """
    if os.environ.get("PELLUCID_KERNELS") == "off":
        return "torch's: PELLUCID_KERNELS is off"
    return _compiled_once()[0]


def compile_failure() -> str | None:
    """Why the kernels could not be compiled though this machine has all they need; None where they could, or
    where processor, system, compiler or PELLUCID_KERNELS rule them out."""
    return None if os.environ.get("PELLUCID_KERNELS") == "off" else _compiled_once()[1]


def compile_kernels() -> tuple[str, str | None]:
    """Compiles and loads the kernels, or takes them from the cache, whatever an earlier try came to.

    Gives the phrase of `prepare` and the reason of `compile_failure`.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    openmp = next(iter(sorted((Path(torch.__file__).parent / "lib").glob("libgomp*"))), None)
    if sys.platform != "linux" or openmp is None:
        return "torch's: the kernels are for Linux and torch's own OpenMP", None
    if " avx512f " not in instructions():
        return "torch's: the kernels are for processors with AVX-512", None
    if compiler is None:
        return "torch's: no C compiler found", None
    try:
        ctypes.CDLL(str(openmp), ctypes.RTLD_GLOBAL)  # torch's own threads, not a second set
        with ThreadPoolExecutor() as pool:
            libraries = list(pool.map(partial(_library, compiler), BITS.values()))
        KERNELS.update(zip(BITS, (library for library, _ in libraries), strict=True))
        DIGESTS.update(zip(BITS, (digest for _, digest in libraries), strict=True))
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", None) or str(error).encode()
        reason = " ".join(output.decode(errors="replace").split())[:300]
        return f"torch's: the kernels could not be compiled ({type(error).__name__})", reason
    return "kernels compiled here", None


def loaded_kernels() -> str:
    """The kernels in use, as the beginnings of their SHA-256: "e184876e e64f6b26"; "none" for torch's."""
    prepare()
    return " ".join(DIGESTS[dtype][:8] for dtype in BITS if dtype in KERNELS and dtype in DIGESTS) or "none"


_compiled_once = cache(compile_kernels)


def _library(compiler: str, bits: int) -> tuple[ctypes.CDLL, str]:
    """The library for this source, compiler and processor, from the cache or compiled now; its SHA-256."""
    depends_on = [SOURCE.read_bytes(), compiler.encode(), instructions().encode()]
    key = hashlib.sha256(b"\n".join(depends_on)).hexdigest()
    stem = f"fused-{key[:16]}-{bits}-"
    if (cached := _verified(stem)) is not None:
        return ctypes.CDLL(str(cached.resolve())), cached.stem.removeprefix(stem)
    with temporary_folder() as folder:
        objects, library = folder / "fused.o", folder / "fused.so"
        flags = ["-O3", "-march=native", "-fopenmp", "-fPIC", f"-DBITS={bits}"]
        commands = (
            [compiler, *flags, "-c", str(SOURCE), "-o", str(objects)],
            [compiler, "-shared", str(objects), "-o", str(library)],
        )
        for command in commands:
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        content = library.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        cached = cache_folder() / f"{stem}{digest}.so"
        try:
            make_folder(cached.parent)
            write_bytes(cached, content)
        except PellucidError:  # a cache that cannot be written costs a second per process, not other weights
            return ctypes.CDLL(str(library.resolve())), digest
    return ctypes.CDLL(str(cached.resolve())), digest


def _verified(stem: str) -> Path | None:
    """The library in the cache whose name begins with `stem`, with the bytes that its name promises.

    Others are removed, which is said: what is compiled instead may be kept under the same name.
    """
    found = None
    for path in sorted(cache_folder().glob(f"{stem}*.so")):
        try:
            intact = path.is_file() and sha256(path) == path.stem.removeprefix(stem)
        except OSError:
            intact = False
        if intact:
            found = found or path
            continue
        with suppress(PellucidError):
            remove(path)
        warnings.warn(
            f"'{path}', a compiled convolution kernel, is not as it was written. It was not loaded; it is "
            "compiled again.",
            stacklevel=2,
        )
    return found
