"""The section on the network's health: what its layers cost, see, waste and know, and how they learned."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from pellucid.explanation.layer_stats import CAVEATS, LayerStats, layer_statistics
from pellucid.formatting import figure
from pellucid.language import translate
from pellucid.plots.charts import decades_chart
from pellucid.report.context import Material
from pellucid.training.diagnostics import LayerDiagnostics

EXAMINED = 512  # test pictures, at most
NAMED = 8  # channels named, at most
CURVES = 9  # layers drawn by epoch, at most


def health(material: Material) -> dict[str, Any]:
    """Every layer: shape, cost, field of view, wasted channels, what a probe reads; its pulse by epoch."""
    run = material.run
    found = layer_statistics(run.classifier, material.splits.test, pictures=EXAMINED, seed=run.recipe.seed)
    judged = [layer for layer in found.layers if layer.judged]
    knowing = max((layer for layer in judged if layer.probe is not None), key=_probe, default=None)
    return {
        "layers": [_layer(layer) for layer in found.layers],
        "pictures": found.pictures,
        "parameters": found.parameters,
        "multiply_adds": found.multiply_adds,
        "milliseconds": f"{sum(layer.seconds for layer in found.layers) * 1000:.2f}",
        "dead": sum(len(layer.dead) for layer in judged),
        "always_on": sum(len(layer.always_on) for layer in judged),
        "twins": sum(len(layer.duplicates) for layer in judged),
        "knowing": None if knowing is None else (knowing.name, _probe(knowing)),
        "charts": [Markup(chart) for chart in _charts(run.diagnostics())],
        "diagnostics": [
            {**vars(entry), "gradient": figure(entry.gradient), "update": figure(entry.update)}
            for entry in run.diagnostics()
        ],
        "caveats": {name: translate(caveat) for name, caveat in CAVEATS.items()},
    }


def _layer(layer: LayerStats) -> dict[str, Any]:
    """One row of the table."""
    return {
        "name": layer.name,
        "shape": " × ".join(str(number) for number in layer.shape),
        "parameters": layer.parameters,
        "multiply_adds": layer.multiply_adds,
        "milliseconds": f"{layer.seconds * 1000:.3f}",
        "field": None if layer.field is None else f"{layer.field[1]} × {layer.field[0]}",
        "effective": None if layer.effective_field is None else f"{layer.effective_field:.1f}",
        "judged": layer.judged,
        "dead": _named(layer.dead),
        "always_on": _named(layer.always_on),
        "twins": _named([f"{one.first} = {one.second}" for one in layer.duplicates]),
        "probe": layer.probe,
        "untrained": layer.untrained_probe,
    }


def _named(found: Sequence[object]) -> tuple[int, str]:
    """How many there are, and the first of them by name."""
    more = "" if len(found) <= NAMED else translate(" and %(count)s more", count=len(found) - NAMED)
    return len(found), ", ".join(str(one) for one in found[:NAMED]) + more


def _probe(layer: LayerStats) -> float:
    return layer.probe or 0.0


def _charts(diagnostics: list[LayerDiagnostics]) -> list[str]:
    """Gradient and update of each layer by epoch; none for a run that recorded none."""
    if not diagnostics:
        return []
    layers = list(dict.fromkeys(entry.layer for entry in diagnostics))
    layers = layers[:: -(-len(layers) // CURVES)]
    kinds = {
        "gradient": translate("Length of the gradient"),
        "update": translate("Update as a share of the weights"),
    }
    return [
        decades_chart(
            title,
            {
                layer: {entry.epoch: getattr(entry, kind) for entry in diagnostics if entry.layer == layer}
                for layer in layers
            },
        )
        for kind, title in kinds.items()
    ]
