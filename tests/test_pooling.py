"""Pooling by the kernel and by torch's operations is one function with one gradient, to the last bit."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid import pooling
from pellucid.classifier import scaled
from pellucid.data.known import cache_folder
from pellucid.models import build
from pellucid.pooling import KERNELS, PAYS, PoolOfPositives, largest_of_blocks, pooled_relu, prepare
from pellucid.training import train
from tests.toys import CLASSES, QUICK, economical, same_weights, toy_splits

TYPES = [torch.float32, torch.bfloat16]
SPLITS = toy_splits()


@pytest.fixture(scope="module", autouse=True)
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The kernels, made in a cache of their own; none is left when the tests are over."""
    if sys.platform != "linux" or not shutil.which("cc"):
        pytest.skip("no C compiler here, or no Linux: pooling is torch's")
    before = dict(KERNELS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PELLUCID_HOME", str(tmp_path_factory.mktemp("cache")))
        assert pooling._prepared.__wrapped__() == "a kernel compiled here"
        assert sorted(path.name[-6:] for path in cache_folder().iterdir()) == ["-16.so", "-32.so"]
    yield
    KERNELS.clear()
    KERNELS.update(before)


@contextmanager
def without_kernels() -> Iterator[None]:
    kept = dict(KERNELS)
    KERNELS.clear()
    try:
        yield
    finally:
        KERNELS.update(kept)


def maps(shape: tuple[int, int, int, int], dtype: torch.dtype, *, ties: bool = False) -> Tensor:
    """Numbers of both signs, channels last; with `ties` most blocks have their largest value twice."""
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    drawn = drawn.round() if ties else drawn
    return drawn.to(dtype, memory_format=torch.channels_last)


def relu_then_pool(values: Tensor) -> Tensor:
    return functional.max_pool2d(functional.relu(values), 2)


def value_and_gradient(function: object, values: Tensor) -> tuple[Tensor, Tensor]:
    leaf = values.clone().requires_grad_()
    pooled = function(leaf)  # type: ignore[operator]
    weights = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(6)).to(values.dtype)
    (gradient,) = torch.autograd.grad(pooled, leaf, weights)
    return pooled.detach(), gradient


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shape", [(3, 16, 28, 28), (2, 32, 14, 14), (1, 48, 2, 6)])
def test_the_maximum_before_the_relu_is_that_after_it_with_and_without_the_kernel(
    shape: tuple[int, int, int, int], ties: bool, dtype: torch.dtype
) -> None:
    values = maps(shape, dtype, ties=ties)
    expected = value_and_gradient(relu_then_pool, values)
    assert pooling._suits(values)
    for found in (
        value_and_gradient(pooled_relu, values),
        value_and_gradient(pooled_relu, values.contiguous()),
    ):
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    with without_kernels():
        found = value_and_gradient(pooled_relu, values)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("value", [float("nan"), -float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_not_hidden(value: float, dtype: torch.dtype) -> None:
    values = maps((2, 16, 4, 4), dtype)
    values[0, 3, 1, 0] = value
    if value != value and str(value) == "nan":
        bits = torch.int32 if dtype == torch.float32 else torch.int16
        values.view(bits)[1, 2, 0, 1] = -1  # a NaN with its sign set, as x86 makes them
    found, expected = pooled_relu(values), relu_then_pool(values)
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found.nan_to_num(7), expected.nan_to_num(7))


@pytest.mark.parametrize("shape", [(2, 20, 8, 8), (2, 16, 7, 8), (2, 16, 8, 7)])
def test_maps_the_kernel_cannot_take_are_pooled_by_torch(shape: tuple[int, int, int, int]) -> None:
    values = maps(shape, torch.float32)
    assert not pooling._suits(values)
    assert not pooling._suits(maps((2, 16, 8, 8), torch.float32).double())
    assert torch.equal(pooled_relu(values.clone()), relu_then_pool(values))


def test_the_pooling_layer_is_torchs_on_maps_without_negative_values() -> None:
    values = maps((3, 16, 28, 28), torch.float32).relu_()
    assert torch.equal(PoolOfPositives()(values), nn.MaxPool2d(2)(values))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_with_the_kernel_gives_the_bytes_of_training_without(precision: str) -> None:
    recipe = replace(QUICK, precision=precision, optimizer="muon")  # type: ignore[arg-type]
    with economical():
        first, second = (build("tutorial", 1, len(CLASSES), (16, 16), seed=0) for _ in range(2))
        events = list(train(first, SPLITS.train, SPLITS.validation, recipe))
        with without_kernels():
            others = list(train(second, SPLITS.train, SPLITS.validation, recipe))
    assert same_weights(first, second)
    assert [event.loss for event in events] == [event.loss for event in others]


def test_in_training_the_tutorial_network_is_the_function_its_layers_are() -> None:
    model = build("tutorial", 1, 4, (16, 16), seed=1)
    model.dropout.p = 0.0  # type: ignore[assignment, union-attr]
    images = scaled(SPLITS.train.images[:32])
    results = []
    for training in (True, False):
        model.train(training).zero_grad()
        logits = model(images)
        functional.cross_entropy(logits, SPLITS.train.labels[:32]).backward()  # type: ignore[no-untyped-call]
        results.append([logits.detach(), *(weight.grad for weight in model.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_few_pictures_are_not_worth_compiling() -> None:
    with without_kernels():
        assert prepare(PAYS - 1) == "torch's: few pictures"
        assert not KERNELS


@pytest.mark.parametrize(
    ("compiler", "message"),
    [("", "torch's: no C compiler found"), ("exit 1", "could not be made (CalledProcessError)")],
)
def test_without_a_compiler_that_works_pooling_is_torchs(
    compiler: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiler:
        (tmp_path / "cc").write_text(f"#!/bin/sh\n{compiler}\n")
        (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with without_kernels():
        assert message in pooling._prepared.__wrapped__()
        assert not KERNELS


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(3, 16, 28, 28), (2, 5, 7, 9), (1, 1, 2, 2)])
def test_the_largest_of_blocks_is_what_torch_finds(
    shape: tuple[int, int, int, int], layout: torch.memory_format, dtype: torch.dtype
) -> None:
    values = maps(shape, dtype, ties=True).contiguous(memory_format=layout)
    values[0, 0, 0, 0] = float("nan")
    expected, found = functional.max_pool2d(values, 2), largest_of_blocks(values)
    assert torch.equal(found.nan_to_num(99), expected.nan_to_num(99))
    assert found.stride() == expected.stride()


def test_pooling_keeps_places_only_where_a_gradient_may_be_asked_for() -> None:
    values = maps((2, 3, 6, 6), torch.float32, ties=True)  # three channels: the kernel takes none of them
    with without_kernels():
        asked = value_and_gradient(PoolOfPositives(), values.relu())
        assert torch.equal(asked[1], value_and_gradient(nn.MaxPool2d(2), values.relu())[1])
        with torch.no_grad():
            assert torch.equal(PoolOfPositives()(values.relu()), asked[0])
