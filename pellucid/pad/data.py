"""What the drawing pad's scripts are given: the one contract between Python and the page.

Each record has a twin of the same name and fields in assets/pad/types.js; a test compares them both ways.
Pictures, weights and snapshots travel as base64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

from pellucid.pad.program import Operation
from pellucid.pad.strokes import Rule


@dataclass(frozen=True)
class ProgramData:
    """A network as operations; `tensors` are the shapes of its weights, in order."""

    shape: Sequence[int]
    output: str
    operations: Sequence[Operation]
    tensors: Sequence[Sequence[int]]


@dataclass(frozen=True)
class WeightsData:
    """All weights one after the other, as 16- or 32-bit floats."""

    precision: Literal["f16", "f32"]
    data: str


@dataclass(frozen=True)
class CheckData:
    """Pictures to start from and to check the page's answers by.

    pictures   uint8 (n, C, H, W)
    labels     None where the pictures are noise
    scores     (n, K), the network's own
    tolerance  by which a score may differ in the page
    rounding   by how much the weights' precision moves a score, at most
    looked     pictures on which that was measured
    """

    pictures: str
    labels: Sequence[int] | None
    scores: Sequence[Sequence[float]]
    tolerance: float
    rounding: float
    looked: int


@dataclass(frozen=True)
class PoolData:
    """Test pictures the page shows beside a channel: uint8 (count, C, H, W), compressed by zlib."""

    count: int
    pictures: str
    labels: Sequence[int]
    sources: Sequence[str]


@dataclass(frozen=True)
class ChannelData:
    """What test pictures tell of the channels of a layer, or which layer before it has the same table.

    top, low  by channel: the pictures of the pool that excite it most and least
    excited   by channel: the share of the pictures looked at that excite it at all
    off       by channel: the change of accuracy without it, overall and by class, in tenths of a point
    """

    same_as: str | None = None
    top: Sequence[Sequence[int]] | None = None
    low: Sequence[Sequence[int]] | None = None
    excited: Sequence[float] | None = None
    off: Sequence[Sequence[int]] | None = None


@dataclass(frozen=True)
class SnapshotsData:
    """The weights as they were during training, oldest first.

    given       how many the run kept; `count` of them are here
    bits        of a weight; None: as the run kept them, on the server
    accuracy    of each, on `looked` test pictures; None where labels are unknown
    agreement   the share of answers that rounding the weights left alone
    difference  by how much it moves a score, at most
    """

    count: int
    given: int
    names: Sequence[str]
    steps: Sequence[int]
    bits: int | None = None
    data: str = ""
    accuracy: Sequence[float] | None = None
    agreement: float = 1.0
    difference: float = 0.0
    looked: int = 0


@dataclass(frozen=True)
class LargeData:
    """A network of more weights than those of which a run keeps snapshots."""

    weights: int
    most: int


@dataclass(frozen=True)
class TorchLayerData:
    """A layer that torch answers for: its shape, that of what is shown of it, and what its cells see."""

    name: str
    shape: Sequence[int]
    shown: Sequence[int]
    field: Any


@dataclass(frozen=True)
class TorchData:
    """A network that torch runs: `evidence`, the layer at which evidence is shown; `reason`, why the page
    does not run it."""

    layers: Sequence[TorchLayerData]
    evidence: int | None
    reason: str


@dataclass(frozen=True)
class PadData:
    """One network as the pad needs it, run by the page (`weights`) or by torch (`torch`).

    data      what was trained on, as `load` takes it
    rule      how its pictures were placed, where that is known
    usual     percentiles of what `strokes.measure` finds on training pictures
    scales    lowest and highest value of each layer over the test pictures
    switched  pictures on which channels were switched off one by one; 0: none
    """

    classes: Sequence[str]
    data: str
    program: ProgramData
    check: CheckData
    weights: WeightsData | None = None
    rule: Rule | None = None
    usual: Mapping[str, Sequence[float]] | None = None
    scales: Mapping[str, Sequence[float]] = field(default_factory=dict)
    pool: PoolData | None = None
    switched: int = 0
    channels: Mapping[str, ChannelData] = field(default_factory=dict)
    snapshots: SnapshotsData | None = None
    large: LargeData | None = None
    torch: TorchData | None = None


@dataclass(frozen=True)
class RunData:
    """A run on a page; `accuracy` on the test set, where it is known."""

    name: str
    model: str
    accuracy: float | None
    data: PadData


@dataclass(frozen=True)
class DisputedData:
    """Test pictures on which runs disagree: `differ` of those `looked` at.

    pictures  uint8 (n, C, H, W)
    answers   (n, runs), the class each run answers
    """

    looked: int
    differ: int
    pictures: str
    labels: Sequence[int]
    answers: Sequence[Sequence[int]]


@dataclass(frozen=True)
class PageData:
    """All that the served page shows."""

    language: str
    words: Mapping[str, Mapping[str, str]]
    runs: Sequence[RunData]
    disputed: DisputedData | None


def to_json(value: Any) -> Any:
    """A record as JSON has it: fields by name, an operation's numbers beside its fields."""
    if isinstance(value, Operation):
        named = {one.name: getattr(value, one.name) for one in fields(value)}
        attributes = named.pop("attributes")
        return {name: to_json(part) for name, part in {**named, **attributes}.items()}
    if is_dataclass(value):
        return {one.name: to_json(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {name: to_json(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_json(part) for part in value]
    return value
