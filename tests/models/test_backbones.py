"""The tables of backbones are closed, and everything in them can be built."""

from typing import Any

import pytest
import torch

from pellucid.errors import UsageError
from pellucid.models.backbones import KINDS, checked_settings, published_settings, refuse_many_parts
from pellucid.models.pretrained import rebuild

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

RECEIVES = {
    "height": 224, "width": 224, "crop_height": 224, "crop_width": 224, "shortest": False, "factor": 1.0,
    "mean": [0.5] * 3, "std": [0.5] * 3,
}  # fmt: skip
VIT = {"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_described_and_built_again(kind: str) -> None:
    defaults = transformers.CONFIG_MAPPING[kind]().to_dict()
    description = {"config": published_settings(defaults, defaults, kind), "preprocessing": RECEIVES}
    with torch.device("meta"):
        network = rebuild(description, 3, 4, (32, 32)).eval()
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_published_setting_that_is_not_understood_is_refused_not_dropped(kind: str) -> None:
    defaults = {**transformers.CONFIG_MAPPING[kind]().to_dict(), "turns": 1}
    assert "turns" not in published_settings({**defaults}, defaults, kind)
    with pytest.raises(UsageError, match="has a setting that is not understood: turns = 2"):
        published_settings({**defaults, "turns": 2}, defaults, kind)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "detr"}, "unknown kind of network 'detr'. Known: beit"),
        ({"model_type": ["vit"]}, "unknown kind"),
        ({"backbone": "microsoft/resnet-50"}, "unknown setting 'backbone'"),
        ({"auto_map": {}}, "unknown setting 'auto_map'"),
        ({"num_hidden_layers": 10_000_000}, "num_hidden_layers is 10000000, beyond"),
        ({"num_hidden_layers": 2.0}, "num_hidden_layers"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
        ({"num_hidden_layers": None}, "num_hidden_layers"),
        ({"depths": [100, 100]}, "depths are .*more than 128 layers"),
        ({"depths": [1] * 17}, "depths is"),
        ({"depths": [[1]]}, "depths is"),
        ({"depths": []}, "depths is"),
        ({"hidden_size": 10**30}, "hidden_size is 1000"),
        ({"num_channels": 4}, "num_channels is 4"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan"),
        ({"hidden_act": "/etc/passwd"}, "hidden_act is '/etc/passwd'"),
        ({"hidden_act": {"class_name": "gelu"}}, "hidden_act is {'class_name'"),
        ({"qkv_bias": 1}, "qkv_bias is 1"),
    ],
)
def test_what_is_in_no_table_is_refused(change: dict[str, Any], message: str) -> None:
    assert checked_settings(VIT) == VIT
    with pytest.raises(ValueError, match=message):
        checked_settings({**VIT, **change})


def test_a_picture_is_cut_into_no_more_parts_than_can_be_compared() -> None:
    refuse_many_parts({"model_type": "vit", "patch_size": 16}, 1024)
    refuse_many_parts({"model_type": "resnet", "patch_size": 1}, 1024)
    with pytest.raises(ValueError, match="1,048,576 parts of pictures of 1024 pixels"):
        refuse_many_parts({"model_type": "vit", "patch_size": 1}, 1024)
