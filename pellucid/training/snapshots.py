"""Snapshots of the weights during training, so that a page can show how the network formed.

They are spaced evenly on a logarithmic scale, because most is learned early: untrained, after 1, 2, 4, 8 …
updates, then after epochs. They are copies and change nothing in the training.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import PellucidError
from pellucid.files import write_bytes
from pellucid.reading import parsed_json
from pellucid.tensors import packed, read_tensors
from pellucid.training.loop import Epoch, Step

Snapshot = tuple[str, int, Mapping[str, Tensor]]  # name ("epoch 2"), updates done, state_dict

SNAPSHOTS = "snapshots.safetensors"
MAX_SNAPSHOTS = 16  # per training, unless fewer are asked for
MAX_WEIGHTS = 2_000_000  # a larger network has no snapshots: 16 of 2 million weights are 64 MB
METADATA = "pellucid"  # the only key of the file's metadata: several would be written in any order


def plan_snapshots(epochs: int, steps: int, most: int = MAX_SNAPSHOTS) -> list[int]:
    """The numbers of updates after which a snapshot is taken, at most `most` in `epochs` of `steps` each."""
    last = epochs * steps
    early = [2**power for power in range(steps.bit_length()) if 2**power < steps]
    candidates = [0, *early, *range(steps, last + 1, steps)]
    if most < 2:
        return candidates[:most]
    if len(candidates) <= most:
        return candidates
    plan: set[int] = set()
    for number in range(most):
        target = math.log(last + 1) * number / (most - 1)
        remaining = (step for step in candidates if step not in plan)
        plan.add(min(remaining, key=lambda step: abs(math.log(step + 1) - target)))
    return sorted(plan)


class SnapshotRecorder:
    """Copies a network's weights after the updates in `plan` while it is trained, and writes them to `path`.

    Weights are stored as 16-bit floats (32 where 16 cannot hold them). With an empty plan it does nothing.
    """

    def __init__(self, path: Path, network: nn.Module, plan: Sequence[int], steps: int) -> None:
        self._path, self._network, self._plan, self._steps = path, network, list(plan), steps
        self._snapshots: dict[int, dict[str, Tensor]] = {}
        self._written = True
        self._record(0)

    @staticmethod
    def start(
        path: Path, network: nn.Module, epochs: int, steps: int, most: int = MAX_SNAPSHOTS
    ) -> "SnapshotRecorder":
        """For a new training of `epochs` of `steps` updates; its plan is empty for a large network."""
        fits = sum(weight.numel() for weight in network.parameters()) <= MAX_WEIGHTS
        return SnapshotRecorder(path, network, plan_snapshots(epochs, steps, most) if fits else [], steps)

    @staticmethod
    def resume(path: Path, network: nn.Module, done: int) -> "SnapshotRecorder":
        """For a training resumed after `done` updates: earlier snapshots are kept.

        Without a file it records none. Raises PellucidError when the file is damaged.
        """
        if not path.is_file():
            return SnapshotRecorder(path, network, [], 1)
        metadata, snapshots = _read(path)
        recorder = SnapshotRecorder(path, network, metadata["plan"], metadata["steps"])
        recorder._snapshots = {step: state for step, state in snapshots.items() if step <= done}
        return recorder

    def on_event(self, event: Step | Epoch) -> None:
        """Takes a snapshot after this event if the plan has one there."""
        if isinstance(event, Step):
            self._record((event.epoch - 1) * self._steps + event.step)

    def write(self) -> None:
        """Writes every snapshot taken so far to `path`, durably."""
        if self._written:
            return
        tensors = {
            f"{step}/{name}": t for step, state in self._snapshots.items() for name, t in state.items()
        }
        metadata = json.dumps({"plan": self._plan, "steps": self._steps})
        write_bytes(self._path, packed(tensors, {METADATA: metadata}))
        self._written = True

    def _record(self, step: int) -> None:
        if step in self._plan:
            self._snapshots[step] = {
                name: _half_precision(t) for name, t in self._network.state_dict().items()
            }
            self._written = False


def read_snapshots(path: Path, network: nn.Module, *, before: int | None = None) -> list[Snapshot]:
    """The snapshots in `path`, oldest first; none where there is no file.

    before  only snapshots taken after fewer updates than this

    Raises PellucidError when the file is damaged or belongs to another network.
    """
    if not path.is_file():
        return []
    metadata, states = _read(path)
    shapes = {name: weight.shape for name, weight in network.state_dict().items()}
    snapshots: list[Snapshot] = []
    for step, state in sorted(states.items()):
        if {name: weight.shape for name, weight in state.items()} != shapes:
            raise PellucidError(f"'{path}' holds weights of another network. Remove it, or train again.")
        if before is None or step < before:
            epoch, rest = divmod(step, metadata["steps"])
            name = f"epoch {epoch}" if epoch and not rest else f"step {step}"
            floats = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
            snapshots.append((name, step, floats))
    return snapshots


def _half_precision(tensor: Tensor) -> Tensor:
    """A copy in 16 bits, unless a number would overflow."""
    if tensor.is_floating_point():
        half = tensor.detach().half()
        if bool(torch.isfinite(half).all()):
            return half.contiguous()
    return tensor.detach().clone().contiguous()


def _read(path: Path) -> tuple[dict[str, Any], dict[int, dict[str, Tensor]]]:
    states: dict[int, dict[str, Tensor]] = {}
    try:
        tensors, texts = read_tensors(path)
        metadata = parsed_json(texts[METADATA].encode())
        steps, plan = metadata["steps"], metadata["plan"]
        if type(steps) is not int or steps < 1 or not all(type(step) is int for step in plan):
            raise ValueError("its header is not pellucid's")
        for key, tensor in tensors.items():
            step, _, name = key.partition("/")
            states.setdefault(int(step), {})[name] = tensor
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise PellucidError(
            f"'{path}' is damaged: {error!r}. Remove it to go on without the snapshots of this training."
        ) from error
    return metadata, states
