"""The section on layer statistics: cost, receptive field, unused channels, probes, gradients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from pellucid.explanation.layer_names import layer_title
from pellucid.explanation.layer_stats import CAVEATS, LayerStats, layer_statistics
from pellucid.formatting import figure
from pellucid.language import translate
from pellucid.plots.charts import log_chart
from pellucid.plots.images import Atlas
from pellucid.report.context import ReportContext
from pellucid.report.evidence import passes_affordable
from pellucid.training.diagnostics import LayerDiagnostics

MAX_PICTURES, MIN_PICTURES = 512, 60  # test pictures that statistics are computed on
MAX_MULTIPLY_ADDS = 16_000_000_000  # of the network over these pictures
MAX_CHANNELS_NAMED = 8  # per layer and kind
MAX_CURVES = 9  # layers drawn by epoch


@dataclass(frozen=True)
class ChannelList:
    """How many channels there are of a kind, and the first of them by name."""

    count: int
    names: str


@dataclass(frozen=True)
class LayerRow:
    """One layer's row of the table.

    receptive_field  width x height in pixels; None where there is none
    effective_field  side in pixels of the part that matters in practice; None where there is none
    judged           whether channels were counted: dead, always on, twins
    probe            accuracy 0..1 of a linear probe on the layer
    untrained_probe  accuracy 0..1 of a linear probe on the untrained layer
    """

    name: str
    title: str
    shape: str
    parameters: int
    multiply_adds: int
    milliseconds: str
    receptive_field: str | None
    effective_field: str | None
    judged: bool
    dead: ChannelList
    always_on: ChannelList
    twins: ChannelList
    probe: float | None
    untrained_probe: float | None

    @property
    def named(self) -> bool:
        """Whether the page names some of its channels."""
        return bool(self.dead.count or self.always_on.count or self.twins.count)


@dataclass(frozen=True)
class DiagnosticsRow:
    """One layer at the step halfway through an epoch."""

    epoch: int
    layer: str
    gradient_norm: str
    update_ratio: str


@dataclass(frozen=True)
class LayerStatsSection:
    """Every layer: shape, cost, receptive field, wasted channels, probe; gradient and update by epoch.

    best_probe   the layer whose probe is most accurate, with that accuracy
    caveats      by what they are about: channels, probe, field
    several_labels  whether pictures can have several labels; a probe is right when all of them are
    """

    layers: list[LayerRow]
    pictures: int
    parameters: int
    multiply_adds: int
    milliseconds: str
    dead: int
    always_on: int
    twins: int
    best_probe: tuple[str, float] | None
    charts: list[Markup]
    diagnostics: list[DiagnosticsRow]
    caveats: Mapping[str, str]
    several_labels: bool
    atlases: Mapping[str, Atlas] = field(default_factory=dict)


def gather(context: ReportContext) -> LayerStatsSection:
    """Every layer: shape, cost, receptive field, wasted channels, probe; gradient and update by epoch."""
    run, test = context.run, context.splits.test
    affordable = passes_affordable(run.classifier, test, MAX_MULTIPLY_ADDS)
    pictures = max(MIN_PICTURES, min(MAX_PICTURES, affordable))
    found = layer_statistics(run.classifier, test, pictures=pictures, seed=run.recipe.seed)
    judged = [layer for layer in found.layers if layer.judged]
    probes = [(layer_title(layer.name), layer.probe) for layer in judged if layer.probe is not None]
    return LayerStatsSection(
        layers=[_row(layer) for layer in found.layers],
        pictures=found.pictures,
        parameters=found.parameters,
        multiply_adds=found.multiply_adds,
        milliseconds=f"{sum(layer.seconds for layer in found.layers) * 1000:.2f}",
        dead=sum(len(layer.dead) for layer in judged),
        always_on=sum(len(layer.always_on) for layer in judged),
        twins=sum(len(layer.duplicates) for layer in judged),
        best_probe=max(probes, key=lambda probe: probe[1], default=None),
        charts=[Markup(chart) for chart in _charts(run.diagnostics())],
        diagnostics=[
            DiagnosticsRow(entry.epoch, entry.layer, figure(entry.gradient_norm), figure(entry.update_ratio))
            for entry in run.diagnostics()
        ],
        caveats={name: translate(caveat) for name, caveat in CAVEATS.items()},
        several_labels=context.splits.test.multi_label,
    )


def _row(layer: LayerStats) -> LayerRow:
    return LayerRow(
        name=layer.name,
        title=layer_title(layer.name),
        shape=" × ".join(str(number) for number in layer.shape),
        parameters=layer.parameters,
        multiply_adds=layer.multiply_adds,
        milliseconds=f"{layer.seconds * 1000:.3f}",
        receptive_field=None if layer.field is None else f"{layer.field[1]} × {layer.field[0]}",
        effective_field=None if layer.effective_field is None else f"{layer.effective_field:.1f}",
        judged=layer.judged,
        dead=_channel_list(layer.dead),
        always_on=_channel_list(layer.always_on),
        twins=_channel_list([f"{twin.first} = {twin.second}" for twin in layer.duplicates]),
        probe=layer.probe,
        untrained_probe=layer.untrained_probe,
    )


def _channel_list(channels: Sequence[object]) -> ChannelList:
    more = (
        ""
        if len(channels) <= MAX_CHANNELS_NAMED
        else translate(" and %(count)s more", count=len(channels) - MAX_CHANNELS_NAMED)
    )
    return ChannelList(
        len(channels), ", ".join(str(channel) for channel in channels[:MAX_CHANNELS_NAMED]) + more
    )


def _charts(diagnostics: list[LayerDiagnostics]) -> list[str]:
    """Gradient and update of each layer by epoch; none for a run that recorded none."""
    if not diagnostics:
        return []
    layers = list(dict.fromkeys(entry.layer for entry in diagnostics))
    layers = layers[:: -(-len(layers) // MAX_CURVES)]
    gradients: dict[str, dict[int, float]] = {layer: {} for layer in layers}
    updates: dict[str, dict[int, float]] = {layer: {} for layer in layers}
    for entry in diagnostics:
        if entry.layer in gradients:
            gradients[entry.layer][entry.epoch] = entry.gradient_norm
            updates[entry.layer][entry.epoch] = entry.update_ratio
    return [
        log_chart(translate("Gradient norm"), gradients),
        log_chart(translate("Update ratio: size of a step against the weights"), updates),
    ]
