"""The network of a run as it was before its first step."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

from torch import nn

from pellucid.models import MODELS, build, is_pretrained
from pellucid.models.lite0 import NAME as LITE0
from pellucid.runs.run import Run


@dataclass(frozen=True, eq=False)
class InitialNetwork:
    """A network with the weights that a run began with.

    source  "seed": drawn again, exactly as they were; "snapshot": as the run kept them, rounded to 16 bits;
            "published": those of a pretrained network, with the new last layer
    warm    whether they are those of another run, which this one began from
    """

    network: nn.Module
    source: Literal["seed", "snapshot", "published"]
    warm: bool = False


def initial_network(run: Run) -> InitialNetwork | None:
    """The run's network before its first step; None where the run did not keep those weights and they cannot
    be drawn again, as those of a large network that began from another run."""
    classifier, warm = run.classifier, "warm_start" in run.environment
    name = run.classifier.model
    if not warm and (name in MODELS or name == LITE0):
        read = classifier.preprocess
        size = (read.height, read.width)
        network = build(name, read.channels, len(classifier.classes), size, seed=run.seed)
        return InitialNetwork(network.eval(), "published" if is_pretrained(name) else "seed")
    first = next((state for _, step, state in run.snapshots() if step == 0), None)
    if first is None:
        return None
    network = deepcopy(classifier.network)
    network.load_state_dict(dict(first))
    return InitialNetwork(network, "snapshot", warm)
