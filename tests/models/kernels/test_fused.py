"""The kernels are convolution, ReLU and pooling: their values and gradients, and the same ones each time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pellucid.inference import scaled
from pellucid.models import build
from pellucid.models.kernels.build import KERNELS
from pellucid.models.kernels.fused import MAX_PICTURE_CHANNELS, HalvingMaxPool, conv_relu_pool, fast_path
from pellucid.training.loop import train
from tests.toys import CLASSES, QUICK, economical, same_weights, toy_splits, without_kernels

TYPES = [torch.float32, torch.bfloat16]
# channels in, filters, height, width: pictures in gray and colour, and maps of one and of two groups of 16
SHAPES = [(1, 16, 28, 28), (3, 48, 6, 10), (16, 32, 14, 14), (32, 16, 8, 4), (16, 96, 2, 2)]
SPLITS = toy_splits()


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def kernel_runs() -> Iterator[list[torch.dtype]]:
    """Which compiled kernels run forward inside the block, in order."""
    runs: list[torch.dtype] = []
    compiled = dict(KERNELS)

    def counted(dtype: torch.dtype) -> Any:
        def forward(*arguments: Any) -> Any:
            runs.append(dtype)
            return compiled[dtype].forward(*arguments)

        return SimpleNamespace(forward=forward, backward=compiled[dtype].backward)

    with pytest.MonkeyPatch.context() as patch:
        for dtype in compiled:
            patch.setitem(KERNELS, dtype, counted(dtype))
        yield runs


def layer(
    channels: int, filters: int, height: int, width: int, *, batch: int = 37
) -> tuple[Tensor, Tensor, Tensor]:
    """Maps, weight and bias: small whole numbers, of which sums are exact in both types and ties are many."""
    drawn = torch.Generator().manual_seed(5)
    maps = torch.randint(-3, 4, (batch, channels, height, width), generator=drawn).float()
    weight = torch.randint(-2, 3, (filters, channels, 3, 3), generator=drawn).float().requires_grad_()
    bias = torch.randint(-2, 3, (filters,), generator=drawn).float().requires_grad_()
    return maps.to(memory_format=torch.channels_last), weight, bias


def one_after_the_other(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.max_pool2d(functional.relu(functional.conv2d(maps, weight, bias, padding=1)), 2)


def value_and_gradients(function: object, given: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
    maps = given[0].detach().clone().requires_grad_(given[0].shape[1] > MAX_PICTURE_CHANNELS)
    pooled = function(maps, *given[1:])  # type: ignore[operator]
    asked = [tensor for tensor in (maps, *given[1:]) if tensor.requires_grad]
    generator = torch.Generator().manual_seed(6)
    slope = torch.randint(-4, 5, pooled.shape, generator=generator).to(pooled.dtype)
    return [pooled.detach(), *torch.autograd.grad(pooled, asked, slope)]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_is_convolution_relu_and_pooling_and_its_gradient_is_theirs(
    shape: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    """Of whole numbers both sum without an error, so that they agree to the last bit, ties included. Sums of
    gradients over many pictures outgrow bfloat16 where they are stored in it, which is for the maps only."""
    maps, weight, bias = layer(*shape)
    expected = value_and_gradients(one_after_the_other, (maps, weight, bias))
    with kernel_runs() as runs:
        found = value_and_gradients(conv_relu_pool, (maps.to(dtype), weight, bias))
    assert runs == [dtype]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other.to(one.dtype))
    with without_kernels():
        found = value_and_gradients(conv_relu_pool, (maps, weight, bias))
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_ordinary_numbers_come_out_as_close_as_float32_can_tell() -> None:
    maps, weight, bias = (torch.randn_like(tensor) for tensor in layer(16, 32, 14, 14))
    given = (maps, weight.requires_grad_(), bias.requires_grad_())
    for one, other in zip(
        value_and_gradients(conv_relu_pool, given),
        value_and_gradients(one_after_the_other, given),
        strict=True,
    ):
        assert (one - other).abs().max() < 2e-6 * other.abs().max()


def test_under_autocast_it_computes_in_bfloat16_and_gives_gradients_in_float32() -> None:
    maps, weight, bias = layer(16, 32, 14, 14)
    with torch.autocast("cpu", torch.bfloat16):
        found = value_and_gradients(conv_relu_pool, (maps, weight, bias))
    assert [tensor.dtype for tensor in found] == [torch.bfloat16] + 3 * [torch.float32]
    assert torch.equal(found[0].float(), one_after_the_other(maps, weight, bias))


@pytest.mark.parametrize("dtype", TYPES)
def test_the_number_of_threads_changes_no_bit(dtype: torch.dtype) -> None:
    maps, weight, bias = (torch.randn_like(tensor) for tensor in layer(16, 32, 14, 14, batch=50))
    given = (maps.to(dtype), weight.requires_grad_(), bias.requires_grad_())
    with threads(1):
        expected = value_and_gradients(conv_relu_pool, given)
    with threads(3):
        found = value_and_gradients(conv_relu_pool, given)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_not_hidden(value: float, dtype: torch.dtype) -> None:
    maps, weight, bias = layer(16, 32, 6, 6)
    maps[0, 3, 1, 0] = value
    found = conv_relu_pool(maps.to(dtype), weight, bias)
    expected = one_after_the_other(maps, weight, bias)
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found.nan_to_num(7, 8, 9).float(), expected.nan_to_num(7, 8, 9))


@pytest.mark.parametrize(
    "shape", [(1, 16, 7, 8), (1, 16, 8, 7), (1, 20, 8, 8), (8, 16, 8, 8), (20, 16, 8, 8)]
)
def test_what_the_kernel_cannot_take_is_torchs(shape: tuple[int, int, int, int]) -> None:
    maps, weight, bias = layer(*shape)
    with kernel_runs() as runs:
        assert torch.equal(conv_relu_pool(maps, weight, bias), one_after_the_other(maps, weight, bias))
    assert runs == []


def test_pictures_that_need_a_gradient_and_other_layouts_are_torchs() -> None:
    maps, weight, bias = layer(1, 16, 8, 8)
    maps.requires_grad_()
    with kernel_runs() as runs:
        (gradient,) = torch.autograd.grad(conv_relu_pool(maps, weight, bias).sum(), maps)
        assert gradient.abs().sum() > 0
        maps, weight, bias = layer(16, 16, 8, 8)
        for other in (
            (maps.contiguous(), weight, bias),
            tuple(tensor.double() for tensor in (maps, weight, bias)),
        ):
            assert torch.equal(conv_relu_pool(*other), one_after_the_other(*other))
        assert runs == []
        conv_relu_pool(maps, weight, bias)
    assert runs == [torch.float32], "these maps as they were are the kernel's"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_bytes_and_torchs_sums_the_same_course(precision: str) -> None:
    recipe = replace(QUICK, precision=precision, optimizer="muon")  # type: ignore[arg-type]

    def trained() -> tuple[object, list[float]]:
        network = build("tutorial", 1, len(CLASSES), (16, 16), seed=0)
        return network, [event.loss for event in train(network, SPLITS.train, SPLITS.validation, recipe)]

    with economical():
        (first, losses), (second, others) = trained(), trained()
        with without_kernels():
            _, torchs = trained()
    assert same_weights(first, second)  # type: ignore[arg-type]
    assert losses == others
    assert losses[0] == pytest.approx(torchs[0], rel=1e-6 if precision == "float32" else 1e-2)
    assert losses != torchs  # or the kernel did not run


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
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*results, strict=True))


def test_where_only_the_answer_counts_the_short_way_gives_it_unless_a_hook_listens() -> None:
    model = build("tutorial", 1, 4, (16, 16), seed=1).eval()
    images = scaled(SPLITS.train.images[:32])
    called: list[str] = []
    with torch.inference_mode():
        long = model(images)
        with fast_path():
            short = model(images)
            assert torch.allclose(short, long, atol=1e-6)
            assert not torch.equal(short, long)  # or the kernel did not run
            with without_kernels():
                assert torch.equal(model(images), long)
            model.conv1.register_forward_hook(lambda *_: called.append("conv1"))  # type: ignore[union-attr]
            assert torch.equal(model(images), long)
    assert called == ["conv1"]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("shape", [(3, 16, 28, 28), (2, 5, 7, 9), (1, 3, 2, 3)])
def test_halving_is_torchs_pooling_to_the_last_bit(
    shape: tuple[int, int, int, int], layout: torch.memory_format
) -> None:
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(5)).to(memory_format=layout)
    maps[0, 1, 0, 1], maps[0, 2, 1, 0] = float("nan"), float("inf")
    layer, expected = HalvingMaxPool(), functional.max_pool2d(maps, 2)
    with torch.no_grad():
        assert torch.equal(layer(maps).nan_to_num(7), expected.nan_to_num(7))
        assert torch.equal(layer(maps).isnan(), expected.isnan())
    leaf = maps.nan_to_num(0).round().requires_grad_()  # many ties: the first gets the gradient
    (found,) = torch.autograd.grad(layer(leaf).sum(), leaf)
    (gradient,) = torch.autograd.grad(functional.max_pool2d(leaf, 2).sum(), leaf)
    assert torch.equal(found, gradient)
