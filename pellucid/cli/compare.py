"""The command that lays two runs side by side: compare."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import AsJson, DataDir, Language, requested_language
from pellucid.formatting import plain

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
    from pellucid.formatting import percent
    from pellucid.report.compare_page import compare as compare_runs

    found = compare_runs(
        first_folder, second_folder, out, data_dir=data_dir, language=requested_language(lang)
    )
    test = found.dataset
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
        print(f"  {name}: {len(pairs)} channels paired, mean correlation {found.mean_correlation(name):.2f}")
    print(plain(f"Page: {out}"))
