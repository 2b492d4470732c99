"""What a page that is opened from a disk may do: the very scripts and styles that it was made with, by their
hashes, and nothing else. A script or a style that somebody brought into it does nothing."""

import base64
import hashlib
import html
import re

SCRIPTS, STYLES = "SCRIPT-HASHES", "STYLE-HASHES"  # in a template's policy, where the hashes belong
ELEMENTS = re.compile(r"(<(script|style)\b([^>]*)>)(.*?)(</\2>)", re.DOTALL | re.IGNORECASE)
TAGS = re.compile(r'<[a-zA-Z][^<>]*?\sstyle="[^"]*"[^<>]*>')
ATTRIBUTE = re.compile(r'\sstyle="([^"]*)"')


def with_hashes(page: str) -> str:
    """A page whose policy, with SCRIPT-HASHES and STYLE-HASHES in their places, names each of its scripts and
    style sheets by the SHA-256 of its text, as browsers compare them.

    What elements have as `style`, which no hash allows, becomes a style sheet at the end of its head.
    """
    page = _without_style_attributes(page)
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for _, name, attributes, text, _ in ELEMENTS.findall(page):
        if "application/json" not in attributes:  # data are not run
            digest = hashlib.sha256(text.replace("\r\n", "\n").replace("\r", "\n").encode()).digest()
            hashes[name.lower()].append(f"'sha256-{base64.b64encode(digest).decode()}'")
    for place, name in ((SCRIPTS, "script"), (STYLES, "style")):
        page = page.replace(place, " ".join(dict.fromkeys(hashes[name])) or "'none'", 1)
    return page


def _without_style_attributes(page: str) -> str:
    """The page with each `style` of an element in a style sheet, and its number in place of it."""
    numbers: dict[str, int] = {}

    def numbered(attribute: "re.Match[str]") -> str:
        rules = html.unescape(attribute[1])
        if re.search(r"[{}<>\\@]", rules):
            raise ValueError(f"a style attribute is no list of properties: {rules[:60]}")
        return f' data-s="{numbers.setdefault(rules, len(numbers))}"'

    def moved(text: str) -> str:
        return TAGS.sub(lambda tag: ATTRIBUTE.sub(numbered, tag[0]), text)

    parts, end = [], 0
    for element in ELEMENTS.finditer(page):  # what is written in scripts and styles is not looked at
        parts += [moved(page[end : element.start()]), element[0]]
        end = element.end()
    page = "".join([*parts, moved(page[end:])])
    # An element's own style comes before all but a rule of an id: `:is` has the rank of its highest member.
    sheet = "\n".join(f':is(#_,[data-s="{number}"]){{{rules}}}' for rules, number in numbers.items())
    return page.replace("</head>", f"<style>\n{sheet}\n</style>\n</head>", 1) if numbers else page
