"""The command that looks at pictures before anyone trains on them: check."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli import completion
from pellucid.cli.options import (
    PAGES,
    AsJson,
    CropBoxes,
    DataDir,
    Fit,
    GroupBy,
    LabelFrom,
    Language,
    OnUnreadable,
    Quiet,
    Size,
    SplitTable,
    refuse_overwriting,
    refuse_streams_and_addresses,
    requested_language,
)
from pellucid.cli.output import Output, facts_of
from pellucid.cli.pictures import load
from pellucid.errors import CheckFailed, UsageError, did_you_mean
from pellucid.recipe import Recipe, checked_size

if TYPE_CHECKING:
    from pellucid.data.audit.findings import Audit
    from pellucid.data.dataset import Splits

EXAMPLES = """\
Examples:
  pellucid check ./photos
  pellucid check mnist --fail-on leak,unreadable --no-page
  pellucid check ./new-photos --against runs/latest --fail-on drift
"""


def check(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Your folder of pictures, or digits, mnist ...",
            autocompletion=completion.data,
        ),
    ],
    *,
    data_dir: DataDir = None,
    seed: Annotated[int, typer.Option(help="Decides the split.")] = Recipe.seed,
    validation: Annotated[
        float, typer.Option(help="Share of the training pictures held out to choose the best epoch.")
    ] = Recipe.validation,
    size: Size = None,
    fit: Fit = None,
    group_by: GroupBy = None,
    label_from: LabelFrom = None,
    crop_boxes: CropBoxes = False,
    split: SplitTable = None,
    on_unreadable: OnUnreadable = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Compare DATA, a folder of pictures with or without labels, with what this run was taught "
            "on, and say how they differ. Writes no page.",
            autocompletion=completion.run,
        ),
    ] = None,
    fail_on: Annotated[
        str,
        typer.Option(
            metavar="KINDS",
            help="Exit with 3 when one of these is found, as in leak,unreadable; with --against drift.",
        ),
    ] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page to write; check-DATA.html unless given.")
    ] = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Write no page.")] = False,
    lang: Language = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Look at DATA before training: leaks, copies, unreadable files, uneven classes. Writes a page."""
    from pellucid.data.audit.findings import audit
    from pellucid.data.dataset import Choices
    from pellucid.report.check_page import write_check

    if against is not None:
        from pellucid.cli.drift import check_drift

        refuse_streams_and_addresses(data, against)
        given = {
            "--size": size, "--group-by": group_by, "--label-from": label_from, "--crop-boxes": crop_boxes,
            "--split": split, "--out": out,
        }  # fmt: skip
        for name, value in given.items():
            if value:
                raise UsageError(
                    f"--against reads pictures as the run does, without labels: leave {name} out."
                )
        check_drift(data, against, Output(quiet, as_json), fit=fit, fail_on=fail_on)
        return
    kinds, language = _kinds(fail_on), requested_language(lang)
    refuse_streams_and_addresses(data)
    path = None if no_page else _page_path(data, out)
    choices = Choices(
        seed,
        validation,
        checked_size(size or 0),
        group_by or "",
        str(split.resolve()) if split else "",
        on_unreadable or "skip",
        label_from=label_from or "",
        fit=fit or Recipe.fit,
        crop_boxes=crop_boxes,
    )
    splits = load(data, choices, data_dir)
    found = audit(splits)
    if path is not None:
        write_check(found, splits, path, name=_name(data), language=language)
    output = Output(quiet, as_json)
    output.object(_facts(data, splits, found, path))
    if not as_json:
        _print(output, data, splits, found)
    if path is not None:
        output.line(f"Page: {path}")
    elif not no_page:
        output.line("No page: this is the data's own folder, which is never written. Name one with --out.")
    named = found.of(*kinds)
    if named:
        words = ", ".join(f"{finding.kind} ({finding.count:,})" for finding in named)
        raise CheckFailed(f"'{data}' has what --fail-on names: {words}.")


def _print(output: Output, data: str, splits: "Splits", found: "Audit") -> None:
    output.origin(splits.origin)
    output.data(data, splits)
    output.counts(splits)
    repeated = ", ".join(f"{name} {count}" for name, count in found.repeated.items())
    output.line(f"Identical pictures inside one split: {repeated}.")
    output.line(f"Test pictures that are also in training or validation: {len(found.leaking) or 'none'}.")
    for name, (low, middle, high) in found.brightness.items():
        output.line(
            f"Brightness of {name}, of 255: {middle:.0f} in the middle, {low:.0f} to {high:.0f} overall."
        )
    output.line(str(found.looked))
    output.findings(found)


def _facts(data: str, splits: "Splits", found: "Audit", path: Path | None) -> dict[str, object]:
    return {
        "data": data,
        **facts_of(splits),
        "test_pictures_seen_in_training": len(found.leaking),
        "repeated": found.repeated,
        "origin": splits.origin.to_json(),
        **found.to_json(),
        "path": None if path is None else str(path),
    }


def _kinds(fail_on: str) -> list[str]:
    from pellucid.data.audit.findings import KINDS

    kinds = [kind.strip() for kind in fail_on.split(",") if kind.strip()]
    for kind in kinds:
        if kind == "drift":
            raise UsageError("--fail-on drift compares with a run: name it with --against RUN.")
        if kind not in KINDS:
            raise UsageError(f"--fail-on does not know '{kind}'. {did_you_mean(kind, KINDS)}")
    return kinds


def _name(data: str) -> str:
    return data if not Path(data).exists() else Path(data).resolve().name or data


def _page_path(data: str, out: Path | None) -> Path | None:
    """Where the page goes: never into the data. None when that is where the command was started."""
    folder = Path(data).resolve()
    name = re.sub(r"[^\w.-]+", "-", _name(data)).strip("-.") or "pictures"
    path = out or Path(f"check-{name}.html")
    inside = folder.is_dir() and path.resolve().is_relative_to(folder)
    if inside and out is not None:
        raise UsageError(
            f"'{out}' lies in the data's own folder, which is never written. Name another place."
        )
    refuse_overwriting(path, PAGES)
    return None if inside else path
