"""Looking inside: what every layer makes of a picture, and where the evidence for an answer lies."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

from torch import Tensor, nn

from pellucid.classifier import Classifier, scaled
from pellucid.errors import UsageError, did_you_mean
from pellucid.evaluation import percent
from pellucid.explanation.activations import last_spatial_layer, record
from pellucid.explanation.attribution import gradient_times_activation

__all__ = ["EXPLAINERS", "Explanation", "explain", "last_spatial_layer", "record"]

Explainer = Callable[[nn.Module, Tensor, int], Tensor]

EXPLAINERS: dict[str, Explainer] = {
    "gradient x activation": gradient_times_activation,
}


@dataclass(frozen=True, eq=False)
class Explanation:
    """One picture, what the network answers, and what can be seen of how it came to the answer.

    image          uint8 (C, H, W), what the network received
    probabilities  float32 (K,)
    target         the class explained, an index into `classes`
    feature_maps   what each layer put out, by name: (C, H, W), or (F,) where there is no space left
    heatmaps       the evidence for `target` by method, signed (h, w): positive speaks for, negative against
    """

    image: Tensor
    probabilities: Tensor
    target: int
    classes: tuple[str, ...]
    feature_maps: dict[str, Tensor]
    heatmaps: dict[str, Tensor]

    def __repr__(self) -> str:
        return f"Explanation({self.sentence})"

    def _repr_html_(self) -> str:
        layers = ", ".join(f"{name} {tuple(maps.shape)}" for name, maps in self.feature_maps.items())
        return f"<p>{escape(self.sentence)}</p><p>{escape(layers)}</p>"

    @property
    def sentence(self) -> str:
        """What the network answers, and which class is explained."""
        best = int(self.probabilities.argmax())
        return (
            f"answers {self.classes[best]} with {percent(float(self.probabilities[best]))}; "
            f"evidence for {self.classes[self.target]}"
        )

    def plot(self, layer: str) -> Any:
        """All channels of `layer` on one colour scale, as a matplotlib figure."""
        from pellucid.drawing import plot_feature_maps  # matplotlib is slow to load: only who plots needs it

        return plot_feature_maps(self.feature_maps[layer], title=layer)


def explain(
    classifier: Classifier,
    image: Tensor,
    target: int | None = None,
    *,
    methods: Iterable[str] = ("gradient x activation",),
) -> Explanation:
    """What every layer of `classifier` makes of `image`, uint8 (C, H, W), and where the evidence lies.

    target   the class to explain; without one, the class answered
    methods  names of EXPLAINERS

    Raises UsageError for a picture, class or method that does not fit.
    """
    wanted = list(methods)
    for method in wanted:
        if method not in EXPLAINERS:
            raise UsageError(f"Unknown method '{method}'. {did_you_mean(method, EXPLAINERS)}")
    probabilities = classifier.predict(image[None])[0]  # (K,)
    target = int(probabilities.argmax()) if target is None else target
    if not 0 <= target < len(classifier.classes):
        raise UsageError(f"Expected a class from 0 to {len(classifier.classes) - 1}; got {target}.")
    images = scaled(image[None])  # (1, C, H, W)
    maps = {name: output[0] for name, output in record(classifier.network, images).items()}
    heatmaps = {method: EXPLAINERS[method](classifier.network, images, target)[0] for method in wanted}
    return Explanation(image, probabilities, target, classifier.classes, maps, heatmaps)
