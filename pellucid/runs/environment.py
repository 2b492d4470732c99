"""What a training ran on: versions, machine, fingerprints of the data, the command."""

import platform
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pellucid.data.dataset import Dataset, Origin
from pellucid.errors import PellucidError
from pellucid.machine import cores, keep_memory, multiplies_bfloat16, processor
from pellucid.models.kernels.build import prepare
from pellucid.recipe import Recipe

ENVIRONMENT = "environment.json"  # in a run's folder


def environment_of(train_set: Dataset, validation_set: Dataset, recipe: Recipe) -> dict[str, Any]:
    """What is written down of a training that begins now, as plain values."""
    names = ["pellucid", "torch", "numpy", "pillow", "safetensors", "scikit-learn", "scipy"]
    names += ["transformers"] if recipe.model.startswith("hf:") else []
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "begun": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "system": platform.platform(terse=True),
            "processor": processor(),
            "cores": cores(),
            "threads": recipe.threads,
            "precision": recipe.precision,
            "bfloat16": "native" if multiplies_bfloat16() else "emulated",
            "memory": "kept" if keep_memory() else "given back",
            "convolution": prepare(),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in names}},
        "fingerprints": {"train": train_set.fingerprint, "validation": validation_set.fingerprint},
        "pictures": {"train": train_set.counts, "validation": validation_set.counts},
    }


def origin_in(environment: dict[str, Any], folder: Path) -> Origin:
    """The origin that a run's environment.json holds. Raises PellucidError when it is damaged."""
    if not _is_sound(environment):
        raise PellucidError(
            f"'{folder / ENVIRONMENT}' is damaged: command, machine, versions, fingerprints or pictures are "
            "not of the kind expected. Restore it or train again."
        )
    try:
        return Origin.from_json(environment["origin"])
    except (KeyError, PellucidError) as error:
        raise PellucidError(
            f"'{folder / ENVIRONMENT}' is damaged: it does not say where the pictures come from ({error}). "
            "Restore it or train again."
        ) from error


def _is_sound(environment: dict[str, Any]) -> bool:
    """Whether what a run says of its training is of the kind that `environment_of` gives."""
    counts, fingerprints = environment.get("pictures"), environment.get("fingerprints")
    return (
        all(isinstance(environment.get(name), str) for name in ("command", "begun"))
        and all(isinstance(environment.get(name), dict) for name in ("machine", "versions"))
        and isinstance(fingerprints, dict)
        and all(isinstance(fingerprints.get(part), str) for part in ("train", "validation"))
        and isinstance(counts, dict)
        and all(
            isinstance(counts.get(part), dict) and all(type(count) is int for count in counts[part].values())
            for part in ("train", "validation")
        )
    )
