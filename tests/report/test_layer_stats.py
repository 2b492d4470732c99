"""Layer statistics have every layer."""

from dataclasses import replace

from pellucid.report import layer_stats
from pellucid.report.context import ReportContext


def test_layer_statistics_have_every_layer_and_a_run_without_diagnostics_says_so(
    context: ReportContext,
) -> None:
    section_ = layer_stats.gather(context)
    assert [layer.name for layer in section_.layers][:2] == ["conv1", "pool1"]
    assert len(section_.charts) == 2
    assert all("<svg" in chart and "conv1" in chart for chart in section_.charts)
    assert section_.parameters == sum(w.numel() for w in context.run.classifier.network.parameters())
    old = replace(context, run=replace(context.run, folder=context.run.folder / "elsewhere"))
    assert layer_stats.gather(old).charts == []
