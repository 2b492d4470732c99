"""Where the evidence lies: maps of a picture that say which places speak for an answer."""

import torch
from torch import Tensor, nn

from pellucid.classifier import evaluating
from pellucid.explanation.activations import last_spatial_layer, listening


def gradient_times_activation(network: nn.Module, images: Tensor, target: int) -> Tensor:
    """Signed evidence (B, h, w) at the last layer that has maps: gradient times activation, summed over
    channels (HiResCAM: Draelos and Carin, arXiv:2011.08891).

    Positive cells speak for class `target`, negative ones against. Where only linear layers follow, all
    cells add up to the logit less the bias.
    """
    layer = last_spatial_layer(network, images)
    heard: list[Tensor] = []
    modules = {layer: dict(network.named_modules())[layer]}
    with evaluating(network), torch.random.fork_rng(devices=[]), torch.enable_grad():
        with listening(modules, lambda name, output: heard.append(output)):
            logits = network(images.detach().clone().requires_grad_())  # (B, K)
        (gradient,) = torch.autograd.grad(logits[:, target].sum(), heard[-1])
    return (gradient * heard[-1]).detach().sum(dim=1)  # (B, h, w)
