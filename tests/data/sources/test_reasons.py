"""A reason for not reading a picture is told in the reader's language, whatever process found it."""

import io
import re
from pathlib import Path

import pytest
from PIL import Image

from pellucid.data.sources.reasons import REASONS, translate_reason
from pellucid.data.sources.tree import read_file
from pellucid.decode.images import read_header
from pellucid.errors import UsageError
from pellucid.language import use_language
from tests.pages import KOREAN


@pytest.mark.parametrize("known", REASONS, ids=lambda known: known.sentence[:40])
def test_every_known_reason_is_recognised_with_its_values(known) -> None:
    values = {name: f"value {n}" for n, name in enumerate(re.findall(r"%\((\w+)\)s", known.sentence))}
    found = translate_reason(known.sentence % values)
    assert str(found) == known.sentence % values
    with use_language("ko"):
        assert str(found) == KOREAN[known.sentence] % values


def test_the_reasons_are_those_that_are_given(tmp_path: Path) -> None:
    """What decoding and reading say today, not a copy of it."""
    whole = io.BytesIO()
    Image.effect_noise((60, 60), 90).save(whole, "PNG")
    contents = {"text": b"no picture", "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"}
    for content in contents.values():
        with pytest.raises(UsageError) as refused:
            read_header(content, name="The picture")
        reason = str(refused.value).removeprefix("The picture ")
        assert translate_reason(reason).sentence in {known.sentence for known in REASONS}, reason
    for path in (tmp_path / "absent.png", tmp_path):
        with pytest.raises(UsageError) as refused:
            read_file(path)
        assert translate_reason(str(refused.value)).sentence in {known.sentence for known in REASONS}


def test_an_unknown_reason_is_quoted() -> None:
    for text in ("something nobody foresaw", "", "100 % (sure)", "한글"):
        assert str(translate_reason(text)) == text
        with use_language("ko"):
            assert str(translate_reason(text)) == f"“{text}”"


def test_a_reason_of_many_characters_is_quoted_and_takes_no_time() -> None:
    """Each pair of quotation marks could end a name; of an archive's members names may be that long."""
    reason = f"'{chr(39) + ' of ' + chr(39)}" * 8_000
    assert str(translate_reason(reason)) == reason
