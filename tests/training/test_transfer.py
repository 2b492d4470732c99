"""A pretrained network is taken as published, learns in seconds, and needs nobody once its run is saved."""

import json
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.classifier import Classifier
from pellucid.data.dataset import Origin
from pellucid.errors import UsageError
from pellucid.models import build, pretrained
from pellucid.models.pretrained import Pretrained
from pellucid.recipe import Recipe, fast
from pellucid.runs.fit import fit, resume
from pellucid.runs.run import Run
from pellucid.runs.stopping import Stopped
from pellucid.training import transfer
from pellucid.training.loop import Epoch, Step
from tests.toys import at, economical, left, same_weights, toy_splits

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SPLITS = toy_splits(120, channels=3)
PREPROCESSING = {
    "do_resize": True, "size": {"height": 24, "width": 24}, "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2],
}  # fmt: skip
KINDS = ("vit", "resnet", "dinov2", "convnext")


@pytest.fixture(autouse=True)
def cheaply() -> Any:
    with economical():
        yield


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny networks, written by transformers itself as its hub holds them; weights are random."""
    shelf = tmp_path_factory.mktemp("shelf")
    token = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 24,
        "patch_size": 8,
    }
    stages = {"hidden_sizes": [8, 12], "depths": [1, 1]}
    made = {
        "vit": transformers.ViTForImageClassification(transformers.ViTConfig(**token, intermediate_size=32)),
        "dinov2": transformers.Dinov2Model(transformers.Dinov2Config(**token, mlp_ratio=2)),
        "resnet": transformers.ResNetModel(
            transformers.ResNetConfig(**stages, embedding_size=8, layer_type="basic")
        ),
        "convnext": transformers.ConvNextModel(
            transformers.ConvNextConfig(**stages, num_stages=2, patch_size=2)
        ),
    }
    for name, network in made.items():
        network.save_pretrained(shelf / name)
        (shelf / name / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    return shelf


@pytest.fixture
def vit(shelf: Path, tmp_path: Path) -> Path:
    """A copy of the tiny transformer, to be damaged or taken away."""
    return Path(shutil.copytree(shelf / "vit", tmp_path / "vit"))


def recipe(place: Path, **settings: Any) -> Recipe:
    chosen = fast(len(SPLITS.train), (3, 16, 16), f"hf:{place}")
    return replace(chosen, **{"epochs": 3, "threads": 1, "precision": "float32", **settings})


def trained(place: Path, folder: Path, *callbacks: Any, **settings: Any) -> Run:
    chosen = recipe(place, **settings)
    return fit(
        SPLITS.train, SPLITS.validation, chosen, folder=folder, callbacks=callbacks, origin=Origin("toys")
    )


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_what_transformers_says(shelf: Path, kind: str) -> None:
    network = build(f"hf:{shelf / kind}", 3, 4, (24, 24), seed=0).eval()
    assert isinstance(network, Pretrained)
    images = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    mean, deviation = (torch.tensor(PREPROCESSING[f"image_{key}"]).view(3, 1, 1) for key in ("mean", "std"))
    original = transformers.AutoModel.from_pretrained(shelf / kind).eval()
    with torch.no_grad():
        output = original(pixel_values=(images - mean) / deviation)
        expected = {
            "vit": lambda: output.last_hidden_state[:, 0],
            "dinov2": lambda: output.last_hidden_state[:, 0],
            "resnet": lambda: output.last_hidden_state.mean(dim=(2, 3)),
            "convnext": lambda: output.pooler_output,
        }[kind]()
        assert torch.allclose(network.features(images), expected, atol=1e-5)


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
    run = trained(vit, tmp_path / "run", epochs=5)
    fresh = build(f"hf:{vit}", 3, 4, (16, 16), seed=run.recipe.seed)
    assert isinstance(fresh, Pretrained)
    assert isinstance(run.classifier.network, Pretrained)
    assert same_weights(run.classifier.network.backbone, fresh.backbone)
    assert not same_weights(run.classifier.network.head, fresh.head)
    assert run.history[-1].val_loss < run.history[0].val_loss
    assert [epoch.epoch for epoch in run.history] == [1, 2, 3, 4, 5]


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
    for path in (Path(transfer.cache_folder()) / "embeddings").iterdir():
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
    settings = {"epochs": 2, "fine_tune": 1, "batch_size": 40, "augment": "flip,mixup", "balance": "sampler"}
    whole = trained(vit, tmp_path / "whole", **settings)
    for number in range(8):
        with pytest.raises(Stopped):
            trained(vit, tmp_path / str(number), at(number, signal.SIGINT), **settings)
        resume(tmp_path / str(number), SPLITS.train, SPLITS.validation)
        assert left(tmp_path / str(number)) == left(whole.folder), number


def test_only_a_pretrained_network_can_be_fine_tuned(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`fine_tune` goes on with a pretrained network"):
        fit(SPLITS.train, SPLITS.validation, Recipe(fine_tune=1), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "size", "resized", "cropped"),
    [
        ({"size": {"height": 24, "width": 20}}, (16, 16), (24, 20), (24, 20)),
        ({"size": 24}, (50, 40), (24, 24), (24, 24)),
        (
            {"size": {"shortest_edge": 24}, "do_center_crop": True, "crop_size": 16},
            (40, 20),
            (48, 24),
            (16, 16),
        ),
        ({"size": {"shortest_edge": 28}, "crop_pct": 0.875}, (64, 32), (64, 32), (28, 28)),
        ({"size": {"shortest_edge": 384}, "crop_pct": 1.0}, (64, 32), (384, 384), (384, 384)),
    ],
)
def test_pictures_reach_the_backbone_as_it_was_trained(
    given: dict[str, Any], size: tuple[int, int], resized: tuple[int, int], cropped: tuple[int, int]
) -> None:
    preprocessing = pretrained._input_preprocessing({**PREPROCESSING, **given}, "hf:x")
    assert pretrained._resize_to(preprocessing, size) == resized
    assert (preprocessing.crop_height, preprocessing.crop_width) == cropped


def test_scaling_and_normalising_are_those_of_the_file(vit: Path) -> None:
    config = {**PREPROCESSING, "rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3}
    (vit / "preprocessor_config.json").write_text(json.dumps(config))
    network = build(f"hf:{vit}", 1, 4, (24, 24), seed=0)
    assert isinstance(network, Pretrained)
    preprocessed = network.preprocess(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 24, 24))
    assert preprocessed.shape == (2, 3, 24, 24)
    assert torch.allclose(preprocessed.amin(dim=(1, 2, 3)), torch.tensor([-1.0, 1.0]))


def test_a_network_that_brings_code_is_refused_and_the_code_not_run(vit: Path) -> None:
    config = json.loads((vit / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Evil", "AutoConfig": "evil.Config"}
    (vit / "config.json").write_text(json.dumps(config))
    (vit / "evil.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(UsageError, match="needs remote code, which is never run"):
        build(f"hf:{vit}", 3, 4, (16, 16))
    assert "evil" not in sys.modules


def test_weights_that_are_no_safetensors_are_refused(vit: Path) -> None:
    (vit / "model.safetensors").rename(vit / "pytorch_model.bin")
    with pytest.raises(UsageError, match="cannot be loaded"):
        build(f"hf:{vit}", 3, 4, (16, 16))


def test_weights_that_are_missing_are_named(vit: Path) -> None:
    config = json.loads((vit / "config.json").read_text())
    (vit / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(UsageError, match=r"lacks weights that its config\.json calls for: .*layers?\.2"):
        build(f"hf:{vit}", 3, 4, (16, 16))


def test_a_network_for_words_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    with pytest.raises(UsageError, match="'bert' is not a network for pictures"):
        build(f"hf:{tmp_path}", 3, 4, (16, 16))


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_a_file_that_is_missing_is_named_with_what_was_expected(vit: Path, file: str) -> None:
    (vit / file).unlink()
    with pytest.raises(UsageError, match=rf"has no {file}: .*Expected a folder with config\.json"):
        build(f"hf:{vit}", 3, 4, (16, 16))


def test_offline_a_name_on_the_hub_is_refused_without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_OFFLINE", "1")
    with pytest.raises(UsageError, match="'hf:google/vit-base-patch16-224' has no config"):
        build("hf:google/vit-base-patch16-224", 3, 4, (16, 16))


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


def test_without_transformers_the_way_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"pip install transformers"):
        build("hf:google/vit-base-patch16-224", 3, 4, (16, 16))
