"""Every layer has its row: what it costs, what it wastes, what can be read from it."""

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pellucid.errors import UsageError
from pellucid.report import layer_stats
from pellucid.report.context import ReportContext
from pellucid.runs.run import Run
from pellucid.training.diagnostics import LayerDiagnostics
from tests.networks import Wasteful
from tests.pages import section as part
from tests.report.sections import drawn, with_network


@pytest.fixture(scope="module")
def found(context: ReportContext) -> layer_stats.LayerStatsSection:
    return layer_stats.gather(context)


def test_layer_statistics_have_every_layer_and_a_run_without_diagnostics_says_so(
    context: ReportContext, found: layer_stats.LayerStatsSection, tmp_path: Path
) -> None:
    assert [layer.name for layer in found.layers][:2] == ["conv1", "pool1"]
    assert len(found.charts) == 2
    assert all("<svg" in chart and "conv1" in chart for chart in found.charts)
    assert found.parameters == sum(w.numel() for w in context.run.classifier.network.parameters())
    folder = Path(shutil.copytree(context.run.folder, tmp_path / "old"))
    (folder / "diagnostics.csv").unlink()
    old = replace(context, run=replace(context.run, folder=folder))
    section = layer_stats.gather(old)
    assert section.charts == []
    assert "This run recorded no diagnostics." in drawn("layer_stats", section)[1]


def test_costs_are_those_of_the_arithmetic(found: layer_stats.LayerStatsSection) -> None:
    """conv1: 16 filters of 3x3 over 16x16 pixels; dense1 and dense2 as their matrices."""
    rows = {row.name: row for row in found.layers}
    assert rows["conv1"].shape == "16 × 16 × 16"
    assert rows["conv1"].parameters == 16 * 9 + 16
    assert rows["conv1"].multiply_adds == 16 * 9 * 16 * 16
    assert rows["conv2"].multiply_adds == 32 * 16 * 9 * 8 * 8
    assert rows["dense2"].parameters == int(rows["dense1"].shape) * 4 + 4
    assert rows["dense2"].multiply_adds == int(rows["dense1"].shape) * 4
    assert rows["conv1"].receptive_field == "3 × 3"
    assert rows["dense1"].receptive_field == "all"
    assert found.multiply_adds == sum(row.multiply_adds for row in found.layers)
    assert found.pictures == 48


def test_times_add_up(found: layer_stats.LayerStatsSection) -> None:
    total = sum(float(row.milliseconds) for row in found.layers)
    assert float(found.milliseconds) == pytest.approx(total, abs=0.02)
    assert total > 0


def test_dead_always_on_and_twin_channels_are_named(context: ReportContext) -> None:
    torch.manual_seed(0)
    section = layer_stats.gather(with_network(context, Wasteful(16, 4)))
    rows = {row.name: row for row in section.layers}
    assert rows["relu"].dead == layer_stats.ChannelList(1, "2")
    assert rows["relu"].always_on == layer_stats.ChannelList(1, "3")
    assert "0 = 1" in rows["relu"].twins.names
    assert rows["conv"].dead.count == 0
    assert not rows["pool"].judged
    assert (section.dead, section.always_on) == (1, 1)
    answer, body = drawn("layer_stats", section)
    assert "On 48 test pictures: <b>1 channel is dead</b>, 1 is always on" in answer
    assert "Dead: 2." in body
    assert "Always on: 3." in body


def test_of_many_channels_the_first_are_named_and_the_others_counted(context: ReportContext) -> None:
    torch.manual_seed(0)
    silent = nn.Sequential(nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 14 * 14, 4))
    with torch.no_grad():
        silent[0].weight.zero_()
        silent[0].bias.fill_(-1.0)
    rows = {row.name: row for row in layer_stats.gather(with_network(context, silent)).layers}
    assert rows["1"].dead == layer_stats.ChannelList(12, "0, 1, 2, 3, 4, 5, 6, 7 and 4 more")


def test_a_layer_is_named_where_it_leads_and_several_where_none_does(
    context: ReportContext, found: layer_stats.LayerStatsSection
) -> None:
    stats = context.layer_statistics
    shares = {layer.name: layer.probe or 0.0 for layer in stats.layers}
    best = max((layer.name for layer in stats.layers if layer.judged), key=lambda name: shares[name])
    assert best in stats.leading

    def sentence(*names: str) -> str:
        other = replace(context)
        other.__dict__["layer_statistics"] = replace(stats, leading=names)
        return layer_stats.gather(other).probes

    assert sentence("dense2").startswith("Most can be read from dense2: a linear probe on it is right on ")
    assert ", 95 % interval " in sentence("dense2")
    assert "from dense1 and dense2, about equally on 48 pictures" in sentence("dense1", "dense2")
    assert "no layer leads: linear probes on 4 of them" in sentence("conv1", "conv2", "dense1", "dense2")
    assert sentence() == ""


def test_headline_layers_and_table_count_the_same_channels_on_the_same_pictures(page: str) -> None:
    headline = re.search(r"channels</a> stayed silent on (\d+) test pictures", page)
    table = re.search(r"On (\d+) test pictures:", page)
    assert headline is not None
    assert table is not None
    assert headline[1] == table[1] == "48"
    assert "With 95 % confidence it responds to fewer than 6.1 % of such pictures." in page


def test_the_untrained_network_is_the_run_s_own(context: ReportContext) -> None:
    assert "the same weights, drawn again by the run's seed" in layer_stats.gather(context).untrained
    other = replace(context)
    other.__dict__["initial_network"] = None
    section = layer_stats.gather(other)
    assert "nothing is shown" in section.untrained
    assert all(row.untrained_probe is None for row in section.layers)
    assert all(row.probe is not None for row in section.layers)


def test_published_weights_that_are_no_longer_installed_cost_a_column_and_no_section(
    context: ReportContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(run: Run) -> None:
        raise UsageError("The package with the weights is not installed.")

    monkeypatch.setattr("pellucid.report.context.initial_network", missing)
    assert "nothing is shown" in layer_stats.gather(replace(context)).untrained


def test_diagnostics_are_the_rows_of_the_table(
    context: ReportContext, found: layer_stats.LayerStatsSection
) -> None:
    with (context.run.folder / "diagnostics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(str(row.epoch), row.layer) for row in found.diagnostics] == [
        (row["epoch"], row["layer"]) for row in rows
    ]
    assert [float(row.gradient_norm) for row in found.diagnostics] == pytest.approx(
        [float(row["gradient_norm"]) for row in rows], rel=6e-3
    )


@pytest.mark.parametrize(("layers", "drawn"), [(2, 2), (9, 9), (10, 5), (30, 8)])
def test_of_many_layers_some_are_drawn_evenly(
    context: ReportContext, monkeypatch: pytest.MonkeyPatch, layers: int, drawn: int
) -> None:
    entries = [LayerDiagnostics(epoch, f"layer{n}", 1.0 + n, 1e-3) for epoch in (1, 2) for n in range(layers)]
    monkeypatch.setattr(Run, "diagnostics", lambda _: entries)
    section = layer_stats.gather(context)
    for chart in section.charts:
        names = set(re.findall(r"layer\d+", chart))
        assert len(names) == drawn
        assert "layer0" in names
    assert len(section.diagnostics) == 2 * layers


def test_its_caveat_is_printed(page: str) -> None:
    assert "need not use what a probe can read" in part(page, "layer_stats")
