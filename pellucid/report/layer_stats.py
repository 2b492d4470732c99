"""The section on layer statistics: cost, receptive field, unused channels, probes, gradients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from pellucid.evaluation.metrics import wilson
from pellucid.explanation.layer_names import layer_title
from pellucid.explanation.layer_stats import CAVEATS, Field, LayerStats, NetworkStats
from pellucid.formatting import figure, percent
from pellucid.language import translate
from pellucid.plots.charts import log_chart
from pellucid.plots.images import Atlas
from pellucid.report.context import ReportContext
from pellucid.runs.initial import InitialNetwork
from pellucid.training.diagnostics import LayerDiagnostics

MAX_CHANNELS_NAMED = 8  # per layer and kind
MAX_CURVES = 9  # layers drawn by epoch
MAX_LEADING = 3  # layers that are named where most can be read from several


@dataclass(frozen=True)
class ChannelList:
    """How many channels there are of a kind, and the first of them by name."""

    count: int
    names: str


@dataclass(frozen=True)
class LayerRow:
    """One layer's row of the table.

    receptive_field  width x height in pixels, or in words
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
    receptive_field: str
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

    probes       from which layers most can be read, in a sentence; "" without any
    untrained    what the untrained network of the table is, in a sentence
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
    probes: str
    untrained: str
    charts: list[Markup]
    diagnostics: list[DiagnosticsRow]
    caveats: Mapping[str, str]
    several_labels: bool
    atlases: Mapping[str, Atlas] = field(default_factory=dict)


def gather(context: ReportContext) -> LayerStatsSection:
    """Every layer: shape, cost, receptive field, wasted channels, probe; gradient and update by epoch."""
    run, found = context.run, context.layer_statistics
    judged = [layer for layer in found.layers if layer.judged]
    return LayerStatsSection(
        layers=[_row(layer) for layer in found.layers],
        pictures=found.pictures,
        parameters=found.parameters,
        multiply_adds=found.multiply_adds,
        milliseconds=f"{sum(layer.seconds for layer in found.layers) * 1000:.2f}",
        dead=sum(len(layer.dead) for layer in judged),
        always_on=sum(len(layer.always_on) for layer in judged),
        twins=sum(len(layer.duplicates) for layer in judged),
        probes=_leading(found),
        untrained=_untrained(context.initial_network),
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
        receptive_field=_field(layer.field),
        effective_field=None if layer.effective_field is None else f"{layer.effective_field:.1f}",
        judged=layer.judged,
        dead=_channel_list(layer.dead),
        always_on=_channel_list(layer.always_on),
        twins=_channel_list([f"{twin.first} = {twin.second}" for twin in layer.duplicates]),
        probe=layer.probe,
        untrained_probe=layer.untrained_probe,
    )


def _field(found: Field | None) -> str:
    if found is None:
        return translate("unknown")
    return translate("all") if found == "whole" else f"{found[1]} × {found[0]}"


def _leading(found: NetworkStats) -> str:
    """From which layer most can be read; where the lead of none is beyond chance, from which of them."""
    leading = [layer for layer in found.layers if layer.name in found.leading and layer.probe is not None]
    shares = sorted(layer.probe or 0.0 for layer in leading)
    names = [layer_title(layer.name) for layer in leading]
    if not leading:
        return ""
    if len(leading) == 1:
        low, high = (percent(end) for end in wilson(shares[0], found.pictures))
        return translate(
            "Most can be read from %(layer)s: a linear probe on it is right on %(share)s, 95 %% interval "
            "%(low)s to %(high)s.",
            layer=names[0], share=percent(shares[0]), low=low, high=high,
        )  # fmt: skip
    values = {"low": percent(shares[0]), "high": percent(shares[-1]), "pictures": f"{found.pictures:,}"}
    if len(leading) > MAX_LEADING:
        return translate(
            "On %(pictures)s pictures no layer leads: linear probes on %(count)s of them read about as much, "
            "right on %(low)s to %(high)s.",
            count=len(leading), **values,
        )  # fmt: skip
    return translate(
        "Most can be read from %(layers)s, about equally on %(pictures)s pictures: linear probes on them are "
        "right on %(low)s to %(high)s.",
        layers=translate(" and ").join(names), **values,
    )  # fmt: skip


def _untrained(initial: InitialNetwork | None) -> str:
    """What the untrained network of the table is."""
    if initial is None:
        return translate(
            "Of the untrained network nothing is shown: the weights before the first step are not at hand."
        )
    if initial.source == "published":
        return translate(
            "The untrained network has the published weights, and a last layer drawn by the run's seed."
        )
    if initial.warm:
        return translate(
            "The untrained network is this one before its first step, with the weights it took from an "
            "earlier run, rounded to 16 bits."
        )
    if initial.source == "snapshot":
        return translate(
            "The untrained network is this one before its first step, its weights rounded to 16 bits."
        )
    return translate(
        "The untrained network is this one before its first step: the same weights, drawn again by the "
        "run's seed."
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
