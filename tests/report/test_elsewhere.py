"""What a report leaves out of a network that was trained elsewhere."""

from pathlib import Path

import torch
from torch import nn

import pellucid
from pellucid.data.dataset import Dataset
from pellucid.report.elsewhere import left_out


def pictures(seed: int) -> Dataset:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (30, 1, 8, 8), generator=generator).to(torch.uint8)
    return Dataset(images, torch.arange(30) % 2, ("cat", "dog"), [f"{seed}/{n}" for n in range(30)])


def test_sections_on_training_are_left_out_and_others_only_without_its_pictures(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2))
    test, train = pictures(0), pictures(1)
    bare = pellucid.open_module(network, test.classes, test=test, folder=tmp_path / "bare")
    given = pellucid.open_module(network, test.classes, test=test, train=train, folder=tmp_path / "given")
    assert set(left_out(given)) == {"training", "reproduce"}
    assert set(left_out(bare)) == {"training", "reproduce", "causes", "shortcuts", "neighbours"}
    assert "SHA-256" in str(left_out(bare)["reproduce"])
