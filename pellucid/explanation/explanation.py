"""Explanation: the output of every layer for a picture, and where the evidence for a class lies."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.classifier import Classifier
from pellucid.errors import UsageError, did_you_mean
from pellucid.explanation.activations import (
    network_input,
    preserved_state,
    record,
    silent_layers,
    uncompiled,
)
from pellucid.explanation.attribution import EXPLAINERS, TOLERANCE, sum_gap, without_noise
from pellucid.explanation.places import Place, evidence_place, place_grid, place_named
from pellucid.formatting import percent
from pellucid.inference import scaled
from pellucid.language import Message, lazy_gettext, translate
from pellucid.models.outputs import Kind, Output, output_of
from pellucid.plots import figures, images
from pellucid.recipe import refuse_unknown_keywords
from pellucid.task import DECIDED_AT

DEFAULT_METHODS = ("gradient x activation",)
NAMED = 8  # layers that a note names, at most

OUTPUT_NOTES: dict[Kind, Message] = {
    "probabilities": lazy_gettext(
        "The network ends in a softmax. The evidence is for the score before it, not for the probability."
    ),
    "log-probabilities": lazy_gettext(
        "The network ends in a log-softmax. The evidence is for the score before it, not for the logarithm "
        "of the probability."
    ),
    "sigmoids": lazy_gettext(
        "The network ends in a sigmoid: each output has a probability of its own. The evidence is for the "
        "score before it."
    ),
}
GONE_NOTE = lazy_gettext(
    "The network gives probabilities, and the scores before them cannot be taken from it. The evidence is "
    "for the logarithm of a probability, so whatever lowers the other classes counts as evidence too."
)
WITHOUT_PLACES = "integrated gradients"  # the method where no layer has places
WITHOUT_PLACES_NOTE = lazy_gettext(
    "No layer of this network has places that correspond to those of the picture, so the map is of its "
    "pixels."
)
ONE_UNIT_NOTE = lazy_gettext(
    "The network has one output. The percentage is its sigmoid, as of a network that answers yes or no."
)


@dataclass(frozen=True, eq=False)
class Explanation:
    """One picture, the network's prediction, and how it came about.

    image          uint8 (C, H, W), as the network received it
    probabilities  float32 (K,)
    target         the class explained, an index into `classes`
    feature_maps   the output of each layer, by name: (C, H, W), or (F,) where it is not spatial
    heatmaps       the evidence for `target` by method, signed (h, w): positive speaks for, negative against
    layer          the layer that methods of a layer looked at; empty without such a method
    against        the class `target` was compared with, or None
    scores         the network's output before any softmax or sigmoid, float32 (K,)
    notes          what a reader of the maps must know about this network, in sentences
    gaps           of methods whose maps must add up to the score less that of a black picture: by how much
                   the sum misses it, as a share of it
    given          where each class has a probability of its own: the classes given, the most probable first;
                   else None
    """

    image: Tensor
    probabilities: Tensor
    target: int
    classes: tuple[str, ...]
    feature_maps: dict[str, Tensor]
    heatmaps: dict[str, Tensor]
    layer: str = ""
    against: int | None = None
    scores: Tensor = field(default_factory=lambda: torch.empty(0))
    notes: tuple[Message, ...] = ()
    given: tuple[str, ...] | None = None
    gaps: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Explanation({self.sentence})"

    def _repr_html_(self) -> str:
        figures = [_figure(images.picture(self.image), "the picture as the network received it")]
        for method, heat in self.heatmaps.items():
            limit = float(heat.abs().max())
            pixels = images.coloured(heat, -(limit or 1.0), limit or 1.0, colours=images.SIGNED)
            figures.append(_figure(pixels, self.caption(method)))
        layers = ", ".join(f"{name} {tuple(maps.shape)}" for name, maps in self.feature_maps.items())
        notes = "".join(f"<p>{escape(str(note))}</p>" for note in self.notes)
        return f"<p>{escape(self.sentence)}</p>{''.join(figures)}{notes}<p>{escape(layers)}</p>"

    @property
    def sentence(self) -> str:
        """The prediction, and which class is explained."""
        best = int(self.probabilities.argmax())
        values = {
            "answer": self.classes[best],
            "share": percent(float(self.probabilities[best])),
            "name": self.classes[self.target],
        }
        if len(self.classes) == 1:
            return translate("its one output says %(share)s; evidence for it", share=values["share"])
        if self.given is not None:
            shares = {name: percent(float(self.probabilities[k])) for k, name in enumerate(self.classes)}
            labels = ", ".join(f"{name} {shares[name]}" for name in self.given)
            values["answer"] = labels or translate("none of its labels")
            if self.against is None:
                return translate("answers %(answer)s; evidence for %(name)s", **values)
            values["other"] = self.classes[self.against]
            return translate("answers %(answer)s; evidence for %(name)s and not %(other)s", **values)
        if self.against is None:
            return translate("answers %(answer)s with %(share)s; evidence for %(name)s", **values)
        return translate(
            "answers %(answer)s with %(share)s; evidence for %(name)s and not %(other)s",
            **values,
            other=self.classes[self.against],
        )

    def caption(self, method: str) -> str:
        """What a heatmap shows: method, layer, scale, its sum beside the score, and its caveat."""
        heat, explainer = self.heatmaps[method], EXPLAINERS[method]
        limit = float(heat.abs().max())
        name = translate(method)
        if explainer.at_layer:
            name = translate("%(method)s at %(layer)s", method=name, layer=self.layer)
        if limit == 0:
            message = translate("%(method)s: no evidence, the map is zero everywhere.", method=name)
            return f"{message} {translate(explainer.caveat)}"
        scale = translate(
            "%(method)s: scale -%(end)s (against) to %(end)s (for)", method=name, end=f"{limit:.3g}"
        )
        added = self._sum(heat) if explainer.additive else ""
        return f"{scale}{added}. {self._unconverged(method)}{translate(explainer.caveat)}"

    def _unconverged(self, method: str) -> str:
        """That the sum of a map is not what it must be; "" where it is."""
        gap = self.gaps.get(method, 0.0)
        if gap <= TOLERANCE:
            return ""
        said = translate(
            "Not converged: the sum misses the score less that of a black picture by %(gap)s.",
            gap=percent(gap),
        )
        return f"{said} "

    def _sum(self, heat: Tensor) -> str:
        total, score = f"{float(heat.sum()):.3g}", float(self.scores[self.target])
        if self.against is None:
            return translate(
                "; all cells add up to %(sum)s, the score is %(score)s", sum=total, score=f"{score:.3g}"
            )
        score -= float(self.scores[self.against])
        return translate(
            "; all cells add up to %(sum)s, the difference of the scores is %(score)s",
            sum=total,
            score=f"{score:.3g}",
        )

    def to_json(self) -> dict[str, Any]:
        """Everything but the pixels of the picture and the feature maps, as plain values."""
        return {
            "target": self.classes[self.target],
            "against": None if self.against is None else self.classes[self.against],
            "layer": self.layer,
            **({} if self.given is None else {"predictions": list(self.given)}),
            "probabilities": dict(zip(self.classes, self.probabilities.tolist(), strict=True)),
            "scores": dict(zip(self.classes, self.scores.tolist(), strict=True)),
            "layers": [{"name": name, "shape": list(maps.shape)} for name, maps in self.feature_maps.items()],
            "evidence": {name: heat.tolist() for name, heat in self.heatmaps.items()},
            "captions": {name: self.caption(name) for name in self.heatmaps},
            "notes": [str(note) for note in self.notes],
        }

    def plot(self, layer: str) -> Any:
        """All channels of `layer` on one colour scale, as a matplotlib figure."""
        return figures.plot_feature_maps(self.feature_maps[layer], title=layer)


@refuse_unknown_keywords
def explain(
    classifier: Classifier | nn.Module,
    image: Any,
    target: int | str | None = None,
    *,
    methods: Iterable[str] | None = None,
    layer: str | None = None,
    against: int | str | None = None,
) -> Explanation:
    """The output of every layer for `image`, and where the evidence for a class lies.

    classifier  a Classifier, or any module that takes (B, C, H, W) and gives scores (B, K); the classes of
                a bare module are named by their numbers
    image       one picture: for a Classifier whatever its `predict` takes; for a bare module a tensor
                (C, H, W), uint8 or float, exactly as it takes it
    target      the class to explain, its number or name; without one, the most probable class
    methods     keys of EXPLAINERS; without them gradient x activation, or integrated gradients where no layer
                has places
    layer       where the methods of a layer look; without it, the last spatial layer, or function such as an
                addition, that nothing of the picture passes by
    against     a second class: then the evidence is for `target` and not for this one

    Raises UsageError for a picture, class, layer or method that does not fit. Network, random state and
    picture are left as they were, also after an error.
    """
    asked = None if methods is None else list(methods)
    for method in asked or ():
        if method not in EXPLAINERS:
            raise UsageError(f"Unknown method '{method}'. {did_you_mean(method, EXPLAINERS)}")
    if isinstance(classifier, Classifier) and not isinstance(image, Tensor):
        image = classifier.received(image)
    if not isinstance(classifier, Classifier | nn.Module) or not isinstance(image, Tensor):
        raise UsageError(
            "Expected a Classifier, such as run.classifier, or a torch module with a tensor; got "
            f"{type(classifier).__name__} and {type(image).__name__}."
        )
    if image.dim() == 4 and len(image) == 1:
        image = image[0]
    if image.dim() != 3:
        raise UsageError(
            f"Expected one picture (C, H, W); got {tuple(image.shape)}. "
            "For several: explain_each(classifier, images)."
        )
    network, output, scores, classes = _prediction(classifier, image)
    several = classifier.multi_label if isinstance(classifier, Classifier) else output.independent
    probabilities = (
        classifier.probabilities(scores)
        if isinstance(classifier, Classifier)
        else output.probabilities(scores)
    )
    number = int(scores.argmax()) if target is None else _class_number(target, classes)
    other = None if against is None else _class_number(against, classes)
    if other == number:
        raise UsageError(f"Expected two different classes to compare; got '{classes[number]}' twice.")
    images = scaled(image[None]) if image.dtype == torch.uint8 else image[None]  # (1, C, H, W)
    outputs = record(network, images)
    methods, place = _methods_and_place(network, images, asked, layer)
    heatmaps = {
        method: without_noise(
            EXPLAINERS[method](
                network, images, number, against=other, layer=None if place is None else place.name
            ),
            scores[None],
        )[0]
        for method in methods
    }
    gaps = {
        method: float(sum_gap(network, images, heat[None], number, other)[0])
        for method, heat in heatmaps.items()
        if EXPLAINERS[method].complete
    }
    maps = {name: output[0] for name, output in outputs.items()}
    silent = _silent_note(silent_layers(network, outputs))
    notes = (*_notes(output, image), *_place_notes(network, place, images, asked, methods), *silent)
    return Explanation(
        _as_bytes(image), probabilities, number, classes, maps, heatmaps,
        "" if place is None else place.name, other, scores, notes, gaps=gaps,
        given=_given(classifier, probabilities) if several else None,
    )  # fmt: skip


def explain_each(
    classifier: Classifier | nn.Module,
    images: Tensor,
    targets: Sequence[int | str] | int | str | None = None,
    **options: Any,
) -> list[Explanation]:
    """`explain` for each of `images` (N, C, H, W).

    targets  one class for all, one per picture, or None for each picture's predicted class
    options  those of `explain`: methods, layer, against

    Raises UsageError when there are not as many targets as pictures.
    """
    if images.dim() != 4:
        raise UsageError(f"Expected pictures (N, C, H, W); got {tuple(images.shape)}.")
    if targets is None or isinstance(targets, int | str):
        targets = [targets] * len(images)  # type: ignore[list-item]
    if len(targets) != len(images):
        raise UsageError(f"Expected one class for each of {len(images)} pictures; got {len(targets)}.")
    pairs = zip(images, targets, strict=True)
    return [explain(classifier, image, target, **options) for image, target in pairs]


def _prediction(
    classifier: Classifier | nn.Module, image: Tensor
) -> tuple[nn.Module, Output, Tensor, tuple[str, ...]]:
    """The network, what it puts out, its scores (K,) for the picture, and its class names."""
    if isinstance(classifier, Classifier):
        scores = classifier.logits(image[None])[0]
        return classifier.network, classifier.output, scores, classifier.classes
    network = uncompiled(classifier)
    with preserved_state(network), torch.no_grad():
        images = network_input(network, image[None])
        output = output_of(network, images)
        scores = output.scores(network, images)[0].cpu()
    return network, output, scores, tuple(str(number) for number in range(len(scores)))


def _given(classifier: Classifier | nn.Module, probabilities: Tensor) -> tuple[str, ...]:
    """The classes whose probability reaches their threshold, the most probable first."""
    if isinstance(classifier, Classifier):
        return classifier.names(probabilities)
    order = probabilities.argsort(descending=True, stable=True).tolist()
    return tuple(str(k) for k in order if probabilities[k] >= DECIDED_AT)


def _class_number(name: int | str, classes: tuple[str, ...]) -> int:
    if isinstance(name, str):
        if name not in classes:
            raise UsageError(f"Unknown class '{name}'. {did_you_mean(name, classes)}")
        return classes.index(name)
    if not 0 <= name < len(classes):
        raise UsageError(f"Expected a class from 0 to {len(classes) - 1}; got {name}.")
    return name


def _methods_and_place(
    network: nn.Module, images: Tensor, asked: list[str] | None, layer: str | None
) -> tuple[list[str], Place | None]:
    """The methods to use, and the place at which those of a layer look; None where there is none."""
    methods = list(DEFAULT_METHODS) if asked is None else asked
    if layer is not None:
        return methods, place_named(network, images, layer)
    if not any(EXPLAINERS[method].at_layer for method in methods):
        return methods, None
    try:
        return methods, evidence_place(network, images)
    except UsageError:
        if asked is not None:
            raise
        return [WITHOUT_PLACES], None


def _notes(output: Output, image: Tensor) -> tuple[Message, ...]:
    notes = []
    if output.kind != "logits":
        notes.append(OUTPUT_NOTES[output.kind] if output.inside else GONE_NOTE)
    elif output.units == 1:
        notes.append(ONE_UNIT_NOTE)
    if image.is_floating_point() and not 0 <= float(image.min()) <= float(image.max()) <= 1:
        notes.append(
            lazy_gettext(
                "The picture is shown from its lowest to its highest value: the network takes values beyond "
                "0 to 1."
            )
        )
    return tuple(notes)


def _silent_note(layers: list[str]) -> tuple[Message, ...]:
    if not layers:
        return ()
    named = ", ".join(layers[:NAMED]) + (", ..." if len(layers) > NAMED else "")
    note = lazy_gettext(
        "Layers without an output here, because they did not run, or not as modules: %(layers)s.",
        layers=named,
    )
    return (note,)


def _place_notes(
    network: nn.Module, place: Place | None, images: Tensor, asked: list[str] | None, methods: list[str]
) -> tuple[Message, ...]:
    """What must be known of the place: that there is none, what passes it by, how tokens are read."""
    if place is None:
        return () if asked is not None else (WITHOUT_PLACES_NOTE,)
    if not any(EXPLAINERS[method].at_layer for method in methods):
        return ()
    notes = []
    if place.bypass > 0:
        notes.append(
            lazy_gettext(
                "Not all that the network takes from the picture passes through %(layer)s: %(share)s of the "
                "gradient bypasses it, and is in no map of that layer.",
                layer=place.name, share=percent(place.bypass),
            )
        )  # fmt: skip
    return (*notes, *_token_note(network, place, images))


def _token_note(network: nn.Module, place: Place, images: Tensor) -> tuple[Message, ...]:
    layer, shape = place.name, place.shape
    grid = place_grid(network, images, layer, shape)
    if grid is None or grid.kind != "tokens":
        return ()
    values = {"layer": layer, "tokens": shape[1], "height": grid.height, "width": grid.width}
    special = shape[1] - grid.height * grid.width
    if not special:
        note = lazy_gettext(
            "The output of %(layer)s is %(tokens)s tokens, read as a grid of %(height)s x %(width)s.",
            **values,
        )
    else:
        note = lazy_gettext(
            "The output of %(layer)s is %(tokens)s tokens, read as a grid of %(height)s x %(width)s; special "
            "tokens left out, such as the class token: %(extra)s.",
            **values,
            extra=special,
        )
    return (note,)


def _as_bytes(image: Tensor) -> Tensor:
    """The picture as uint8 (C, H, W), whatever type the network takes."""
    if image.dtype == torch.uint8:
        return image
    low, high = min(0.0, float(image.min())), max(1.0, float(image.max()))
    return ((image.float().cpu() - low) / (high - low) * 255).round().to(torch.uint8)


def _figure(pixels: Any, caption: str) -> str:
    address = images.coloured_address(pixels)
    style = "image-rendering:pixelated;width:14em;height:14em;object-fit:contain"
    return (
        f'<figure style="display:inline-block;width:14em;vertical-align:top;margin:.5em">'
        f'<img src="{address}" alt="{escape(caption)}" style="{style}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
