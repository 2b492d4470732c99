"""Snapshots are taken where most is learned, change nothing, and are the same after a resume."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pellucid.errors import PellucidError
from pellucid.models import build
from pellucid.runs.fit import fit, resume
from pellucid.runs.run import Run
from pellucid.training import snapshots
from pellucid.training.loop import Step, train
from pellucid.training.snapshots import (
    MAX_SNAPSHOTS,
    SNAPSHOTS,
    SnapshotRecorder,
    plan_snapshots,
    read_snapshots,
)
from tests.resealed import reseal
from tests.toys import CLASSES, QUICK, economical, same_weights, toy_splits

SPLITS = toy_splits()
SHORT = replace(QUICK, epochs=2)


@pytest.fixture(autouse=True)
def cheaply():
    with economical():
        yield


def started(folder: Path, **options) -> Run:
    return fit(SPLITS.train, SPLITS.validation, SHORT, folder=folder, **options)


@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (2, 3), (4, 375), (20, 1500), (30, 18), (500, 2)])
def test_snapshots_begin_untrained_are_dense_early_and_end_at_the_end(epochs: int, steps: int) -> None:
    plan = plan_snapshots(epochs, steps)
    assert plan == sorted(set(plan))
    assert len(plan) <= MAX_SNAPSHOTS
    assert (plan[0], plan[1], plan[-1]) == (0, 1, epochs * steps)
    ratios = [(after + 1) / (before + 1) for before, after in zip(plan, plan[1:], strict=False)]
    assert max(ratios) <= 8  # no long gap on a logarithmic scale


def test_the_default_training_of_mnist_keeps_the_first_steps_and_every_epoch() -> None:
    assert plan_snapshots(4, 375) == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 375, 750, 1125, 1500]


@pytest.mark.parametrize(("most", "kept"), [(0, []), (1, [0]), (2, [0, 1500])])
def test_fewer_can_be_asked_for(most: int, kept: list[int]) -> None:
    assert plan_snapshots(4, 375, most) == kept


def test_each_snapshot_holds_the_weights_of_then(tmp_path: Path) -> None:
    network = build("tutorial", 1, len(CLASSES), SPLITS.train.size, seed=SHORT.seed)
    recorder = SnapshotRecorder.start(tmp_path / SNAPSHOTS, network, SHORT.epochs, 3)
    seen = [network.conv1.weight.detach().half().float()]
    for event in train(network, SPLITS.train, SPLITS.validation, SHORT):
        recorder.on_event(event)
        if isinstance(event, Step):
            seen.append(network.conv1.weight.detach().half().float())
    recorder.write()
    kept = read_snapshots(tmp_path / SNAPSHOTS, network)
    assert [step for _, step, _ in kept] == plan_snapshots(2, 3)
    assert [name for name, _, _ in kept] == ["step 0", "step 1", "step 2", "epoch 1", "epoch 2"]
    for _, step, state in kept:
        assert torch.equal(state["conv1.weight"], seen[step])


def test_keeping_snapshots_changes_no_bit_of_the_training(tmp_path: Path) -> None:
    with_past, without = started(tmp_path / "with"), started(tmp_path / "without", snapshots=0)
    assert same_weights(with_past.classifier.network, without.classifier.network)
    assert not (without.folder / SNAPSHOTS).exists()
    assert without.snapshots() == []


def test_a_runs_snapshots_come_before_the_weights_it_kept(tmp_path: Path) -> None:
    run = started(tmp_path / "run")
    assert run.best is not None
    assert [step for _, step, _ in run.snapshots()] == [
        s for s in plan_snapshots(2, 3) if s < run.best.epoch * 3
    ]


def test_a_large_network_keeps_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MAX_WEIGHTS", 100)
    assert not (started(tmp_path / "run").folder / SNAPSHOTS).exists()


def test_a_training_whose_snapshots_were_removed_goes_on_without(tmp_path: Path) -> None:
    def stop(event) -> None:
        if not isinstance(event, Step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        started(tmp_path / "run", callbacks=[stop])
    (tmp_path / "run" / SNAPSHOTS).unlink()
    run = resume(tmp_path / "run", SPLITS.train, SPLITS.validation)
    assert not (run.folder / SNAPSHOTS).exists()


@pytest.mark.parametrize("content", [b"", b"no tensors", None])
def test_damaged_snapshots_are_refused_with_their_name_and_the_run_still_opens(
    tmp_path: Path, content: bytes | None
) -> None:
    run = started(tmp_path / "run")
    path = run.folder / SNAPSHOTS
    path.write_bytes(path.read_bytes()[:-10] if content is None else content)
    with pytest.raises(PellucidError, match=r"snapshots\.safetensors' is damaged.*emove it"):
        _ = run.snapshots()
    with pytest.warns(UserWarning, match=r"snapshots\.safetensors' is damaged: it has .*or remove it"):
        Run.open(run.folder)
    reseal(run.folder)
    with pytest.raises(PellucidError, match=r"snapshots\.safetensors' is damaged.*emove it"):
        _ = Run.open(run.folder).snapshots()


def test_snapshots_of_another_network_are_refused(tmp_path: Path) -> None:
    run = started(tmp_path / "run")
    other = build("tutorial", 1, 7, SPLITS.train.size, seed=1)
    with pytest.raises(PellucidError, match="another network"):
        read_snapshots(run.folder / SNAPSHOTS, other)


def test_numbers_too_large_for_half_precision_are_kept_whole(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))
    large = torch.tensor([[1e6, 1.0]])
    with torch.no_grad():
        network[0].weight.copy_(large)  # type: ignore[operator, union-attr]
    recorder = SnapshotRecorder.start(tmp_path / SNAPSHOTS, network, 1, 1)
    recorder.write()
    stored = load_file(tmp_path / SNAPSHOTS)
    assert stored["0/0.weight"].dtype == torch.float32
    assert stored["0/0.bias"].dtype == stored["0/1.running_var"].dtype == torch.float16
    assert stored["0/1.num_batches_tracked"].dtype == torch.int64
    ((_, _, state),) = read_snapshots(tmp_path / SNAPSHOTS, network)
    assert torch.equal(state["0.weight"], large)
