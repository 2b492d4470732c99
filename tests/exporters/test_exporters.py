"""A run is exported by the name of a format, to where it is asked for or into its own folder."""

from pathlib import Path

import pytest

from pellucid.data.dataset import Origin
from pellucid.errors import UsageError
from pellucid.exporters import EXPORTERS, export
from pellucid.pad.section import Subject
from pellucid.runs.fit import fit
from pellucid.runs.run import Run
from tests.networks import classifier
from tests.toys import QUICK, economical, toy_splits

SPLITS = toy_splits(120)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with economical():
        return fit(
            SPLITS.train,
            SPLITS.validation,
            QUICK,
            folder=tmp_path_factory.mktemp("run"),
            origin=Origin("toys"),
        )


@pytest.mark.parametrize("name", EXPORTERS)
def test_every_exporter_writes_one_file_of_its_kind(name: str, tmp_path: Path) -> None:
    exporter = EXPORTERS[name]
    path = exporter.write(Subject(classifier("tutorial")), tmp_path / f"toys{exporter.suffix}")
    assert [path] == list(tmp_path.iterdir())
    assert path.stat().st_size > 1000
    assert exporter.phrase


def test_a_run_or_its_folder_gives_the_same_file(run: Run, tmp_path: Path) -> None:
    first = export(run, tmp_path / "a.html", splits=SPLITS)
    second = export(str(run.folder), str(tmp_path / "b.html"), splits=SPLITS)
    assert first.read_bytes() == second.read_bytes()
    assert SPLITS.test.sources[0] in first.read_text(encoding="utf-8")


def test_without_a_path_it_lies_in_the_run_s_folder(run: Run) -> None:
    path = export(run, splits=SPLITS, language="ko")
    assert path == run.folder / "page.html"
    assert '<html lang="ko"' in path.read_text(encoding="utf-8")


def test_what_cannot_be_exported_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Unknown format 'pag'\. Did you mean 'page'\?"):
        export(run, tmp_path / "x", format="pag", splits=SPLITS)
    with pytest.raises(UsageError, match="came from memory"):
        export(run, tmp_path / "x")
    with pytest.raises(UsageError, match=r"holds no model\.json"):
        export(tmp_path)
    assert list(tmp_path.iterdir()) == []
