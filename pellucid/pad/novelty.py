"""What a page needs to tell that a drawing is unlike anything taught: training pictures as the network sees
them, and from which distance on a picture is called that.

A page that is a file of its own gets a sample of them in 8 bits, and a threshold measured with that sample,
so that about 5 % of ordinary pictures are called unlike by the page, too.
"""

import base64

import torch
from torch import Tensor
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.evaluation.novelty import (
    LEAST_PICTURES,
    NEIGHBOURS,
    UNLIKE,
    Reference,
    evenly_spaced,
    neighbour_distances,
)
from pellucid.explanation.neighbours import flat_features, hidden_features
from pellucid.inference import scaled
from pellucid.models import PretrainedNetwork
from pellucid.pad.data import NoveltyData
from pellucid.pad.program import Program

MAX_BYTES = 300_000  # of the training pictures in a page, 8 bits a feature: 400 kB in base64
MOST_HELD_OUT = 2_000  # pictures by which the threshold is chosen
SEED = 0


def novelty_data(
    program: Program, classifier: Classifier, reference: Reference, held_out: Dataset | None = None
) -> NoveltyData | None:
    """What a page that runs the network as `program` compares a drawing with; None where it cannot.

    held_out  pictures that the network did not learn from: then a sample in few bytes, with a threshold of
              its own; without them the whole reference and its threshold
    """
    value = _hidden_value(program, classifier)
    if value is None:
        return None
    if held_out is None:
        distances, threshold = reference.held_out.distances, reference.threshold
        return _data(value, reference.features, distances, threshold)
    count = min(len(reference.features), MAX_BYTES // reference.features.shape[1])
    if count <= NEIGHBOURS or len(held_out) < LEAST_PICTURES:
        return None
    if isinstance(classifier.network, PretrainedNetwork):
        return None  # its last layer may have learned from these, after its reference was made
    order = torch.randperm(len(reference.features), generator=torch.Generator().manual_seed(SEED))
    bank = in_bytes(reference.features[order[:count].sort().values].float())
    compared = held_out.subset(evenly_spaced(len(held_out), MOST_HELD_OUT))
    rows = functional.normalize(hidden_features(classifier, compared.images), dim=1)
    distances = neighbour_distances(rows, functional.normalize(bank.float(), dim=1))
    rank = int(UNLIKE * (len(distances) + 1))
    threshold = float(distances.sort(descending=True).values[rank - 1])
    return _data(value, bank, distances, threshold)


def in_bytes(rows: Tensor) -> Tensor:
    """Rows (M, F) as int8, each on a scale of its own: only their directions are compared."""
    largest = rows.abs().amax(dim=1, keepdim=True).clamp_min(1e-12)
    return (rows / largest * 127).round().to(torch.int8)


def _hidden_value(program: Program, classifier: Classifier) -> int | None:
    """The value of the program that is the last hidden layer: what its last dense or convolutional layer is
    given; None where that is something else."""
    layers = [operation for operation in program.operations if operation.kind in ("linear", "conv2d")]
    last = layers[-1] if layers else None
    if last is None:
        return None
    value = last.inputs[0]
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randint(0, 256, (4, *program.shape), generator=generator).to(torch.uint8)
    expected = hidden_features(classifier, noise)
    with torch.inference_mode():
        found = program.run(scaled(noise), program.weights(classifier.network.state_dict()))[value]
    rows = flat_features(found)
    near = 1e-3 * max(1.0, float(expected.abs().max()))
    same = rows.shape == expected.shape and float((rows - expected).abs().max()) < near
    return value if same else None


def _data(value: int, rows: Tensor, distances: Tensor, threshold: float) -> NoveltyData:
    count, width = rows.shape
    steps = torch.arange(101, dtype=torch.float64) / 100
    return NoveltyData(
        value=value,
        count=count,
        width=width,
        precision="i8" if rows.dtype == torch.int8 else "f16",
        pictures=base64.b64encode(rows.contiguous().numpy().tobytes()).decode(),
        neighbours=NEIGHBOURS,
        threshold=threshold,
        percentiles=[float(f"{end:.6g}") for end in torch.quantile(distances.double(), steps).tolist()],
        held_out=len(distances),
    )
