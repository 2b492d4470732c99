"""The command that tells what pellucid runs on: doctor."""

import sys

from pellucid.cli.options import AsJson, Quiet
from pellucid.cli.output import Output

EXAMPLES = """\
Examples:
  pellucid doctor
  pellucid doctor --json          for the report of a problem
"""


def doctor(quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Print what pellucid runs on: versions, processor, threads, and what makes training quick here."""
    import torch

    from pellucid import __version__
    from pellucid.machine import cores, keep_memory, multiplies_bfloat16, processor
    from pellucid.models.kernels.build import prepare

    native, memory_kept, convolution = multiplies_bfloat16(), keep_memory(), prepare()
    precision = "bfloat16" if native else "float32"
    facts = {
        "pellucid": __version__,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "processor": processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "memory_kept": memory_kept,
        "convolution": convolution,
    }
    output = Output(quiet, as_json)
    output.object(facts)
    output.line(f"pellucid {facts['pellucid']}, Python {facts['python']}, torch {facts['torch']}")
    output.line(f"processor: {facts['processor']}, {facts['cores']} cores, {facts['threads']} threads")
    how = "natively" if native else "only by emulation"
    output.line(f"precision auto: {precision}, since this processor multiplies bfloat16 {how}")
    reused = "kept between steps" if memory_kept else "returned between steps: this system has no glibc"
    output.line(f"memory: {reused}")
    output.line(f"convolution: {convolution}")
