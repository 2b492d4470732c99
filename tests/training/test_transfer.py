"""A pretrained network learns in seconds, and needs nobody once its run is saved."""

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from pellucid.classifier import Classifier
from pellucid.data.dataset import Origin
from pellucid.errors import UsageError
from pellucid.models import build
from pellucid.models.head import HeadSettings
from pellucid.models.pretrained import Pretrained
from pellucid.recipe import Recipe, fast
from pellucid.runs.fit import fit, resume
from pellucid.runs.run import Run
from pellucid.runs.stopping import Stopped
from pellucid.training import transfer
from pellucid.training.loop import Epoch, Step
from tests.networks import KINDS
from tests.toys import at, economical, left, same_weights, toy_splits

pytest.importorskip("transformers", reason="transformers is not installed")

SPLITS = toy_splits(120, channels=3)


@pytest.fixture(autouse=True)
def cheaply() -> Any:
    with economical():
        yield


def recipe(place: Path, **settings: Any) -> Recipe:
    chosen = fast(len(SPLITS.train), (3, 16, 16), f"hf:{place}")
    return replace(chosen, **{"threads": 1, "precision": "float32", "use_all": False, **settings})


def trained(place: Path, folder: Path, *callbacks: Any, **settings: Any) -> Run:
    chosen = recipe(place, **settings)
    return fit(
        SPLITS.train, SPLITS.validation, chosen, folder=folder, callbacks=callbacks, origin=Origin("toys")
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_run_is_loaded_without_the_folder_it_came_from(
    shelf: Path, kind: str, tmp_path: Path
) -> None:
    place = Path(shutil.copytree(shelf / kind, tmp_path / kind))
    run = trained(place, tmp_path / "run")
    shutil.rmtree(place)
    loaded = Run.open(tmp_path / "run").classifier
    assert torch.equal(loaded.predict(SPLITS.test.images), run.classifier.predict(SPLITS.test.images))
    assert loaded.model == f"hf:{place}"


def test_the_last_layer_learns_and_the_backbone_stays_as_published(vit: Path, tmp_path: Path) -> None:
    run = trained(vit, tmp_path / "run", epochs=5)  # solved at once, however many are asked for
    fresh = build(f"hf:{vit}", 3, 4, (16, 16), seed=run.recipe.seed)
    assert isinstance(fresh, Pretrained)
    assert isinstance(run.classifier.network, Pretrained)
    assert same_weights(run.classifier.network.backbone, fresh.backbone)
    assert not same_weights(run.classifier.network.head, fresh.head)
    learned = transfer.embeddings(fresh, SPLITS.train)  # of training pictures alone
    assert torch.allclose(run.classifier.network.head.mean, learned.mean(dim=0), atol=1e-5)
    assert [epoch.epoch for epoch in run.history] == [1]
    assert run.recipe.epochs == 1
    assert Run.open(run.folder).head == run.head is not None


def test_the_last_layer_is_solved_whatever_the_order_of_pictures(
    vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "choose_settings", lambda *_, **__: HeadSettings(0.1, False))
    first = trained(vit, tmp_path / "first")
    order = torch.randperm(len(SPLITS.train), generator=torch.Generator().manual_seed(1))
    chosen = recipe(vit)
    second = fit(SPLITS.train.subset(order), SPLITS.validation, chosen, folder=tmp_path / "second")
    mine, other = (run.classifier.predict(SPLITS.test.images) for run in (first, second))
    assert torch.allclose(mine, other, atol=1e-3)


def test_uneven_classes_are_balanced_by_default(vit: Path, tmp_path: Path) -> None:
    kept = (SPLITS.train.labels < 2) | (torch.arange(len(SPLITS.train)) % 4 == 0)
    uneven = SPLITS.train.subset(kept)
    run = fit(uneven, SPLITS.validation, recipe(vit), folder=tmp_path / "run")
    plain = fit(uneven, SPLITS.validation, recipe(vit, balance="none"), folder=tmp_path / "plain")
    assert run.head is not None
    assert plain.head is not None
    assert not plain.head.balanced
    assert run.recipe.balance == "auto"
    even = trained(vit, tmp_path / "even")
    assert even.head is not None
    assert not even.head.balanced


def test_folds_share_features_that_are_computed_once(
    vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    features = Pretrained.features

    def counted(network: Pretrained, images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return features(network, images)

    monkeypatch.setattr(Pretrained, "features", counted)
    run = fit(SPLITS, recipe(vit, folds=4), folder=tmp_path / "run")
    assert sum(seen) < len(SPLITS.train) + len(SPLITS.validation) + len(SPLITS.test) + 2 * 16
    evaluation = run.evaluation()
    assert evaluation is not None
    assert evaluation.count == 120
    assert len(evaluation.fold_scores) == 4


def test_what_was_measured_on_features_is_what_the_whole_network_says(vit: Path, tmp_path: Path) -> None:
    run = trained(vit, tmp_path / "run")
    probabilities = run.classifier.predict(SPLITS.validation.images)
    labels = SPLITS.validation.labels
    assert run.best is not None
    right = int((probabilities.argmax(dim=1) == labels).sum())
    assert run.best.val_accuracy == right / len(labels)
    loss = -probabilities.double().gather(1, labels[:, None]).log().mean()
    assert run.best.val_loss == pytest.approx(float(loss), abs=1e-5)


def test_embeddings_are_computed_once(vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = trained(vit, tmp_path / "first")

    def never(*_: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(Pretrained, "features", never)
    second = trained(vit, tmp_path / "second")
    assert left(second.folder) == left(first.folder)
    for path in (Path(transfer.computed_folder()) / "embeddings").iterdir():
        path.write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="computed again"):
        trained(vit, tmp_path / "third")


def test_other_weights_or_pictures_are_never_taken_for_those_in_the_cache(shelf: Path) -> None:
    network = build(f"hf:{shelf / 'vit'}", 3, 4, (16, 16), seed=0)
    assert isinstance(network, Pretrained)
    before = transfer.embeddings(network, SPLITS.validation)
    with torch.no_grad():
        network.backbone.get_parameter("layernorm.bias").add_(1)
    assert torch.allclose(transfer.embeddings(network, SPLITS.validation), before + 1, atol=1e-5)
    assert len(transfer.embeddings(network, SPLITS.test)) == len(SPLITS.test)


def test_fine_tuning_goes_on_with_the_whole_and_only_keeps_what_is_better(
    vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "FINE_TUNING_RATE", 0.5)  # the backbone is random: it has much to learn
    held_back = HeadSettings(penalty=100.0, balanced=False)  # and the last layer leaves it something
    monkeypatch.setattr(transfer, "choose_settings", lambda *_, **__: held_back)
    events: list[Step | Epoch] = []
    run = trained(vit, tmp_path / "run", events.append, epochs=1, fine_tune=7, batch_size=16)
    epochs = [event for event in events if isinstance(event, Epoch)]
    assert [epoch.epoch for epoch in epochs] == list(range(1, 9))
    rates = {event.learning_rate for event in events if isinstance(event, Step) and event.epoch > 1}
    assert rates == {run.recipe.learning_rate * transfer.FINE_TUNING_RATE}
    fresh = build(f"hf:{vit}", 3, 4, (16, 16), seed=0)
    assert run.best is not None
    assert run.best.epoch > 1
    assert isinstance(fresh, Pretrained)
    assert isinstance(run.classifier.network, Pretrained)
    assert not same_weights(run.classifier.network.backbone, fresh.backbone)
    assert run.best.val_loss == min(epoch.val_loss for epoch in epochs)


def test_a_run_stopped_anywhere_and_resumed_equals_one_never_stopped(vit: Path, tmp_path: Path) -> None:
    settings = {"fine_tune": 2, "batch_size": 40, "augment": "flip,mixup", "balance": "sampler"}
    whole = trained(vit, tmp_path / "whole", **settings)
    for number in range(6):
        with pytest.raises(Stopped):
            trained(vit, tmp_path / str(number), at(number, signal.SIGINT), **settings)
        resume(tmp_path / str(number), SPLITS.train, SPLITS.validation)
        assert left(tmp_path / str(number)) == left(whole.folder), number


@pytest.mark.parametrize("batches", [1, 6])  # the sixth is one of validation pictures
def test_ctrl_c_while_features_are_computed_ends_with_words_and_loses_nothing(
    vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    seen: list[tuple[str, int, int]] = []

    def progress(*given: Any) -> None:
        seen.append(given)
        if len(seen) == batches:
            signal.raise_signal(signal.SIGINT)

    sets, folder = (SPLITS.train, SPLITS.validation), tmp_path / "stopped"
    with pytest.raises(Stopped, match=f"Go on with: pellucid train --resume {folder}$"):
        fit(*sets, recipe(vit), folder=folder, origin=Origin("toys"), progress=progress)
    count = len(SPLITS.train) + len(SPLITS.validation)
    assert len(seen) == batches
    computed, done = list[int](), seen[-1][1]
    features = Pretrained.features

    def counted(self: Pretrained, images: Any) -> Any:
        computed.append(len(images))
        return features(self, images)

    again: list[tuple[str, int, int]] = []
    with monkeypatch.context() as patched:
        patched.setattr(Pretrained, "features", counted)
        resume(folder, *sets, progress=lambda *given: again.append(given))
    assert len(computed) <= -(-(count - done) // transfer.PICTURES_AT_ONCE) + 1  # none of those done
    assert again[0][1] > done
    assert again[-1] == ("features", count, count)
    shutil.rmtree(Path(transfer.computed_folder()) / "embeddings")
    whole = trained(vit, tmp_path / "whole")
    assert same_weights(Run.open(folder).classifier.network, whole.classifier.network)


def test_features_are_kept_every_minute_for_a_process_that_is_killed(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build(f"hf:{shelf / 'vit'}", 3, 4, (16, 16), seed=0)
    assert isinstance(network, Pretrained)
    minutes, kept = iter(range(0, 10_000, 31)), list[int]()
    monkeypatch.setattr("pellucid.training.timer.clock", lambda: next(minutes))
    unfinished = transfer.embeddings_file(network, SPLITS.train).with_suffix(transfer.UNFINISHED)

    def look(done: int) -> None:
        kept.append(len(load(unfinished.read_bytes())["features"]) if unfinished.is_file() else 0)

    transfer.embeddings(network, SPLITS.train, on_batch=look)
    assert kept[:2] == [0, 2 * transfer.PICTURES_AT_ONCE]
    assert not unfinished.exists(), "all of them are there now"


def test_only_a_pretrained_network_can_be_fine_tuned(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`fine_tune` goes on with a pretrained network"):
        fit(SPLITS.train, SPLITS.validation, Recipe(fine_tune=1), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"model_type": "bert"}},
        {"config": {}},
        {"preprocessing": {"height": 1}},
        {"config": {"model_type": "vit", "auto_map": {"AutoModel": "evil.Evil"}}},
    ],
)
def test_a_damaged_description_is_refused(vit: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    trained(vit, tmp_path / "run", epochs=1)
    manifest = json.loads((tmp_path / "run" / "model.json").read_text())
    manifest["network"] |= change
    (tmp_path / "run" / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(transfer.PellucidError):
        Classifier.load(tmp_path / "run")
