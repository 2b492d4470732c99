"""What the output of a network is: decided here, so that no softmax is applied twice and none is missed."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pellucid.errors import UsageError
from pellucid.inference import evaluation_mode, network_errors, refuse_lazy

Kind = Literal["logits", "probabilities", "log-probabilities", "sigmoids"]
Place = tuple[str | int, ...]  # the keys, fields and indices that lead to a tensor of an output

LAST: Mapping[str, Kind] = {  # what a network's last function makes of its scores
    "softmax": "probabilities",
    "log_softmax": "log-probabilities",
    "sigmoid": "sigmoids",
}
# Functions after which the numbers are still the same, or a logarithm of them.
PASSED_ON = frozenset(
    "alias clamp clone contiguous detach double dropout expand flatten float log reshape squeeze to "
    "unsqueeze view".split()
)
PROBED = 8  # pictures of noise on which every row must add up to 1 before it is taken for probabilities
ROUNDING = 1e-3  # of a sum of probabilities
SMALLEST = 1e-37  # a probability whose logarithm is still finite in float32


@dataclass(frozen=True)
class Output:
    """What a network puts out for pictures (B, C, H, W), and how to get its scores from that.

    kind     what the numbers are, as the network's last function says
    units    how many there are for each picture, K
    place    where they are in an output of several parts; () where it is one tensor
    inside   whether the network computes scores before its last function that can be taken from it; if not,
             as after a softmax written out by hand, they are the logarithms of its probabilities
    layout   the memory format in which the network takes pictures
    """

    kind: Kind
    units: int
    place: Place = ()
    inside: bool = True
    layout: torch.memory_format = torch.channels_last

    @property
    def independent(self) -> bool:
        """Whether each unit has a probability of its own: sigmoids, and a single unit."""
        return self.kind == "sigmoids" or self.units == 1

    def scores(self, network: Callable[[Tensor], Any], images: Tensor) -> Tensor:
        """The scores (B, K), float32, of pictures (B, C, H, W) before any softmax or sigmoid, with their
        graph where gradients are enabled.

        network  the module, or a function that runs it
        """
        images = laid_out(images, self.layout)
        if self.kind == "logits":
            return _rows(_at(network(images), self.place)).float()
        with _uncompiled(), _LastFunctions() as functions:
            found = _at(network(images), self.place)
        before = functions.before(found) if self.inside else None
        if before is not None:
            return _rows(before).float()
        numbers = _rows(found).float()
        if self.kind == "probabilities":
            return numbers.clamp_min(SMALLEST).log()
        return torch.logit(numbers, eps=1e-7) if self.kind == "sigmoids" else numbers

    def found_in(self, output: Any) -> Tensor:
        """The numbers (B, K) that this is of, in an output of the network."""
        return _rows(_at(output, self.place))

    def probabilities(self, scores: Tensor) -> Tensor:
        """Scores (..., K) as probabilities: of each unit by itself where they are independent, else adding up
        to 1."""
        return scores.sigmoid() if self.independent else scores.softmax(dim=-1)


def output_of(network: nn.Module, images: Tensor, *, units: int | None = None) -> Output:
    """What `network` puts out for `images` (B, C, H, W), of which the first is run through it.

    units  how many scores there must be for a picture, where that is known: it decides between several parts
           of an output that could be scores

    Raises UsageError where no part of the output is one row of scores for each picture, or where several
    could be.
    """
    refuse_lazy(network)
    with evaluation_mode(network), torch.random.fork_rng(devices=[]), torch.no_grad(), network_errors():
        layout, output, functions = _first_run(network, images[:1].detach())
        place, found = _scores_in(output, len(images[:1]), units)
        count = _rows(found).shape[1]
        last = functions.last(found)
        if last is not None:
            return Output(last, count, place, inside=functions.before(found) is not None, layout=layout)
        seeming = _seeming_kind(found)
        if seeming != "logits":  # not by chance: it holds for pictures of noise, too
            noise = torch.rand(PROBED, *images.shape[1:], generator=torch.Generator().manual_seed(0))
            for one in torch.split(noise.to(images), 1):
                if _seeming_kind(_at(network(laid_out(one, layout)), place)) != seeming:
                    seeming = "logits"
        return Output(seeming, count, place, inside=seeming == "logits", layout=layout)


def laid_out(images: Tensor, layout: torch.memory_format) -> Tensor:
    """The same pictures in that memory format, in which convolutions are faster; a copy where they are not.

    The format is not asked of `contiguous`: a tensor of one channel already counts as channels last for it,
    and every later layer would then run in the slower format.
    """
    if images.dim() != 4:
        return images
    strides = torch.empty(images.shape, device="meta", memory_format=layout).stride()
    if images.stride() == strides:
        return images
    return torch.empty_like(images, memory_format=layout).copy_(images)


class _LastFunctions(TorchFunctionMode):
    """Inside the block every softmax and sigmoid over rows is remembered with what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[int, tuple[Tensor, str, Tensor | None]] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the function; calls inside it are not remembered."""
        keywords = kwargs or {}
        output = function(*args, **keywords)
        called = getattr(function, "__name__", "").partition(".")[0]
        name = called.strip("_")
        if isinstance(output, Tensor) and output.dim() <= 2 and (name in LAST or name in PASSED_ON):
            source = args[0] if args else keywords.get("input")
            dim = keywords.get("dim", args[1] if len(args) > 1 else None)
            over_classes = name == "sigmoid" or (not isinstance(dim, Tensor) and dim in (None, -1, 1))
            if isinstance(source, Tensor) and (name in PASSED_ON or over_classes):
                in_place = source is output
                if not in_place or name in LAST:
                    self._calls[id(output)] = (output, name, None if in_place else source)
        return output

    def last(self, found: Tensor) -> Kind | None:
        """What the last function made of the scores; None where it is none of LAST."""
        return self._walked(found)[0]

    def before(self, found: Tensor) -> Tensor | None:
        """What the last function was given; None where it is gone, or there is none."""
        return self._walked(found)[1]

    def _walked(self, found: Tensor) -> tuple[Kind | None, Tensor | None]:
        logarithm = False
        while id(found) in self._calls:
            _, name, source = self._calls[id(found)]
            if name in LAST:
                kind = LAST[name]
                return ("log-probabilities" if logarithm and kind == "probabilities" else kind), source
            logarithm |= name == "log"
            assert source is not None
            found = source
        return None, None


def _uncompiled() -> AbstractContextManager[Any]:
    """Inside the block parts made by torch.compile run as they were written: compiled, they would be compiled
    once more for every function that is watched."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and loading it takes a second
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def _first_run(network: nn.Module, image: Tensor) -> tuple[torch.memory_format, Any, _LastFunctions]:
    """The output for one picture, and the memory format in which the network took it: `view` after a
    convolution raises for channels last."""
    for layout in (torch.channels_last, torch.contiguous_format):
        functions = _LastFunctions()
        try:
            with _uncompiled(), functions:
                return layout, network(laid_out(image, layout)), functions
        except RuntimeError as error:
            if layout is torch.contiguous_format or "view" not in str(error):
                raise
    raise AssertionError("one of the two formats returns or raises")


def _scores_in(output: Any, pictures: int, units: int | None) -> tuple[Place, Tensor]:
    """The place and the tensor of the scores in an output."""
    tensors = list(_tensors_in(output))
    candidates = [(place, tensor) for place, tensor in tensors if _could_be_scores(tensor, pictures)]
    named = [each for each in candidates if each[0] and each[0][-1] == "logits"]
    fitting = [each for each in named or candidates if units in (None, _rows(each[1]).shape[1])]
    if len(fitting) > 1:  # of one unit beside several the several are the classes
        fitting = [each for each in fitting if each[1].dim() == 2] or fitting
    if len(fitting) == 1:
        return fitting[0]
    wanted = "K" if units is None else units
    if len(fitting) > 1:
        named_places = " and ".join(f"{_written(place)} {tuple(tensor.shape)}" for place, tensor in fitting)
        raise UsageError(
            f"Several parts of this network's output could be its scores: {named_places}. Expected one, or "
            "one that is called 'logits': give a module that returns the scores alone."
        )
    got = ", ".join(f"{_written(place)}{tuple(tensor.shape)}" for place, tensor in tensors)
    raise UsageError(
        f"Expected a network that gives scores (B, {wanted}) for {pictures} pictures; got "
        f"{got or type(output).__name__}."
    )


def _tensors_in(output: Any, place: Place = ()) -> Iterator[tuple[Place, Tensor]]:
    """Every tensor of an output with the way to it."""
    if isinstance(output, Tensor):
        yield place, output
    elif isinstance(output, Mapping):
        for key, part in output.items():
            yield from _tensors_in(part, (*place, key))
    elif isinstance(output, tuple | list):
        names = getattr(output, "_fields", None) or range(len(output))
        for name, part in zip(names, output, strict=True):
            yield from _tensors_in(part, (*place, name))
    elif is_dataclass(output) and not isinstance(output, type):
        for each in fields(output):
            yield from _tensors_in(getattr(output, each.name), (*place, each.name))


def _at(output: Any, place: Place) -> Tensor:
    for step in place:
        keyed = isinstance(output, Mapping) or isinstance(step, int)
        output = output[step] if keyed else getattr(output, str(step))
    if not isinstance(output, Tensor):
        raise UsageError(
            f"Expected scores at {_written(place) or 'the output'}; got {type(output).__name__}."
        )
    return output


def _could_be_scores(tensor: Tensor, pictures: int) -> bool:
    rows = tensor.dim() in (1, 2) and len(tensor) == pictures and tensor.numel() > 0
    return rows and tensor.is_floating_point()


def _rows(tensor: Tensor) -> Tensor:
    """(B,) as (B, 1)."""
    return tensor[:, None] if tensor.dim() == 1 else tensor


def _seeming_kind(found: Tensor) -> Kind:
    """What rows (B, K) look like by their values alone."""
    rows = _rows(found).double()
    if rows.shape[1] < 2:
        return "logits"
    if bool((rows >= 0).all()) and bool(((rows.sum(dim=1) - 1).abs() < ROUNDING).all()):
        return "probabilities"
    if bool((rows <= 0).all()) and bool(((rows.exp().sum(dim=1) - 1).abs() < ROUNDING).all()):
        return "log-probabilities"
    return "logits"


def _written(place: Place) -> str:
    return "".join(f"[{step!r}]" if isinstance(step, int) else f"'{step}'" for step in place)
