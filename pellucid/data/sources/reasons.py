"""Why a picture could not be read, in words that a page can say in its own language.

A reason comes from where a file was opened: often another process, or a cache written long ago. It is English
text by then, so its sentence is looked up among those known. What a decoder or the system says of a file is
nobody's to translate: a page quotes it.
"""

import re

from pellucid.language import Message, lazy_gettext

# As decode/images.py, tree.py, archives.py, index.py and headers.py word them, behind the picture's name.
KNOWN = (
    lazy_gettext("cannot be read: %(why)s. It may be cut off or damaged."),
    lazy_gettext("cannot be read: %(why)s."),
    lazy_gettext("is not a picture of a known format. Expected %(formats)s."),
    lazy_gettext("has %(size)s pixels; the limit is %(limit)s. Make it smaller first."),
    lazy_gettext("has more pixels than the limit of %(limit)s. Make it smaller."),
    lazy_gettext(
        "has 32 bits a pixel, whose black and white are not told. Convert it to 8 or 16 bits first."
    ),
    lazy_gettext("has changed while it was being read. Run the command again."),
    lazy_gettext("is an array %(shape)s; expected (H, W) or (H, W, C)."),
    lazy_gettext("'%(name)s' cannot be read: %(why)s."),
    lazy_gettext("'%(name)s' is no regular file."),
    lazy_gettext("'%(name)s' is not there."),
    lazy_gettext("'%(name)s' of '%(archive)s' cannot be read: %(why)s."),
    lazy_gettext("'%(name)s' of '%(archive)s' is cut off."),
    lazy_gettext("'%(name)s' of '%(archive)s' holds %(bytes)s bytes; the limit is %(limit)s."),
    lazy_gettext("'%(name)s' of '%(archive)s' holds other than the %(bytes)s bytes declared."),
)


def told(reason: str) -> Message:
    """The reason as a Saying; one that is not known is quoted."""
    for known in KNOWN:
        if found := _pattern(known.sentence).fullmatch(reason):
            return Message(known.sentence, found.groupdict())
    return lazy_gettext("%(why)s", why=reason)


def _pattern(sentence: str) -> re.Pattern[str]:
    """What a sentence looks like with its values filled in."""
    pieces = re.split(r"%\((\w+)\)s", sentence)
    literal = [re.escape(piece) for piece in pieces[::2]]
    names = [f"(?P<{name}>.+?)" for name in pieces[1::2]]
    return re.compile("".join(a + b for a, b in zip(literal, [*names, ""], strict=True)), re.DOTALL)
