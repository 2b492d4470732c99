"""Every text of every page has a Korean translation, and Korean is said as Koreans say it."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import Environment, nodes

from pellucid import Recipe, fit, language
from pellucid.data.audit.findings import KINDS
from pellucid.data.dataset import Dataset, Origin, Splits
from pellucid.errors import UsageError
from pellucid.explanation import counterfactual, layer_stats, neighbours, similarity
from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.causes import CAUSES
from pellucid.explanation.faithfulness import CAVEAT
from pellucid.explanation.outcomes import OF_ANOTHER
from pellucid.language import LANGUAGES, choose_particles, locale_language, translate, use_language
from pellucid.machine import processor
from pellucid.report import check_page, label_errors, report, templates
from pellucid.report.reproduce import FILES
from pellucid.training.augment import AUGMENTATIONS
from tests.pages import KOREAN, Text
from tests.toys import toy_splits

PACKAGE = Path(language.__file__).parent
PAGES = PACKAGE / "assets"
TEMPLATES = sorted(PAGES.rglob("*.html"))
MODULES = sorted(PACKAGE.rglob("*.py"))
TABLES = [  # said by name: what the code looks up is not written where it is said
    *(title for _, title, _ in report.SECTIONS),
    *(title for _, title, _ in report.SEVERAL_LABELS.values()),
    *(says for _, says in FILES),
    *EXPLAINERS,
    *(explainer.caveat for explainer in EXPLAINERS.values()),
    *(explainer.paper for explainer in EXPLAINERS.values()),
    CAVEAT,
    counterfactual.CAVEAT,
    neighbours.CAVEAT,
    similarity.CAVEAT,
    *layer_stats.CAVEATS.values(),
    *(augmentation.phrase.replace("%", "%%") for augmentation in AUGMENTATIONS.values()),
    *(title for _, title, _ in check_page.SECTIONS),
    *check_page.TITLES.values(),
    *check_page.DESCRIPTIONS.values(),
    *KINDS.values(),
    *(text for cause in CAUSES.values() for text in (cause.title, cause.rule, cause.remedy)),
    *label_errors.WAYS.values(),
    "training",
    "validation",
    "random",
    "edges",
    "ink",
    OF_ANOTHER,
]


def environment() -> Environment:
    return templates.environment_of_pages()


def sentences_of(template: str) -> Iterator[str]:
    """Every sentence a template says through the catalogue; of one for a number, the one for many."""
    for _, _, found in environment().extract_translations(template):
        yield found if isinstance(found, str) else [one for one in found if one is not None][-1]


def said_in(module: ast.Module) -> Iterator[str]:
    """Every sentence written out in a call of the three functions of language.py: of a number, the plural."""
    places = {"translate": 0, "lazy_gettext": 0, "lazy_ngettext": 1}
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and (place := places.get(getattr(node.func, "id", ""))) is not None:
            asked = node.args[place]
            choices = (asked.body, asked.orelse) if isinstance(asked, ast.IfExp) else (asked,)
            yield from (
                one.value for one in choices
                if isinstance(one, ast.Constant) and isinstance(one.value, str)
            )  # fmt: skip


def bare_words(template: str) -> list[str]:
    """English a template says without asking the catalogue: text, attributes for people, and strings."""
    tree = environment().parse(template)
    asked = {
        id(inner)
        for call in tree.find_all(nodes.Call)
        if getattr(call.node, "name", "") in ("gettext", "ngettext", "_")
        for inner in call.find_all(nodes.Const)
    }
    text = "".join(node.data if isinstance(node, nodes.TemplateData) else " " for node in _outputs(tree))
    words: list[str] = Text(text).words
    strings: dict[str, None] = {}
    for output in tree.find_all(nodes.Output):
        for choice in (*output.find_all(nodes.CondExpr), *output.nodes):
            parts = (choice.expr1, choice.expr2) if isinstance(choice, nodes.CondExpr) else (choice,)
            strings |= {
                part.value: None for part in parts
                if isinstance(part, nodes.Const) and id(part) not in asked
                and isinstance(part.value, str) and re.search(r"[A-Za-z]{2,} [A-Za-z]{2,}", part.value)
            }  # fmt: skip
    return [*words, *strings]


def _outputs(tree: nodes.Template) -> Iterator[nodes.Node]:
    for output in tree.find_all(nodes.Output):
        yield from output.nodes


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_every_sentence_of_every_template_has_a_korean_translation(path: Path) -> None:
    missing = [sentence for sentence in sentences_of(path.read_text("utf-8")) if sentence not in KOREAN]
    assert missing == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_no_template_says_english_past_the_catalogue(path: Path) -> None:
    assert bare_words(path.read_text("utf-8")) == []


def test_every_sentence_said_in_the_code_has_a_korean_translation() -> None:
    wanted = [s for path in MODULES for s in said_in(ast.parse(path.read_text("utf-8")))]
    assert len(wanted) > 40
    assert [sentence for sentence in (*wanted, *TABLES) if sentence not in KOREAN] == []


def test_translations_fill_in_the_same_values_and_are_all_used() -> None:
    used = {s for path in TEMPLATES for s in sentences_of(path.read_text("utf-8"))} | set(TABLES)
    used |= {s for path in MODULES for s in said_in(ast.parse(path.read_text("utf-8")))}
    assert sorted(set(KOREAN) - used) == []
    for english, korean in KOREAN.items():
        names = [sorted(set(re.findall(r"%\((\w+)\)s", text))) for text in (english, korean)]
        assert set(names[1]) <= set(names[0]), english
        assert set(names[0]) - set(names[1]) <= {"count"}, english
        bare = re.sub(r"%%|%\(\w+\)s", "", korean)
        assert "%" not in bare, english


def test_the_drawing_pages_words_are_the_same_in_both_languages() -> None:
    words = json.loads((PAGES / "pad" / "words.json").read_text(encoding="utf-8"))
    assert set(words) == set(LANGUAGES)
    assert words["en"].keys() == words["ko"].keys()


@pytest.fixture(scope="module")
def korean_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report in Korean on toys with Hangul names."""
    names = ("막대", "상자", "십자", "기둥")
    splits = Splits(
        *(
            Dataset(part.images, part.labels, names, [f"{names[n % 4]}/{n}.png" for n in range(len(part))])
            for _, part in toy_splits().items()
        )
    )
    folder = tmp_path_factory.mktemp("run") / "한글"
    run = fit(splits.train, splits.validation, Recipe(epochs=2), folder=folder, origin=Origin("장난감"))
    return report.write_report(run, splits, run.evaluate(splits.test), language="ko").read_text("utf-8")


def test_a_korean_report_says_nothing_in_english(korean_page: str) -> None:
    layers = {"conv1", "conv2", "dense1", "dense2", "pool1", "pool2", "weight", "tutorial"}
    known = layers | set(re.findall(r"[A-Za-z][A-Za-z0-9'_-]+", processor()))
    assert [word for word in Text(korean_page).words if word not in known] == []
    assert '<html lang="ko">' in korean_page
    assert KOREAN["This part could not be made:"] not in korean_page


def test_hangul_class_names_stand_in_it_whole_with_the_right_particles(korean_page: str) -> None:
    text = " ".join(Text(korean_page).texts)
    assert all(name in korean_page for name in ("막대", "상자", "십자", "기둥"))
    assert not re.search(r"\{[가-힣]+/[가-힣]+\}", korean_page)
    assert not re.search(r"막대을|상자을|십자을|기둥을으|막대은|상자은", text)


@pytest.mark.parametrize(
    ("text", "fitting"),
    [
        ("막대{을/를}", "막대를"), ("물{을/를}", "물을"), ("물{으로/로}", "물로"), ("집{으로/로}", "집으로"),
        ("0{이/가} 1{이/가} 2{이/가} 3{은/는} 9{은/는}", "0이 1이 2가 3은 9는"),
        ("7{으로/로} 6{으로/로} 2{으로/로}", "7로 6으로 2로"),
        ("<bdi>상자</bdi>{은/는}", "<bdi>상자</bdi>는"), ("cat{을/를}", "cat을(를)"), ("{x/y}", "{x/y}"),
        ("95 %{을/를}", "95 %를"),
    ],
)  # fmt: skip
def test_particles_fit_the_sound_before_them(text: str, fitting: str) -> None:
    assert choose_particles(text) == fitting


@pytest.mark.parametrize(
    ("environment", "spoken"),
    [
        ({"LANG": "ko_KR.UTF-8"}, "ko"), ({"LANG": "en_US.UTF-8"}, "en"), ({"LANG": "C"}, "en"), ({}, "en"),
        ({"LANG": "ko_KR", "LC_ALL": "en_GB"}, "en"), ({"LANG": "de_DE", "LC_MESSAGES": "ko"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": ""}, "ko"), ({"LANG": "fr_FR"}, "en"),
    ],
)  # fmt: skip
def test_the_locale_decides_the_language(environment: dict[str, str], spoken: str) -> None:
    assert locale_language(environment) == spoken


def test_a_language_is_spoken_inside_its_block_alone() -> None:
    with pytest.raises(ZeroDivisionError), use_language("ko"):
        assert translate("once") == KOREAN["once"]
        raise ZeroDivisionError
    assert translate("once") == "once"
    with pytest.raises(UsageError, match=r"Unknown language 'fr'\. Known: en, ko\."), use_language("fr"):
        pass


def test_what_is_filled_in_is_escaped_in_templates_and_the_sentence_is_not() -> None:
    page = environment().from_string("{% trans a=name %}<b>{{ a }}</b> 95 %{% endtrans %}").render(name="<i>")
    assert page == "<b>&lt;i&gt;</b> 95 %"


def test_the_checks_find_what_they_look_for() -> None:
    assert bare_words("<p>Left out {{ x }}</p>") == ["Left", "out"]
    assert bare_words("<i title='left out'>{{ 'two words' if x else '' }}</i>") == [
        "left",
        "out",
        "two words",
    ]
    assert bare_words("{{ _('asked for') }}{% trans %}asked for{% endtrans %}") == []
    assert list(sentences_of("{% trans count=n %}one{% pluralize %}many{% endtrans %}{{ _('two') }}")) == [
        "many",
        "two",
    ]
    assert list(said_in(ast.parse("translate('one' if x else 'two', n=3)"))) == ["one", "two"]
