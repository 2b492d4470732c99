"""The command that lays two runs side by side: compare."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli import completion
from pellucid.cli.options import (
    PAGES,
    AsJson,
    DataDir,
    Language,
    Quiet,
    choice,
    refuse_overwriting,
    requested_language,
)
from pellucid.cli.output import Output
from pellucid.errors import CheckFailed, UsageError
from pellucid.formatting import percent, points

if TYPE_CHECKING:
    from pellucid.comparison import Comparison

DISAGREEMENTS_SHOWN = 10

EXAMPLES = """\
Examples:
  pellucid compare runs/digits-tutorial-1 runs/digits-tutorial-2
  pellucid compare runs/digits-tutorial-1 runs/latest --out both.html
  pellucid compare runs/before runs/after --fail-if worse
"""


def compare(
    first_folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's folder.", autocompletion=completion.run)
    ],
    second_folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Another run's folder.", autocompletion=completion.run)
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page to write.")] = Path("compare.html"),
    fail_if: Annotated[
        str | None,
        choice("worse", "Exit with 3 if the second run is less accurate than the first beyond chance."),
    ] = None,
    lang: Language = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare two runs: which is better, as far as the test pictures show, and on which they disagree."""
    from pellucid.report.compare_page import compare as compare_runs

    if fail_if not in (None, "worse"):
        raise UsageError(f"Unknown --fail-if '{fail_if}'. Known: worse.")
    refuse_overwriting(out, PAGES)
    output, language = Output(quiet, as_json), requested_language(lang)
    same = shlex.join(["pellucid", "compare", str(first_folder), str(second_folder)])
    with output.stage("Comparing", again=same):
        comparison = compare_runs(first_folder, second_folder, out, data_dir=data_dir, language=language)
    output.object({**comparison.to_json(), "path": str(out)})
    _print(comparison, output)
    output.line(f"Page: {out}")
    difference = comparison.difference
    if fail_if and difference.shown and difference.difference < 0:
        high = points(-difference.interval[1], count=difference.count)
        raise CheckFailed(
            f"'{second_folder}' is worse than '{first_folder}' by {high} points of accuracy at least, the "
            "bound of the 95 % interval."
        )


def _print(comparison: "Comparison", output: Output) -> None:
    test = comparison.dataset
    output.line(comparison.verdict)
    output.line(comparison.scope)
    output.line(comparison.sentence)
    for each in comparison.disagreements[:DISAGREEMENTS_SHOWN]:
        label, source = comparison.label(each), test.sources[each.index]
        answers = " and ".join(
            f"'{prediction}' ({percent(confidence)})"
            for prediction, confidence in (
                (each.first, each.first_confidence),
                (each.second, each.second_confidence),
            )
        )
        output.line(f"  {source}: {answers}; it is '{label}'")
    similarity = comparison.similarity
    output.line(f"Similarity of their layers on {comparison.compared:,} pictures, about 0 to 1 (linear CKA):")
    wide = max(8, *(len(name) + 2 for name in similarity.columns))
    output.line(" " * 14 + "".join(f"{name:>{wide}}" for name in similarity.columns))
    for name, row in zip(similarity.rows, similarity.matrix.tolist(), strict=True):
        output.line(f"  {name:<12}" + "".join(f"{value:>{wide}.2f}" for value in row))
    for name, pairs in comparison.pairs.items():
        mean = comparison.mean_correlation(name)
        output.line(f"  {name}: {len(pairs)} channels paired, mean correlation {mean:.2f}")
