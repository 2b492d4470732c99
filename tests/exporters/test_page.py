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


@pytest.fixture(scope="module")
def page(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("exported") / "page.html"
    assert export_page(subject, path) == path
    return path.read_text(encoding="utf-8")


def test_it_holds_the_network_that_was_given(subject: Subject, page: str) -> None:
    found = re.search(r'<script type="application/json" id="live-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    written = json.loads(found[1])
    assert written["pad"] == json.loads(json.dumps(to_json(drawing_section(subject).pad)))
    assert written["pad"]["classes"] == list(subject.classifier.classes)


def test_it_asks_for_no_other_file(page: str) -> None:
    assert "default-src 'none'" in page
    for _, attributes in Elements(page).found:
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))


def test_it_speaks_the_language_that_is_asked_for(subject: Subject, page: str, tmp_path: Path) -> None:
    korean = export_page(subject, tmp_path / "page.html", language="ko").read_text(encoding="utf-8")
    for language, text in (("en", page), ("ko", korean)):
        assert f'<html lang="{language}"' in text
        assert f"<title>{texts()[language]['title']}</title>" in text


def test_the_same_subject_gives_the_same_bytes(subject: Subject, page: str, tmp_path: Path) -> None:
    assert export_page(subject, tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_what_cannot_be_exported_leaves_no_file(subject: Subject, tmp_path: Path) -> None:
    unfit = Subject(Classifier(Sorting().eval(), ("a", "b", "c"), Preprocess(1, 8, 8), "tutorial"))
    with pytest.raises(UsageError, match="cannot run 'sort'"):
        export_page(unfit, tmp_path / "page.html")
    with pytest.raises(UsageError, match=r"Unknown language 'fr'\. Known: en, ko\."):
        export_page(subject, tmp_path / "page.html", language="fr")
    with pytest.raises(PellucidError, match="Cannot write"):
        export_page(subject, tmp_path / "absent" / "page.html")
    assert list(tmp_path.iterdir()) == []
