"""Kinds of map that must not be believed of any network, for the tests of maps to tell from true ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.faithfulness import edges

Method = Callable[[nn.Module, Tensor, Any], Tensor]


class _Guided(torch.autograd.Function):
    """A ReLU that lets no negative gradient through; where `seen`, none at negative places either."""

    @staticmethod
    def forward(context: Any, values: Tensor, seen: bool) -> Tensor:
        context.save_for_backward(values)
        context.seen = seen
        return values.clamp_min(0)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (values,) = context.saved_tensors
        passed = gradients[0].clamp_min(0)
        return (passed * (values > 0) if context.seen else passed), None


@contextmanager
def _relus(*, seen: bool) -> Iterator[None]:
    """Inside the block every ReLU, however it is written, is of that kind."""
    names = [(torch, "relu"), (torch, "relu_"), (Tensor, "relu"), (Tensor, "relu_")]
    names += [(functional, "relu"), (functional, "relu_")]
    before = [getattr(place, name) for place, name in names]

    def guided(values: Tensor, *_: Any, **__: Any) -> Tensor:
        found: Tensor = _Guided.apply(values, seen)
        return found

    try:
        for place, name in names:
            setattr(place, name, guided)
        yield
    finally:
        for (place, name), original in zip(names, before, strict=True):
            setattr(place, name, original)


def _backward(network: nn.Module, images: Tensor, target: Any, *, seen: bool) -> Tensor:
    images = images.detach().clone().requires_grad_()
    with torch.enable_grad(), _relus(seen=seen):
        scores = network(images)
        rows = torch.as_tensor(target).expand(len(images))
        return torch.autograd.grad(scores.gather(1, rows[:, None]).sum(), images)[0]


def guided_backprop(network: nn.Module, images: Tensor, target: Any) -> Tensor:
    """Springenberg et al., arXiv:1412.6806."""
    return _backward(network, images, target, seen=True).sum(dim=1)


def guided_backprop_times_picture(network: nn.Module, images: Tensor, target: Any) -> Tensor:
    return (_backward(network, images, target, seen=True) * images).sum(dim=1)


def deconvnet(network: nn.Module, images: Tensor, target: Any) -> Tensor:
    """Zeiler and Fergus, arXiv:1311.2901."""
    return _backward(network, images, target, seen=False).sum(dim=1)


def deconvnet_times_picture(network: nn.Module, images: Tensor, target: Any) -> Tensor:
    return (_backward(network, images, target, seen=False) * images).sum(dim=1)


def noise(network: nn.Module, images: Tensor, target: Any) -> Tensor:
    """Never asks the network, and looks at the picture only to be another one for each."""
    rows = []
    for image in images:
        seed = int((image.double().sum() * 1e6).round()) % (1 << 31)
        rows.append(torch.rand(image.shape[1:], generator=torch.Generator().manual_seed(seed)) - 0.5)
    return torch.stack(rows)


def negated(network: nn.Module, images: Tensor, target: Any) -> Tensor:
    return -EXPLAINERS["integrated gradients"].function(network, images, target, steps=16)


def edges_of_the_picture(network: nn.Module, images: Tensor, target: Any) -> Tensor:
    return edges(images)


def class_average_of(images: Tensor) -> Method:
    """The mean map of those of `images` that are predicted as a class: the same for all pictures of it."""

    def class_average(network: nn.Module, pictures: Tensor, target: Any) -> Tensor:
        with torch.no_grad():
            answers = network(images).argmax(dim=1)
        maps = EXPLAINERS["integrated gradients"].function(network, images, answers, steps=16)
        rows = []
        for wanted in torch.as_tensor(target).expand(len(pictures)).tolist():
            of_class = maps[answers == wanted]
            rows.append(of_class.mean(dim=0) if len(of_class) else maps.mean(dim=0))
        return torch.stack(rows)

    return class_average


WRONG: dict[str, Method] = {
    "random noise": noise,
    "negated": negated,
    "edges of the picture": edges_of_the_picture,
    "guided backprop": guided_backprop,
    "guided backprop x picture": guided_backprop_times_picture,
    "deconvnet": deconvnet,
    "deconvnet x picture": deconvnet_times_picture,
}
