"""How a layer comes to what it puts out: the sum behind one cell, and which pixels each cell can see.

The network is listened to while it runs, function by function (`torch.overrides`), so nothing needs to be
known of how it was written: a convolution counts as one whether a module or a plain call made it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from pellucid.explanation.activations import Grid, fitted, listening, undisturbed

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
}
WEIGHTED = ("conv2d", "linear")
POOLS = ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d")
MIXING = ("scaled_dot_product_attention", "multi_head_attention_forward")  # every place with every other
# One number in, one out, at the same place: these keep what a place sees.
POINTWISE = frozenset(
    "add sub mul div truediv pow neg sqrt rsqrt abs exp log maximum minimum clamp batch_norm relu relu6 "
    "leaky_relu elu selu gelu silu mish sigmoid logsigmoid tanh softplus hardtanh hardsigmoid hardswish "
    "dropout clone contiguous detach to float cat".split()
)


class Call(NamedTuple):
    """One function that a network called.

    name     without underscores: "relu" for relu_, "add" for `+` and `+=`
    given    its arguments by name, where ARGUMENTS names them
    tensors  those among them
    before   what it was given, where it worked in place and `tensors[0]` is what came out
    """

    name: str
    given: dict[str, Any]
    tensors: list[Tensor]
    output: Tensor
    before: Tensor | None = None

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors as they were when it was called."""
        return self.tensors if self.before is None else [self.before, *self.tensors[1:]]


class Listener(TorchFunctionMode):
    """Tells `heard` of every function that puts out a tensor of real numbers, right after it has run."""

    def __init__(self, heard: Callable[[Call], None]) -> None:
        super().__init__()
        self.heard = heard

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the function; what it calls inside is not told of."""
        named = kwargs or {}
        called = getattr(function, "__name__", "")
        inside = called.startswith("__i") or (called.endswith("_") and not called.endswith("__"))
        tensors = _tensors([*args, *named.values()])
        before = tensors[0].detach().clone() if tensors and (inside or named.get("inplace")) else None
        output = function(*args, **named)
        if isinstance(output, Tensor) and output.is_floating_point() and called not in ("__get__", "__set__"):
            name = called.strip("_")
            name = name[1:] if called.startswith(("__i", "__r")) else name
            self.heard(Call(name, _by_name(name, args) | named, tensors, output, before))
        return output


@dataclass(eq=False)
class CellTrace:
    """How one cell of a layer came about.

    kind      "conv2d" or "linear": one weighted sum, "max_pool2d" and other POOLS: a window, "steps":
              functions of numbers at the same place, "block": of layers of its own or of several sums
    received  names of the layers whose values it works on; "" is the picture
    kernel    the weights of the channel: (C, kh, kw), or (F,) of a dense layer
    patch     what they meet, as long: the part of the input under them; of a pooling the cells of its window;
              of "steps" the numbers that are joined
    first     the number of the input channel that `kernel` begins with: not 0 where channels are grouped
    bias      added to the products; `total` is both together
    after     what follows: {"name", "value"}, and of a batch norm {"factor", "term"}
    value     what the layer puts out there
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
    """Watches one layer while a network runs, and has its `Working` for one cell afterwards.

    Enter `listener`, let `module` tell `begin` before it runs, and call `named` with each layer's output.
    grid  how the layer's numbers lie over the picture; None for numbers without a place
    """

    def __init__(self, key: str, grid: Grid | None, channel: int, row: int, column: int) -> None:
        self.key, self.grid, self.cell = key, grid, (channel, row, column)
        self.working = CellTrace()
        self.listener = Listener(self._heard)
        self._origins: Any = WeakTensorKeyDictionary()
        self._inside = False
        self._runs = 0
        self._sums = 0
        self._value = 0.0

    def begin(self, *given: Any) -> None:
        """The layer's module is about to run, perhaps not for the first time."""
        self._runs += 1
        self._inside = self.key == (self.key.partition("#")[0] + (f"#{self._runs}" if self._runs > 1 else ""))

    def left(self, key: str) -> None:
        """A layer's module has run: what follows is no longer its doing."""
        self._inside = self._inside and key != self.key

    def named(self, key: str, output: Tensor) -> None:
        """A layer hands this on."""
        self.left(key)
        if key == self.key:
            place = self._place(output)
            self._value = 0.0 if place is None else float(output.detach()[place])
        if not self._inside:
            self._origins[output] = frozenset({key})

    def finished(self) -> CellTrace:
        """What was found; a layer with several sums of its own is a block."""
        found = CellTrace() if self._sums > 1 else self.working
        return replace(found, value=self._value)

    def _heard(self, call: Call) -> None:
        origin = frozenset().union(*(self._origins.get(one, frozenset()) for one in call.tensors))
        if self._inside:
            self._note(call)
        if origin:
            self._origins[call.output] = origin

    def _note(self, call: Call) -> None:
        place = self._place(call.output)
        working = self.working
        if place is None:
            return
        value = float(call.output.detach()[place])
        if call.name in WEIGHTED:
            self._sums += 1
            if self._sums == 1:
                self.working = self._summed(call, place, value)
        elif call.name in POOLS and working.kind == "block" and not self._sums:
            window = _window(call, place)
            working.kind, working.patch, working.total = call.name, window, value
            working.received = [self._names(call.tensors[0])]
        elif call.name not in ("clone", "dropout", "detach", "contiguous"):
            if working.kind == "block" and not self._sums:
                working.kind = "steps"
                same = [at for at, one in enumerate(call.tensors) if one.shape == call.output.shape]
                working.patch = (
                    torch.stack([call.inputs[at].detach()[place] for at in same]) if same else None
                )
                working.received = [self._names(call.tensors[at]) for at in same]
            working.after.append({"name": call.name, "value": value, **_affine(call, place)})

    def _summed(self, call: Call, place: tuple[int, ...], value: float) -> CellTrace:
        """The one sum of a convolution or dense layer, taken apart."""
        given = call.given
        bias = given.get("bias")
        channel = place[1] if call.name == "conv2d" else place[-1]
        if call.name == "conv2d":
            kernel, patch, first = _under(given, place)
        else:
            kernel, patch, first = given["weight"][channel], given["input"][place[:-1]], 0
        term = 0.0 if bias is None else float(bias.detach()[channel])
        names = [self._names(given["input"])]
        return CellTrace(
            call.name, names, kernel.detach().clone(), patch.detach().clone(), first, term, value
        )

    def _names(self, tensor: Tensor) -> list[str]:
        return sorted(self._origins.get(tensor, {""}))

    def _place(self, output: Tensor) -> tuple[int, ...] | None:
        """Where the cell lies in an output (1, ...) on the layer's way; None where it has no such place."""
        channel, row, column = self.cell
        if output.dim() == 2 and self.grid is None:
            place: tuple[int, ...] = (0, channel)
        elif output.dim() == 3 and self.grid is not None and self.grid.kind == "tokens":
            place = (0, self.grid.extra + row * self.grid.width + column, channel)
        elif output.dim() == 4 and self.grid is not None:
            last = self.grid.kind == "channels last"
            place = (0, row, column, channel) if last else (0, channel, row, column)
        else:
            return None
        inside = len(output) == 1 and all(at < side for at, side in zip(place, output.shape, strict=True))
        return place if inside else None


def _by_name(function: str, values: Sequence[Any]) -> dict[str, Any]:
    """Arguments by name; numbers given one by one, as to `permute(0, 2, 3, 1)`, as the list they are."""
    names = ARGUMENTS.get(function, ())
    if names and len(values) > len(names):
        values = [*values[: len(names) - 1], list(values[len(names) - 1 :])]
    return dict(zip(names, values, strict=False))


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += [one for one in value if isinstance(one, Tensor)]
    return found


def _affine(call: Call, place: tuple[int, ...]) -> dict[str, float]:
    """At rest a batch norm is one factor and one term a channel."""
    given = call.given
    if call.name != "batch_norm" or given.get("running_var") is None:
        return {}
    channel = place[1]
    factor = (given["running_var"][channel].double() + given.get("eps", 1e-5)).rsqrt()
    if given.get("weight") is not None:
        factor = factor * given["weight"][channel].double()
    term = -given["running_mean"][channel].double() * factor
    if given.get("bias") is not None:
        term = term + given["bias"][channel].double()
    return {"factor": float(factor.detach()), "term": float(term.detach())}


def _pair(value: Any) -> tuple[int, int]:
    first, *rest = value if isinstance(value, list | tuple) else [value]
    return int(first), int(rest[0] if rest else first)


def _padding(given: dict[str, Any], kernel: Sequence[int], dilation: tuple[int, int]) -> tuple[int, int]:
    padding = given.get("padding", 0)
    if padding == "same":  # of an odd sum the smaller half lies in front
        return dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2
    return (0, 0) if padding == "valid" else _pair(padding)


def _under(given: dict[str, Any], place: tuple[int, ...]) -> tuple[Tensor, Tensor, int]:
    """A filter (C, kh, kw), the part of the input under it, as large, with zeros beyond the edge, and the
    first input channel it reads."""
    weight, image = given["weight"], given["input"][0]
    filters, share, *kernel = weight.shape
    dilation = _pair(given.get("dilation", 1))
    first = place[1] // (filters // given.get("groups", 1)) * share
    spans = [
        _taps(at, size, step, pad, gap)
        for at, size, step, pad, gap in zip(
            place[2:], kernel, _pair(given.get("stride", 1)), _padding(given, kernel, dilation), dilation,
            strict=True,
        )
    ]  # fmt: skip
    patch = torch.zeros_like(weight[0])
    for y, row in enumerate(spans[0]):
        for x, column in enumerate(spans[1]):
            if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
                patch[:, y, x] = image[first : first + share, row, column]
    return weight[place[1]], patch, first


def _taps(at: int, kernel: int, stride: int, padding: int, dilation: int) -> list[int]:
    """Which places along one side a window reads for its cell `at`, those beyond the edge included."""
    return [at * stride - padding + tap * dilation for tap in range(kernel)]


def _spans(call: Call, sides: Sequence[int]) -> list[list[list[int]]]:
    """For each cell along the rows, and along the columns, the places of the input its window reads."""
    given, cells = call.given, call.output.shape[-2:]
    if call.name.startswith("adaptive"):
        return [
            [list(range(at * side // count, -(-(at + 1) * side // count))) for at in range(count)]
            for side, count in zip(sides, cells, strict=True)
        ]
    size = given["weight"].shape[2:] if call.name == "conv2d" else _pair(given["kernel_size"])
    usual = 1 if call.name == "conv2d" else size
    stride = _pair(usual if given.get("stride") in (None, [], ()) else given["stride"])
    dilation = _pair(given.get("dilation", 1))
    padding = _padding(given, size, dilation)
    return [
        [
            [place for place in _taps(at, size[axis], stride[axis], padding[axis], dilation[axis])
             if 0 <= place < sides[axis]]
            for at in range(cells[axis])
        ]
        for axis in (0, 1)
    ]  # fmt: skip


def _window(call: Call, place: tuple[int, ...]) -> Tensor:
    """The cells under a pooling's window."""
    image = call.tensors[0].detach()[0, place[1]]
    rows, columns = _spans(call, image.shape)
    return image[rows[place[2]]][:, columns[place[3]]].flatten().clone()


# --- which pixels a cell can see

Side = list[tuple[int, int]]  # for each cell along one side: the first and the last pixel it can see


class Reach(NamedTuple):
    """What the cells of a tensor can see; `axes` tells which of its dimensions are rows and columns."""

    rows: Side
    columns: Side
    axes: tuple[int, int] = (2, 3)


WHOLE, UNKNOWN = "whole", "unknown"  # each number can see the whole picture; it cannot be followed


def fields(network: nn.Module, images: Tensor, modules: dict[str, nn.Module]) -> dict[str, Reach | str]:
    """What each cell of the outputs of `modules` can see of a picture (1, C, H, W), by the layers' keys.

    Follows windows and strides from the picture on: a limit that no weights can exceed. A layer whose cells
    cannot be followed, as the tokens of a transformer before its first attention, is left out.
    """
    seen: Any = WeakTensorKeyDictionary()
    found: dict[str, Reach | str] = {}

    def hear(call: Call) -> None:
        given = [seen[one] for one in call.tensors if one in seen]
        if given:
            seen[call.output] = _handed_on(call, given)

    def note(key: str, output: Tensor) -> None:
        if seen.get(output, UNKNOWN) != UNKNOWN:
            found[key] = seen[output]

    # With gradients on, poolings stay whole functions instead of the slices that are quicker without.
    with undisturbed(network), torch.enable_grad(), listening(modules, note), Listener(hear):
        image = fitted(network, images)
        rows, columns = ([(at, at) for at in range(side)] for side in image.shape[2:])
        seen[image] = Reach(rows, columns)
        network(image)
    return found


def _handed_on(call: Call, given: list[Reach | str]) -> Reach | str:
    """What the output of a function sees that was given tensors which see this."""
    last = call.tensors[0].dim() - 1
    if call.name in MIXING or all(one == WHOLE for one in given) or (call.name == "linear" and last == 1):
        return WHOLE
    if call.name in POINTWISE:
        return _joined(call, given)
    first = given[0]
    if not isinstance(first, Reach):
        return UNKNOWN
    if call.name in (*POOLS, "conv2d"):
        rows, columns = _spans(call, [len(first.rows), len(first.columns)])
        return Reach(_through(first.rows, rows), _through(first.columns, columns))
    if call.name == "permute" and isinstance(call.given.get("dims"), list | tuple):
        dims = [dim % (last + 1) for dim in call.given["dims"]]
        return first._replace(axes=(dims.index(first.axes[0]), dims.index(first.axes[1])))
    if call.name == "mean":
        return _averaged(call, first, last)
    if call.name == "linear" or (call.name == "layer_norm" and len(call.given["normalized_shape"]) == 1):
        return UNKNOWN if last in first.axes else first
    return UNKNOWN


def _averaged(call: Call, reach: Reach, last: int) -> Reach | str:
    """A mean over the whole map sees all of it; over channels it leaves places alone."""
    dims = call.given.get("dim")
    over = {dim % (last + 1) for dim in (dims if isinstance(dims, list | tuple) else [dims or 0])}
    if dims is None or set(reach.axes) <= over:
        return WHOLE
    return reach if not over & set(reach.axes) and call.given.get("keepdim") else UNKNOWN


def _joined(call: Call, given: list[Reach | str]) -> Reach | str:
    """Two paths that meet: each place sees what either saw."""
    reaches = [one for one in given if isinstance(one, Reach)]
    if len(reaches) < len(given):
        return WHOLE if WHOLE in given else UNKNOWN
    axes = reaches[0].axes
    along = call.given.get("dim", 0) % call.output.dim() if call.name == "cat" else None
    if along in axes or any(one.axes != axes for one in reaches):
        return UNKNOWN
    height, width = (call.output.shape[axis] for axis in axes)
    rows, columns = (
        [_union([side[min(at, len(side) - 1)] for side in sides]) for at in range(count)]
        for sides, count in (
            ([one.rows for one in reaches], height),
            ([one.columns for one in reaches], width),
        )
    )
    return Reach(rows, columns, axes)


def _union(spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return min(first for first, _ in spans), max(last for _, last in spans)


def _through(side: Side, windows: list[list[int]]) -> Side:
    """A window sees what its cells see; one that lies beyond the edge altogether, its nearest cell."""
    return [_union([side[place] for place in window] or [side[-1]]) for window in windows]
