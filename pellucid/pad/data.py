"""What the drawing pad's scripts receive: the one contract between Python and the page.

A name ending in Data is a record that becomes JSON for the page. Each record has a twin of the same name and
fields in assets/pad/types.js; a test compares them both ways. Pictures, weights and snapshots are base64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

from pellucid.data.preprocess import Fit
from pellucid.explanation.outcomes import Outcome
from pellucid.pad.operations import Operation
from pellucid.pad.strokes import Rule

ReceptiveField = Sequence[Sequence[Sequence[int]]] | Literal["whole"] | None


@dataclass(frozen=True)
class ProgramData:
    """A network as operations, of which the last gives its scores; `tensors` are the shapes of its weights,
    in order."""

    shape: Sequence[int]
    operations: Sequence[Operation]
    tensors: Sequence[Sequence[int]]


@dataclass(frozen=True)
class WeightsData:
    """All weights one after the other, as 16- or 32-bit floats.

    "i8": matrices as whole steps of 8 bits, of one size a row (its first dimension), the rest as 16-bit
    floats: first the sizes as 32-bit floats, then the steps, then the rest.
    """

    precision: Literal["f16", "f32", "i8"]
    data: str


@dataclass(frozen=True)
class CheckData:
    """Pictures to start from and to check the page's answers by.

    pictures     uint8 (n, C, H, W)
    labels       None where the pictures are noise
    scores       (m, K), of the first m, as PyTorch computes them with the page's weights; fewer than n of a
                 network that is slow
    tolerance    the largest difference allowed between a score of the page and PyTorch's: a fixed share of
                 the largest score
    rounding     the largest change of a score that rounding the weights causes
    changed      the number of predictions that it changes
    sample_size  the number of pictures on which both were measured
    """

    pictures: str
    labels: Sequence[int] | None
    scores: Sequence[Sequence[float]]
    tolerance: float
    rounding: float
    changed: int
    sample_size: int


@dataclass(frozen=True)
class PoolData:
    """Test pictures the page shows beside a channel: uint8 (count, C, H, W), compressed by zlib."""

    count: int
    pictures: str
    labels: Sequence[int]
    sources: Sequence[str]


@dataclass(frozen=True)
class ChannelData:
    """Statistics of a layer's channels on test pictures, or the name of an earlier layer with the same table.

    top, low         by channel: the pictures of the pool that excite it most and least
    excited          by channel: the share of the sample, 0..1, that excites it at all
    accuracy_change  by channel: the change of accuracy without it, overall and by class, in tenths of a point
    beyond_chance    by channel: which of these changes are beyond chance, corrected for all channels
    """

    same_as: str | None = None
    top: Sequence[Sequence[int]] | None = None
    low: Sequence[Sequence[int]] | None = None
    excited: Sequence[float] | None = None
    accuracy_change: Sequence[Sequence[int]] | None = None
    beyond_chance: Sequence[Sequence[int]] | None = None


@dataclass(frozen=True)
class SnapshotsData:
    """The weights as they were during training, oldest first.

    count        the number of snapshots in the page, of `total` that the run kept
    bits         per weight; None where the snapshots stay unrounded on the server
    accuracy     of each, 0..1, on `sample_size` test pictures; None where labels are unknown
    agreement    the share of predictions, 0..1, that rounding the weights did not change
    difference   the largest change of a score that rounding the weights caused
    """

    count: int
    total: int
    names: Sequence[str]
    steps: Sequence[int]
    bits: int | None = None
    data: str = ""
    accuracy: Sequence[float] | None = None
    agreement: float = 1.0
    difference: float = 0.0
    sample_size: int = 0


@dataclass(frozen=True)
class TooLargeForSnapshots:
    """Why a run has no snapshots: its network has more weights than the limit for keeping any."""

    weights: int
    limit: int


@dataclass(frozen=True)
class TorchLayerData:
    """A layer computed by torch on the server.

    shape            of its output for one picture
    shown_shape      of the part that is sent to the page
    receptive_field  the first and last pixel that each row, then each column, of cells sees; "whole" where
                     every cell sees the whole picture; None where it is unknown
    """

    name: str
    shape: Sequence[int]
    shown_shape: Sequence[int]
    receptive_field: ReceptiveField


@dataclass(frozen=True)
class TorchData:
    """A network that torch runs on the server.

    evidence  the index of the layer at which evidence is shown; None where there is none
    reason    why the page cannot run the network
    """

    layers: Sequence[TorchLayerData]
    evidence: int | None
    reason: str


@dataclass(frozen=True)
class EvidenceData:
    """How the pad's kind of evidence map, gradient x activation, fared in its tests on this network.

    outcome  "passed", "failed" or "undecided"; None where it was not tested
    passed   the methods that passed, the best first
    """

    outcome: Outcome | None = None
    passed: Sequence[str] = ()


@dataclass(frozen=True)
class NoveltyData:
    """What a drawing is compared with to tell that it is unlike anything taught.

    value        the index of the program's value that is the last hidden layer
    pictures     training pictures as that layer has them, (count, width): 16-bit floats, or whole numbers of
                 8 bits, of which the directions alone matter
    neighbours   over the distances from how many of them is averaged
    threshold    the distance from which on a picture is called unlike
    percentiles  0th to 100th percentile of the distances of `held_out` pictures that were not learned from
    """

    value: int
    count: int
    width: int
    precision: Literal["f16", "i8"]
    pictures: str
    neighbours: int
    threshold: float
    percentiles: Sequence[float]
    held_out: int


@dataclass(frozen=True)
class PadData:
    """One network as the pad needs it, run by the page (`weights`) or by torch (`torch`).

    data                     the data set trained on, as `load` takes it
    rule                     how its pictures were placed, where that is known
    temperature              what scores are divided by before the softmax, as in Classifier
    training_percentiles     by measure of `strokes.measure`: its 0th to 100th percentile on training pictures
    scales                   lowest and highest value of each layer over the test pictures
    ablation_pictures        the number of pictures on which channels were switched off one by one; 0: none
    tested_channels          the number of channels that were switched off
    too_large_for_snapshots  why the run kept no snapshots, where its size is the reason
    novelty                  what tells that a drawing is unlike anything taught, where the page tells it
    fit, background          as in Preprocess: how a picture of another size is made to fit
    """

    classes: Sequence[str]
    temperature: float
    data: str
    program: ProgramData
    check: CheckData
    weights: WeightsData | None = None
    rule: Rule | None = None
    training_percentiles: Mapping[str, Sequence[float]] | None = None
    scales: Mapping[str, Sequence[float]] = field(default_factory=dict)
    pool: PoolData | None = None
    ablation_pictures: int = 0
    tested_channels: int = 0
    channels: Mapping[str, ChannelData] = field(default_factory=dict)
    snapshots: SnapshotsData | None = None
    too_large_for_snapshots: TooLargeForSnapshots | None = None
    torch: TorchData | None = None
    evidence: EvidenceData = EvidenceData()
    novelty: NoveltyData | None = None
    fit: Fit = "none"
    background: int = 0


@dataclass(frozen=True)
class RunData:
    """A run on a page; `accuracy` on the test set, 0..1, None where it is unknown."""

    name: str
    model: str
    accuracy: float | None
    data: PadData


@dataclass(frozen=True)
class DisputedData:
    """Test pictures on which runs disagree, and how many there are.

    disagreements  the number of pictures with different predictions, of `sample_size` classified
    pictures       uint8 (n, C, H, W), the first of them
    answers        (n, runs), the class that each run predicts
    """

    sample_size: int
    disagreements: int
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
