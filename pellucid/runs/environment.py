"""What a training ran on: versions, machine, fingerprints of the data, the command; and whether one that is
gone on with elsewhere still ends in the bytes that an uninterrupted one would have."""

import platform
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pellucid.data.dataset import Dataset, Origin
from pellucid.errors import PellucidError
from pellucid.language import Message, lazy_gettext
from pellucid.machine import cores, instruction_set, keep_memory, multiplies_bfloat16, processor
from pellucid.models.kernels.build import loaded_kernels, prepare
from pellucid.recipe import Recipe

ENVIRONMENT = "environment.json"  # in a run's folder
# What of the machine decides the last digits of a sum.
ARITHMETIC = ("processor", "instructions", "threads", "precision", "matmul", "bfloat16", "kernels")


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
            "instructions": instruction_set(),
            "cores": cores(),
            "threads": recipe.threads,
            "precision": recipe.precision,
            "matmul": torch.get_float32_matmul_precision(),
            "bfloat16": "native" if multiplies_bfloat16() else "emulated",
            "memory": "kept" if keep_memory() else "given back",
            "convolution": prepare(),
            "kernels": loaded_kernels(),
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


def changes(environment: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[object, object]]:
    """By name what decides the bytes of a training and is other `now` than in a run's environment.json, where
    it was last gone on with: what it was, what it is.

    now  as `environment_of` gives it
    """
    before = (environment.get("resumed") or [environment])[-1]

    def facts(values: dict[str, Any]) -> dict[str, object]:
        machine = values.get("machine") or {}
        return {**(values.get("versions") or {}), **{name: machine.get(name) for name in ARITHMETIC}}

    was, is_now = facts(before), facts(now)
    return {
        name: (was.get(name), is_now.get(name))
        for name in (was | is_now)
        if was.get(name) != is_now.get(name)
    }


def in_words(found: dict[str, tuple[object, object]]) -> str:
    """Each change as "torch 2.11.0 → 2.13.0", one after the other."""
    return "; ".join(f"{name} {was} → {now}" for name, (was, now) in found.items())


def with_resumption(environment: dict[str, Any], now: dict[str, Any], at: tuple[int, int]) -> dict[str, Any]:
    """A run's environment with a note that it was gone on with in another: which, since when, and at which
    (epoch, step)."""
    note = {
        "at": {"epoch": at[0], "step": at[1]},
        "changed": in_words(changes(environment, now)),
        **{name: now[name] for name in ("begun", "machine", "versions")},
    }
    return {**environment, "resumed": [*environment.get("resumed", []), note]}


def not_repeatable(environment: dict[str, Any]) -> Message | None:
    """A sentence for a run whose bytes no training gives again; None for one whose bytes can be repeated."""
    found = [str(note.get("changed", "")) for note in environment.get("resumed", [])]
    if not found:
        return None
    return lazy_gettext(
        "The run cannot be repeated to the same bytes: it was gone on with in another environment "
        "(%(changes)s).",
        changes="; ".join(found),
    )


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
