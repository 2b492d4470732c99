"""A pretrained network is taken as published, and refused where it is not what it should be."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.errors import UsageError
from pellucid.models import build
from pellucid.models.pretrained import Pretrained
from tests.networks import KINDS, PREPROCESSING

transformers = pytest.importorskip("transformers", reason="transformers is not installed")


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
    given: dict[str, Any],
    size: tuple[int, int],
    resized: tuple[int, int],
    cropped: tuple[int, int],
    vit: Path,
) -> None:
    (vit / "preprocessor_config.json").write_text(json.dumps({**PREPROCESSING, **given}))
    network = build(f"hf:{vit}", 3, 4, size, seed=0)
    assert isinstance(network, Pretrained)
    assert network.resize_to == resized
    assert network.preprocess(torch.rand(2, 3, *size)).shape == (2, 3, *cropped)


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


def test_without_transformers_the_way_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"pip install transformers"):
        build("hf:google/vit-base-patch16-224", 3, 4, (16, 16))
