"""Two runs side by side as one page."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup
from torch import Tensor

from pellucid.assets import asset
from pellucid.classifier import Classifier
from pellucid.comparison import Comparison, Right
from pellucid.comparison import compare as compare_classifiers
from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
from pellucid.explanation.activations import record
from pellucid.explanation.similarity import CAVEAT, Disagreement, LayerSimilarity
from pellucid.files import write_text
from pellucid.inference import scaled
from pellucid.language import translate, use_language
from pellucid.plots import images
from pellucid.plots.images import Atlas, Cell, zoom
from pellucid.policy import with_hashes
from pellucid.recipe import refuse_unknown_keywords
from pellucid.report.templates import environment_of_pages
from pellucid.runs.basis import without_sources
from pellucid.runs.run import Run

MAX_PAIRS = 16  # of channels shown per layer
MAX_TILES = 24  # pictures shown on which only one is right, or neither
MAX_ATLAS_CHARACTERS = 600_000  # of their data URL


@dataclass(frozen=True)
class DisagreementTile:
    """A picture on which the two disagree, and its column and row in the atlas."""

    cell: Cell
    label: str
    source: str
    disagreement: Disagreement


@dataclass(frozen=True)
class DisagreementGroup:
    """The pictures that only the one network predicts correctly, or neither: how many, and some of them.

    right  "first", "second" or "neither"
    """

    right: str
    count: int
    tiles: list[DisagreementTile]


@dataclass(frozen=True)
class HeatCell:
    """A similarity as the matrix shows it: its colour, and whether that needs white text."""

    value: str
    colour: str
    dark: bool


@dataclass(frozen=True)
class PairedMaps:
    """A channel of each network, and the maps of both as addresses."""

    first: int
    second: int
    correlation: str
    images: list[str]


@dataclass(frozen=True)
class LayerChannels:
    """The channels of one layer paired: how many, their mean correlation, and the most similar as maps."""

    name: str
    mean: str
    count: int
    pairs: list[PairedMaps]


@dataclass(frozen=True)
class ComparePage:
    """All that the template of the page reads.

    count          number of test pictures predicted
    compared       number of them that the layers were compared on
    verdict, scope which of the two is better, and what that holds for
    disagreements  pictures on which the two disagree, by which of them is right
    rows, columns  layers of the first and of the second network
    """

    language: str
    names: tuple[str, str]
    verdict: str
    scope: str
    sentence: str
    count: int
    right: Right
    atlas: Atlas
    zoom: int
    disagreements: list[DisagreementGroup]
    heat: list[list[HeatCell]]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    intervals: Mapping[str, tuple[float, float]]
    compared: int
    channels: list[LayerChannels]
    caveat: str
    style: Markup


@refuse_unknown_keywords
def compare(
    first: Run | str | Path,
    second: Run | str | Path,
    path: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    language: str = "en",
) -> Comparison:
    """Two runs of the same data side by side, on the test pictures that neither learned from, less copies of
    what one learned from or was chosen by.

    first, second  a Run each, or its folder
    path           a page to write; none without it
    data_dir       where the pictures lie now, as `Run.splits` takes it

    Raises UsageError when the two were trained on other data, or have other test pictures, or none.
    """
    runs = [run if isinstance(run, Run) else Run.open(run) for run in (first, second)]
    whole, groups = _shared_test(runs[0], runs[1], data_dir)
    test = without_sources(whole, {source for run in runs for source in run.basis(whole).copies})
    short, long = ([run.folder.resolve().name for run in runs], [str(run.folder) for run in runs])
    one, other = short if short[0] != short[1] else long
    comparison = compare_classifiers(
        runs[0].classifier, runs[1].classifier, test, names=(one, other), groups=groups
    )
    comparison = replace(comparison, copies=len(whole) - len(test))
    if path is not None:
        write_text(Path(path), page(comparison, runs[0].classifier, runs[1].classifier, language=language))
    return comparison


def _shared_test(first: Run, second: Run, data_dir: str | Path | None) -> tuple[Dataset, Mapping[str, str]]:
    """The test pictures of both runs and the group of each that has one."""
    if first.origin.data != second.origin.data:
        raise UsageError(
            f"'{second.folder}' was trained on '{second.origin.data}', '{first.folder}' on "
            f"'{first.origin.data}'. Expected two runs of the same data."
        )
    for run in (first, second):
        if run.folds:
            raise UsageError(
                f"'{run.folder}' was judged by folds and learned from all pictures: none is left to compare "
                "it on. Expected runs with a test part."
            )
    ours, theirs = (run.splits(data_dir) for run in (first, second))
    if ours.test.fingerprint != theirs.test.fingerprint:
        raise UsageError(
            f"'{first.folder}' and '{second.folder}' have other test pictures ({len(ours.test):,} and "
            f"{len(theirs.test):,}): one may have learned from the other's. Expected runs whose pictures "
            "were read in the same size and split in the same way; the seed does not matter."
        )
    return ours.test, ours.origin.groups


def page(comparison: Comparison, first: Classifier, second: Classifier, *, language: str = "en") -> str:
    """The comparison as one HTML page that needs nothing else."""
    with use_language(language):
        dataset = comparison.dataset
        grouped = {right: _on_which(comparison, right) for right in ("first", "second", "neither")}
        shown = [each for group in grouped.values() for each in group[:MAX_TILES]]
        indices = [each.index for each in shown] or [0]
        atlas = images.fitted_atlas(dataset.images[indices], budget=MAX_ATLAS_CHARACTERS)
        similarity = comparison.similarity
        made = ComparePage(
            language=language,
            names=comparison.names,
            verdict=comparison.verdict,
            scope=comparison.scope,
            sentence=comparison.sentence,
            count=len(dataset),
            right=comparison.right,
            atlas=atlas,
            zoom=zoom(atlas, 84),
            disagreements=_groups(comparison, grouped, atlas),
            heat=heat_cells(similarity),
            rows=similarity.rows,
            columns=similarity.columns,
            intervals=similarity.intervals,
            compared=comparison.compared,
            channels=_channels(comparison, first, second, dataset.images[indices[:1]]),
            caveat=translate(CAVEAT),
            style=Markup(asset("shared/page.css") + asset("shared/why.css")),
        )
        return with_hashes(environment_of_pages().get_template("report/compare.html").render(page=made))


def _on_which(comparison: Comparison, right: str) -> list[Disagreement]:
    """The disagreements in which the `right` one is right: "first", "second" or "neither"."""
    return [each for each in comparison.disagreements if comparison.right_on(each) == right]


def _groups(
    comparison: Comparison, grouped: Mapping[str, list[Disagreement]], atlas: Atlas
) -> list[DisagreementGroup]:
    """Those groups that have pictures, with as many tiles as the atlas holds."""
    groups, number = [], 0
    for right, found in grouped.items():
        tiles = []
        for each in found[:MAX_TILES]:
            if number < atlas.count:
                label, source = comparison.label(each), comparison.dataset.sources[each.index]
                tiles.append(DisagreementTile(atlas.cell(number), label, source, each))
            number += 1
        if found:
            groups.append(DisagreementGroup(right, len(found), tiles))
    return groups


def heat_cells(similarity: LayerSimilarity) -> list[list[HeatCell]]:
    """The matrix as cells: a number, its colour, and whether to write on it in white."""
    colours = images.coloured(similarity.matrix, 0.0, 1.0)
    return [
        [
            HeatCell(
                value=f"{value:.2f}" if math.isfinite(value) else "–",
                colour=f"rgb({','.join(str(int(band)) for band in colours[row, column])})",
                dark=luminance(colours[row, column]) < 0.18,  # where white and black contrast alike
            )
            for column, value in enumerate(values)
        ]
        for row, values in enumerate(similarity.matrix.tolist())
    ]


def luminance(colour: Iterable[int]) -> float:
    """Relative luminance, 0..1, of an sRGB colour (WCAG 2.2)."""
    red, green, blue = (
        band / 12.92 if band <= 0.04045 else ((band + 0.055) / 1.055) ** 2.4
        for band in (int(value) / 255 for value in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _channels(
    comparison: Comparison, first: Classifier, second: Classifier, picture: Tensor
) -> list[LayerChannels]:
    """The most similar channels of each layer with maps, for one picture: a row of each network."""
    ours, theirs = (record(each.network, scaled(picture)) for each in (first, second))
    layers = []
    for name, pairs in comparison.pairs.items():
        drawn = []
        if ours[name].dim() == 4:
            low, high = _common_scale(ours[name], theirs[name])
            for pair in sorted(pairs, key=lambda pair: -pair.correlation)[:MAX_PAIRS]:
                maps = ours[name][0, pair.first], theirs[name][0, pair.second]
                addresses = [images.coloured_address(images.coloured(each, low, high)) for each in maps]
                drawn.append(PairedMaps(pair.first, pair.second, f"{pair.correlation:.2f}", addresses))
        layers.append(LayerChannels(name, f"{comparison.mean_correlation(name):.2f}", len(pairs), drawn))
    return layers


def _common_scale(*layers: Tensor) -> tuple[float, float]:
    """The scale on which the maps of several layers are drawn together."""
    ends = [images.scale_of(layer) for layer in layers]
    return min(end[0] for end in ends), max(end[1] for end in ends)
