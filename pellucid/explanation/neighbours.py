"""Nearest neighbours: the training pictures most similar to a picture for a network, and how novel it is."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
from pellucid.evaluation.novelty import NEIGHBOURS, evenly_spaced, neighbour_distances
from pellucid.explanation.activations import (
    after_module,
    before_module,
    first_tensor,
    layers_of,
    network_input,
    preserved_state,
    uncompiled,
)
from pellucid.explanation.trace import Call, CallRecorder
from pellucid.inference import evaluation_mode, fixed_batches, network_errors
from pellucid.models import PretrainedNetwork
from pellucid.training.transfer import embeddings

REFERENCES = 1000  # pictures whose distances are the reference for novelty, at most
MAX_SAMPLE = 10_000  # training pictures indexed where a reader waits
ROWS_PER_BATCH = 512
WEIGHTED_FUNCTIONS = frozenset(
    "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution bilinear "
    "matmul mm bmm mv addmm addbmm baddbmm einsum tensordot cdist".split()
)

CAVEAT = "Similar to the network, not the cause of its prediction; and a familiar picture can be misread."


@dataclass(frozen=True)
class Neighbour:
    """A training picture: its index in the data set, cosine similarity -1..1, class name and source.

    Several labels are one text, as in Dataset.label_names.
    """

    index: int
    similarity: float
    label: str
    source: str


@dataclass(frozen=True, eq=False)
class Index:
    """The features of training pictures, ready to be searched.

    features   float32 (N, F), the last hidden layer, each row of length 1
    dataset    the pictures they come from
    distances  float32 (M,), sorted: mean distance of ordinary pictures from their five nearest
    held_out   whether `distances` was measured on pictures the network was not trained on
    """

    classifier: Classifier
    features: Tensor
    dataset: Dataset
    distances: Tensor
    held_out: bool


def index_pictures(classifier: Classifier, training: Dataset, held_out: Dataset | None = None) -> Index:
    """An index of the pictures of `training`.

    held_out  pictures not trained on, such as the validation set, as the reference for novelty; without them
              the training pictures, each left out in turn, which makes new pictures look a little more novel
              than they are

    Raises UsageError when there are not more than five training pictures.
    """
    if len(training) <= NEIGHBOURS:
        raise UsageError(
            f"Expected more than {NEIGHBOURS} training pictures to compare with; got {len(training)}."
        )
    features = functional.normalize(features_of(classifier, training), dim=1)
    if held_out is not None and len(held_out):
        references = features_of(classifier, held_out.subset(evenly_spaced(len(held_out), REFERENCES)))
        distances = neighbour_distances(functional.normalize(references, dim=1), features)
    else:
        own = evenly_spaced(len(training), REFERENCES)
        distances = neighbour_distances(features[own], features, own)
    measured = held_out is not None and len(held_out) > 0
    return Index(classifier, features, training, distances.sort().values, measured)


def index_sample(classifier: Classifier, training: Dataset, held_out: Dataset | None = None) -> Index:
    """`index_pictures` of at most ten thousand training pictures, evenly spaced."""
    step = max(1, -(-len(training) // MAX_SAMPLE))
    sample = training if step == 1 else training.subset(torch.arange(0, len(training), step))
    return index_pictures(classifier, sample, held_out)


def nearest(index: Index, images: Tensor, count: int = 8) -> list[list[Neighbour]]:
    """For each picture of uint8 (N, C, H, W) the `count` most similar training pictures, nearest first."""
    dataset = index.dataset
    result = []
    for similarities, indices in _nearest(_unit(index, images), index.features, min(count, len(dataset))):
        pairs = zip(similarities.tolist(), indices.tolist(), strict=True)
        result.append(
            [
                Neighbour(at, similarity, dataset.label_names[at], dataset.sources[at])
                for similarity, at in pairs
            ]
        )
    return result


def novelty(index: Index, images: Tensor, *, leave_out_self: bool = False) -> Tensor:
    """How novel each picture of uint8 (N, C, H, W) is: a percentile 0..100, float32 (N,).

    96 means that it is farther from its five nearest than 96 of 100 ordinary pictures are from theirs.
    leave_out_self  for pictures that are in the index: the nearest, which is each itself, does not count
    """
    rows = _unit(index, images)
    own = (rows @ index.features.T).argmax(dim=1) if leave_out_self else None
    distances = neighbour_distances(rows, index.features, own)
    return torch.searchsorted(index.distances, distances).float() * 100 / len(index.distances)


def features_of(classifier: Classifier, dataset: Dataset) -> Tensor:
    """`hidden_features` of a data set; of a pretrained network they are kept from training."""
    network = uncompiled(classifier.network)
    if isinstance(network, PretrainedNetwork):
        with torch.no_grad():
            return network.head.normalized(embeddings(network, dataset))
    return hidden_features(classifier, dataset.images)


def hidden_features(classifier: Classifier, images: Tensor) -> Tensor:
    """The last hidden layer for uint8 pictures (N, C, H, W): the input of the last layer with weights, be it
    a module or a function such as `linear` or `einsum`.

    float32 (N, F) on the CPU; maps are averaged over their cells, tokens over the tokens. Of a network with
    one layer the pixels. Raises UsageError where no layer with weights can be seen.
    """
    network = uncompiled(classifier.network)
    rows: list[Tensor] = []
    with preserved_state(network), torch.no_grad():
        first = next(batch for _, batch, _ in fixed_batches(images, network=network))
        hidden = HiddenLayer.of(network, first)
        with hidden.captured() as captured:
            for _, batch, count in fixed_batches(images, network=network):
                with network_errors():
                    network(network_input(network, batch))
                rows.append(hidden.features(captured[-1])[:count])
                captured.clear()
    return torch.cat(rows)


def answers_and_features(classifier: Classifier, pictures: Any) -> tuple[Tensor, Tensor]:
    """What `classifier.predict` gives for pictures, float32 (N, K), and their `hidden_features` (N, F). A
    pretrained network, where that takes long, computes both at once."""
    images, network = classifier.received(pictures), uncompiled(classifier.network)
    if not isinstance(network, PretrainedNetwork):
        return classifier.predict(images), hidden_features(classifier, images)
    rows, scores = [], []
    with evaluation_mode(network), torch.inference_mode():
        for _, batch, count in fixed_batches(images, network=network):
            found = network.features(batch)
            rows.append(network.head.normalized(found)[:count])
            scores.append(network.head(found)[:count])
    if not rows:
        return classifier.predict(images), torch.empty(0, network.head.dense.in_features)
    return classifier.probabilities(torch.cat(scores).clone()), torch.cat(rows).clone()


@dataclass(frozen=True, eq=False)
class HiddenLayer:
    """Where the last hidden layer of a network is: what its last layer with weights receives.

    module  that layer; None where it is a function, which no module with weights of its own calls
    only    whether there is no other layer with weights, so that it receives the picture
    """

    network: nn.Module
    module: nn.Module | None
    only: bool

    @staticmethod
    def of(network: nn.Module, batch: Tensor) -> "HiddenLayer":
        """That of a network, as a run on pictures (B, C, H, W) shows, in the mode it is in.

        Raises UsageError where no layer with weights can be seen.
        """
        layers: list[nn.Module | None] = []  # in order of execution
        running: list[nn.Module] = []

        def enter(module: nn.Module, inputs: Any) -> None:
            running.append(module)
            if first_tensor(inputs) is not None:
                layers.append(module)

        def leave(module: nn.Module, inputs: Any, output: Any) -> None:
            running.pop()

        def call(received: Tensor) -> None:
            if not (running and layers and running[-1] is layers[-1]):  # else it is how that module works
                layers.append(None)

        modules = [
            module
            for module in layers_of(network).values()
            if module is not network and any(True for _ in module.parameters(recurse=False))
        ]
        inputs = network_input(network, batch)
        with ExitStack() as stack:
            for module in modules:
                stack.callback(before_module(module, enter).remove)
                stack.callback(after_module(module, leave).remove)
            stack.enter_context(weighted_calls(network, call))
            stack.enter_context(network_errors())
            network(inputs)
        if not layers:
            raise UsageError(
                "The last hidden layer of this network cannot be found: no layer with weights was seen to "
                "run. Expected a network of PyTorch's modules and functions; TorchScript hides them."
            )
        return HiddenLayer(network, layers[-1], len(layers) == 1)

    @contextmanager
    def captured(self) -> Iterator[list[Tensor]]:
        """Inside the block the list it gives takes what the layer receives: the last entry of a run."""
        found: list[Tensor] = []

        def capture(module: nn.Module, inputs: Any) -> None:
            tensor = first_tensor(inputs)
            found.extend([] if tensor is None else [tensor.detach()])

        if self.module is None:
            with weighted_calls(self.network, lambda received: found.append(received.detach())):
                yield found
            return
        handle = before_module(self.module, capture)
        try:
            yield found
        finally:
            handle.remove()

    def features(self, received: Tensor) -> Tensor:
        """What the layer received as one row for each picture, float32 (N, F) on the CPU."""
        return received.flatten(1).float().cpu() if self.only else flat_features(received)


@contextmanager
def weighted_calls(network: nn.Module, on_call: Callable[[Tensor], None]) -> Iterator[None]:
    """Inside the block calls `on_call` for every function with weights, such as `linear`, with what it is
    given beside them."""
    fixed: Any = WeakTensorKeyDictionary()  # weights, and what is computed from nothing else
    for tensor in (*network.parameters(), *network.buffers()):
        fixed[tensor] = True

    def watch(call: Call) -> None:
        received = [tensor for tensor in call.tensors if tensor not in fixed]
        if call.tensors and not received:
            fixed[call.output] = True
        elif call.name in WEIGHTED_FUNCTIONS and len(received) < len(call.tensors):
            on_call(received[0])

    with CallRecorder(watch):
        yield


def flat_features(features: Tensor) -> Tensor:
    """A hidden layer as float32 (N, F) on the CPU: maps (N, C, H, W) averaged over their cells, tokens
    (N, T, F) over the tokens."""
    if features.dim() == 4:
        features = features.mean(dim=(2, 3))
    elif features.dim() == 3:
        features = features.mean(dim=1)
    return features.float().cpu()


def _unit(index: Index, images: Tensor) -> Tensor:
    return functional.normalize(hidden_features(index.classifier, images), dim=1)


def _nearest(rows: Tensor, features: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    """Similarities (count,) and indices (count,) of the nearest features, for each row."""
    result = []
    for part in torch.split(rows, ROWS_PER_BATCH):
        similarities, indices = (part @ features.T).topk(count, dim=1)
        result += list(zip(similarities, indices, strict=True))
    return result
