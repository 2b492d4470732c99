"""The first training pictures before and after augmentation."""

from dataclasses import dataclass

import torch

from pellucid.language import translate
from pellucid.plots.images import Atlas, Cell, fitted_atlas, zoom
from pellucid.report.context import ReportContext
from pellucid.training.augment import AUGMENTATIONS, parse_augmentations
from pellucid.training.loop import first_batch

MAX_PICTURES = 8
MAX_ATLAS_CHARACTERS = 300_000  # of its data URL


@dataclass(frozen=True)
class LabelledCell:
    """A picture in the atlas with its class, or of a mixed one each class with its share."""

    cell: Cell
    labels: list[str]


@dataclass(frozen=True)
class AugmentationPreview:
    """The first pictures of the first step, before and after augmentation.

    descriptions  name and description of each augmentation
    """

    atlas: Atlas
    zoom: int
    small_zoom: int
    before: list[LabelledCell]
    after: list[LabelledCell]
    descriptions: list[tuple[str, str]]
    remark: str


def preview(context: ReportContext) -> AugmentationPreview | None:
    """The first pictures of the first step, before and after; None where nothing was augmented."""
    recipe, train = context.run.recipe, context.splits.train
    if recipe is None:
        return None
    names = [] if recipe.augment == "auto" else parse_augmentations(recipe.augment)
    if not names:
        return None
    batch, images, targets = first_batch(train, recipe)
    after = (images[:MAX_PICTURES] * 255).round().clamp(0, 255).to(torch.uint8)  # (8, C, H, W)
    shown = len(after)
    atlas = fitted_atlas(
        torch.cat([train.images[batch[:MAX_PICTURES]], after]), budget=MAX_ATLAS_CHARACTERS, side=96
    )
    if atlas.count < 2 * shown:
        return None
    labels = [_labels_of(train.classes, label) for label in train.labels[batch[:MAX_PICTURES]]]
    mixed = [_labels_of(train.classes, target) for target in targets[:MAX_PICTURES]]
    return AugmentationPreview(
        atlas=atlas,
        zoom=zoom(atlas, 96),
        small_zoom=zoom(atlas, 64),
        before=[LabelledCell(atlas.cell(number), classes) for number, classes in enumerate(labels)],
        after=[LabelledCell(atlas.cell(shown + number), classes) for number, classes in enumerate(mixed)],
        descriptions=[(name, translate(AUGMENTATIONS[name].phrase.replace("%", "%%"))) for name in names],
        remark=atlas.remark,
    )


def _labels_of(classes: tuple[str, ...], target: torch.Tensor) -> list[str]:
    """The class of a picture, or all its labels; of a mixed one each with its share, from half a percent."""
    if target.dim() == 0:
        return [classes[int(target)]]
    if target.dtype == torch.bool:
        return [name for name, present in zip(classes, target.tolist(), strict=True) if present]
    shares = sorted(((round(share * 100), k) for k, share in enumerate(target.tolist())), reverse=True)
    return [f"{share} % {classes[k]}" for share, k in shares if share]
