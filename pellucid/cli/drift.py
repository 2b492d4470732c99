"""What `check --against RUN` tells: whether pictures are like those that a run was taught on."""

from pathlib import Path

import torch
from torch import Tensor

from pellucid.cli.output import Output, problem
from pellucid.errors import CheckFailed, UsageError, did_you_mean
from pellucid.evaluation.drift import ASSUMPTION, LEVEL
from pellucid.evaluation.novelty import PictureSample
from pellucid.formatting import percent
from pellucid.prediction import READ_AT_ONCE, picture_files, read_picture
from pellucid.runs.run import Run

KINDS = ("drift", "unreadable")  # what --fail-on can name


def check_drift(data: str, folder: Path, output: Output, *, fit: str | None, fail_on: str) -> None:
    """Print whether the pictures of `data`, a file or a folder, are like those of the run in `folder`.

    Raises UsageError where that cannot be told, CheckFailed when what `fail_on` names is found.
    """
    kinds = [kind.strip() for kind in fail_on.split(",") if kind.strip()]
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"--fail-on does not know '{kind}' with --against. {did_you_mean(kind, KINDS)}")
    if not Path(data).exists():
        raise UsageError(f"'{data}' does not exist. Expected a picture, or a folder of pictures.")
    run = Run.open(folder)
    preprocess = run.classifier.preprocess.with_fit(fit)
    parts, unreadable = list[PictureSample](), 0
    files = picture_files(Path(data))
    for start in range(0, len(files), READ_AT_ONCE):
        read = [read_picture(preprocess, file) for file in files[start : start + READ_AT_ONCE]]
        for error in read:
            if isinstance(error, UsageError):
                unreadable += 1
                problem(error)
        if pictures := [picture for picture in read if isinstance(picture, Tensor)]:
            parts.append(run.sample(torch.stack(pictures)))
    if not parts:
        raise UsageError(
            f"'{data}' holds no picture that can be read. Expected a picture, or a folder of them."
        )
    found = run.drift(PictureSample.joined(parts))
    output.object({"data": data, "against": str(folder), "unreadable": unreadable, **found.to_json()})
    output.line(found.sentence)
    for test in found.differences:
        output.line(f"  {test.sentence} (p = {test.adjusted:.2g})")
    output.line(found.unlike_sentence)
    output.line(
        f"{len(found.tests)} comparisons: {', '.join(sorted(test.name for test in found.tests))}. p is "
        f"corrected for their number (Holm): pictures like those held out are called different in at most "
        f"{percent(LEVEL)} of cases. {ASSUMPTION}"
    )
    counts = {"drift": len(found.differences), "unreadable": unreadable}
    if named := [f"{kind} ({counts[kind]:,})" for kind in kinds if counts[kind]]:
        raise CheckFailed(f"'{data}' has what --fail-on names: {', '.join(named)}.")
