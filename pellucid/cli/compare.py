"""The command that lays two runs side by side: compare."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.options import AsJson, DataDir, Language, requested_language
from pellucid.cli.pictures import splits_of
from pellucid.errors import UsageError
from pellucid.formatting import plain

if TYPE_CHECKING:
    from pellucid.data.dataset import Dataset
    from pellucid.runs.run import Run

SHOWN = 10  # disagreements on the screen


def compare(
    first_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    second_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Another run's folder.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("compare.html"),
    lang: Language = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Lay two runs side by side: how alike their layers are, and the pictures on which they disagree."""
    from pellucid.comparison import compare as compare_classifiers
    from pellucid.files import write_text
    from pellucid.formatting import percent
    from pellucid.report.compare_page import page
    from pellucid.runs.run import Run

    first, second = Run.open(first_folder), Run.open(second_folder)
    short, long = ((path.resolve().name, str(path)) for path in (first_folder, second_folder))
    names = (short[0], long[0]) if short[0] != long[0] else (short[1], long[1])
    test = _shared_test(first, second, data_dir)
    found = compare_classifiers(first.classifier, second.classifier, test, names=names)
    write_text(out, page(found, first.classifier, second.classifier, language=requested_language(lang)))
    if as_json:
        print(json.dumps({**found.to_json(), "page": str(out)}, ensure_ascii=False))
        return
    print(plain(found.sentence))
    for one in found.disagreements[:SHOWN]:
        label, source = test.classes[int(test.labels[one.index])], test.sources[one.index]
        answers = (
            f"{one.first} {percent(one.first_confidence)} and {one.second} {percent(one.second_confidence)}"
        )
        print(plain(f"  {source}: {answers}, is {label}"))
    similarity = found.similarity
    print(f"How alike their layers are on {found.compared} pictures, 0 to 1 (linear CKA):")
    wide = max(8, *(len(name) + 2 for name in similarity.columns))
    print(" " * 14 + "".join(f"{name:>{wide}}" for name in similarity.columns))
    for name, row in zip(similarity.rows, similarity.matrix.tolist(), strict=True):
        print(f"  {name:<12}" + "".join(f"{value:>{wide}.2f}" for value in row))
    for name, pairs in found.pairs.items():
        print(f"  {name}: {len(pairs)} channels paired, correlation {found.alike(name):.2f} on average")
    print(plain(f"Page: {out}"))


def _shared_test(first: "Run", second: "Run", data_dir: Path | None) -> "Dataset":
    """The test pictures of both runs, from which neither learned."""
    if first.data != second.data:
        raise UsageError(
            f"'{second.folder}' was trained on '{second.data}', '{first.folder}' on '{first.data}'. "
            "Expected two runs of the same data."
        )
    test, other = (splits_of(run, data_dir).test for run in (first, second))
    if test.fingerprint != other.fingerprint:
        raise UsageError(
            f"'{first.folder}' and '{second.folder}' have other test pictures: one may have learned from the "
            "other's. Train both with the same --seed for the split."
        )
    return test
