"""Tracing: the computation behind one cell of a layer, and which pixels each cell can see.

A network is traced while it runs, function by function (`torch.overrides`), so it does not matter how it was
written: a convolution is one whether a module or a plain call makes it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from pellucid.explanation.activations import Grid, forward_hooks, network_input, preserved_state

ARGUMENTS = {
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "linear": ("input", "weight", "bias"),
    "batch_norm": ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    "max_pool2d": ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    "avg_pool2d": ("input", "kernel_size", "stride", "padding", "ceil_mode"),
    "adaptive_avg_pool2d": ("input", "output_size"),
    "adaptive_max_pool2d": ("input", "output_size"),
    "permute": ("input", "dims"),
    "mean": ("input", "dim", "keepdim"),
    "layer_norm": ("input", "normalized_shape"),
    "cat": ("tensors", "dim"),
    "pad": ("input", "pad", "mode", "value"),
}
WEIGHTED = ("conv2d", "linear")
POOLS = ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d")
MIXING = ("scaled_dot_product_attention", "multi_head_attention_forward")  # every token sees every other
# Elementwise: an output cell sees what the input cells at its place see.
POINTWISE = frozenset(
    "add sub mul div truediv pow neg sqrt rsqrt abs exp log maximum minimum clamp batch_norm relu relu6 "
    "leaky_relu elu selu gelu silu mish sigmoid logsigmoid tanh softplus hardtanh hardsigmoid hardswish "
    "dropout clone contiguous detach to float cat expand".split()
)


class Call(NamedTuple):
    """One function call of a network.

    name       without underscores: "relu" for relu_, "add" for `+` and `+=`
    arguments  by name, where ARGUMENTS names them
    tensors    those among the arguments
    before     the input of a function that worked in place, so that `tensors[0]` is its output
    """

    name: str
    arguments: dict[str, Any]
    tensors: list[Tensor]
    output: Tensor
    before: Tensor | None = None

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors as they were before the call."""
        return self.tensors if self.before is None else [self.before, *self.tensors[1:]]


class CallRecorder(TorchFunctionMode):
    """Inside the block calls `on_call` after every function that returns a tensor of real numbers."""

    def __init__(self, on_call: Callable[[Call], None]) -> None:
        super().__init__()
        self.on_call = on_call

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the function; calls inside it are not recorded."""
        keywords = kwargs or {}
        called = getattr(function, "__name__", "").partition(".")[0]  # "linear.default" of torch.export
        in_place = called.startswith("__i") or (called.endswith("_") and not called.endswith("__"))
        tensors = _tensors([*args, *keywords.values()])
        before = tensors[0].detach().clone() if tensors and (in_place or keywords.get("inplace")) else None
        output = function(*args, **keywords)
        if isinstance(output, Tensor) and output.is_floating_point() and called not in ("__get__", "__set__"):
            name = called.strip("_")
            name = name[1:] if called.startswith(("__i", "__r")) else name
            self.on_call(Call(name, _by_name(name, args) | keywords, tensors, output, before))
        return output


@dataclass(eq=False)
class CellTrace:
    """The computation of one cell of a layer.

    kind      "conv2d" or "linear": one weighted sum; a name of POOLS: a window; "steps": elementwise
              functions; "block": a layer of several layers or sums
    received  for each input, the names of the layers it comes from; "" is the picture
    kernel    the weights of the channel: (C, kh, kw), or (F,) of a dense layer
    patch     the part of the input under the kernel, of its shape; of a pooling, the cells of its window; of
              "steps", the numbers that are combined
    first     the input channel at which `kernel` begins: not 0 in grouped convolutions
    bias      added to the products; `total` is the sum of both
    after     the functions that follow: {"name", "value"}, and for a batch norm {"factor", "term"}
    value     the layer's output there
    """

    kind: str = "block"
    received: list[list[str]] = field(default_factory=list)
    kernel: Tensor | None = None
    patch: Tensor | None = None
    first: int = 0
    bias: float = 0.0
    total: float = 0.0
    after: list[dict[str, Any]] = field(default_factory=list)
    value: float = 0.0


class Tracer:
    """Traces one cell of one layer during a run of the network.

    Enter `recorder`, register `before_module` as a forward pre-hook of the layer's module, call `on_output`
    with the output of every layer, and read `result` after the run.

    key   of the layer, as `record` gives it
    grid  how the layer's output lies over the picture; None where it is not spatial
    """

    def __init__(self, key: str, grid: Grid | None, channel: int, row: int, column: int) -> None:
        self.key, self.grid, self.cell = key, grid, (channel, row, column)
        self.trace = CellTrace()
        self.recorder = CallRecorder(self._on_call)
        self._origins: Any = WeakTensorKeyDictionary()
        self._inside = False  # the layer, during its run
        self._runs = 0
        self._sums = 0
        self._value = 0.0

    def before_module(self, *arguments: Any) -> None:
        """To be called before every run of the layer's module."""
        self._runs += 1
        self._inside = self.key == (self.key.partition("#")[0] + (f"#{self._runs}" if self._runs > 1 else ""))

    def after_module(self, key: str) -> None:
        """To be called after every run of any layer's module, before anything else is computed."""
        self._inside = self._inside and key != self.key

    def on_output(self, key: str, output: Tensor) -> None:
        """To be called with the output of every layer, as the next one receives it."""
        self.after_module(key)
        if key == self.key:
            index = self._index(output)
            self._value = 0.0 if index is None else float(output.detach()[index])
        if not self._inside:
            self._origins[output] = frozenset({key})

    def result(self) -> CellTrace:
        """The cell's computation; a layer with several sums of its own is a block."""
        return replace(CellTrace() if self._sums > 1 else self.trace, value=self._value)

    def _on_call(self, call: Call) -> None:
        origin = frozenset().union(*(self._origins.get(tensor, frozenset()) for tensor in call.tensors))
        if self._inside:
            self._add(call)
        if origin:
            self._origins[call.output] = origin

    def _add(self, call: Call) -> None:
        index = self._index(call.output)
        trace = self.trace
        if index is None:
            return
        value = float(call.output.detach()[index])
        if call.name in WEIGHTED:
            self._sums += 1
            if self._sums == 1:
                self.trace = self._weighted_sum(call, index, value)
        elif call.name in POOLS and trace.kind == "block" and not self._sums:
            trace.kind, trace.patch, trace.total = call.name, _window(call, index), value
            trace.received = [self._origin_names(call.tensors[0])]
        elif call.name not in ("clone", "dropout", "detach", "contiguous"):
            if trace.kind == "block" and not self._sums:
                trace.kind = "steps"
                same = [at for at, tensor in enumerate(call.tensors) if tensor.shape == call.output.shape]
                numbers = [call.inputs[at].detach()[index] for at in same]
                trace.patch = torch.stack(numbers) if same else None
                trace.received = [self._origin_names(call.tensors[at]) for at in same]
            trace.after.append({"name": call.name, "value": value, **_affine(call, index)})

    def _weighted_sum(self, call: Call, index: tuple[int, ...], value: float) -> CellTrace:
        """The sum behind a cell of a convolution or dense layer."""
        arguments = call.arguments
        bias = arguments.get("bias")
        channel = index[1] if call.name == "conv2d" else index[-1]
        if call.name == "conv2d":
            kernel, patch, first = _kernel_and_patch(arguments, index)
        else:
            kernel, patch, first = arguments["weight"][channel], arguments["input"][index[:-1]], 0
        term = 0.0 if bias is None else float(bias.detach()[channel])
        names = [self._origin_names(arguments["input"])]
        return CellTrace(
            call.name, names, kernel.detach().clone(), patch.detach().clone(), first, term, value
        )

    def _origin_names(self, tensor: Tensor) -> list[str]:
        return sorted(self._origins.get(tensor, {""}))

    def _index(self, output: Tensor) -> tuple[int, ...] | None:
        """The index of the cell in an output (1, ...); None where there is no such cell."""
        channel, row, column = self.cell
        if output.dim() == 2 and self.grid is None:
            index: tuple[int, ...] = (0, channel)
        elif output.dim() == 3 and self.grid is not None and self.grid.kind == "tokens":
            index = (0, self.grid.extra + row * self.grid.width + column, channel)
        elif output.dim() == 4 and self.grid is not None:
            last = self.grid.kind == "channels last"
            index = (0, row, column, channel) if last else (0, channel, row, column)
        else:
            return None
        inside = len(output) == 1 and all(at < side for at, side in zip(index, output.shape, strict=True))
        return index if inside else None


def _by_name(function: str, values: Sequence[Any]) -> dict[str, Any]:
    """Positional arguments by name; numbers passed one by one, as in `permute(0, 2, 3, 1)`, as a list."""
    names = ARGUMENTS.get(function, ())
    if names and len(values) > len(names):
        values = [*values[: len(names) - 1], list(values[len(names) - 1 :])]
    return dict(zip(names, values, strict=False))


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    tensors: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            tensors.append(value)
        elif isinstance(value, list | tuple):
            tensors += [part for part in value if isinstance(part, Tensor)]
    return tensors


def _affine(call: Call, index: tuple[int, ...]) -> dict[str, float]:
    """In evaluation mode a batch norm is one factor and one term per channel."""
    arguments = call.arguments
    if call.name != "batch_norm" or arguments.get("running_var") is None:
        return {}
    channel = index[1]
    factor = (arguments["running_var"][channel].double() + arguments.get("eps", 1e-5)).rsqrt()
    if arguments.get("weight") is not None:
        factor = factor * arguments["weight"][channel].double()
    term = -arguments["running_mean"][channel].double() * factor
    if arguments.get("bias") is not None:
        term = term + arguments["bias"][channel].double()
    return {"factor": float(factor.detach()), "term": float(term.detach())}


def _pair(value: Any) -> tuple[int, int]:
    first, *rest = value if isinstance(value, list | tuple) else [value]
    return int(first), int(rest[0] if rest else first)


def _padding(arguments: dict[str, Any], kernel: Sequence[int], dilation: tuple[int, int]) -> tuple[int, int]:
    padding = arguments.get("padding", 0)
    if padding == "same":  # of an odd sum the smaller half comes first
        return dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2
    return (0, 0) if padding == "valid" else _pair(padding)


def _kernel_and_patch(arguments: dict[str, Any], index: tuple[int, ...]) -> tuple[Tensor, Tensor, int]:
    """A kernel (C, kh, kw), the patch of the input under it, zero beyond the edge, and the first input
    channel it reads."""
    weight, image = arguments["weight"], arguments["input"][0]
    filters, share, *kernel = weight.shape
    dilation = _pair(arguments.get("dilation", 1))
    first = index[1] // (filters // arguments.get("groups", 1)) * share
    spans = [
        _taps(at, size, step, pad, gap)
        for at, size, step, pad, gap in zip(
            index[2:], kernel, _pair(arguments.get("stride", 1)), _padding(arguments, kernel, dilation),
            dilation,
            strict=True,
        )
    ]  # fmt: skip
    patch = torch.zeros_like(weight[0])
    for y, row in enumerate(spans[0]):
        for x, column in enumerate(spans[1]):
            if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
                patch[:, y, x] = image[first : first + share, row, column]
    return weight[index[1]], patch, first


def _taps(at: int, kernel: int, stride: int, padding: int, dilation: int) -> list[int]:
    """The positions along one side that the window of cell `at` reads, those beyond the edge included."""
    return [at * stride - padding + tap * dilation for tap in range(kernel)]


def _windows(call: Call, sides: Sequence[int]) -> list[list[list[int]]]:
    """For each cell along the rows, and along the columns, the input positions its window reads."""
    arguments, cells = call.arguments, call.output.shape[-2:]
    if call.name.startswith("adaptive"):
        return [
            [list(range(at * side // count, -(-(at + 1) * side // count))) for at in range(count)]
            for side, count in zip(sides, cells, strict=True)
        ]
    size = arguments["weight"].shape[2:] if call.name == "conv2d" else _pair(arguments["kernel_size"])
    default = 1 if call.name == "conv2d" else size
    stride = _pair(default if arguments.get("stride") in (None, [], ()) else arguments["stride"])
    dilation = _pair(arguments.get("dilation", 1))
    padding = _padding(arguments, size, dilation)
    return [
        [
            [tap for tap in _taps(at, size[axis], stride[axis], padding[axis], dilation[axis])
             if 0 <= tap < sides[axis]]
            for at in range(cells[axis])
        ]
        for axis in (0, 1)
    ]  # fmt: skip


def _window(call: Call, index: tuple[int, ...]) -> Tensor:
    """The cells under a pooling's window, (n,)."""
    image = call.tensors[0].detach()[0, index[1]]
    rows, columns = _windows(call, image.shape)
    return image[rows[index[2]]][:, columns[index[3]]].flatten().clone()


# --- receptive fields

Side = list[tuple[int, int]]  # for each cell along one side, the first and the last pixel it can see


class Reach(NamedTuple):
    """The receptive fields of a tensor's cells; `axes` are its dimensions of rows and columns."""

    rows: Side
    columns: Side
    axes: tuple[int, int] = (2, 3)


WHOLE, UNKNOWN = "whole", "unknown"  # every cell can see the whole picture; cannot be derived


def cell_fields(network: nn.Module, images: Tensor, modules: dict[str, nn.Module]) -> dict[str, Reach | str]:
    """The receptive field of every cell in the outputs of `modules` for a picture (1, C, H, W), by layer key.

    Derived from windows and strides: a limit that no weights can exceed. A layer for which it cannot be
    derived, such as a transformer's tokens before its first attention, is left out.
    """
    reaches: Any = WeakTensorKeyDictionary()
    result: dict[str, Reach | str] = {}

    def on_call(call: Call) -> None:
        inputs = [reaches[tensor] for tensor in call.tensors if tensor in reaches]
        if inputs:
            reaches[call.output] = _output_reach(call, inputs)

    def on_output(key: str, output: Tensor) -> None:
        if reaches.get(output, UNKNOWN) != UNKNOWN:
            result[key] = reaches[output]

    # With gradients enabled, poolings stay single functions instead of the slices that are faster without.
    with preserved_state(network), torch.enable_grad():
        image = network_input(network, images)
        rows, columns = ([(at, at) for at in range(side)] for side in image.shape[2:])
        reaches[image] = Reach(rows, columns)
        with forward_hooks(modules, on_output), CallRecorder(on_call):
            network(image)
    return result


def _output_reach(call: Call, inputs: list[Reach | str]) -> Reach | str:
    """The receptive fields of a function's output, given those of its inputs."""
    last = call.tensors[0].dim() - 1
    if (
        call.name in MIXING
        or all(reach == WHOLE for reach in inputs)
        or (call.name == "linear" and last == 1)
    ):
        return WHOLE
    if call.name in POINTWISE:
        return _combined(call, inputs)
    first = inputs[0]
    if not isinstance(first, Reach):
        return UNKNOWN
    if call.name in (*POOLS, "conv2d"):
        rows, columns = _windows(call, [len(first.rows), len(first.columns)])
        return Reach(_through(first.rows, rows), _through(first.columns, columns))
    if call.name in ("pad", "interpolate") and last == 3 and first.axes == (2, 3):
        return _resized_reach(call, first)
    if call.name == "permute" and isinstance(call.arguments.get("dims"), list | tuple):
        dims = [dim % (last + 1) for dim in call.arguments["dims"]]
        return first._replace(axes=(dims.index(first.axes[0]), dims.index(first.axes[1])))
    if call.name == "mean":
        return _mean_reach(call, first, last)
    if call.name == "linear" or (call.name == "layer_norm" and len(call.arguments["normalized_shape"]) == 1):
        return UNKNOWN if last in first.axes else first
    return UNKNOWN


def _resized_reach(call: Call, reach: Reach) -> Reach:
    """Of a padding, whose zeros see what the nearest cell does, and of a bilinear interpolation."""
    before = [0, 0]
    if call.name == "pad":
        left, _, top, _ = (*call.arguments["pad"], 0, 0, 0, 0)[:4]
        before = [top, left]
    sides: list[Side] = []
    for side, cells, skipped in zip((reach.rows, reach.columns), call.output.shape[2:], before, strict=True):
        scale = 1.0 if call.name == "pad" else len(side) / cells
        spans = []
        for cell in range(cells):
            centre = (cell + 0.5) * scale
            ends = (cell - skipped, cell - skipped)
            if call.name == "interpolate":
                width = max(1.0, scale)  # without antialiasing fewer are read
                ends = int(centre - width + 0.5), int(centre + width + 0.5) - 1
            first, last = (min(len(side) - 1, max(0, end)) for end in ends)
            spans.append(_union(side[first : last + 1]))
        sides.append(spans)
    return Reach(sides[0], sides[1])


def _mean_reach(call: Call, reach: Reach, last: int) -> Reach | str:
    """A mean over the whole map sees all of it; over channels it changes nothing."""
    dims = call.arguments.get("dim")
    over = {dim % (last + 1) for dim in (dims if isinstance(dims, list | tuple) else [dims or 0])}
    if dims is None or set(reach.axes) <= over:
        return WHOLE
    return reach if not over & set(reach.axes) and call.arguments.get("keepdim") else UNKNOWN


def _combined(call: Call, inputs: list[Reach | str]) -> Reach | str:
    """Where paths meet, each cell sees what any of them saw."""
    reaches = [reach for reach in inputs if isinstance(reach, Reach)]
    if len(reaches) < len(inputs):
        return WHOLE if WHOLE in inputs else UNKNOWN
    axes = reaches[0].axes
    along = call.arguments.get("dim", 0) % call.output.dim() if call.name == "cat" else None
    if along in axes or any(reach.axes != axes for reach in reaches):
        return UNKNOWN
    height, width = (call.output.shape[axis] for axis in axes)
    rows, columns = (
        [_union([side[min(at, len(side) - 1)] for side in sides]) for at in range(count)]
        for sides, count in (
            ([reach.rows for reach in reaches], height),
            ([reach.columns for reach in reaches], width),
        )
    )
    return Reach(rows, columns, axes)


def _union(spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return min(first for first, _ in spans), max(last for _, last in spans)


def _through(side: Side, windows: list[list[int]]) -> Side:
    """A window sees what its cells see; one entirely beyond the edge, what the nearest cell sees."""
    return [_union([side[at] for at in window] or [side[-1]]) for window in windows]
