"""A page's policy names its own scripts and styles, and nothing that is brought into it."""

import base64
import hashlib
import re

import pytest

from pellucid.policy import with_hashes

PAGE = """<html><head><meta http-equiv="Content-Security-Policy" content="style-src STYLE-HASHES; script-src
SCRIPT-HASHES"><style>
p { color: red }</style></head><body><p class="a" style="--x:1;left:2%" id="p">one</p>
<p style="--x:1;left:2%">style="no attribute"</p><i title="a > b" style='single'>x</i>
<script type="application/json" id="d">{"a": "<p style=\\"--x:9\\">"}</script>
<script>const a = '<p style="--y:2">';</script><script>2</script></body></html>"""


def hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_every_script_and_style_is_named_by_its_hash_and_data_are_not() -> None:
    page = with_hashes(PAGE)
    (policy,) = re.findall(r'content="([^"]+)"', page)
    styles, scripts = policy.split(";")
    assert "unsafe" not in policy
    assert scripts.split()[1:] == [hash_of("const a = '<p style=\"--y:2\">';"), hash_of("2")]
    texts = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert styles.split()[1:] == list(map(hash_of, texts))
    assert len(texts) == 2


def test_styles_of_elements_become_a_style_sheet_once_each() -> None:
    page = with_hashes(PAGE)
    assert ':is(#_,[data-s="0"]){--x:1;left:2%}' in page
    assert page.count('data-s="0"') == 3
    assert '<p class="a" data-s="0" id="p">one</p>' in page
    assert '>style="no attribute"</p>' in page
    assert '{"a": "<p style=\\"--x:9\\">"}' in page  # data and scripts stay as they are
    assert "const a = '<p style=\"--y:2\">';" in page


def test_a_page_without_scripts_allows_none() -> None:
    page = with_hashes('<head><meta content="style-src STYLE-HASHES; script-src SCRIPT-HASHES"></head>')
    assert page == "<head><meta content=\"style-src 'none'; script-src 'none'\"></head>"


@pytest.mark.parametrize("rules", ["a:b}p{c:d", "a:&lt;/style>", "@import x", "a:\\62"])
def test_what_is_more_than_properties_is_no_style(rules: str) -> None:
    with pytest.raises(ValueError, match="a style attribute is no list of properties"):
        with_hashes(f'<head></head><p style="{rules}">')
