"""Why a picture could not be read, translatable for a page.

A reason comes from where a file was opened: often another process, or a cache written long ago. By then it is
English text, so it is matched against the known sentences. What a decoder or the system reports about a file
cannot be translated: it is quoted.
"""

import re

from pellucid.language import Message, lazy_gettext

# As in decode/images.py, tree.py, archives.py, tables.py and the store, without the picture's name. The first
# that fits is taken: a sentence that says more stands above one that would fit it, too.
REASONS = (
    lazy_gettext("cannot be read: %(why)s. It may be cut off or damaged."),
    lazy_gettext("cannot be read: %(why)s."),
    lazy_gettext("is not a picture of a known format. Expected %(formats)s."),
    lazy_gettext(
        "has %(size)s pixels, %(decoded)s MB when decoded; the limit is %(limit)s MB. Make it smaller first."
    ),
    lazy_gettext("is a pointer of Git LFS in place of the picture. Run 'git lfs pull' where it was cloned."),
    lazy_gettext(
        "is a picture in %(kind)s format, which needs pillow-heif: pip install 'pellucid[heic]'. "
        "Or convert it to JPEG."
    ),
    lazy_gettext("has more pixels than the limit of %(limit)s. Make it smaller."),
    lazy_gettext(
        "has 32 bits per pixel, and the file does not say which values are black and white. "
        "Convert it to 8 or 16 bits first."
    ),
    lazy_gettext("is an empty box."),
    lazy_gettext("is a box outside of its picture, which has %(size)s pixels."),
    lazy_gettext("is a box of %(size)s pixels; the least is %(least)s a side."),
    lazy_gettext("is a box of several classes: %(classes)s."),
    lazy_gettext("is a box on a picture of %(size)s pixels, as its annotation says; the file has %(found)s."),
    lazy_gettext("has changed while it was being read. Run the command again."),
    lazy_gettext("is an array %(shape)s; expected (H, W), (H, W, 1) or (H, W, 3)."),
    lazy_gettext("'%(name)s' of '%(archive)s' cannot be read: %(why)s."),
    lazy_gettext("'%(name)s' cannot be read: %(why)s."),
    lazy_gettext("'%(name)s' is not a regular file."),
    lazy_gettext("'%(name)s' does not exist."),
    lazy_gettext("'%(name)s' of '%(archive)s' is cut off."),
    lazy_gettext("'%(name)s' has %(bytes)s bytes; the limit of a file is %(limit)s."),
    lazy_gettext(
        "'%(name)s' of '%(archive)s' would be %(times)s times as large as it is packed. No picture is."
    ),
    lazy_gettext("'%(name)s' of '%(archive)s' does not have the %(bytes)s bytes declared."),
)


LONGEST = 2_000  # characters of a reason that is matched


def translate_reason(reason: str) -> Message:
    """The reason as a Message; an unknown one is quoted as it is, and so is one of thousands of characters,
    for which a pattern with several values could take minutes."""
    for known in REASONS if len(reason) <= LONGEST else ():
        if match := _pattern(known.sentence).fullmatch(reason):
            return Message(known.sentence, match.groupdict())
    return lazy_gettext("%(why)s", why=reason)


def _pattern(sentence: str) -> re.Pattern[str]:
    """What the sentence looks like with its values filled in."""
    pieces = re.split(r"%\((\w+)\)s", sentence)
    literals = [re.escape(piece) for piece in pieces[::2]]
    values = [f"(?P<{name}>.+?)" for name in pieces[1::2]] + [""]
    return re.compile("".join(map("".join, zip(literals, values, strict=True))), re.DOTALL)
