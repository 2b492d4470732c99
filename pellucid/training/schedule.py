"""The learning rate of every step: one-cycle, linear or constant."""

import math

from pellucid.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The rate of the `step`th update, counted from 0 over the whole training.

    "one-cycle" (after Smith and Topin, arXiv:1708.07120) rises linearly for a quarter of the training and
    falls to zero along a cosine; "linear" rises for a tenth and falls linearly.
    """
    if recipe.schedule == "constant":
        return recipe.learning_rate
    progress = (step + 1) / (recipe.epochs * steps_per_epoch + 1)
    if recipe.schedule == "linear":
        return recipe.learning_rate * min(progress / 0.1, (1 - progress) / 0.9)
    if progress < 0.25:
        return recipe.learning_rate * progress / 0.25
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - 0.25) / 0.75))
