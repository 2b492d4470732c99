"""How the learning rate goes up and down over a training."""

import math

from pellucid.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps_an_epoch: int) -> float:
    """The rate of the `step`th update, counted from 0 over the whole training.

    "one-cycle" climbs in a straight line for a quarter of the way and falls by a cosine to nothing; "linear"
    climbs for a tenth of it and falls in a straight line.
    """
    if recipe.schedule == "constant":
        return recipe.learning_rate
    progress = (step + 1) / (recipe.epochs * steps_an_epoch + 1)
    if recipe.schedule == "linear":
        return recipe.learning_rate * min(progress / 0.1, (1 - progress) / 0.9)
    if progress < 0.25:
        return recipe.learning_rate * progress / 0.25
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - 0.25) / 0.75))
