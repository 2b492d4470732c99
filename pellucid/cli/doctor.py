"""Commands that tell what there is: datasets, models, doctor."""

import sys


def doctor() -> None:
    """Tell what pellucid runs on: versions, processor, threads, and what makes training quick here."""
    from importlib.metadata import version

    import torch

    from pellucid.machine import cores, keep_memory, multiplies_bfloat16, processor
    from pellucid.models.kernels.build import prepare

    auto, why = ("bfloat16", "natively") if multiplies_bfloat16() else ("float32", "only by emulation")
    print(f"pellucid {version('pellucid')}, Python {sys.version.split()[0]}, torch {torch.__version__}")
    print(f"processor: {processor()}, {cores()} cores, {torch.get_num_threads()} threads")
    print(f"precision auto: {auto}, since this processor multiplies bfloat16 {why}")
    kept = "kept between steps" if keep_memory() else "given back between steps: there is no glibc to ask"
    print(f"memory: {kept}")
    print(f"convolution: {prepare()}")
