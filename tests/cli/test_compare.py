"""`compare` on the command line prints what the library finds, and writes a page of it."""

import json
from pathlib import Path

import pytest

from pellucid.comparison import Right
from pellucid.report.compare_page import compare
from tests.asking import Ran


def test_what_is_printed_is_what_the_library_finds(place: Path, ran: Ran) -> None:
    done = ran("compare", "one", "two")
    found = compare(place / "one", place / "two")
    lines = done.stdout.splitlines()
    assert lines[:3] == [found.verdict, found.scope, found.sentence]
    assert lines[3:13] == [
        f"  {found.dataset.sources[each.index]}: '{each.first}' ({each.first_confidence * 100:.1f} %) and "
        f"'{each.second}' ({each.second_confidence * 100:.1f} %); it is '{found.label(each)}'"
        for each in found.disagreements[:10]
    ]
    names = list(found.similarity.columns)
    (head,) = (n for n, line in enumerate(lines) if line.split() == names)
    for name, row, line in zip(names, found.similarity.matrix.tolist(), lines[head + 1 :], strict=False):
        assert line.split() == [name, *(f"{value:.2f}" for value in row)]
    assert lines[head - 1] == (
        f"Similarity of their layers on {found.compared} pictures, about 0 to 1 (linear CKA):"
    )
    mean = found.mean_correlation("conv1")
    assert f"  conv1: 16 channels paired, mean correlation {mean:.2f}" in lines
    assert lines[-1] == "Page: compare.html"
    assert '<html lang="en"' in (place / "compare.html").read_text(encoding="utf-8")
    words = ("--json", "--out", "both.html", "--lang", "ko")
    assert json.loads(ran("compare", "one", "two", *words).stdout) == {
        **json.loads(json.dumps(found.to_json())),
        "path": "both.html",
    }
    assert '<html lang="ko"' in (place / "both.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["one", "none"], "'none' is not a folder. Expected the folder of a run"),
        (["one", "."], "holds no model.json"),
        (["one"], "RUN"),
        (["one", "two", "--lang", "fr"], "Unknown language 'fr'"),
    ],
)
def test_what_cannot_be_compared_is_said_with_exit_2(
    place: Path, ran: Ran, words: list[str], message: str
) -> None:
    done = ran("compare", *words, "--out", "refused.html")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (place / "refused.html").exists()


def test_a_run_that_is_worse_beyond_chance_fails_the_check(
    place: Path, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--fail-if", "worse", "--out", "gate.html")
    right = compare(place / "one", place / "two").right
    assert min(right.only_first, right.only_second) > 0
    for only_first, only_second, code in ((30, 5, 3), (5, 30, 0), (8, 5, 0)):
        monkeypatch.setattr(
            "pellucid.comparison.Right", lambda a=only_first, b=only_second, **_: Right(300, 300, 290, a, b)
        )
        done = ran("compare", "one", "two", *words)
        assert done.returncode == code, done.stderr
        assert "Page: gate.html" in done.stdout
        assert ("'two' is worse than 'one' by" in done.stderr) == (code == 3)
    assert ran("compare", "one", "two", "--fail-if", "better").returncode == 2
