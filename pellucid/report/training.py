"""The section on how training went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pellucid.language import translate
from pellucid.models.head import HeadSettings
from pellucid.plots import charts
from pellucid.plots.images import Atlas
from pellucid.recipe import Recipe
from pellucid.report.augmentation import AugmentationPreview, preview
from pellucid.report.context import ReportContext
from pellucid.runs.choose import Candidate
from pellucid.runs.trained import AllPictures
from pellucid.runs.warm_start import WarmStart
from pellucid.training.loop import Epoch


@dataclass(frozen=True)
class TrainingSection:
    """Loss and accuracy by epoch, and which epoch's weights the network has.

    augmentation  what augmentation made of the first pictures; None where there was none
    several_labels  whether pictures can have several labels, so that accuracy means every label of a picture
    candidates    the networks that were tried before this one was chosen; none where it was asked for
    again         the training on all pictures that gave the weights; None where some are held out
    folds         the number of folds before that; 0 for none
    head          how the last layer of a pretrained network was solved
    warm_start    what was taken from an earlier run; None for published or new weights
    best          the epoch with the lowest validation loss; None when training stopped before the first
    lost          whether there were epochs of which metrics.csv no longer tells
    """

    atlases: Mapping[str, Atlas]
    augmentation: AugmentationPreview | None
    best: Epoch | None
    charts: list[Markup]
    history: Sequence[Epoch]
    seconds: float
    recipe: Recipe
    weights: int
    pictures: int
    candidates: list[Candidate]
    again: AllPictures | None
    folds: int
    head: HeadSettings | None
    warm_start: WarmStart | None
    several_labels: bool
    lost: bool


def gather(context: ReportContext) -> TrainingSection:
    """Loss and accuracy by epoch, and which epoch's weights the network has."""
    run = context.run
    assert run.recipe is not None  # of a network that was trained elsewhere this is left out
    history, taken = run.history, run.environment.get("warm_start")
    augmentation = preview(context)
    drawn = [
        charts.line_chart(translate("Loss by epoch, nats"), history, ("loss", "val_loss"), unit="nats"),
        charts.line_chart(
            translate("Share of pictures with every label right, by epoch")
            if context.splits.train.multi_label
            else translate("Accuracy by epoch"),
            history,
            ("accuracy", "val_accuracy"),
            unit="share",
        ),
    ]
    return TrainingSection(
        atlases={"augmented": augmentation.atlas} if augmentation else {},
        augmentation=augmentation,
        best=run.best,
        charts=[Markup(chart) for chart in drawn] if history else [],
        history=history,
        seconds=history[-1].seconds if history else 0.0,
        recipe=run.recipe,
        weights=sum(weight.numel() for weight in run.classifier.network.parameters()),
        pictures=len(context.splits.train),
        candidates=[Candidate.from_json(values) for values in run.environment.get("candidates", [])],
        again=run.all_pictures,
        folds=run.recipe.folds,
        head=run.head,
        warm_start=WarmStart.from_json(taken) if taken else None,
        several_labels=context.splits.train.multi_label,
        lost=run.epochs > 0 and not history,
    )
