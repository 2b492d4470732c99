"""The networks by name: MODELS, those of PRETRAINED, and any other pretrained one by "hf:NAME_OR_FOLDER"."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from pellucid.errors import UsageError, did_you_mean
from pellucid.models import compact, lite0, pretrained, resnet, tutorial
from pellucid.models.adapted import Adaptation, Adapted, adapted
from pellucid.recipe import refuse_unknown_keywords

Build = Callable[[int, int, tuple[int, int]], nn.Module]
OWN = "own:"  # begins the name of a network that is a person's own


class Model(NamedTuple):
    """An entry of MODELS: how to build the network, and a phrase that describes it."""

    build: Build
    phrase: str


MODELS: dict[str, Model] = {
    "compact": Model(compact.build, "four normalised convolutions and the mean of each map, for accuracy"),
    "resnet": Model(resnet.build, "18 layers with shortcuts around them, for colour or larger pictures"),
    "tutorial": Model(
        tutorial.build, "two convolutions with pooling and a dense layer, as first lessons have"
    ),
}

# They come with weights that others trained: the last layer is new, and learns from few pictures.
PRETRAINED: dict[str, Model] = {
    lite0.NAME: Model(
        lite0.build, "EfficientNet-Lite0, trained on a million photographs by others, for few pictures"
    ),
}
PretrainedNetwork = lite0.Lite0 | pretrained.Pretrained  # `features` of pictures, and `head` behind them


@refuse_unknown_keywords
def build(
    name: str,
    channels: int,
    num_classes: int,
    size: tuple[int, int],
    *,
    seed: int | None = None,
    description: Mapping[str, Any] | None = None,
    fetch: bool = True,
) -> nn.Module:
    """A network of that name: float 0..1 (B, channels, H, W) -> logits (B, num_classes).

    seed         the weights depend on nothing else, and torch's own generator is left as it was; without one
                 they are drawn from that. A pretrained one has its published weights but a new last layer
    description  of a pretrained network, as `description_of` gave it: it is built without weights, which are
                 still to be loaded
    fetch        whether a pretrained one may be fetched from the hub: not where a file said its name

    Raises UsageError for an unknown name, with the nearest one, or for a size the network cannot take.
    """
    model = model_named(name)
    if description is not None:
        rebuild = lite0.rebuild if name in PRETRAINED else pretrained.rebuild
        model = model._replace(build=partial(rebuild, description))
    elif name.startswith(pretrained.PREFIX):
        model = model._replace(build=partial(pretrained.build, name, fetch=fetch))
    if seed is None:
        return model.build(channels, num_classes, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.build(channels, num_classes, size)


def model_named(name: str) -> Model:
    """The entry of MODELS or PRETRAINED of that name, or one for "hf:NAME_OR_FOLDER".

    Raises UsageError for an unknown name, with the nearest one.
    """
    if name.startswith(pretrained.PREFIX):
        return Model(partial(pretrained.build, name), "a published pretrained network with a new last layer")
    known = MODELS | PRETRAINED
    if name not in known:
        raise UsageError(f"Unknown model '{name}'. {did_you_mean(name, known)}")
    return known[name]


def is_pretrained(name: str) -> bool:
    """Whether a network of that name comes with weights that others trained."""
    return name in PRETRAINED or name.startswith(pretrained.PREFIX)


def description_of(network: nn.Module) -> dict[str, Any] | None:
    """What is needed besides the name of a network to have it again, as plain values: of a pretrained one
    what `build` takes, of a person's own what is done around it; None for others."""
    return network.to_json() if isinstance(network, PretrainedNetwork | Adapted) else None


def own_name(model: nn.Module | Build) -> str:
    """What a person's own network, or the function that builds it, is called in a recipe: "own:MyNet"."""
    named = type(model) if isinstance(model, nn.Module) else model
    return f"{OWN}{getattr(named, '__name__', type(named).__name__)}"


def own_network(
    model: nn.Module | Build, channels: int, num_classes: int, size: tuple[int, int], *, seed: int
) -> nn.Module:
    """A person's own network: the module itself, or what the function builds, its weights drawn by `seed`.

    Raises UsageError when it does not turn float (B, channels, H, W) into scores (B, num_classes).
    """
    network = _built(model, channels, num_classes, size, seed=seed)
    name = own_name(model).removeprefix(OWN)
    modes = [(module, module.training) for module in network.modules()]
    try:
        with torch.no_grad():
            scores = network.eval()(torch.zeros(2, channels, *size))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise UsageError(
            f"{name} cannot take pictures (B, {channels}, {size[0]}, {size[1]}): {error}"
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
    shape = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
    if shape != (2, num_classes):
        raise UsageError(
            f"{name} gives {shape} for 2 pictures; expected scores (2, {num_classes}), one per class, "
            "before any softmax."
        )
    return network


def opened_network(
    model: nn.Module | Build, channels: int, num_classes: int, size: tuple[int, int], how: Adaptation
) -> nn.Module:
    """A person's own network as a classifier can ask it, whatever its output is made of: the module itself,
    or what the function builds, with `how` around it. Its weights are still to be loaded.

    Raises UsageError where it does not take float (B, channels, H, W) or gives no score for each class.
    """
    network = _built(model, channels, num_classes, size, seed=0)
    try:
        return adapted(network, (channels, *size), num_classes, how)
    except UsageError as error:
        raise UsageError(f"{own_name(model).removeprefix(OWN)} does not fit. {error}") from error


def _built(
    model: nn.Module | Build, channels: int, num_classes: int, size: tuple[int, int], *, seed: int
) -> nn.Module:
    if isinstance(model, nn.Module):
        return model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model(channels, num_classes, size)
