"""The new last layer that is put on a network others trained."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class HeadSettings:
    """How the dense layer is solved.

    penalty   of half the squared weights, beside the mean cross-entropy
    balanced  whether every class counts the same, however many pictures it has
    """

    penalty: float
    balanced: bool


class Head(nn.Module):
    """Features normalised, then a dense layer.

    Each feature has mean 0 and is divided by `std`, the geometric mean of its own standard deviation and that
    of all together. Divided by its own alone, a feature that hardly ever moves would count as much as the
    others, and a picture in which it does move, far more.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.dense = nn.Linear(features, classes)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) -> logits (B, K)"""
        logits: Tensor = self.dense(self.normalized(features))
        return logits

    def normalized(self, features: Tensor) -> Tensor:
        """(B, D) -> (B, D), each of mean 0 over the training pictures"""
        return (features - self.mean) / self.std

    def fit_normalization(self, features: Tensor) -> None:
        """Takes mean and `std` from the features (N, D) of the training pictures."""
        own, mean = torch.std_mean(features, dim=0, correction=0)
        together = own.square().mean().sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(own > 1e-6, (own * together).sqrt(), 1.0))  # a constant feature stays

    def put(self, weights: Tensor) -> None:
        """Takes the weights and, in the last column, the biases (K, D + 1) of the dense layer."""
        with torch.no_grad():
            self.dense.weight.copy_(weights[:, :-1])
            self.dense.bias.copy_(weights[:, -1])
