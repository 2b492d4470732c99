"""What augmentation made of the first pictures trained on."""

from typing import Any

import torch

from pellucid.language import translate
from pellucid.plots.images import fitted_atlas, zoom
from pellucid.report.context import Material, cell
from pellucid.training.augment import AUGMENTATIONS, parse_augmentations
from pellucid.training.loop import first_batch

SHOWN = 8
BUDGET = 300_000  # characters of the image's address, at most


def preview(material: Material) -> dict[str, Any] | None:
    """The first pictures of the first step, before and after; None where nothing was augmented."""
    recipe, train = material.run.recipe, material.splits.train
    names = [] if recipe.augment == "auto" else parse_augmentations(recipe.augment)
    if not names:
        return None
    batch, images, targets = first_batch(train, recipe)
    after = (images[:SHOWN] * 255).round().clamp(0, 255).to(torch.uint8)  # (8, C, H, W)
    shown = len(after)
    atlas = fitted_atlas(torch.cat([train.images[batch[:SHOWN]], after]), budget=BUDGET, side=96)
    if atlas.count < 2 * shown:
        return None
    told = [_told(train.classes, target) for target in targets[:SHOWN]]
    labels = [[train.classes[label]] for label in train.labels[batch[:SHOWN]].tolist()]
    return {
        "atlas": atlas,
        "zoom": zoom(atlas, 96),
        "small": zoom(atlas, 64),
        "before": [(cell(atlas, place), label) for place, label in enumerate(labels)],
        "after": [(cell(atlas, shown + place), says) for place, says in enumerate(told)],
        "phrases": [(name, translate(AUGMENTATIONS[name].phrase.replace("%", "%%"))) for name in names],
        "remark": atlas.remark,
    }


def _told(classes: tuple[str, ...], target: torch.Tensor) -> list[str]:
    """The class, or of a mixed picture each with its share, as far as it is a hundredth."""
    if target.dim() == 0:
        return [classes[int(target)]]
    shares = sorted(((round(share * 100), k) for k, share in enumerate(target.tolist())), reverse=True)
    return [f"{share} % {classes[k]}" for share, k in shares if share]
