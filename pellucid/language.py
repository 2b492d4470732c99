"""What pages say, in the language asked for: English in the code, other languages in a catalogue beside it.

    with use_language("ko"):
        translate("%(count)s pictures", count=12)

A sentence is written in English where it is used and looked up as it stands; one that has no translation
stays in English. `assets/shared/<language>.json` holds the translations, and a test that none is missing.

What is found before it is known who reads it, as a fault in the pictures, is worded as a Message: in
English in the terminal and in JSON, in the page's language on a page.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from pellucid.errors import UsageError

LANGUAGES = {"en": "English", "ko": "한국어"}
LOCALE_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")  # the first that is set decides, as everywhere

_current: ContextVar[str] = ContextVar("language", default="en")


@contextmanager
def use_language(language: str) -> Iterator[None]:
    """Inside the block `translate` speaks `language`. Raises UsageError for an unknown one."""
    if language not in LANGUAGES:
        raise UsageError(f"Unknown language '{language}'. Known: {', '.join(LANGUAGES)}.")
    before = _current.set(language)
    try:
        yield
    finally:
        _current.reset(before)


def current_language() -> str:
    """The language of the block one is in: "en" outside any."""
    return _current.get()


def locale_language(environment: Mapping[str, str]) -> str:
    """The language a person's locale asks for: "ko" for LANG=ko_KR.UTF-8; "en" for one that is not known."""
    wish = next((environment[name] for name in LOCALE_VARIABLES if environment.get(name)), "")
    language = re.split(r"[_.@-]", wish)[0].lower()
    return language if language in LANGUAGES else "en"


def translate(sentence: str, /, **values: object) -> str:
    """`sentence` in the language spoken, with `%(name)s` filled in; a percent sign is written %%.

    In Korean, particles that depend on the sound before them are written {을/를} and chosen after filling in.
    """
    return choose_particles(_translation(sentence) % values)


def gettext(sentence: str, /, **values: object) -> Markup:
    """`translate` for templates: the sentence is the page's own, what is filled in is escaped."""
    return Markup(choose_particles(str(Markup(_translation(sentence)) % values)))


def ngettext(one: str, many: str, number: int, /, **values: object) -> Markup:
    """`gettext` for a number of things. Languages with one form translate the plural."""
    return gettext(one if number == 1 and current_language() == "en" else many, **values)


@dataclass(frozen=True)
class Message:
    """A sentence worded now and translated later: `str` of it is in the language in use then.

    sentence  in English, as `translate` takes it
    values    what is filled in: text, whole numbers, which get their thousands, and Messages
    one       the English of a single one, where `count` among the values is 1
    """

    sentence: str
    values: Mapping[str, object] = field(default_factory=dict)
    one: str = ""

    def __str__(self) -> str:
        alone = self.one and self.values["count"] == 1 and current_language() == "en"
        values = {
            name: f"{value:,}" if isinstance(value, int) else str(value)
            for name, value in self.values.items()
        }
        return translate(self.one if alone else self.sentence, **values)

    def to_json(self) -> dict[str, Any]:
        """Sentence and values as plain values, from which `message_from_json` makes it again."""
        values = {
            name: value.to_json() if isinstance(value, Message) else value
            for name, value in self.values.items()
        }
        return {"sentence": self.sentence, "values": values, **({"one": self.one} if self.one else {})}


def lazy_gettext(sentence: str, /, **values: object) -> Message:
    """`translate`, but later."""
    return Message(sentence, values)


def lazy_ngettext(one: str, many: str, count: int, /, **values: object) -> Message:
    """`ngettext`, but later; the number is filled in as `count`."""
    return Message(many, {"count": count, **values}, one)


def comma_joined(messages: Iterable[Message], *, separator: str = ", ") -> Message:
    """Several with commas between them."""
    values = {f"{number}": one for number, one in enumerate(messages)}
    return Message(separator.join(f"%({number})s" for number in values), values)


def message_from_json(record: Mapping[str, Any]) -> Message:
    """The Message that `Message.to_json` wrote down.

    Raises UsageError for what no Message wrote: a blank that is left empty or asks for anything but a value.
    """
    sentence, one, values = record.get("sentence"), record.get("one", ""), record.get("values", {})
    known = record.keys() <= {"sentence", "one", "values"} and isinstance(values, Mapping)
    if not known or not all(_is_template(text, values) for text in (sentence, one)):
        raise UsageError(f"Expected a sentence with its values, as pellucid writes them; got {dict(record)}.")
    filled = {
        name: message_from_json(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
    }
    return Message(str(sentence), filled, str(one))


def _is_template(text: object, values: Mapping[str, object]) -> bool:
    if not isinstance(text, str) or "%" in _BLANK.sub("", text):
        return False
    return {found[1] for found in _BLANK.finditer(text) if found[1]} <= values.keys()


_BLANK = re.compile(r"%%|%\((\w+)\)s")


def choose_particles(text: str) -> str:
    """`text` with every {을/를} replaced by the particle that fits the sound before it, tags left aside."""
    return _PARTICLES.sub(lambda found: found[1] + found[2] + _fitting(found[1], found[3], found[4]), text)


_PARTICLES = re.compile(r"(\S)((?:</?[^<>]*>)*)\{([가-힣]+)/([가-힣]+)\}")
_CLOSED_DIGITS, _CLOSED_WITH_L = "013678", "178"  # 영 일 삼 육 칠 팔 end in a consonant; 일 칠 팔 in ㄹ


def _fitting(letter: str, closed: str, opened: str) -> str:
    if "가" <= letter <= "힣":
        final = (ord(letter) - ord("가")) % 28
        ends, liquid = final > 0, final == 8
    elif letter.isascii() and letter.isdigit():
        ends, liquid = letter in _CLOSED_DIGITS, letter in _CLOSED_WITH_L
    elif letter == "%":  # read 퍼센트
        ends, liquid = False, False
    else:
        return f"{closed}({opened})"
    return opened if not ends or (liquid and opened == "로") else closed


def _translation(sentence: str) -> str:
    return catalogue(current_language()).get(sentence, sentence)


@cache
def catalogue(language: str) -> dict[str, str]:
    """Every sentence of a language by its English; English has none."""
    path = files("pellucid") / "assets" / "shared" / f"{language}.json"
    if language == "en":
        return {}
    translations: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return translations
