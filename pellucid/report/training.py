"""The section on how training went."""

from typing import Any

from markupsafe import Markup

from pellucid.language import translate
from pellucid.plots import charts
from pellucid.report.augmentation import preview
from pellucid.report.context import Material


def training(material: Material) -> dict[str, Any]:
    """Loss and accuracy by epoch, and which epoch was kept."""
    history = material.run.history
    augmented = preview(material)
    drawn = [
        charts.line_chart(translate("Loss by epoch, nats"), history, ("loss", "val_loss"), unit="nats"),
        charts.line_chart(
            translate("Accuracy by epoch"), history, ("accuracy", "val_accuracy"), unit="share"
        ),
    ]
    return {
        "atlases": {"augmented": augmented["atlas"]} if augmented else {},
        "augmented": augmented,
        "best": material.run.best,
        "charts": [Markup(chart) for chart in drawn] if history else [],
        "history": history,
        "seconds": history[-1].seconds if history else 0.0,
        "recipe": material.run.recipe,
        "weights": sum(weight.numel() for weight in material.run.classifier.network.parameters()),
        "pictures": len(material.splits.train),
    }
