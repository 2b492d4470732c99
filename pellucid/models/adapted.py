"""A network of someone else's between what it expects and what a classifier needs: pictures normalised before
it, two classes behind one unit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.inference import evaluation_mode
from pellucid.models.outputs import Output, output_of
from pellucid.records import Within, record_from

MOST_CHANNELS = 3
PROBED = 8  # pictures of noise by which a score is told from a probability


@dataclass(frozen=True)
class Adaptation:
    """What is done around a network; as plain values it is part of model.json.

    mean, std  of each channel, of pictures of 0..1; () where the network takes them as they are
    unit       what its only unit puts out, which is of the second of two classes; "" where it has a unit for
               each class
    """

    mean: tuple[Annotated[float, Within(-1e6, 1e6)], ...] = ()
    std: tuple[Annotated[float, Within(1e-6, 1e6)], ...] = ()
    unit: str = ""

    def __bool__(self) -> bool:
        return bool(self.mean or self.unit)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Adaptation":
        """What `to_json` of a network that was adapted gave. Raises ValueError for anything else."""
        found = record_from(Adaptation, values)
        if len(found.mean) != len(found.std) or len(found.mean) > MOST_CHANNELS:
            raise ValueError("mean and std are not of as many channels")
        if found.unit not in ("", "logits", "sigmoids"):
            raise ValueError(f"a unit of {found.unit[:60]!r} is not known")
        return found


class Adapted(nn.Module):
    """`network` as a classifier can ask it: float 0..1 (B, C, H, W) -> scores or probabilities (B, K)."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, adaptation: Adaptation, output: Output | None = None) -> None:
        """`output`: of a network of one unit, where that is in what it puts out."""
        super().__init__()
        self.network, self.adaptation = network, adaptation
        self._output = output
        self.register_buffer("mean", torch.tensor(adaptation.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(adaptation.std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Any:
        """What the network gives for normalised pictures; of one unit, a column for each of two classes."""
        if self.adaptation.mean:
            images = (images - self.mean) / self.std
        found = self.network(images)
        if self._output is None:
            return found
        unit = self._output.found_in(found)  # (B, 1)
        return torch.cat([unit * 0 if self._output.kind == "logits" else 1 - unit, unit], dim=1)

    def to_json(self) -> dict[str, Any]:
        """What `Adaptation.from_json` reads."""
        found = self.adaptation
        return {"mean": list(found.mean), "std": list(found.std), "unit": found.unit}


def adaptation_of(
    network: nn.Module, shape: tuple[int, int, int], classes: int, wanted: Adaptation
) -> Adaptation:
    """What is to be done around a network for pictures of that shape (C, H, W): what is wanted, and, where it
    has one unit for two classes, a column for each.

    Raises UsageError where it cannot take such pictures, or does not give a score for each class.
    """
    noise = torch.rand(PROBED, *shape, generator=torch.Generator().manual_seed(0))
    inner = Adapted(network, wanted) if wanted else network
    try:
        output_of(inner, noise, units=classes)
        return wanted
    except UsageError:
        if classes != 2:
            raise
        try:
            output = output_of(inner, noise, units=1)
        except UsageError:
            output = None
        if output is None:
            raise
    with evaluation_mode(network), torch.no_grad():
        unit = torch.cat([output.found_in(inner(one)) for one in torch.split(noise, 1)])
    if output.kind == "logits" and bool(((unit >= 0) & (unit <= 1)).all()):
        raise UsageError(
            "Whether this network's only unit gives a score or a probability cannot be told: its numbers lie "
            "between 0 and 1, and no torch.sigmoid comes last. Have it return the score, or end in "
            "torch.sigmoid."
        )
    return replace(wanted, unit=output.kind)


def adapted(network: nn.Module, shape: tuple[int, int, int], classes: int, how: Adaptation) -> nn.Module:
    """The network as a classifier of pictures (C, H, W) can ask it; itself where nothing is to be done.

    Raises what `adaptation_of` raises, and UsageError where it puts out something else than it did.
    """
    found = adaptation_of(network, shape, classes, replace(how, unit=""))
    if found.unit != how.unit:
        raise UsageError(
            f"This network gives {found.unit or 'a number for each class'} where "
            f"{how.unit or 'a number for each class'} were expected: it is another network."
        )
    if not how:
        return network
    normalised = Adapted(network, replace(how, unit=""))
    output = output_of(normalised, torch.zeros(1, *shape), units=1) if how.unit else None
    return Adapted(network, how, output).train(network.training)
