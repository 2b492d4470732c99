"""Pictures explained: lines for a terminal, plain values for a program, one page, one figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from torch import Tensor

from pellucid.assets import asset
from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.counterfactual import CAVEAT as CHANGE_CAVEAT
from pellucid.explanation.counterfactual import Counterfactual, failure_sentence
from pellucid.explanation.explanation import Explanation
from pellucid.explanation.neighbours import CAVEAT as NEIGHBOUR_CAVEAT
from pellucid.explanation.neighbours import Index, Neighbour, nearest, novelty
from pellucid.formatting import digits, figure
from pellucid.language import translate, use_language
from pellucid.plots import figures, images
from pellucid.report.evidence import drawn_map
from pellucid.report.templates import SCALES, environment_of_pages, gradient

SHOWN = 224  # pixels a picture is brought to


@dataclass(frozen=True, eq=False)
class Explained:
    """One picture with all that was asked about it.

    name        what the picture is called
    ways        the shortest change found to each other class; empty when not asked for
    neighbours  training pictures the network holds most alike, with the pictures (C, H, W); likewise
    unlike      how unlike the training pictures it is, a percentile; None when not asked for
    """

    name: str
    explanation: Explanation
    ways: tuple[Counterfactual, ...] = ()
    neighbours: tuple[tuple[Neighbour, Tensor], ...] = ()
    unlike: float | None = None

    @property
    def change(self) -> Counterfactual | None:
        """The smallest of the changes found, or None."""
        return min(self.ways, key=lambda way: (not way.confirmed, way.amount), default=None)

    @property
    def title(self) -> str:
        """The picture's name and what is answered."""
        return f"{self.name}: {self.explanation.sentence}"


def neighbours_of(
    index: Index, image: Tensor, count: int
) -> tuple[tuple[tuple[Neighbour, Tensor], ...], float]:
    """The training pictures most like uint8 (C, H, W), each with its pixels, and how unlike them it is."""
    found = nearest(index, image[None], count)[0]
    pictures = tuple((one, index.dataset.images[one.index]) for one in found)
    return pictures, float(novelty(index, image[None])[0])


def lines(one: Explained) -> list[str]:
    """The explanation in lines of text, its maps drawn in characters."""
    explanation = one.explanation
    told = [one.title]
    longest = max((len(name) for name in explanation.feature_maps), default=0)
    for name, maps in explanation.feature_maps.items():
        shape = " x ".join(str(number) for number in maps.shape)
        told.append(f"  {name:<{longest}}  {shape:<14} largest value {float(maps.max()):.3g}")
    for name, heat in explanation.heatmaps.items():
        told += [f"Evidence by {explanation.caption(name)}", *(f"  {row}" for row in images.text_map(heat))]
    told += map(str, explanation.notes)
    if one.change is not None:
        told += ["What would change it:", *(f"  {says}" for says in _said(_sorted(one.ways))), CHANGE_CAVEAT]
    if one.neighbours:
        told.append(
            f"Training pictures most alike (farther from them than {one.unlike:.0f} of 100 ordinary ones):"
        )
        told += [f"  {near.similarity:.3f} {near.label}, {near.source}" for near, _ in one.neighbours]
        told.append(NEIGHBOUR_CAVEAT)
    return told


def facts(one: Explained) -> dict[str, Any]:
    """All figures as plain values, for JSON."""
    explanation = one.explanation
    shares = [float(text) for text in digits(explanation.probabilities)]
    told: dict[str, Any] = {
        "file": one.name,
        **explanation.to_json(),
        "probabilities": dict(zip(explanation.classes, shares, strict=True)),
        "layers": [
            {"layer": name, "shape": list(maps.shape), "largest": float(maps.max())}
            for name, maps in explanation.feature_maps.items()
        ],
    }
    if one.ways:
        told["changes"] = [_change(way) for way in _sorted(one.ways)]
    if one.neighbours:
        told["unlike"] = one.unlike
        told["neighbours"] = [
            {"label": near.label, "similarity": near.similarity, "source": near.source}
            for near, _ in one.neighbours
        ]
    return told


def plotted(one: Explained, title: str) -> Any:
    """Picture, evidence, change, neighbours and layers as a matplotlib figure."""
    beside = {}
    if one.change is not None and one.change.confirmed:
        beside[f"changed: {one.change.classes[one.change.target]}"] = one.change.changed
    for rank, (near, image) in enumerate(one.neighbours[:7], 1):
        beside[f"alike {rank}: {near.label}, {near.similarity:.3f}"] = image
    explanation = one.explanation
    return figures.plot_explanation(
        explanation.image, explanation.heatmaps, explanation.feature_maps, title, beside=beside
    )


def page(explained: Sequence[Explained], *, language: str = "en") -> str:
    """One HTML page that needs nothing else, in a language of LANGUAGES."""
    with use_language(language):
        return _rendered(explained, language)


def _rendered(explained: Sequence[Explained], language: str) -> str:
    style = asset("shared/page.css") + asset("shared/why.css")
    return (
        environment_of_pages()
        .get_template("report/explained.html")
        .render(
            language=language,
            pictures=[_shown(one) for one in explained],
            style=Markup(style),
            ramp=Markup(gradient(SCALES["signed"])),
            change_caveat=translate(CHANGE_CAVEAT),
            neighbour_caveat=translate(NEIGHBOUR_CAVEAT),
        )
    )


def _shown(one: Explained) -> dict[str, Any]:
    """What the page shows of one picture."""
    explanation = one.explanation
    change = one.change
    return {
        "name": one.name,
        "says": explanation.sentence,
        "image": _image(explanation.image, SHOWN),
        "top": [
            (explanation.classes[k], float(explanation.probabilities[k]))
            for k in explanation.probabilities.argsort(descending=True)[:5].tolist()
        ],
        "maps": [
            {**drawn_map(heat, translate(name)), "name": name, "caption": explanation.caption(name),
             "paper": translate(EXPLAINERS[name].paper), "sides": _sides(heat.shape[0], heat.shape[1], SHOWN)}
            for name, heat in explanation.heatmaps.items()
        ],
        "notes": explanation.notes,
        "change": None if change is None else {"says": change.sentence, "confirmed": change.confirmed,
                                               "image": _image(change.changed, SHOWN)},
        "ways": [
            {"to": way.classes[way.target], "says": way.sentence, "amount": f"{way.amount:.1f}",
             "image": _image(way.changed, SHOWN // 3), "confirmed": way.confirmed}
            for way in _sorted(one.ways)
        ],
        "unlike": None if one.unlike is None else round(one.unlike),
        "neighbours": [
            {"label": near.label, "similarity": f"{near.similarity:.3f}", "source": near.source,
             "image": _image(image, SHOWN // 3)}
            for near, image in one.neighbours
        ],
        "layers": [
            (name, " × ".join(str(number) for number in maps.shape), figure(float(maps.max())))
            for name, maps in explanation.feature_maps.items()
        ],
    }  # fmt: skip


def _image(image: Tensor, side: int) -> dict[str, Any]:
    """A picture as an address, brought to `side` pixels."""
    height, width = _sides(image.shape[1], image.shape[2], side)
    return {
        "address": images.coloured_address(images.picture(image)),
        "width": width,
        "height": height,
    }


def _sides(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width with the longer one `side` pixels: picture and maps lie equally large side by side."""
    return round(height * side / max(height, width)), round(width * side / max(height, width))


def _change(way: Counterfactual) -> dict[str, Any]:
    return {
        "to": way.classes[way.target],
        "confirmed": way.confirmed,
        "amount": way.amount,
        "probability": float(way.after[way.target]),
        "edits": [vars(edit) for edit in way.edits],
    }


def _said(ways: Sequence[Counterfactual]) -> list[str]:
    """A sentence for each change; the classes to which none was found share one."""
    found = [way.sentence for way in ways if way.confirmed]
    vain = [way for way in ways if not way.confirmed]
    return [*found, failure_sentence(vain)] if vain else found


def _sorted(ways: Sequence[Counterfactual]) -> list[Counterfactual]:
    return sorted(ways, key=lambda way: (not way.confirmed, way.amount))
