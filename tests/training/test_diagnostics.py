"""A training's pulse: the gradient and the update of each layer, measured beside it and changing nothing."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pellucid.data.dataset import Origin
from pellucid.errors import PellucidError
from pellucid.recipe import Recipe
from pellucid.runs.fit import fit
from pellucid.runs.run import Run
from pellucid.training.diagnostics import diagnostics, weights_now
from pellucid.training.loop import Progress, train
from tests.toys import toy_splits


def test_lengths_are_those_of_gradient_and_step() -> None:
    network = nn.Sequential(nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[3.0, 4.0]]))
    before = weights_now(network)
    network[0].weight.grad = torch.tensor([[5.0, 12.0]])
    with torch.no_grad():
        network[0].weight -= torch.tensor([[0.03, 0.04]])
    (entry,) = diagnostics(network, before, 7)
    assert (entry.epoch, entry.layer) == (7, "0")
    assert entry.gradient_norm == pytest.approx(13)
    assert entry.update_ratio == pytest.approx(0.01, rel=1e-4)


def test_every_epoch_leaves_one_entry_a_layer_and_the_folder_keeps_them(tmp_path: Path) -> None:
    splits = toy_splits()
    run = fit(
        splits.train, splits.validation, Recipe(epochs=2), folder=tmp_path / "run", origin=Origin("toy")
    )
    found = Run.open(run.folder).diagnostics()
    layers = [entry.layer for entry in found if entry.epoch == 1]
    assert {entry.epoch for entry in found} == {1, 2}
    assert len(set(layers)) == len(layers) == len(found) / 2
    assert all(entry.gradient_norm > 0 and 0 < entry.update_ratio < 1 for entry in found)
    (run.folder / "diagnostics.csv").write_text("epoch,layer\nnone,conv1\n")
    with pytest.raises(PellucidError, match="damaged"):
        _ = run.diagnostics()
    (run.folder / "diagnostics.csv").unlink()
    assert run.diagnostics() == []


def test_a_progress_put_into_a_file_and_back_keeps_its_pulses() -> None:
    splits, progress = toy_splits(), Progress()
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(splits.train.images[0].numel(), len(splits.train.classes))
    )
    for _ in train(network, splits.train, splits.validation, Recipe(epochs=1), progress=progress):
        pass
    tensors, facts = progress.to_tensors()
    assert progress.diagnostics
    assert Progress.from_tensors(tensors, facts).diagnostics == progress.diagnostics
