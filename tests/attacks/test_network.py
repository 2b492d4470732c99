"""A run folder makes nobody ask the network, whatever its description of a network says."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pellucid.classifier import Classifier
from pellucid.data import load_again
from pellucid.data.dataset import Choices, Origin
from pellucid.data.preprocess import Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.models import build
from tests.attacks.canary import listening, unharmed
from tests.resealed import change

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

ELSEWHERE = "microsoft/resnet-50"
# Kinds whose configuration brings another network along, and the ways to name it.
NESTED = [
    kind
    for kind in (
        "conditional_detr", "d_fine", "dab-detr", "deformable_detr", "depth_anything", "detr", "dpt",
        "grounding-dino", "mask2former", "maskformer", "omdet-turbo", "oneformer", "prompt_depth_anything",
        "rf_detr", "rt_detr", "table-transformer", "timm_backbone", "timm_wrapper", "tvp", "upernet",
        "vision-encoder-decoder", "vitmatte", "vitpose", "zoedepth",
    )
    if kind in transformers.CONFIG_MAPPING
]  # fmt: skip
WAYS: list[dict[str, Any]] = [
    {"backbone": ELSEWHERE, "use_pretrained_backbone": True},
    {"backbone": "resnet50", "use_timm_backbone": True, "use_pretrained_backbone": True},
    {
        "backbone_config": {
            "model_type": "timm_backbone",
            "backbone": "resnet50",
            "use_pretrained_backbone": True,
        }
    },
    {"backbone_config": {"model_type": "detr", "backbone": ELSEWHERE, "use_pretrained_backbone": True}},
    {"_name_or_path": ELSEWHERE},
    {"architecture": "resnet50", "pretrained": True},
]


@pytest.fixture(scope="module")
def original(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a classifier that began from a tiny pretrained transformer."""
    network = build(f"hf:{shelf / 'vit'}", 3, 4, (24, 24), seed=0)
    folder = tmp_path_factory.mktemp("saved")
    Classifier(network.eval(), tuple("abcd"), Preprocess(3, 24, 24), f"hf:{ELSEWHERE}").save(folder)
    return folder


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    """A copy of it, to be attacked."""
    return Path(shutil.copytree(original, tmp_path / "saved"))


def test_a_saved_network_is_loaded_without_a_word_to_the_network(saved: Path) -> None:
    with listening() as asked:
        Classifier.load(saved)
    assert asked == []


@pytest.mark.parametrize("kind", NESTED)
def test_a_network_within_a_network_is_refused_before_anything_is_asked(saved: Path, kind: str) -> None:
    network = json.loads((saved / "model.json").read_text())["network"]
    for way in WAYS:
        change(saved / "model.json", network={**network, "config": {"model_type": kind, **way}})
        with unharmed(saved.parent), listening() as asked, pytest.raises(PellucidError, match="unknown kind"):
            Classifier.load(saved)
        assert asked == []


def test_a_known_kind_brings_no_other_along(saved: Path) -> None:
    network = json.loads((saved / "model.json").read_text())["network"]
    for way in WAYS:
        change(saved / "model.json", network={**network, "config": {**network["config"], **way}})
        with listening() as asked, pytest.raises(PellucidError, match="unknown setting"):
            Classifier.load(saved)
        assert asked == []


@pytest.mark.parametrize("way", [{"model_type": "detr"}, WAYS[0], WAYS[2]], ids=str)
def test_a_description_is_needed_and_holds_two_entries(saved: Path, way: dict[str, Any]) -> None:
    for network in (None, {}, way, {"config": {"model_type": "vit"}, "preprocessing": {}, **way}):
        change(saved / "model.json", network=network)
        with listening() as asked, pytest.raises(PellucidError, match=r"damaged|cannot be built again"):
            Classifier.load(saved)
        assert asked == []


def test_a_name_that_a_file_said_is_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with listening() as asked, pytest.raises(UsageError, match=f"'hf:{ELSEWHERE}' has no config"):
        build(f"hf:{ELSEWHERE}", 3, 4, (24, 24), fetch=False)
    assert asked == []


def test_a_name_that_a_person_said_is_asked_for() -> None:
    """So the ear hears. Left out: the library's pauses between one try and the next."""
    with listening() as asked, pytest.MonkeyPatch.context() as patch, pytest.raises(UsageError):
        patch.setattr("time.sleep", lambda _: None)
        build(f"hf:{ELSEWHERE}-of-nobody", 3, 4, (24, 24))
    assert asked


def test_a_known_data_set_that_only_a_run_names_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run says `mnist`, and this machine has none."""
    monkeypatch.delenv("PELLUCID_DATA", raising=False)
    origin = Origin(name="mnist", known=True, choices=Choices())
    named = "a run names it, you did not; .pellucid check mnist. fetches it"
    with listening() as asked, pytest.raises(PellucidError, match=named):
        load_again(origin)
    assert asked == []
