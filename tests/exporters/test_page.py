"""The drawing page alone is one file that needs nothing else, in either language."""

import json
import re
from pathlib import Path

import pytest

from pellucid.classifier import Classifier
from pellucid.data.preprocess import Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.exporters.page import export_page
from pellucid.pad.data import to_json
from pellucid.pad.section import Subject, drawing_section, texts
from tests.networks import Sorting, classifier
from tests.pages import Elements


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject(classifier("tutorial"))


def test_it_holds_the_network_that_was_given(subject: Subject, tmp_path: Path) -> None:
    path = export_page(subject, tmp_path / "page.html")
    assert path == tmp_path / "page.html"
    page = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="live-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    written = json.loads(found[1])
    assert written["pad"] == json.loads(json.dumps(to_json(drawing_section(subject).pad)))
    assert written["pad"]["classes"] == list(subject.classifier.classes)


def test_it_asks_for_no_other_file(subject: Subject, tmp_path: Path) -> None:
    page = export_page(subject, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    for _, attributes in Elements(page).found:
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))


@pytest.mark.parametrize("language", texts())
def test_it_speaks_the_language_that_is_asked_for(subject: Subject, tmp_path: Path, language: str) -> None:
    page = export_page(subject, tmp_path / "page.html", language=language).read_text(encoding="utf-8")
    assert f'<html lang="{language}"' in page
    assert f"<title>{texts()[language]['title']}</title>" in page


def test_the_same_subject_gives_the_same_bytes(subject: Subject, tmp_path: Path) -> None:
    first, second = (export_page(subject, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


def test_what_cannot_be_exported_leaves_no_file(subject: Subject, tmp_path: Path) -> None:
    unfit = Subject(Classifier(Sorting().eval(), ("a", "b", "c"), Preprocess(1, 8, 8), "tutorial"))
    with pytest.raises(UsageError, match="cannot run 'sort'"):
        export_page(unfit, tmp_path / "page.html")
    with pytest.raises(UsageError, match=r"Unknown language 'fr'\. Known: en, ko\."):
        export_page(subject, tmp_path / "page.html", language="fr")
    with pytest.raises(PellucidError, match="Cannot write"):
        export_page(subject, tmp_path / "absent" / "page.html")
    assert list(tmp_path.iterdir()) == []
