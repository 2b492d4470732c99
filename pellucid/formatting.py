"""Numbers, counts and names as a person reads them."""

import json
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pellucid.assets import constants
from pellucid.language import Message, lazy_gettext, translate

if TYPE_CHECKING:
    from torch import Tensor

_PERCENT, _CHANCE = constants("percent"), constants("chance")  # a page's script rounds by them, too


def percent(share: float, *, count: int = 1000) -> str:
    """0.97812 as "97.8 %"; with a second place where `count` pictures, over 2,000, can bear it.

    What is not all is never called 100 %, nor something 0 %: 1,999 of 2,000 are "99.95 %".
    """
    places: int = _PERCENT["more_digits" if count > _PERCENT["more_from"] else "digits"]
    text = _between(share * 100, places, 100)
    return f"{text} %"


def decimal(value: float) -> str:
    """A score 0..1 as "0.978"; what is not 1 is never called 1.000, nor something 0.000."""
    return _between(value, 3, 1)


def _between(value: float, places: int, whole: float) -> str:
    """`value` to so many places, and to up to four more where it would else read as nothing or the whole."""
    for more in range(_PERCENT["further_digits"] + 1):
        text = f"{value:.{places + more}f}"
        if float(text) not in (0, whole) or not 0 < value < whole:
            return text
    return f"> {whole - 10.0**-places:.{places}f}" if value > whole / 2 else f"< {10.0**-places:.{places}f}"


def points(difference: float, *, count: int = 1000, signed: bool = False) -> str:
    """A difference of two shares in percentage points: 0.0212 as "2.1", or "+2.1"; with a second place where
    `count` pictures, over 2,000, can bear it."""
    places = _PERCENT["more_digits" if count > _PERCENT["more_from"] else "digits"]
    rounded = round(difference * 100, places) + 0.0  # never "-0.0"
    return f"{rounded:{'+' if signed else ''}.{places}f}".replace("-", "−")


def times(count: int) -> str:
    """A count as one says it: once, twice, 3 times."""
    if count in (1, 2):
        return translate("once") if count == 1 else translate("twice")
    return translate("%(count)s times", count=f"{count:,}")


def ordinal(number: int) -> Message:
    """A place in a sequence: 1st, 2nd, 20th."""
    teens = number % 100 in (11, 12, 13)
    if number % 10 == 1 and not teens:
        return lazy_gettext("%(number)sst", number=number)
    if number % 10 == 2 and not teens:
        return lazy_gettext("%(number)snd", number=number)
    if number % 10 == 3 and not teens:
        return lazy_gettext("%(number)srd", number=number)
    return lazy_gettext("%(number)sth", number=number)


def digits(probabilities: "Tensor") -> list[str]:
    """float32 values as the nine significant digits that give the same float32 back."""
    return [f"{value:.9g}" for value in probabilities.tolist()]


def chance(probability: float) -> str:
    """A probability as "97.3 %"; what is not quite certain is never called 100 %, nor 0 % impossible."""
    if _CHANCE["certain"] <= probability < 1:
        return "> 99.9 %"
    return "< 0.1 %" if 0 < probability < _CHANCE["impossible"] else percent(probability)


def brief(text: str, limit: int = 60) -> str:
    """`text`, its middle left out where it is longer than `limit`."""
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[-limit // 2 + 1 :]}"


def figure(value: float) -> str:
    """Three digits, with a minus sign as long as a plus."""
    return f"{value:.3g}".replace("-", "−")


NAMED = 5  # names that a sentence quotes, at most


def listed(names: Iterable[str]) -> Message | str:
    """Some names in quotes, and how many more there are."""
    given = list(names)
    shown = ", ".join(f"'{name}'" for name in given[:NAMED])
    if len(given) <= NAMED:
        return shown
    return lazy_gettext("%(names)s and %(count)s more", names=shown, count=len(given) - NAMED)


def plural(number: int, one: str, many: str) -> str:
    """A number with its noun: "1 picture", "2,000 pictures"."""
    return f"{number:,} {one if number == 1 else many}"


def size_in_words(count: int) -> str:
    """1,234,567 bytes as "1.2 MB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"


def plain(text: str) -> str:
    """Text with its control characters spelled out: a file's name must not steer the terminal."""
    return "".join(c if c == "\n" or c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def breaks_lines(text: str) -> bool:
    """Whether a name has a character that could put lines of its own on a terminal: a control character, a
    separator of lines or paragraphs."""
    return any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text)


def json_line(value: Any) -> str:
    """A value as JSON on one line, letters of any language as they are; what does not print, such as marks
    that turn the direction of a text, is spelled out: a file's name must not steer the terminal."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
