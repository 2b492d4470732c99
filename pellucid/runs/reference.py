"""What a run keeps so that new pictures can be compared with those it was taught on."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.evaluation.novelty import (
    LEAST_PICTURES,
    MOST_BYTES,
    MOST_HELD_OUT,
    MOST_TRAINING,
    NEIGHBOURS,
    NOT_FINITE,
    TOO_FEW,
    PictureSample,
    Reference,
    ReferenceFit,
    appearance_of,
    evenly_spaced,
    neighbour_distances,
    principal_axes,
    stratified,
)
from pellucid.explanation.activations import uncompiled
from pellucid.explanation.neighbours import hidden_features
from pellucid.models import PretrainedNetwork
from pellucid.training.transfer import FeatureStore


@dataclass(frozen=True, eq=False)
class HeldOutPictures:
    """The pictures that a run compares new ones with.

    dataset        the pictures
    probabilities  float32 (N, K), as a network answers that did not learn from them
    positions      int64 (N,): where each of them is among the training pictures; -1 for nowhere. Only of a
                   network whose features were not trained
    """

    dataset: Dataset
    probabilities: Tensor
    positions: Tensor

    def subset(self, chosen: Tensor) -> "HeldOutPictures":
        """Those at these indices."""
        return HeldOutPictures(
            self.dataset.subset(chosen), self.probabilities[chosen], self.positions[chosen]
        )


def reference_of(
    classifier: Classifier, train: Dataset, held_out: HeldOutPictures, *, store: FeatureStore | None
) -> tuple[Reference | None, ReferenceFit]:
    """A reference for a network that learned from `train`, and what it was made of; None where it cannot be.

    store  with the features of all pictures, of a pretrained network that was not fine-tuned
    """
    if len(train) <= NEIGHBOURS or len(held_out.dataset) < LEAST_PICTURES:
        return None, ReferenceFit(len(train), len(held_out.dataset), TOO_FEW)
    compared = held_out.subset(evenly_spaced(len(held_out.dataset), MOST_HELD_OUT))
    rows = functional.normalize(_features(classifier, compared.dataset, store), dim=1)
    count = min(MOST_TRAINING, max(NEIGHBOURS + 1, MOST_BYTES // (2 * rows.shape[1])))
    chosen = stratified(train.labels, count)
    features = functional.normalize(_features(classifier, train.subset(chosen), store), dim=1)
    fit = ReferenceFit(len(chosen), len(rows))
    if not bool(rows.isfinite().all() and features.isfinite().all()):
        return None, ReferenceFit(fit.training, fit.held_out, NOT_FINITE)
    places = torch.full((len(train),), -1)
    places[chosen] = torch.arange(len(chosen))
    own = torch.where(compared.positions >= 0, places[compared.positions], -1)
    kept = features.half()
    mean, basis = principal_axes(kept.float())
    sample = PictureSample(
        ((rows - mean) @ basis).half(),
        neighbour_distances(rows, kept.float(), own),
        compared.probabilities.argmax(dim=1).int(),
        classifier.task.confidence(compared.probabilities).float(),
        appearance_of(compared.dataset.images),
    )
    return Reference(kept, mean, basis, sample), fit


def _features(classifier: Classifier, dataset: Dataset, store: FeatureStore | None) -> Tensor:
    """The last hidden layer of pictures, float32 (N, F); of a backbone at rest from the store."""
    network = uncompiled(classifier.network)
    if store is None or not isinstance(network, PretrainedNetwork):
        return hidden_features(classifier, dataset.images)
    with torch.no_grad():
        return network.head.normalized(store.features(network, dataset))
