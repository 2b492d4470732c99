"""The networks by name."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from pellucid.errors import UsageError, did_you_mean
from pellucid.models import compact, resnet, tutorial

Build = Callable[[int, int, tuple[int, int]], nn.Module]


class Model(NamedTuple):
    """A network one can name: how to build it, and one phrase that says what it is."""

    build: Build
    phrase: str


MODELS: dict[str, Model] = {
    "compact": Model(compact.build, "four normalised convolutions and the mean of each map, for accuracy"),
    "resnet": Model(resnet.build, "18 layers with shortcuts around them, for colour or larger pictures"),
    "tutorial": Model(tutorial.build, "the course page's two convolutions, pooled, and a dense layer"),
}


def build(
    name: str, channels: int, num_classes: int, size: tuple[int, int], *, seed: int | None = None
) -> nn.Module:
    """A fresh network of that name: float 0..1 (B, channels, H, W) -> logits (B, num_classes).

    With a `seed` its weights depend on nothing else, and torch's own generator is left as it was.
    Raises UsageError with the nearest name when there is none, or when the network cannot take the size.
    """
    model = model_named(name)
    if seed is None:
        return model.build(channels, num_classes, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.build(channels, num_classes, size)


def model_named(name: str) -> Model:
    """The entry of MODELS of that name. Raises UsageError with the nearest name when there is none."""
    if name not in MODELS:
        raise UsageError(f"Unknown model '{name}'. {did_you_mean(name, MODELS)}")
    return MODELS[name]
