"""Operations of random shapes and numbers: the page's engine gives torch's values and gradients."""

import base64
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import pellucid
from pellucid.pad.data import ProgramData, to_json
from pellucid.pad.operations import MOVING, SPREADING, Operation
from pellucid.pad.packing import pack_weights
from pellucid.pad.program import Program
from pellucid.pad.section import SCRIPTS, constants_script

pytestmark = pytest.mark.browser

PAGES = Path(pellucid.__file__).parent / "assets" / "pad"
EACH = 12  # random operations of every kind
RUN = """(cases) => cases.map(([program, packed, image, seed]) => {
  const floats = (text) => new Float32Array(PellucidSnapshots.bytesOf(text).buffer);
  const net = PellucidProgram.create(program, PellucidSnapshots.unpack(packed, program.tensors));
  const value = Array.from(net.run(floats(image)));
  return [value, Array.from(net.backward(floats(seed), 0))];
})"""


class Maker:
    """Random programs of one operation that reads parts of a flat picture."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def sides(self, least: int = 1, most: int = 4) -> list[int]:
        return [self.chance.randint(1, 5) for _ in range(self.chance.randint(least, most))]

    def make(self, kind: str) -> tuple[Program, list[Tensor], Tensor]:
        """A program, its weights and a picture."""
        inputs, shape, attributes, tensors = getattr(self, f"make_{kind}", self.make_reduced)()
        whole, operations = sum(map(math.prod, inputs)), []
        for place, each in enumerate(inputs):
            start, count = sum(map(math.prod, inputs[:place])), math.prod(each)
            indices = [list(range(start, start + count))]
            how = {"view": [whole], "indices": indices, "fill": 0.0}
            operations.append(Operation("index", "part", (0,), tuple(each), (), how))
        read = tuple(range(1, len(inputs) + 1))
        places = tuple(range(len(tensors)))
        operations.append(Operation(kind, "layer", read, tuple(shape), places, attributes))
        picture = torch.randn(1, whole, generator=self.generator)
        return Program((whole,), tuple(operations), ()), tensors, picture

    def make_permute(self) -> Any:
        shape = self.sides(2, 5)
        axes = self.chance.sample(range(len(shape)), len(shape))
        return [shape], [shape[axis] for axis in axes], {"view": shape, "axes": axes}, []

    def make_index(self) -> Any:
        shape = self.sides()
        chosen = [
            None if self.chance.random() < 0.3
            else [self.chance.randrange(-1, side) for _ in range(self.chance.randint(1, 6))]
            for side in shape
        ]  # fmt: skip
        after = [side if each is None else len(each) for side, each in zip(shape, chosen, strict=True)]
        return [shape], after, {"view": shape, "indices": chosen, "fill": self.chance.uniform(-1, 1)}, []

    def make_cat(self) -> Any:
        front, back = self.sides(0, 2), self.sides(0, 2)
        parts = [self.chance.randint(1, 4) for _ in range(self.chance.randint(1, 3))]
        shapes = [[*front, part, *back] for part in parts]
        return shapes, [*front, sum(parts), *back], {"outer": math.prod(front)}, []

    def make_view(self) -> Any:
        shape = self.sides()
        return [shape], [math.prod(shape)], {}, []

    def make_constant(self) -> Any:
        shape = self.sides()
        return [], shape, {}, [torch.randn(shape, generator=self.generator)]

    def make_reduced(self) -> Any:
        shape = self.sides(1, 4)
        dims = sorted(self.chance.sample(range(len(shape)), self.chance.randint(1, len(shape))))
        after = [side for dim, side in enumerate(shape) if dim not in dims] or [1]
        return [shape], after, {"view": shape, "dims": dims}, []

    def make_softmax(self) -> Any:
        shape = self.sides(1, 4)
        dim = self.chance.randrange(len(shape))
        return [shape], shape, {"count": shape[dim], "inner": math.prod(shape[dim + 1 :])}, []

    make_log_softmax = make_softmax

    def make_matmul(self) -> Any:
        rows, inner, columns = (self.chance.randint(1, 9) for _ in range(3))
        batch = self.sides(0, 2)
        first, second = ([self.chance.choice((1, side)) for side in batch] for _ in range(2))
        after = [max(pair) for pair in zip(first, second, strict=True)]
        left, right = [*first, rows, inner], [*second, inner, columns]
        return [left, right], [*after, rows, columns], {"first": left, "second": right}, []

    def make_linear(self) -> Any:
        rows, inputs, outputs = self.sides(0, 2), self.chance.randint(1, 9), self.chance.randint(1, 9)
        tensors = [torch.randn(outputs, inputs, generator=self.generator)]
        if self.chance.random() < 0.5:
            tensors.append(torch.randn(outputs, generator=self.generator))
        return [[*rows, inputs]], [*rows, outputs], {}, tensors

    def make_layer_norm(self) -> Any:
        shape, count = self.sides(0, 2), self.chance.randint(2, 9)
        tensors = [torch.randn(count, generator=self.generator) for _ in range(self.chance.choice((0, 2)))]
        return [[*shape, count]], [*shape, count], {"count": count, "each": 1, "epsilon": 1e-3}, tensors

    def make_group_norm(self) -> Any:
        groups, each, plane = self.chance.randint(1, 3), self.chance.randint(1, 3), self.chance.randint(2, 9)
        tensors = [torch.randn(groups * each, generator=self.generator) for _ in range(2)]
        shape = [groups * each, plane]
        return [shape], shape, {"count": each * plane, "each": plane, "epsilon": 1e-3}, tensors

    def maps(self) -> tuple[dict[str, int], list[int], list[int]]:
        """Attributes, what stands before maps, and the maps: several of them in one picture, or one."""
        slices = self.chance.choice((0, 2, 3))
        shape = [self.chance.randint(1, 4), self.chance.randint(3, 8), self.chance.randint(3, 8)]
        return ({"slices": slices} if slices else {}), ([slices] if slices else []), shape

    def make_conv2d(self) -> Any:
        slices, front, (channels, height, width) = self.maps()
        groups = self.chance.choice((1, channels))
        filters, kernel = groups * self.chance.randint(1, 2), [self.chance.randint(1, 3) for _ in range(2)]
        how = {name: [self.chance.randint(low, 2) for _ in range(2)]
               for name, low in (("stride", 1), ("padding", 0), ("dilation", 1))}  # fmt: skip
        sides = [
            (side + 2 * pad - step * (size - 1) - 1) // stride + 1
            for side, pad, step, size, stride in zip(
                (height, width), how["padding"], how["dilation"], kernel, how["stride"], strict=True
            )
        ]
        if min(sides) < 1:
            return self.make_conv2d()
        weight = torch.randn(filters, channels // groups, *kernel, generator=self.generator)
        attributes = {**slices, **how, "kernel": kernel, "groups": groups}
        return [[*front, channels, height, width]], [*front, filters, *sides], attributes, [weight]

    def make_affine(self) -> Any:
        slices, front, shape = self.maps()
        tensors = [torch.randn(shape[0], generator=self.generator) for _ in range(2)]
        return [[*front, *shape]], [*front, *shape], slices, tensors

    def make_resize(self) -> Any:
        slices, front, shape = self.maps()
        antialias, aligned = self.chance.choice(((False, False), (True, False), (False, True)))
        after = [shape[0], self.chance.randint(1, 9), self.chance.randint(1, 9)]
        attributes = {**slices, "antialias": antialias, "align_corners": aligned}
        return [[*front, *shape]], [*front, *after], attributes, []

    def make_max_pool2d(self) -> Any:
        slices, front, (channels, height, width) = self.maps()
        attributes = {**slices, "kernel": [2, 3], "stride": [2, 1], "padding": [1, 1], "ceil": False,
                      "dilation": [1, 1], "count_padding": False, "divisor": 0}  # fmt: skip
        after = [channels, height // 2 + 1, width]
        return [[*front, channels, height, width]], [*front, *after], attributes, []

    make_avg_pool2d = make_max_pool2d

    def make_adaptive_avg_pool2d(self) -> Any:
        slices, front, shape = self.maps()
        after = [shape[0], self.chance.randint(1, 3), self.chance.randint(1, 3)]
        return [[*front, *shape]], [*front, *after], slices, []

    make_adaptive_max_pool2d = make_adaptive_avg_pool2d

    def make_add(self) -> Any:
        after = self.sides(1, 4)
        first = [self.chance.choice((1, side)) for side in after]
        return (
            [after, first[self.chance.randint(0, len(first)) :]],
            after,
            {"number": None, "swapped": False},
            [],
        )

    make_sub = make_mul = make_div = make_maximum = make_minimum = make_prelu = make_gt = make_add

    def make_where(self) -> Any:
        inputs, after, _, _ = self.make_add()
        return [inputs[1], inputs[0], after], after, {}, []


BROADCAST = ("add", "sub", "mul", "div", "maximum", "minimum", "prelu", "gt", "where")


@pytest.mark.parametrize("kind", [*SPREADING, *MOVING, *BROADCAST])
def test_a_random_operation_gives_torchs_value_and_gradient(engine, kind: str) -> None:
    maker = Maker(seed=len(kind))
    cases, expected = [], []
    for _ in range(EACH):
        program, weights, picture = maker.make(kind)
        value = program.run(picture.requires_grad_(), weights)[-1]
        seed = torch.randn(value.shape, generator=maker.generator)
        gradient = None
        if value.requires_grad:
            (gradient,) = torch.autograd.grad((value * seed).sum(), picture, allow_unused=True)
        shapes = [list(weight.shape) for weight in weights]
        data = to_json(ProgramData(program.shape, program.operations, shapes))
        packed = to_json(pack_weights(weights or [torch.zeros(1)], "f32")[0])
        cases.append([data, packed, text(picture.detach()), text(seed)])
        expected.append(
            (value.detach(), torch.zeros_like(picture) if gradient is None else gradient, program)
        )
    for (value, gradient), (its_value, its_gradient, program) in zip(
        engine.evaluate(RUN, cases), expected, strict=True
    ):
        for found, known in ((value, its_value), (gradient, its_gradient)):
            near = 1e-4 * max([1.0, *known.abs().flatten().tolist()])
            mine = torch.tensor(found, dtype=torch.float32)
            assert torch.allclose(mine, known.flatten(), atol=near), program.operations[-1]


def text(tensor: Tensor) -> str:
    return base64.b64encode(np.ascontiguousarray(tensor.numpy()).tobytes()).decode()


@pytest.fixture
def engine(watch):
    """An empty page with the engine's scripts in it."""
    watched = watch()
    watched.page.add_script_tag(content=constants_script())
    for name in SCRIPTS[: SCRIPTS.index("snapshots.js") + 1]:
        watched.page.add_script_tag(content=(PAGES / name).read_text(encoding="utf-8"))
    yield watched.page
    assert watched.errors == []
