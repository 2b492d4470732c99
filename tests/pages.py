"""What a page holds, read by the standard library's parser alone."""

import re
from html.parser import HTMLParser

from pellucid.language import catalogue

HOSTILE = ("<b>0</b>", '"><script>alert(1)</script>', "{{ 7 * 7 }}", "</script><img src=x>", "한글", "‮olleh")


class Elements(HTMLParser):
    """Every element and attribute of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [a for _, a in self.found if name in (a.get("class") or "").split()]


KOREAN = catalogue("ko")


NAMES = {  # no words of English: names, units, file names, ways of writing
    "pellucid", "PyTorch", "JavaScript", "NaN", "CSV", "SHA-256", "JASA", "AISTATS", "JMLR", "HiResCAM",
    "Adam", "AdamW",
    "Wilson", "Guo", "et", "al", "F1", "Kingma", "Ba", "Loshchilov", "Hutter", "Smith", "Topin",
    "nat", "Glorot", "Bengio", "Srivastava", "Nguyen", "O'Connor", "Draelos", "Carin", "viridis", "van",
    "der", "Walt", "PCA", "Hotelling", "t-SNE", "Maaten", "Hinton", "Bonett", "Price", "Davari", "MB",
    "PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "CIFAR-", "EMNIST", "idx", "CKA", "ReLU",
    "MAC", "Selvaraju", "Sundararajan", "Smilkov", "Zeiler", "Fergus", "COCO", "Pascal", "VOC", "Git", "LFS",
    "pillow-heif", "pip", "install", "AP", "mAP", "Kish", "Mammen", "group_by", "repeat",
}  # fmt: skip


class Text(HTMLParser):
    """The words of a page that a person reads or hears, but for what is marked as no words: code, names."""

    SILENT = ("code", "pre", "script", "style", "bdi", "kbd")
    SPOKEN = ("title", "aria-label", "alt", "placeholder")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.texts: list[str] = []
        self._silent: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if self._silent:
            self._silent += [tag] if tag == self._silent[0] else []
        elif tag in self.SILENT or attributes.get("translate") == "no":
            self._silent = [tag]
        else:
            for name in self.SPOKEN:
                self._hear(attributes.get(name) or "")

    def handle_endtag(self, tag: str) -> None:
        if self._silent and tag == self._silent[0]:
            self._silent.pop()

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._hear(data)

    def _hear(self, text: str) -> None:
        self.texts.append(text)
        text = re.sub(r"arXiv:[\d.]+|%\(\w+\)s|\{\w+\}|\d[\d:T-]+Z|\S+\.png", " ", text)
        self.words += [word for word in re.findall(r"[A-Za-z][A-Za-z0-9'_-]+", text) if word not in NAMES]


def section(page: str, key: str) -> str:
    """The part of a report with this id, as HTML."""
    begun = page.index(f'<section class="part" id="{key}"')
    return page[begun : page.index("</section>", begun)]
