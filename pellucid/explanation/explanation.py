"""Looking inside: what every layer makes of a picture, and where the evidence for an answer lies."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.classifier import Classifier
from pellucid.errors import UsageError, did_you_mean
from pellucid.explanation.activations import (
    fitted,
    grid_of,
    last_spatial_layer,
    original,
    record,
    undisturbed,
)
from pellucid.explanation.attribution import EXPLAINERS, scores_of
from pellucid.formatting import percent
from pellucid.inference import scaled
from pellucid.language import Message, lazy_gettext, translate
from pellucid.plots import figures, images

DEFAULT_METHODS = ("gradient x activation",)


@dataclass(frozen=True, eq=False)
class Explanation:
    """One picture, what the network answers, and what can be seen of how it came to the answer.

    image          uint8 (C, H, W), what the network received
    probabilities  float32 (K,)
    target         the class explained, an index into `classes`
    feature_maps   what each layer put out, by name: (C, H, W), or (F,) where there is no space left
    heatmaps       the evidence for `target` by method, signed (h, w): positive speaks for, negative against
    layer          where the methods of a layer looked; empty when none was asked for
    against        the class `target` was compared with, or None
    scores         what the network put out before any softmax, float32 (K,)
    notes          what a reader of the maps must know about this network, in sentences
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

    def __repr__(self) -> str:
        return f"Explanation({self.sentence})"

    def _repr_html_(self) -> str:
        figures = [_figure(images.picture(self.image), "what the network received")]
        for method, heat in self.heatmaps.items():
            reach = float(heat.abs().max())
            pixels = images.coloured(heat, -(reach or 1.0), reach or 1.0, colours=images.SIGNED)
            figures.append(_figure(pixels, self.caption(method)))
        layers = ", ".join(f"{name} {tuple(maps.shape)}" for name, maps in self.feature_maps.items())
        notes = "".join(f"<p>{escape(str(note))}</p>" for note in self.notes)
        return f"<p>{escape(self.sentence)}</p>{''.join(figures)}{notes}<p>{escape(layers)}</p>"

    @property
    def sentence(self) -> str:
        """What the network answers, and which class is explained."""
        best = int(self.probabilities.argmax())
        told = {
            "answer": self.classes[best],
            "share": percent(float(self.probabilities[best])),
            "name": self.classes[self.target],
        }
        if self.against is None:
            return translate("answers %(answer)s with %(share)s; evidence for %(name)s", **told)
        return translate(
            "answers %(answer)s with %(share)s; evidence for %(name)s and not %(other)s",
            **told,
            other=self.classes[self.against],
        )

    def caption(self, method: str) -> str:
        """What a heatmap shows: method, place, class, scale, sum beside the score, and its caveat."""
        heat, explainer = self.heatmaps[method], EXPLAINERS[method]
        reach = float(heat.abs().max())
        name = translate(method)
        if explainer.at_layer:
            name = translate("%(method)s at %(layer)s", method=name, layer=self.layer)
        if reach == 0:
            empty = translate("%(method)s: no evidence, the map is zero everywhere.", method=name)
            return f"{empty} {translate(explainer.caveat)}"
        scale = translate(
            "%(method)s: scale -%(end)s (against) to %(end)s (for)", method=name, end=f"{reach:.3g}"
        )
        return f"{scale}{self._sum(heat) if explainer.additive else ''}. {translate(explainer.caveat)}"

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
        """Everything but the pixels of picture and feature maps, as plain numbers and words."""
        return {
            "target": self.classes[self.target],
            "against": None if self.against is None else self.classes[self.against],
            "layer": self.layer,
            "probabilities": dict(zip(self.classes, self.probabilities.tolist(), strict=True)),
            "scores": dict(zip(self.classes, self.scores.tolist(), strict=True)),
            "layers": {name: list(maps.shape) for name, maps in self.feature_maps.items()},
            "evidence": {name: heat.tolist() for name, heat in self.heatmaps.items()},
            "captions": {name: self.caption(name) for name in self.heatmaps},
            "notes": [str(note) for note in self.notes],
        }

    def plot(self, layer: str) -> Any:
        """All channels of `layer` on one colour scale, as a matplotlib figure."""
        return figures.plot_feature_maps(self.feature_maps[layer], title=layer)


def explain(
    classifier: Classifier | nn.Module,
    image: Tensor,
    target: int | str | None = None,
    *,
    methods: Iterable[str] = DEFAULT_METHODS,
    layer: str | None = None,
    against: int | str | None = None,
) -> Explanation:
    """What every layer makes of `image`, and where the evidence for an answer lies.

    classifier  a Classifier, or any module that takes (B, C, H, W) and gives scores (B, K); the classes of
                a bare module are called by their numbers
    image       uint8 (C, H, W); for a bare module also float, exactly as it takes it; one picture a call
    target      the class to explain, its number or name; without one, the class answered
    methods     names of EXPLAINERS
    layer       where the methods of a layer look; without it, the last layer with places
    against     a second class: then the evidence is for `target` and not for it

    Raises UsageError for a picture, class, layer or method that does not fit. Network, random state and
    picture are afterwards as before, also after an error.
    """
    wanted = list(methods)
    for method in wanted:
        if method not in EXPLAINERS:
            raise UsageError(f"Unknown method '{method}'. {did_you_mean(method, EXPLAINERS)}")
    image = _one(image)
    network, scores, probabilities, classes = _asked(classifier, image)
    number = int(scores.argmax()) if target is None else _class_number(target, classes)
    other = None if against is None else _class_number(against, classes)
    if other == number:
        raise UsageError(f"Expected two different classes to compare; got '{classes[number]}' twice.")
    images = _taken(image[None])  # (1, C, H, W)
    outputs = record(network, images)
    place = _place(network, images, wanted, layer)
    heatmaps = {
        method: EXPLAINERS[method](network, images, number, against=other, layer=place or None)[0]
        for method in wanted
    }
    maps = {name: output[0] for name, output in outputs.items()}
    notes = (*_notes(scores, image), *_token_note(network, images, place))
    return Explanation(
        _shown(image), probabilities, number, classes, maps, heatmaps, place, other, scores, notes
    )


def explain_each(
    classifier: Classifier | nn.Module,
    images: Tensor,
    targets: Sequence[int | str] | int | str | None = None,
    **options: Any,
) -> list[Explanation]:
    """As `explain`, of each of `images` (N, C, H, W).

    targets  one class for all, one a picture, or none: then what is answered to each
    options  as `explain` takes them: methods, layer, against

    Raises UsageError when the number of targets is another than that of the pictures.
    """
    if images.dim() != 4:
        raise UsageError(f"Expected pictures (N, C, H, W); got {tuple(images.shape)}.")
    if targets is None or isinstance(targets, int | str):
        targets = [targets] * len(images)  # type: ignore[list-item]
    if len(targets) != len(images):
        raise UsageError(f"Expected one class for each of {len(images)} pictures; got {len(targets)}.")
    return [explain(classifier, image, one, **options) for image, one in zip(images, targets, strict=True)]


def _one(image: Tensor) -> Tensor:
    if image.dim() == 4 and len(image) == 1:
        return image[0]
    if image.dim() != 3:
        raise UsageError(
            f"Expected one picture (C, H, W); got {tuple(image.shape)}. "
            "For several: explain_each(classifier, images)."
        )
    return image


def _asked(
    classifier: Classifier | nn.Module, image: Tensor
) -> tuple[nn.Module, Tensor, Tensor, tuple[str, ...]]:
    """The network, its scores (K,) and probabilities (K,) for the picture, and the names of its classes."""
    if isinstance(classifier, Classifier):
        scores = classifier.logits(image[None])[0]
        return classifier.network, scores, scores.softmax(dim=0), classifier.classes
    network = original(classifier)
    with undisturbed(network), torch.no_grad():
        scores = scores_of(network, fitted(network, image[None]))[0].cpu()
    probabilities = scores if _are_probabilities(scores) else scores.softmax(dim=0)
    return network, scores, probabilities, tuple(str(number) for number in range(len(scores)))


def _class_number(name: int | str, classes: tuple[str, ...]) -> int:
    if isinstance(name, str):
        if name not in classes:
            raise UsageError(f"Unknown class '{name}'. {did_you_mean(name, classes)}")
        return classes.index(name)
    if not 0 <= name < len(classes):
        raise UsageError(f"Expected a class from 0 to {len(classes) - 1}; got {name}.")
    return name


def _place(network: nn.Module, images: Tensor, methods: list[str], layer: str | None) -> str:
    if layer is not None:
        record(network, images, [layer])  # refuses a name that is none
        return layer
    if not any(EXPLAINERS[method].at_layer for method in methods):
        return ""
    return last_spatial_layer(network, images)


def _are_probabilities(scores: Tensor) -> bool:
    return bool(scores.min() >= 0) and abs(float(scores.sum()) - 1) < 1e-3


def _notes(scores: Tensor, image: Tensor) -> tuple[Message, ...]:
    notes = []
    if _are_probabilities(scores):
        notes.append(
            lazy_gettext(
                "The network ends in a softmax: it puts out probabilities, so the evidence is for a "
                "probability and fades where the network is sure."
            )
        )
    elif abs(float(scores.exp().sum()) - 1) < 1e-3:
        notes.append(
            lazy_gettext("The network puts out log-probabilities: lowering other classes counts as evidence.")
        )
    if image.is_floating_point() and not 0 <= float(image.min()) <= float(image.max()) <= 1:
        notes.append(
            lazy_gettext(
                "The picture is shown from its lowest to its highest value: the network takes others."
            )
        )
    return tuple(notes)


def _token_note(network: nn.Module, images: Tensor, place: str) -> tuple[Message, ...]:
    if not place:
        return ()
    shape = tuple(record(network, images, [place])[place].shape)
    grid = grid_of(shape, (images.shape[2], images.shape[3]))
    if grid is None or grid.kind != "tokens":
        return ()
    told = {"layer": place, "tokens": shape[1], "height": grid.height, "width": grid.width}
    if not grid.extra:
        note = lazy_gettext(
            "%(layer)s puts out %(tokens)s tokens, read as %(height)s x %(width)s places.", **told
        )
    else:
        note = lazy_gettext(
            "%(layer)s puts out %(tokens)s tokens, read as %(height)s x %(width)s places; %(extra)s in front "
            "left out, such as the class token.",
            **told,
            extra=grid.extra,
        )
    return (note,)


def _taken(images: Tensor) -> Tensor:
    return scaled(images) if images.dtype == torch.uint8 else images


def _shown(image: Tensor) -> Tensor:
    """The picture as uint8 (C, H, W), whatever the network takes."""
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
