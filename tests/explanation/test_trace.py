"""What a layer's cell is made of adds up to what the layer puts out, and what it can see is what moves it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pellucid.explanation.activations import Grid, forward_hooks, layer_grids, layers_of, record
from pellucid.explanation.trace import WHOLE, CellTrace, Reach, Tracer, cell_fields
from pellucid.inference import evaluation_mode
from pellucid.models import build
from tests.networks import SHAPES, network, pictures


def worked(net: nn.Module, image: Tensor, key: str, cell: tuple[int, int, int]) -> CellTrace:
    """The trace of one cell, asked as the live page asks it."""
    output = record(net, image, [key])[key]
    grid = layer_grids(net, image, {key: tuple(output.shape)}).get(key)
    tracer = Tracer(key, grid, *cell)
    modules = layers_of(net) | {key.partition("#")[0]: net.get_submodule(key.partition("#")[0])}
    handle = net.get_submodule(key.partition("#")[0]).register_forward_pre_hook(tracer.before_module)

    def on_output(name: str, output: Tensor) -> None:
        tracer.on_output(name, output)

    with evaluation_mode(net), torch.enable_grad(), forward_hooks(modules, on_output), tracer.recorder:
        net(image)
    handle.remove()
    return tracer.result()


def after(trace: CellTrace, value: float) -> float:
    """What becomes of the sum by what is said to follow."""
    for step in trace.after:
        if "factor" in step:
            value = step["factor"] * value + step["term"]
        elif step["name"] in ("relu", "clamp", "hardtanh"):
            value = max(0.0, value)
        assert abs(value - step["value"]) < 1e-4, step
    return value


SUMS = [
    ("tutorial", "conv1", (3, 0, 5)),
    ("tutorial", "conv2", (31, 6, 6)),
    ("residual", "stem", (7, 20, 17)),
    ("residual", "layer1.conv2", (5, 10, 0)),
    ("residual", "layer2.conv1", (11, 0, 4)),
    ("residual", "layer2.shortcut", (2, 3, 3)),
    ("mixed", "conv1", (2, 16, 11)),
    ("mixed", "conv2", (4, 3, 3)),
]


@pytest.mark.parametrize(("name", "key", "cell"), SUMS)
def test_products_and_bias_are_what_a_convolution_puts_out(name: str, key: str, cell: Any) -> None:
    net, image = network(name), pictures(name, 1)
    found = worked(net, image, key, cell)
    assert found.kind == "conv2d"
    weight = net.get_submodule(key).weight
    assert found.kernel is not None
    assert found.patch is not None
    assert torch.equal(found.kernel, weight[cell[0]])
    total = float((found.kernel.double() * found.patch.double()).sum()) + found.bias
    assert abs(total - found.total) < 1e-5
    output = record(net, image, [key])[key][0][cell]
    assert abs(after(found, total) - float(output)) < 1e-5
    assert abs(found.value - float(output)) < 1e-6


def test_batch_norm_and_relu_of_pellucids_own_layers_are_said() -> None:
    net = build("resnet", 3, 4, (32, 32), seed=1).eval()
    for module in net.modules():
        if hasattr(module, "variance"):
            module.mean.uniform_(-0.5, 0.5)
            module.variance.uniform_(0.5, 2)
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = worked(net, image, "stage2.0.conv1", (9, 4, 7))
    assert [step["name"] for step in found.after] == ["batch_norm", "relu"]
    assert found.received == [["stage1.1.sum"]]
    output = record(net, image, ["stage2.0.conv1"])["stage2.0.conv1"][0, 9, 4, 7]
    assert abs(after(found, float((found.kernel * found.patch).sum())) - float(output)) < 1e-5
    first = worked(net, image, "conv1", (0, 0, 0))
    assert first.received == [[""]]


def test_a_dense_layer_a_pooling_and_a_sum_are_taken_apart() -> None:
    net = build("resnet", 3, 4, (32, 32), seed=1).eval()
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    values = record(net, image)
    dense = worked(net, image, "dense", (2, 0, 0))
    assert (dense.kind, dense.received) == ("linear", [["pool2"]])
    assert abs(float((dense.kernel * dense.patch).sum()) + dense.bias - float(values["dense"][0, 2])) < 1e-5
    pool = worked(net, image, "pool2", (5, 0, 0))
    assert pool.kind == "adaptive_avg_pool2d"
    assert torch.equal(pool.patch, values["stage4.1.sum"][0, 5].flatten())
    assert abs(float(pool.patch.mean()) - pool.value) < 1e-6
    both = worked(net, image, "stage2.0.sum", (3, 2, 1))
    assert (both.kind, both.received) == ("steps", [["stage2.0.conv2"], ["stage2.0.shortcut"]])
    parts = [values[key][0, 3, 2, 1] for key in ("stage2.0.conv2", "stage2.0.shortcut")]
    assert both.patch.tolist() == [float(part) for part in parts]
    assert [step["name"] for step in both.after] == ["add", "relu"]
    assert abs(after(both, float(sum(parts))) - both.value) < 1e-6
    assert worked(net, image, "stage2.0", (3, 2, 1)).kind == "block"


def test_a_window_of_a_pooling_holds_what_it_chose_from() -> None:
    net, image = network("residual"), pictures("residual", 1)
    found = worked(net, image, "pool", (1, 0, 8))
    stem = torch.relu(record(net, image, ["stem"])["stem"])[0, 1]
    assert found.kind == "max_pool2d"
    assert torch.equal(found.patch, stem[0:2, 15:18].flatten())
    assert abs(float(found.patch.max()) - found.value) < 1e-6


def test_in_place_functions_tell_what_they_were_given() -> None:
    net, image = network("residual"), pictures("residual", 1)
    found = worked(net, image, "layer1.relu", (4, 3, 3))  # its first run
    before = record(net, image, ["layer1.bn1"])["layer1.bn1"][0, 4, 3, 3]
    assert found.kind == "steps"
    assert found.patch.tolist() == [float(before)]
    assert found.received == [["layer1.bn1"]]
    again = worked(net, image, "layer1.relu#2", (4, 3, 3))
    assert again.received == [["layer1.bn2", "layer1.shortcut"]]
    assert abs(max(0.0, float(again.patch[0])) - again.value) < 1e-6


class Attending(nn.Module):
    """Patches, a class token, one block with attention; and a channels-last convolution block before it."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.LayerNorm(8)
        self.mix = nn.Linear(8, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.mix(self.norm(self.patches(images).permute(0, 2, 3, 1)))  # (B, h, w, C)
        tokens = maps.flatten(1, 2)
        return self.head(self.block(tokens).mean(1))


def test_a_dense_layer_over_tokens_is_a_sum_at_its_place() -> None:
    torch.manual_seed(0)
    net, image = Attending().eval(), torch.rand(1, 3, 16, 24)
    found = worked(net, image, "block.linear1", (5, 2, 4))
    output = record(net, image, ["block.linear1"])["block.linear1"]
    assert found.kind == "linear"
    assert abs(float((found.kernel * found.patch).sum()) + found.bias - float(output[0, 2 * 6 + 4, 5])) < 1e-5
    grids = layer_grids(net, image, {"block.linear1": tuple(output.shape)})
    assert grids == {"block.linear1": Grid("tokens", 4, 6)}


def moved(net: nn.Module, image: Tensor, key: str, index: tuple[int, ...]) -> tuple[int, int, int, int]:
    """First and last row and column of the pixels that move a cell: not-a-number spreads to all it moves."""
    kept: list[Tensor] = []

    def on_output(name: str, output: Tensor) -> None:
        if name == key:
            kept.append(output.clone())

    rows: list[int] = []
    columns: list[int] = []
    for axis, found in ((2, rows), (3, columns)):
        for at in range(image.shape[axis]):
            spoilt = image.clone()
            spoilt.select(axis, at).fill_(float("nan"))
            kept.clear()
            with (
                evaluation_mode(net),
                torch.no_grad(),
                forward_hooks({key: net.get_submodule(key)}, on_output),
            ):
                net(spoilt)
            if bool(torch.isnan(kept[0][index])):
                found.append(at)
    return rows[0], rows[-1], columns[0], columns[-1]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("tutorial", "pool2"), ("residual", "pool"), ("residual", "layer1.conv2"), ("residual", "layer2"),
        ("mixed", "conv1"), ("resnet", "stage1.1.sum"), ("resnet", "stage3.0.conv1"),
    ],
)  # fmt: skip
def test_what_a_cell_can_see_is_what_can_move_it(name: str, key: str) -> None:
    known = name in SHAPES
    net = network(name) if known else build("resnet", 3, 4, (32, 32), seed=1).eval()
    image = pictures(name, 1) if known else torch.rand(1, 3, 32, 32)
    reach = cell_fields(net, image, {key: net.get_submodule(key)})[key]
    assert isinstance(reach, Reach)
    height, width = record(net, image, [key])[key].shape[2:]
    assert (len(reach.rows), len(reach.columns)) == (height, width)
    for row, column in ((0, 0), (height // 2, width // 3), (height - 1, width - 1)):
        seen = (*reach.rows[row], *reach.columns[column])
        assert seen == moved(net, image, key, (0, 0, row, column))


def test_gradients_stay_inside_what_a_cell_can_see_and_reach_its_edge() -> None:
    net, image = network("residual"), pictures("residual", 1).requires_grad_()
    reach = cell_fields(net, image, {"layer2": net.layer2})["layer2"]
    kept: list[Tensor] = []
    with evaluation_mode(net), forward_hooks({"layer2": net.layer2}, lambda key, output: kept.append(output)):
        net(image)
    (gradient,) = torch.autograd.grad(kept[0][0, :, 2, 2].sum(), image)
    rows = torch.nonzero(gradient[0].abs().sum(dim=(0, 2)))[:, 0].tolist()
    assert reach.rows[2][0] <= rows[0]
    assert rows[-1] <= reach.rows[2][1]


def test_after_attention_everything_is_seen_and_before_it_tokens_are_not_guessed() -> None:
    torch.manual_seed(0)
    net, image = Attending().eval(), torch.rand(1, 3, 16, 24)
    found = cell_fields(net, image, dict(net.named_modules()))
    assert found["mix"] == Reach([(0, 3), (4, 7), (8, 11), (12, 15)],
                                 [(4 * at, 4 * at + 3) for at in range(6)], (1, 2))  # fmt: skip
    assert found["head"] == WHOLE
    assert "block.norm1" not in found


@pytest.mark.parametrize("name", ["enlarged", "reduced"])
@pytest.mark.parametrize("layer", ["resize", "stem", "block1.depthwise"])
def test_fields_are_followed_through_resizing_and_uneven_padding(name: str, layer: str) -> None:
    net, image = network(name), pictures(name, 1)
    reach = cell_fields(net, image, {layer: net.get_submodule(layer)})[layer]
    assert isinstance(reach, Reach)
    outputs: list[torch.Tensor] = []
    handle = net.get_submodule(layer).register_forward_hook(
        lambda module, given, output: outputs.append(output.clone())
    )
    net(image.requires_grad_())
    handle.remove()
    height, width = outputs[0].shape[2:]
    assert (len(reach.rows), len(reach.columns)) == (height, width)
    for row, column in ((0, 0), (height // 2, width // 3), (height - 1, width - 1)):
        cell = outputs[0][0, :, row, column].sum()
        (gradient,) = torch.autograd.grad(cell, image, retain_graph=True)
        seen = torch.nonzero(gradient[0].abs().sum(dim=0))
        (top, bottom), (left, right) = reach.rows[row], reach.columns[column]
        assert (seen >= torch.tensor([top, left])).all()
        assert (seen <= torch.tensor([bottom, right])).all()
        assert layer != "resize" or (bottom - top <= 4 and right - left <= 4)
