"""What a training ran on: versions, machine, fingerprints of the data, the command; and whether one that is
gone on with elsewhere still ends in the bytes that an uninterrupted one would have."""

import platform
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch

from pellucid.data.dataset import Dataset, Origin
from pellucid.errors import PellucidError
from pellucid.language import Message, lazy_gettext
from pellucid.machine import cores, instruction_set, keep_memory, multiplies_bfloat16, processor
from pellucid.manifest import damage
from pellucid.models.kernels.build import loaded_kernels, prepare
from pellucid.recipe import Recipe
from pellucid.records import ABSENT, Count, Digest, record_from
from pellucid.runs.elsewhere import Elsewhere

ENVIRONMENT = "environment.json"  # in a run's folder
# What of the machine decides the last digits of a sum.
ARITHMETIC = ("processor", "instructions", "threads", "precision", "matmul", "bfloat16", "kernels")


Facts = Mapping[str, str | int | None]


@dataclass(frozen=True)
class _Fingerprints:
    """Of the pictures of each part."""

    train: Digest
    validation: Digest


@dataclass(frozen=True)
class _Pictures:
    """How many show each class, by part."""

    train: Mapping[str, Count]
    validation: Mapping[str, Count]


@dataclass(frozen=True)
class _At:
    """Where a training was gone on with."""

    epoch: Count
    step: Count


@dataclass(frozen=True)
class _Resumed:
    """A note that a training was gone on with in another environment."""

    at: _At
    changed: str
    begun: str
    machine: Facts
    versions: Facts


@dataclass(frozen=True)
class _Environment:
    """All of environment.json; what is in the last four is read by those who know of it."""

    command: str
    begun: str
    machine: Facts
    versions: Facts
    fingerprints: _Fingerprints
    pictures: _Pictures
    origin: Mapping[str, Any]
    candidates: Annotated[tuple[Mapping[str, Any], ...] | None, ABSENT]
    warm_start: Annotated[Mapping[str, Any] | None, ABSENT]
    resumed: Annotated[tuple[_Resumed, ...] | None, ABSENT]
    opened: Annotated[Elsewhere | None, ABSENT]


def environment_of(train_set: Dataset, validation_set: Dataset, recipe: Recipe | None) -> dict[str, Any]:
    """What is written down of a training that begins now, as plain values; without a recipe, of a run whose
    network was trained elsewhere."""
    names = ["pellucid", "torch", "numpy", "pillow", "safetensors", "scikit-learn", "scipy"]
    names += ["transformers"] if recipe and recipe.model.startswith("hf:") else []
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "begun": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "system": platform.platform(terse=True),
            "processor": processor(),
            "instructions": instruction_set(),
            "cores": cores(),
            "threads": recipe.threads if recipe else torch.get_num_threads(),
            "precision": recipe.precision if recipe else "float32",
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
    try:
        record_from(_Environment, environment)
    except ValueError as error:
        raise damage(folder / ENVIRONMENT, str(error)) from error
    try:
        return Origin.from_json(environment["origin"])
    except PellucidError as error:
        what = f"it does not say where the pictures come from ({error})"
        raise damage(folder / ENVIRONMENT, what) from error


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
