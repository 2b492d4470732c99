"""One HTML file on a data set before training: what was found, with the pictures side by side."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup
from torch import Tensor

from pellucid.assets import asset
from pellucid.data import load
from pellucid.data.audit.findings import KINDS, Audit, Finding, PictureReference, audit, count_values
from pellucid.data.dataset import Dataset, Splits
from pellucid.data.sources.reasons import translate_reason
from pellucid.files import write_text
from pellucid.language import translate, use_language
from pellucid.plots import images
from pellucid.plots.charts import distribution_chart
from pellucid.plots.images import Atlas, zoom
from pellucid.report.context import cell
from pellucid.report.templates import environment_of_pages

FOUND_BUDGET, SHEET_BUDGET = 2_500_000, 1_200_000  # characters of the addresses that hold pictures, at most
GROUPS = 60  # groups of a finding that are shown, at most
MEMBERS = 12  # pictures of a group
NAMED = 500  # files and sizes named, at most
SHEET_CLASSES, SHEET_PICTURES = 100, 16


@dataclass(frozen=True, eq=False)
class Subject:
    """What a page of a check is made of: the findings, the pictures they speak of, its language."""

    found: Audit
    splits: Splits
    name: str = ""
    language: str = "en"

    @cached_property
    def parts(self) -> dict[str, Dataset]:
        """The parts that hold pictures."""
        return {name: part for name, part in self.splits.items() if len(part)}

    @cached_property
    def shown(self) -> dict[PictureReference, int]:
        """The pictures of findings that are shown, numbered in the order of the page."""
        groups = (group for finding in self.found.findings for group in finding.groups[:GROUPS])
        places = [place for group in groups for place in group[:MEMBERS]]
        return {place: number for number, place in enumerate(dict.fromkeys(places))}

    @cached_property
    def atlas(self) -> Atlas | None:
        """The pictures of findings in one image; None when there are none."""
        if not self.shown:
            return None
        pictures = [self.parts[place.split].images[place.index] for place in self.shown]
        return images.fitted_atlas(torch.stack(pictures), budget=FOUND_BUDGET, side=112)

    @cached_property
    def sheet(self) -> tuple[Atlas, dict[str, list[int]]]:
        """Training pictures of every class in one image, and the numbers of each class there."""
        return _sheet(self.splits.train)


def check(data: Any, path: str | Path | None = None, *, language: str = "en", **settings: Any) -> Audit:
    """What is wrong with pictures before anyone trains on them: leaks, copies, unreadable files, classes.

    data      what `load` takes, or Splits
    path      a page to write, with the pictures of every finding; none without it
    settings  as `load` takes them: data_dir, seed, validation, size, group_by, split_file, on_unreadable

    Raises what `load` raises, and PellucidError when the page cannot be written.
    """
    splits = data if isinstance(data, Splits) else load(data, **settings)
    found = audit(splits)
    if path is not None:
        write_check(found, splits, Path(path), name=splits.origin.name, language=language)
    return found


def write_check(found: Audit, splits: Splits, path: Path, *, name: str = "", language: str = "en") -> Path:
    """One page that needs nothing else, with every finding and the pictures that show it; gives `path`.

    name      what the data are called in the title: pictures, unless told otherwise
    language  of LANGUAGES

    Raises PellucidError when the file cannot be written, UsageError for an unknown language.
    """
    write_text(path, render(Subject(found, splits, name, language)))
    return path


def render(subject: Subject) -> str:
    """The page as text, in the language of its subject."""
    with use_language(subject.language):
        return _rendered(subject)


def _rendered(subject: Subject) -> str:
    environment = environment_of_pages()
    macros: Any = environment.get_template("report/sections/check.html").module
    sections = []
    for key, title, gather in SECTIONS:
        told = gather(subject)
        if told is not None:
            body = getattr(macros, key.replace("-", "_"))(told)
            sections.append({"key": key, "title": translate(title), "answer": told["answer"], "body": body})
    style = asset("shared/page.css") + asset("report/check.css")
    return environment.get_template("report/check.html").render(
        language=subject.language,
        name=subject.name or translate("pictures"),
        found=subject.found,
        grave=len([each for each in subject.found.findings if each.severity != "note"]),
        parts=[(name, len(part)) for name, part in subject.parts.items()],
        size=subject.splits.train.size,
        kind=translate("gray") if subject.splits.train.channels == 1 else translate("colour"),
        classes=len(subject.splits.train.classes),
        anchors={finding.kind: _anchor(finding.kind) for finding in subject.found.findings},
        gravities={gravity: translate(gravity) for gravity in KINDS.values()},
        sections=sections,
        atlases=_atlases(subject),
        style=Markup(style),
    )


def _classes(subject: Subject) -> dict[str, Any]:
    """How many pictures each class has, and some of each."""
    sheet, places = subject.sheet
    train = subject.splits.train
    most = max(1, *train.counts.values())
    rows = [
        {
            "name": name,
            "counts": [part.counts.get(name, 0) for part in subject.parts.values()],
            "share": train.counts[name] / most,
            "pictures": [cell(sheet, place) for place in places.get(name, []) if place < sheet.count],
        }
        for name in train.classes
    ]
    findings = subject.found.of("small-class", "absent-class", "imbalance")
    few, many = (pick(train.counts.items(), key=lambda item: item[1]) for pick in (min, max))
    calm = translate(
        "From %(fewest)s training pictures (%(few)s) to %(most)s (%(many)s) a class.",
        fewest=f"{few[1]:,}",
        few=few[0],
        most=f"{many[1]:,}",
        many=many[0],
    )
    return {
        "answer": " ".join(finding.sentence for finding in findings) or calm,
        "rows": rows,
        "parts": list(subject.parts),
        "zoom": zoom(sheet, 64),
        "small": zoom(sheet, 40),
        "remark": sheet.remark,
        "findings": findings,
    }


def _sheet(train: Dataset) -> tuple[Atlas, dict[str, list[int]]]:
    order: list[int] = []
    places: dict[str, list[int]] = {}
    for label, name in enumerate(train.classes[:SHEET_CLASSES]):
        mine = torch.nonzero(train.labels == label)[:, 0]
        evenly = torch.linspace(0, max(0, len(mine) - 1), min(SHEET_PICTURES, len(mine))).round().long()
        places[name] = list(range(len(order), len(order) + len(evenly)))
        order += mine[evenly].tolist()
    return images.fitted_atlas(train.images[torch.tensor(order)], budget=SHEET_BUDGET, side=64), places


def _light(subject: Subject) -> dict[str, Any]:
    """How bright the pictures are, how strong their contrast, and what their files are."""
    tones = {name: subject.found.tones[name] for name in subject.parts}
    bright = {name: each.brightness for name, each in tones.items()}
    contrast = {name: each.contrast for name, each in tones.items()}
    headers = subject.found.files
    sizes = list(count_values(f"{header.width} × {header.height}" for header in headers).items())
    middles = "; ".join(f"{translate(name)} {_middle(values)}" for name, values in bright.items())
    charts = (
        (translate("Brightness: mean of a picture's values"), bright),
        (translate("Contrast: their standard deviation"), contrast),
    )
    return {
        "answer": translate(
            "Middle brightness, of 255: %(middles)s. Parts of one source look alike here.", middles=middles
        ),
        "charts": [Markup(distribution_chart(title, curves)) for title, curves in charts],
        "sizes": sizes[:20],
        "more_sizes": max(0, len(sizes) - 20),
        "modes": list(count_values(header.mode for header in headers).items()),
        "bytes": sum(header.bytes for header in headers),
        "files": len(headers),
    }


def _middle(values: Tensor) -> str:
    return f"{float(values.median()):.0f}"


def _unreadable(subject: Subject) -> dict[str, Any] | None:
    findings = subject.found.of("unreadable")
    if not findings:
        return None
    named = findings[0].named
    return {
        "answer": f"{findings[0].sentence} {translate('They are left out of everything that follows.')}",
        "named": [(source, translate_reason(why)) for source, why in named[:NAMED]],
        "more": max(0, len(named) - NAMED),
    }


def _pictured(*kinds: str) -> Callable[[Subject], dict[str, Any] | None]:
    """A section on the findings of these kinds, or None when there is none."""

    def gather(subject: Subject) -> dict[str, Any] | None:
        findings = subject.found.of(*kinds)
        if not findings or subject.atlas is None:
            return None
        return {
            "answer": " ".join(finding.sentence for finding in findings),
            "zoom": zoom(subject.atlas, 144),
            "small": zoom(subject.atlas, 128),
            "blocks": [_block(subject, finding) for finding in findings],
        }

    return gather


def _block(subject: Subject, finding: Finding) -> dict[str, Any]:
    atlas = subject.atlas
    assert atlas is not None
    groups = []
    for number, group in enumerate(finding.groups[:GROUPS]):
        shown = [(place, subject.shown[place]) for place in group[:MEMBERS]]
        tiles = [{"place": p, "cell": cell(atlas, at)} for p, at in shown if at < atlas.count]
        same = 1 - finding.distances[number] if finding.distances else None
        groups.append({"tiles": tiles, "more": len(group) - len(tiles), "same": same})
    return {
        "kind": finding.kind,
        "title": translate(TITLES[finding.kind]),
        "says": translate(EXPLAINED[finding.kind]),
        "groups": [group for group in groups if group["tiles"]],
        "count": len(finding.groups),
        "labels": finding.kind in ("mislabelled-twins", "near-leak", "near-duplicate", "leak"),
    }


def _atlases(subject: Subject) -> dict[str, Atlas]:
    found = {"found": subject.atlas} if subject.atlas else {}
    return {**found, "sheet": subject.sheet[0]}


def _anchor(kind: str) -> str:
    """The section a finding is shown in."""
    return next((key for key, kinds in SHOWN.items() if kind in kinds), "classes")


TITLES = {
    "leak": "The same picture in two parts",
    "near-leak": "Almost the same picture in two parts",
    "mislabelled-twins": "One picture, two labels",
    "duplicate": "The same picture more than once",
    "near-duplicate": "Almost the same picture more than once",
    "burst": "Taken one right after another",
    "blank": "Nothing to see",
}

EXPLAINED = {
    "leak": "Pixel for pixel. A network that knows one by heart answers the other without understanding.",
    "near-leak": "Stored again, in another quality, size or brightness. Apart, they make the score flatter.",
    "mislabelled-twins": "At most one of the labels can be right.",
    "duplicate": "It counts more than once: in training as a weight, in the test as a vote.",
    "near-duplicate": "The nearest first.",
    "burst": "Consecutive names and more alike than pictures of their class are. Keep each on one side.",
    "blank": "Every pixel has the same value, or nearly so.",
}

SHOWN: dict[str, Iterable[str]] = {
    "unreadable": ("unreadable",),
    "across": ("leak", "near-leak"),
    "labels": ("mislabelled-twins",),
    "twice": ("duplicate", "near-duplicate"),
    "bursts": ("burst",),
    "blank": ("blank",),
    "classes": ("small-class", "absent-class", "imbalance"),
}

SECTIONS: tuple[tuple[str, str, Callable[[Subject], dict[str, Any] | None]], ...] = (
    ("unreadable", "Files that cannot be read", _unreadable),
    ("across", "On both sides", _pictured(*SHOWN["across"])),
    ("labels", "Labels that contradict", _pictured(*SHOWN["labels"])),
    ("bursts", "Bursts", _pictured(*SHOWN["bursts"])),
    ("blank", "Blank pictures", _pictured(*SHOWN["blank"])),
    ("twice", "Stored twice", _pictured(*SHOWN["twice"])),
    ("classes", "The classes", _classes),
    ("light", "Light and size", _light),
)
