"""Pictures explained: lines for a terminal, plain values for a program, one page, one figure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from markupsafe import Markup
from torch import Tensor

from pellucid.assets import asset
from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.counterfactual import CAVEAT as CHANGE_CAVEAT
from pellucid.explanation.counterfactual import Counterfactual, failure_sentence
from pellucid.explanation.explanation import Explanation
from pellucid.explanation.neighbours import CAVEAT as NEIGHBOUR_CAVEAT
from pellucid.explanation.neighbours import Index, Neighbour, nearest, novelty
from pellucid.explanation.outcomes import Outcome
from pellucid.formatting import digits, figure
from pellucid.language import Message, translate, use_language
from pellucid.plots import figures, images
from pellucid.policy import with_hashes
from pellucid.report.evidence import EvidenceMap, evidence_map
from pellucid.report.templates import SCALES, environment_of_pages, gradient
from pellucid.runs.verdicts import Verdicts, none_passed, remark, shown_method

PICTURE_SIDE = 224  # pixels of a picture on the page
MAX_CLASSES = 5  # listed with their probabilities


@dataclass(frozen=True, eq=False)
class Explained:
    """One picture and everything computed to explain its prediction.

    name        of the picture, such as its path
    changes     a small change to each other class; empty when not requested
    neighbours  the most similar training pictures, with pixels (C, H, W); empty when not requested
    novelty     percentile 0..100 of its distance to the training pictures; None when not requested
    verdicts    how each method fared in its tests on this network; a method without one was not tested
    """

    name: str
    explanation: Explanation
    changes: tuple[Counterfactual, ...] = ()
    neighbours: tuple[tuple[Neighbour, Tensor], ...] = ()
    novelty: float | None = None
    verdicts: Verdicts = field(default_factory=dict)

    @property
    def smallest(self) -> Counterfactual | None:
        """The smallest of the changes found, or None."""
        return min(self.changes, key=_least_first, default=None)

    @property
    def title(self) -> str:
        """The picture's name and what is predicted."""
        return f"{self.name}: {self.explanation.sentence}"

    @property
    def without_map(self) -> str:
        """Why there is no map, where none was asked for and no method passed; "" otherwise."""
        shown = self.explanation.heatmaps or shown_method(self.verdicts) is not None
        return "" if shown else none_passed(self.verdicts)

    def outcome(self, method: str) -> Outcome | Literal["untested"]:
        """How a method fared in its tests."""
        return self.verdicts[method].outcome if method in self.verdicts else "untested"

    def remark(self, method: str) -> str:
        """What a reader of a map by `method` must know of its tests."""
        return remark(method, self.verdicts)

    def warning(self, method: str) -> str:
        """The remark where the method did not pass or was not tested; "" otherwise."""
        return "" if self.outcome(method) == "passed" else self.remark(method)


def neighbours_of(
    index: Index, image: Tensor, count: int
) -> tuple[tuple[tuple[Neighbour, Tensor], ...], float]:
    """The training pictures most similar to uint8 (C, H, W), with their pixels, and its novelty, 0..100."""
    found = nearest(index, image[None], count)[0]
    pictures = tuple((neighbour, index.dataset.images[neighbour.index]) for neighbour in found)
    return pictures, float(novelty(index, image[None])[0])


def lines(explained: Explained) -> list[str]:
    """The explanation in lines of text, its maps drawn in characters."""
    explanation = explained.explanation
    text = [explained.title]
    longest = max((len(name) for name in explanation.feature_maps), default=0)
    for name, maps in explanation.feature_maps.items():
        shape = " x ".join(str(number) for number in maps.shape)
        text.append(f"  {name:<{longest}}  {shape:<14} largest value {float(maps.max()):.3g}")
    for name, heat in explanation.heatmaps.items():
        text.append(f"Evidence by {explanation.caption(name)}")
        text.append(f"  {explained.remark(name)}")
        text += [f"  {row}" for row in images.text_map(heat)]
    if explained.without_map:
        text.append(explained.without_map)
    text += map(str, explanation.notes)
    if explained.smallest is not None:
        text += ["What would change it:", *(f"  {line}" for line in _change_lines(explained.changes))]
        text.append(CHANGE_CAVEAT)
    if explained.neighbours:
        text.append(
            f"Most similar training pictures (farther away than for {explained.novelty:.0f} of 100 ordinary "
            "pictures):"
        )
        text += [f"  {near.similarity:.3f} {near.label}, {near.source}" for near, _ in explained.neighbours]
        text.append(NEIGHBOUR_CAVEAT)
    return text


def facts(explained: Explained) -> dict[str, Any]:
    """All values of the explanation, for JSON."""
    explanation = explained.explanation
    probabilities = [float(text) for text in digits(explanation.probabilities)]
    values: dict[str, Any] = {
        "source": explained.name,
        **explanation.to_json(),
        "probabilities": dict(zip(explanation.classes, probabilities, strict=True)),
        "layers": [
            {"name": name, "shape": list(maps.shape), "largest": float(maps.max())}
            for name, maps in explanation.feature_maps.items()
        ],
        "outcomes": {name: explained.outcome(name) for name in explanation.heatmaps},
        "warnings": {name: warning for name in explanation.heatmaps if (warning := explained.warning(name))},
    }
    if explained.without_map:
        values["without_map"] = explained.without_map
    if explained.changes:
        values["changes"] = [
            {
                "prediction": change.classes[change.target],
                "confirmed": change.confirmed,
                "amount": change.amount,
                "confidence": float(change.after[change.target]),
                "edits": [vars(edit) for edit in change.edits],
            }
            for change in sorted(explained.changes, key=_least_first)
        ]
    if explained.neighbours:
        values["novelty"] = explained.novelty
        values["neighbours"] = [
            {"label": near.label, "similarity": near.similarity, "source": near.source}
            for near, _ in explained.neighbours
        ]
    return values


def plotted(explained: Explained, title: str) -> Any:
    """Picture, evidence, change, neighbours and layers as a matplotlib figure."""
    beside = {}
    change = explained.smallest
    if change is not None and change.confirmed:
        beside[f"changed: {change.classes[change.target]}"] = change.changed
    for rank, (near, image) in enumerate(explained.neighbours[:7], 1):
        beside[f"similar {rank}: {near.label}, {near.similarity:.3f}"] = image
    explanation = explained.explanation
    warnings = {name: explained.warning(name) for name in explanation.heatmaps}
    heading = f"{title}\n{explained.without_map}" if explained.without_map else title
    return figures.plot_explanation(
        explanation.image, explanation.heatmaps, explanation.feature_maps, heading,
        beside=beside, warnings=warnings,
    )  # fmt: skip


@dataclass(frozen=True)
class PagePicture:
    """A picture on the page: an image in an address, and its size in pixels."""

    address: str
    width: int
    height: int


@dataclass(frozen=True)
class PageMap:
    """An evidence map on the page, with its caption, its paper and what its tests say of it."""

    map: EvidenceMap
    width: int
    height: int
    caption: str
    paper: str
    remark: str
    passed: bool


@dataclass(frozen=True)
class PageChange:
    """A change to one class, on the page; `sentence` describes the change and its effect."""

    prediction: str
    sentence: str
    amount: str
    picture: PagePicture
    confirmed: bool


@dataclass(frozen=True)
class PageNeighbour:
    """A similar training picture, on the page."""

    label: str
    similarity: str
    source: str
    picture: PagePicture


@dataclass(frozen=True)
class PageLayer:
    """The shape and the largest value of one layer's output, as text."""

    name: str
    shape: str
    largest: str


@dataclass(frozen=True)
class ExplainedSection:
    """One picture as the page shows it, as `Explained` holds it."""

    name: str
    sentence: str
    picture: PagePicture
    top: list[tuple[str, float]]
    maps: list[PageMap]
    without_map: str
    notes: tuple[Message, ...]
    smallest: PageChange | None
    changes: list[PageChange]
    novelty: int
    neighbours: list[PageNeighbour]
    layers: list[PageLayer]


@dataclass(frozen=True)
class ExplainedPage:
    """All that the template of the page reads."""

    language: str
    sections: list[ExplainedSection]
    style: Markup
    ramp: Markup
    change_caveat: str
    neighbour_caveat: str


def page(explained: Sequence[Explained], *, language: str = "en") -> str:
    """One HTML page that needs nothing else, in a language of LANGUAGES."""
    with use_language(language):
        made = ExplainedPage(
            language=language,
            sections=[_section(each) for each in explained],
            style=Markup(asset("shared/page.css") + asset("shared/why.css")),
            ramp=Markup(gradient(SCALES["signed"])),
            change_caveat=translate(CHANGE_CAVEAT),
            neighbour_caveat=translate(NEIGHBOUR_CAVEAT),
        )
        return with_hashes(environment_of_pages().get_template("report/explained.html").render(page=made))


def _section(explained: Explained) -> ExplainedSection:
    explanation, smallest = explained.explanation, explained.smallest
    return ExplainedSection(
        name=explained.name,
        sentence=explanation.sentence,
        picture=_picture(explanation.image, PICTURE_SIDE),
        top=[
            (explanation.classes[k], float(explanation.probabilities[k]))
            for k in explanation.probabilities.argsort(descending=True)[:MAX_CLASSES].tolist()
        ],
        maps=[_page_map(explained, name, heat) for name, heat in explanation.heatmaps.items()],
        without_map=explained.without_map,
        notes=explanation.notes,
        smallest=None if smallest is None else _page_change(smallest, PICTURE_SIDE),
        changes=[
            _page_change(each, PICTURE_SIDE // 3) for each in sorted(explained.changes, key=_least_first)
        ],
        novelty=round(explained.novelty or 0),
        neighbours=[
            PageNeighbour(
                near.label if explanation.given is None else near.label.replace("|", ", "),
                f"{near.similarity:.3f}",
                near.source,
                _picture(image, PICTURE_SIDE // 3),
            )
            for near, image in explained.neighbours
        ],
        layers=[
            PageLayer(name, " × ".join(str(number) for number in maps.shape), figure(float(maps.max())))
            for name, maps in explanation.feature_maps.items()
        ],
    )


def _page_map(explained: Explained, method: str, heat: Tensor) -> PageMap:
    height, width = _fitted(heat.shape[0], heat.shape[1], PICTURE_SIDE)
    return PageMap(
        map=evidence_map(heat, translate(method)),
        width=width,
        height=height,
        caption=explained.explanation.caption(method),
        paper=translate(EXPLAINERS[method].paper),
        remark=explained.remark(method),
        passed=explained.outcome(method) == "passed",
    )


def _page_change(change: Counterfactual, side: int) -> PageChange:
    return PageChange(
        prediction=change.classes[change.target],
        sentence=change.sentence,
        amount=f"{change.amount:.1f}",
        picture=_picture(change.changed, side),
        confirmed=change.confirmed,
    )


def _picture(image: Tensor, side: int) -> PagePicture:
    """A picture as an address, brought to `side` pixels."""
    height, width = _fitted(image.shape[1], image.shape[2], side)
    return PagePicture(images.coloured_address(images.picture(image)), width, height)


def _fitted(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width with the longer one `side` pixels: picture and maps lie equally large side by side."""
    return round(height * side / max(height, width)), round(width * side / max(height, width))


def _change_lines(changes: Sequence[Counterfactual]) -> list[str]:
    """A sentence for each change; the classes to which none was found share one."""
    ordered = sorted(changes, key=_least_first)
    found = [change.sentence for change in ordered if change.confirmed]
    vain = [change for change in ordered if not change.confirmed]
    return [*found, failure_sentence(vain)] if vain else found


def _least_first(change: Counterfactual) -> tuple[bool, float]:
    return not change.confirmed, change.amount
