"""Templates escape what is written into them, and refuse what they were not given."""

import pytest
from jinja2 import UndefinedError

from pellucid.language import use_language
from pellucid.plots import images
from pellucid.report.templates import SCALES, environment_of_pages, gradient
from tests.pages import KOREAN


def written(template: str, **values: object) -> str:
    return environment_of_pages().from_string(template).render(values)


def test_every_template_can_be_read() -> None:
    environment = environment_of_pages()
    names = environment.list_templates(extensions=["html"])
    assert "report/report.html" in names
    for name in names:
        environment.get_template(name)


def test_what_is_written_into_a_page_is_text() -> None:
    assert written("{{ name }}", name="<b>&") == "&lt;b&gt;&amp;"
    assert written('{{ _("A %(name)s", name=name) }}', name="<b>") == "A &lt;b&gt;"


def test_a_value_that_is_missing_is_an_error_and_no_gap() -> None:
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        written("{{ name }}")
    with pytest.raises(UndefinedError, match="has no attribute 'loss'"):
        written("{{ figures.loss }}", figures=(1, 2))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ 1234567|thousands }}", "1,234,567"),
        ("{{ 0.97812|percent }}", "97.8 %"),
        ("{{ 0.99999|chance }}", "&gt; 99.9 %"),
        ("{{ 0.0001|chance }}", "&lt; 0.1 %"),
        ("{{ 1|times }}, {{ 2|times }}, {{ 3|times }}", "once, twice, 3 times"),
        ('{{ 1|plural("class", "classes") }}', "1 class"),
        ('{{ 2000|plural("class", "classes") }}', "2,000 classes"),
        ('{{ "abcdefghij"|brief(4) }}', "ab…j"),
        ("{{ 0.5|percent|tight }}", "50.0\N{NO-BREAK SPACE}%"),
    ],
)
def test_filters_write_numbers_as_a_person_reads_them(template: str, text: str) -> None:
    assert written(template) == text


def test_sentences_are_those_of_the_language_in_use() -> None:
    template = (
        "{% trans count=n %}{{ count }} dot added{% pluralize %}{{ count }} dots added{% endtrans %}"
        '|{{ _("Predictions") }}'
    )
    assert [written(template, n=n) for n in (1, 2)] == ["1 dot added|Predictions", "2 dots added|Predictions"]
    with use_language("ko"):
        korean = written(template, n=2)
    assert korean == f"{KOREAN['%(count)s dots added'] % {'count': 2}}|{KOREAN['Predictions']}"
    assert written(template, n=2) == "2 dots added|Predictions"


def test_a_colour_scale_becomes_the_stops_of_a_gradient() -> None:
    assert gradient([(1, 2, 3), (255, 0, 9)]) == "rgb(1,2,3), rgb(255,0,9)"
    assert set(SCALES) == {"viridis", "signed"}
    assert gradient(SCALES["viridis"]).count("rgb(") == len(images.VIRIDIS)
