"""The ResNet has its 18 layers, their names, and a normalisation that it learns."""

import pytest
import torch
from torch import nn

from pellucid.errors import UsageError
from pellucid.explanation.activations import record
from pellucid.models import build, resnet


def test_the_resnet_has_18_layers_and_two_widths() -> None:
    small, large = build("resnet", 3, 10, (32, 32), seed=0), build("resnet", 3, 1000, (224, 224), seed=0)
    for network in (small, large):
        weighted = [m for m in network.modules() if isinstance(m, resnet.Convolution | nn.Linear)]
        beside = [m for m in network.modules() if isinstance(m, resnet.Block) and m.shortcut is not None]
        assert len(weighted) - len(beside) == 18
    # torchvision's resnet18 for 1000 classes, in its documentation.
    assert sum(p.numel() for p in large.parameters()) == 11_689_512


def test_the_resnet_learns_its_normalisation_from_what_it_sees() -> None:
    layer = resnet.Convolution(3, 8, 3, rectified=False).train()
    for _ in range(80):
        layer(torch.rand(16, 3, 16, 16) + 3)
    images = torch.rand(64, 3, 16, 16) + 3
    with torch.no_grad():
        learned, fresh = layer.eval()(images), layer.train()(images)
    assert float((learned - fresh).abs().max()) < 0.2
    assert float(fresh.mean().abs()) < 1e-4
    assert float(fresh.std()) == pytest.approx(1, abs=0.01)


def test_layers_of_the_resnet_are_named_by_their_place() -> None:
    network = build("resnet", 3, 2, (32, 32), seed=0).eval()
    names = list(record(network, torch.rand(1, 3, 32, 32)))
    assert names[:5] == ["conv1", "stage1.0.conv1", "stage1.0.conv2", "stage1.0.sum", "stage1.1.conv1"]
    assert names[-3:] == ["stage4.1.sum", "pool2", "dense"]
    assert len(names) == 1 + 8 * 3 + 3 + 2


@pytest.mark.parametrize("size", [(3, 28), (28, 3)])
def test_a_picture_too_small_for_the_resnet_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="needs pictures of 4x4 or more; got"):
        build("resnet", 1, 10, size)
