"""A training's past: the weights as they were at a few snapshots, so that a page can show how it formed.

The snapshots lie evenly on a logarithmic scale, because most is learned early: untrained, after 1, 2, 4, 8 …
updates, then at ends of epochs. They are copies beside the training and change nothing in it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pellucid.errors import PellucidError
from pellucid.files import write_bytes
from pellucid.training.loop import Epoch, Step

Snapshot = tuple[str, int, Mapping[str, Tensor]]  # what it is called ("epoch 2"), updates done, state_dict

SNAPSHOTS = "snapshots.safetensors"
MAX_SNAPSHOTS = 16  # snapshots kept of a training, unless fewer are asked for
MOST_WEIGHTS = 2_000_000  # of a larger network none are kept: 16 of 2 million weights are 64 MB
FACTS = "pellucid"  # the one entry of the file's header: two would be written in any order


def planned(epochs: int, steps: int, most: int = MAX_SNAPSHOTS) -> list[int]:
    """After how many updates the weights are kept, at most `most` times in `epochs` of `steps` each."""
    last = epochs * steps
    early = [2**power for power in range(steps.bit_length()) if 2**power < steps]
    wanted = [0, *early, *range(steps, last + 1, steps)]
    if most < 2:
        return wanted[:most]
    if len(wanted) <= most:
        return wanted
    kept: set[int] = set()
    for place in range(most):
        target = math.log(last + 1) * place / (most - 1)
        left = (snapshot for snapshot in wanted if snapshot not in kept)
        kept.add(min(left, key=lambda snapshot: abs(math.log(snapshot + 1) - target)))
    return sorted(kept)


class Recorder:
    """Copies a network's weights at the snapshots of `plan` while it is trained, and writes them to `path`.

    Weights are kept as 16-bit floats (32 where 16 cannot hold them). With an empty plan it does nothing.
    """

    def __init__(self, path: Path, network: nn.Module, plan: Sequence[int], steps: int) -> None:
        self._path, self._network, self._plan, self._steps = path, network, list(plan), steps
        self._kept: dict[int, dict[str, Tensor]] = {}
        self._written = True
        self._keep(0)

    @staticmethod
    def beginning(
        path: Path, network: nn.Module, epochs: int, steps: int, most: int = MAX_SNAPSHOTS
    ) -> "Recorder":
        """For a training of `epochs` of `steps` updates that is about to begin; none for a large network."""
        fits = sum(weight.numel() for weight in network.parameters()) <= MOST_WEIGHTS
        return Recorder(path, network, planned(epochs, steps, most) if fits else [], steps)

    @staticmethod
    def going_on(path: Path, network: nn.Module, done: int) -> "Recorder":
        """For a training that goes on after `done` updates: what was kept until then stays kept.

        One whose snapshots were not kept, or were removed, goes on without. Raises PellucidError when the
        file is damaged.
        """
        if not path.is_file():
            return Recorder(path, network, [], 1)
        facts, kept = _read(path)
        recorder = Recorder(path, network, facts["plan"], facts["steps"])
        recorder._kept = {step: state for step, state in kept.items() if step <= done}
        return recorder

    def note(self, event: Step | Epoch) -> None:
        """Keeps the weights after this event when the plan says so."""
        if isinstance(event, Step):
            self._keep((event.epoch - 1) * self._steps + event.step)

    def write(self) -> None:
        """`path` holds every snapshot kept so far, durably."""
        if self._written:
            return
        tensors = {f"{step}/{name}": t for step, state in self._kept.items() for name, t in state.items()}
        facts = json.dumps({"plan": self._plan, "steps": self._steps})
        write_bytes(self._path, save(tensors, {FACTS: facts}))
        self._written = True

    def _keep(self, step: int) -> None:
        if step in self._plan:
            self._kept[step] = {name: _halved(t) for name, t in self._network.state_dict().items()}
            self._written = False


def read_snapshots(path: Path, network: nn.Module, *, before: int | None = None) -> list[Snapshot]:
    """The snapshots in `path`, oldest first; none where there is no file.

    before  leaves out what was kept after so many updates or later
    Raises PellucidError when the file is damaged or is not of this network.
    """
    if not path.is_file():
        return []
    facts, kept = _read(path)
    shapes = {name: weight.shape for name, weight in network.state_dict().items()}
    snapshots: list[Snapshot] = []
    for step, state in sorted(kept.items()):
        if {name: weight.shape for name, weight in state.items()} != shapes:
            raise PellucidError(f"'{path}' holds weights of another network. Remove it, or train again.")
        if before is None or step < before:
            whole = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
            snapshots.append((_called(step, facts["steps"]), step, whole))
    return snapshots


def _called(step: int, steps: int) -> str:
    epoch, rest = divmod(step, steps)
    return f"epoch {epoch}" if epoch and not rest else f"step {step}"


def _halved(tensor: Tensor) -> Tensor:
    """A copy in half the bytes, unless that would lose the number altogether."""
    if tensor.is_floating_point():
        half = tensor.detach().half()
        if bool(torch.isfinite(half).all()):
            return half.contiguous()
    return tensor.detach().clone().contiguous()


def _read(path: Path) -> tuple[dict[str, Any], dict[int, dict[str, Tensor]]]:
    kept: dict[int, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[FACTS])
            if not all(isinstance(facts[name], kind) for name, kind in (("plan", list), ("steps", int))):
                raise ValueError("its header is not pellucid's")
            for key in file.keys():  # noqa: SIM118
                step, _, name = key.partition("/")
                kept.setdefault(int(step), {})[name] = file.get_tensor(key)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise PellucidError(
            f"'{path}' is damaged: {error!r}. Remove it to go on without the snapshots of this training."
        ) from error
    return facts, kept
