"""One HTML file on a data set before training: what was found, with the pictures side by side."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from markupsafe import Markup
from torch import Tensor

from pellucid.assets import asset
from pellucid.data import load
from pellucid.data.audit.findings import KINDS, Audit, Finding, PictureReference, audit, count_values
from pellucid.data.dataset import Dataset, Splits
from pellucid.data.sources.reasons import translate_reason
from pellucid.files import write_text
from pellucid.language import Message, translate, use_language
from pellucid.plots import images
from pellucid.plots.charts import distribution_chart
from pellucid.plots.images import Atlas, Cell, zoom
from pellucid.policy import with_hashes
from pellucid.report.data import ContactSheet, contact_sheet
from pellucid.report.templates import environment_of_pages

MAX_FINDING_CHARACTERS, MAX_SHEET_CHARACTERS = 2_500_000, 1_200_000  # of the data URLs of pictures
ATLAS_SIDE = 112  # pixels of a picture of a finding, at most
MAX_GROUPS = 60  # shown of a finding
MAX_GROUP_PICTURES = 12  # shown of a group
MAX_UNREADABLE = 500  # unreadable files listed
MAX_SIZES = 20  # sizes of pictures listed
PICTURES_PER_CLASS = 16


@dataclass(frozen=True, eq=False)
class Subject:
    """The findings of a check, the pictures they are about, their name in the title, and the language."""

    found: Audit
    splits: Splits
    name: str = ""
    language: str = "en"

    @cached_property
    def parts(self) -> dict[str, Dataset]:
        """The splits that hold pictures, by name."""
        return {name: part for name, part in self.splits.items() if len(part)}

    @cached_property
    def positions(self) -> dict[PictureReference, int]:
        """The position in the atlas of every picture of a finding that is shown."""
        groups = (group for finding in self.found.findings for group in finding.groups[:MAX_GROUPS])
        pictures = [picture for group in groups for picture in group[:MAX_GROUP_PICTURES]]
        return {picture: number for number, picture in enumerate(dict.fromkeys(pictures))}

    @cached_property
    def atlas(self) -> Atlas | None:
        """The pictures of findings in one image; None when there are none."""
        if not self.positions:
            return None
        pictures = (self.parts[each.split].images[each.index] for each in self.positions)
        tiles = torch.cat([images.smaller(picture[None], ATLAS_SIDE) for picture in pictures])
        return images.fitted_atlas(tiles, budget=MAX_FINDING_CHARACTERS, side=ATLAS_SIDE)

    @cached_property
    def sheet(self) -> tuple[Atlas, ContactSheet]:
        """Training pictures of every class in one image, and how many each class has."""
        return contact_sheet(
            self.parts, samples=PICTURES_PER_CLASS, budget=MAX_SHEET_CHARACTERS, small_width=40
        )


class CheckRecord(Protocol):
    """What a section of this page gathers for its template; `answer` is the sentence below its title."""

    @property
    def answer(self) -> str:
        """The sentence below the title."""


@dataclass(frozen=True)
class UnreadableSection:
    """Files that cannot be read, with the reasons; `omitted` is the number of files not listed."""

    answer: str
    files: list[tuple[str, Message]]
    omitted: int


@dataclass(frozen=True)
class FindingTile:
    """A picture of a finding, and its column and row in the atlas."""

    picture: PictureReference
    cell: Cell


@dataclass(frozen=True)
class Group:
    """Pictures of one group of a finding.

    omitted      the number of pictures of the group that are not shown
    correlation  of the pictures; None where it was not measured
    """

    tiles: list[FindingTile]
    omitted: int
    correlation: float | None


@dataclass(frozen=True)
class Block:
    """One finding of a section: the groups shown, and the `count` of all groups."""

    kind: str
    title: str
    description: str
    groups: list[Group]
    count: int


@dataclass(frozen=True)
class PicturedSection:
    """Findings whose pictures are shown side by side."""

    answer: str
    zoom: int
    small_zoom: int
    blocks: list[Block]


@dataclass(frozen=True)
class ClassesSection:
    """How many pictures each class has, and some of each."""

    answer: str
    sheet: ContactSheet


@dataclass(frozen=True)
class LightSection:
    """How bright the pictures are, how strong their contrast, and what their files are.

    sizes, modes   the number of files of each, the commonest first
    omitted_sizes  the number of sizes not listed
    """

    answer: str
    charts: list[Markup]
    sizes: list[tuple[str, int]]
    omitted_sizes: int
    modes: list[tuple[str, int]]
    bytes: int
    files: int


@dataclass(frozen=True)
class RenderedCheck:
    """A section of the page as it is shown."""

    name: str
    title: str
    answer: str
    body: Markup


@dataclass(frozen=True)
class CheckPage:
    """All that the template of the page reads.

    audit          the findings
    problem_count  the number of findings that are more than a note
    anchors        the section that shows each kind of finding
    severities     the translated severities, by name
    """

    language: str
    name: str
    audit: Audit
    problem_count: int
    parts: list[tuple[str, int]]
    size: tuple[int, int]
    colour: str
    classes: int
    anchors: Mapping[str, str]
    severities: Mapping[str, str]
    sections: list[RenderedCheck]
    atlases: Mapping[str, Atlas]
    style: Markup


def check(data: Any, path: str | Path | None = None, *, language: str = "en", **settings: Any) -> Audit:
    """Find what is wrong with pictures before training: leaks, duplicates, unreadable files, classes.

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

    name      what the data are called in the title: pictures, unless given
    language  of LANGUAGES

    Raises PellucidError when the file cannot be written, UsageError for an unknown language.
    """
    write_text(path, render(Subject(found, splits, name, language)))
    return path


def render(subject: Subject) -> str:
    """The page as text, in the language of its subject."""
    with use_language(subject.language):
        environment = environment_of_pages()
        macros: Any = environment.get_template("report/sections/check.html").module
        sections = []
        for name, title, gather in SECTIONS:
            record = gather(subject)
            if record is not None:
                body = getattr(macros, name)(record)
                sections.append(RenderedCheck(name, translate(title), record.answer, body))
        page = _page(subject, sections)
        return with_hashes(environment.get_template("report/check.html").render(page=page))


def _page(subject: Subject, sections: list[RenderedCheck]) -> CheckPage:
    train, findings = subject.splits.train, subject.found.findings
    found = {"found": subject.atlas} if subject.atlas else {}
    return CheckPage(
        language=subject.language,
        name=subject.name or translate("pictures"),
        audit=subject.found,
        problem_count=sum(finding.severity != "note" for finding in findings),
        parts=[(name, len(part)) for name, part in subject.parts.items()],
        size=train.size,
        colour=translate("gray") if train.channels == 1 else translate("colour"),
        classes=len(train.classes),
        anchors={
            finding.kind: next(
                (name for name, kinds in KINDS_BY_SECTION.items() if finding.kind in kinds), "classes"
            )
            for finding in findings
        },
        severities={severity: translate(severity) for severity in KINDS.values()},
        sections=sections,
        atlases={**found, "sheet": subject.sheet[0]},
        style=Markup(asset("shared/page.css") + asset("report/check.css")),
    )


def _unreadable(subject: Subject) -> UnreadableSection | None:
    findings = subject.found.of("unreadable")
    if not findings:
        return None
    named = findings[0].named
    return UnreadableSection(
        answer=f"{findings[0].sentence} {translate('They are left out of everything that follows.')}",
        files=[(source, translate_reason(reason)) for source, reason in named[:MAX_UNREADABLE]],
        omitted=max(0, len(named) - MAX_UNREADABLE),
    )


def _pictured(*kinds: str) -> Callable[[Subject], PicturedSection | None]:
    """A section on the findings of these kinds, or None when there is none."""

    def gather(subject: Subject) -> PicturedSection | None:
        findings = subject.found.of(*kinds)
        if not findings or subject.atlas is None:
            return None
        return PicturedSection(
            answer=" ".join(finding.sentence for finding in findings),
            zoom=zoom(subject.atlas, 144),
            small_zoom=zoom(subject.atlas, 128),
            blocks=[_block(finding, subject.atlas, subject.positions) for finding in findings],
        )

    return gather


def _block(finding: Finding, atlas: Atlas, positions: Mapping[PictureReference, int]) -> Block:
    groups = []
    for number, group in enumerate(finding.groups[:MAX_GROUPS]):
        placed = [(picture, positions[picture]) for picture in group[:MAX_GROUP_PICTURES]]
        tiles = [FindingTile(picture, atlas.cell(at)) for picture, at in placed if at < atlas.count]
        correlation = 1 - finding.distances[number] if finding.distances else None
        groups.append(Group(tiles, len(group) - len(tiles), correlation))
    return Block(
        kind=finding.kind,
        title=translate(TITLES[finding.kind]),
        description=translate(DESCRIPTIONS[finding.kind]),
        groups=[group for group in groups if group.tiles],
        count=len(finding.groups),
    )


def _classes(subject: Subject) -> ClassesSection:
    """How many pictures each class has, and some of each."""
    findings = subject.found.of("small-class", "absent-class", "imbalance")
    counts = subject.splits.train.counts.items()
    few, many = (pick(counts, key=lambda item: item[1]) for pick in (min, max))
    balanced = translate(
        "From %(fewest)s training pictures per class (%(few)s) to %(most)s (%(many)s).",
        fewest=f"{few[1]:,}", few=few[0], most=f"{many[1]:,}", many=many[0],
    )  # fmt: skip
    answer = " ".join(finding.sentence for finding in findings) or balanced
    return ClassesSection(answer, subject.sheet[1])


def _light(subject: Subject) -> LightSection:
    """How bright the pictures are, how strong their contrast, and what their files are."""
    tones = {name: subject.found.tones[name] for name in subject.parts}
    brightness = {name: each.brightness for name, each in tones.items()}
    contrast = {name: each.contrast for name, each in tones.items()}
    headers = subject.found.files
    sizes = list(count_values(f"{header.width} × {header.height}" for header in headers).items())
    medians = "; ".join(f"{translate(name)}: {_median(values)}" for name, values in brightness.items())
    charts = (
        (translate("Brightness: mean of a picture's values"), brightness),
        (translate("Contrast: their standard deviation"), contrast),
    )
    return LightSection(
        answer=translate(
            "Median brightness on a scale of 0 to 255: %(medians)s. Parts from one source look alike here.",
            medians=medians,
        ),
        charts=[Markup(distribution_chart(title, curves)) for title, curves in charts],
        sizes=sizes[:MAX_SIZES],
        omitted_sizes=max(0, len(sizes) - MAX_SIZES),
        modes=list(count_values(header.mode for header in headers).items()),
        bytes=sum(header.bytes for header in headers),
        files=len(headers),
    )


def _median(values: Tensor) -> str:
    return f"{float(values.median()):.0f}"


TITLES = {
    "leak": "The same picture in two parts",
    "near-leak": "Almost the same picture in two parts",
    "mislabelled-twins": "One picture, two labels",
    "duplicate": "The same picture more than once",
    "near-duplicate": "Almost the same picture more than once",
    "burst": "Taken one right after another",
    "blank": "Nothing to see",
}

DESCRIPTIONS = {
    "leak": "Pixel for pixel. A network that memorised one gets the other right without having learned why.",
    "near-leak": "Stored again in another quality, size or brightness. In two parts, they inflate the score.",
    "mislabelled-twins": "At most one of the labels can be right.",
    "duplicate": "It counts more than once: in training as a weight, in the test as a vote.",
    "near-duplicate": "The most similar first.",
    "burst": "Consecutive names, and more similar than other pictures of the class. Keep each in one part.",
    "blank": "Every pixel has the same value, or nearly so.",
}

KINDS_BY_SECTION: dict[str, tuple[str, ...]] = {
    "unreadable": ("unreadable",),
    "across": ("leak", "near-leak"),
    "labels": ("mislabelled-twins",),
    "duplicates": ("duplicate", "near-duplicate"),
    "bursts": ("burst",),
    "blank": ("blank",),
    "classes": ("small-class", "absent-class", "imbalance"),
    "light": ("frames",),
}

SECTIONS: tuple[tuple[str, str, Callable[[Subject], CheckRecord | None]], ...] = (
    ("unreadable", "Files that cannot be read", _unreadable),
    ("across", "In more than one part", _pictured(*KINDS_BY_SECTION["across"])),
    ("labels", "Contradictory labels", _pictured(*KINDS_BY_SECTION["labels"])),
    ("bursts", "Bursts", _pictured(*KINDS_BY_SECTION["bursts"])),
    ("blank", "Blank pictures", _pictured(*KINDS_BY_SECTION["blank"])),
    ("duplicates", "Duplicates", _pictured(*KINDS_BY_SECTION["duplicates"])),
    ("classes", "Classes", _classes),
    ("light", "Brightness and size", _light),
)
