"""The file from which an interrupted training goes on, to the same bytes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.files import write_bytes
from pellucid.runs.stages import State
from pellucid.tensors import packed, read_tensors

CHECKPOINT = "checkpoint.safetensors"


def write_checkpoint(path: Path, state: State, manifest: dict[str, Any]) -> None:
    """`path` holds all that a training needs to go on, and the SHA-256 of it, durably."""
    tensors, facts = state.to_tensors()
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    texts = {"state": json.dumps(facts), "manifest": json.dumps(manifest)}
    write_bytes(path, packed(whole, {**texts, "sha256": _digest(whole, texts)}))


def read_checkpoint(path: Path) -> tuple[State, dict[str, Any]]:
    """State and manifest that `write_checkpoint` wrote. Raises PellucidError when the file is damaged."""
    try:
        tensors, facts = read_tensors(path)
        if _digest(tensors, facts) != facts["sha256"]:
            raise ValueError("its SHA-256 is not the one it was written with")
        return State.from_tensors(tensors, json.loads(facts["state"])), json.loads(facts["manifest"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise PellucidError(f"'{path}' is damaged: {error!r}. Train again.") from error


def _digest(tensors: dict[str, Tensor], texts: dict[str, str]) -> str:
    digest = hashlib.sha256(f"{texts['state']}\n{texts['manifest']}".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
