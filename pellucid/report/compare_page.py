"""Two runs side by side as one page."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup
from torch import Tensor

from pellucid.assets import asset
from pellucid.classifier import Classifier
from pellucid.comparison import Comparison
from pellucid.comparison import compare as compare_classifiers
from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
from pellucid.explanation.activations import record
from pellucid.explanation.similarity import CAVEAT, LayerSimilarity
from pellucid.files import write_text
from pellucid.inference import scaled
from pellucid.language import translate, use_language
from pellucid.plots import images
from pellucid.plots.images import zoom
from pellucid.report.templates import environment_of_pages
from pellucid.runs.run import Run

PAIRS_SHOWN = 16
SHOWN = 60  # pictures of disagreement
PICTURES_BUDGET = 600_000  # characters of the address that holds those


def compare(
    first: Run | str | Path,
    second: Run | str | Path,
    path: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    language: str = "en",
) -> Comparison:
    """Two runs of the same data side by side, on the test pictures that neither was trained on.

    first, second  a Run each, or its folder
    path           a page to write; none without it
    data_dir       where the pictures lie now, as `Run.splits` takes it

    Raises UsageError when the two were trained on other data, or have other test pictures.
    """
    runs = [run if isinstance(run, Run) else Run.open(run) for run in (first, second)]
    test = _shared_test(runs[0], runs[1], data_dir)
    short, long = ([run.folder.resolve().name for run in runs], [str(run.folder) for run in runs])
    one, other = short if short[0] != short[1] else long
    comparison = compare_classifiers(runs[0].classifier, runs[1].classifier, test, names=(one, other))
    if path is not None:
        write_text(Path(path), page(comparison, runs[0].classifier, runs[1].classifier, language=language))
    return comparison


def _shared_test(first: Run, second: Run, data_dir: str | Path | None) -> Dataset:
    """The test pictures of both runs, from which neither learned."""
    if first.origin.data != second.origin.data:
        raise UsageError(
            f"'{second.folder}' was trained on '{second.origin.data}', '{first.folder}' on "
            f"'{first.origin.data}'. Expected two runs of the same data."
        )
    test, other = (run.splits(data_dir).test for run in (first, second))
    if test.fingerprint != other.fingerprint:
        raise UsageError(
            f"'{first.folder}' and '{second.folder}' have other test pictures: one may have learned from the "
            "other's. Train both with the same seed for the split."
        )
    return test


def page(comparison: Comparison, first: Classifier, second: Classifier, *, language: str = "en") -> str:
    """The comparison as one HTML page that needs nothing else."""
    with use_language(language):
        return _rendered(comparison, first, second, language)


def _rendered(comparison: Comparison, first: Classifier, second: Classifier, language: str) -> str:
    style = asset("shared/page.css") + asset("shared/why.css")
    dataset, shown = comparison.dataset, comparison.disagreements[:SHOWN]
    places = [one.index for one in shown] or [0]
    atlas = images.fitted_atlas(dataset.images[places], budget=PICTURES_BUDGET)
    similarity = comparison.similarity
    return (
        environment_of_pages()
        .get_template("report/compare.html")
        .render(
            language=language,
            names=comparison.names,
            sentence=comparison.sentence,
            count=len(dataset),
            right=comparison.right,
            apart=len(comparison.disagreements),
            atlas=atlas,
            zoom=zoom(atlas, 84),
            shown=[
                {"place": (n % atlas.columns, n // atlas.columns), "label": comparison._label(one),
                 "source": dataset.sources[one.index], **asdict(one)}
                for n, one in enumerate(shown[: atlas.count])
            ],
            heat=_heat(similarity),
            rows=similarity.rows,
            columns=similarity.columns,
            intervals=similarity.intervals,
            compared=comparison.compared,
            channels=_channels(comparison, first, second, dataset.images[places[:1]]),
            caveat=translate(CAVEAT),
            style=Markup(style),
        )
    )  # fmt: skip


def _heat(similarity: LayerSimilarity) -> list[list[dict[str, Any]]]:
    """The matrix as cells: a number, its colour, and whether to write on it in white."""
    colours = images.coloured(similarity.matrix, 0.0, 1.0)
    return [
        [
            {
                "value": f"{value:.2f}" if math.isfinite(value) else "–",
                "colour": f"rgb({','.join(str(int(band)) for band in colours[row, column])})",
                "dark": _luminance(colours[row, column]) < 0.18,  # where white and black contrast alike
            }
            for column, value in enumerate(values)
        ]
        for row, values in enumerate(similarity.matrix.tolist())
    ]


def _luminance(colour: Iterable[int]) -> float:
    """Relative luminance, 0..1, of an sRGB colour (WCAG 2.2)."""
    red, green, blue = (
        band / 12.92 if band <= 0.04045 else ((band + 0.055) / 1.055) ** 2.4
        for band in (int(one) / 255 for one in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _channels(
    comparison: Comparison, first: Classifier, second: Classifier, images: Tensor
) -> list[dict[str, Any]]:
    """The most alike channels of each layer with maps, for one picture: a row of each network."""
    ours, theirs = (record(one.network, scaled(images)) for one in (first, second))
    told = []
    for name, pairs in comparison.pairs.items():
        ranked = sorted(pairs, key=lambda pair: -pair.correlation)
        strip = []
        if ours[name].dim() == 4:
            for pair in ranked[:PAIRS_SHOWN]:
                both = (ours[name][0, pair.first], theirs[name][0, pair.second])
                strip.append(
                    {
                        "first": pair.first,
                        "second": pair.second,
                        "correlation": f"{pair.correlation:.2f}",
                        "images": [_map_address(maps, ours[name], theirs[name]) for maps in both],
                    }
                )
        told.append(
            {"name": name, "mean": f"{comparison.alike(name):.2f}", "count": len(pairs), "strip": strip}
        )
    return told


def _map_address(maps: Tensor, *layers: Tensor) -> str:
    """One channel (h, w) on the scale of both layers."""
    ends = [images.scale_of(layer) for layer in layers]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    return images.coloured_address(images.coloured(maps, low, high))
