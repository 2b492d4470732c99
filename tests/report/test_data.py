"""A score on pictures that were seen in training is called that."""

import shutil
from dataclasses import replace
from pathlib import Path

import torch

from pellucid.data.dataset import Dataset, Splits
from pellucid.evaluation.evaluation import Evaluation
from pellucid.formatting import percent
from pellucid.report import data, report
from pellucid.report.context import ReportContext
from pellucid.report.templates import environment_of_pages
from pellucid.runs.run import Run
from tests.pages import Elements


def test_the_score_without_leaking_pictures_stands_in_the_verdict_and_beside_the_data(
    made: tuple[Run, Splits, Evaluation], tmp_path: Path
) -> None:
    run, splits, _ = made
    copy = replace(run, folder=Path(shutil.copytree(run.folder, tmp_path / "run")))
    leaked = splits.train.subset(torch.arange(6))
    leaked = replace(leaked, sources=[f"leak/{n}" for n in range(6)])
    test = Dataset(
        torch.cat([leaked.images, splits.test.images]),
        torch.cat([leaked.labels, splits.test.labels]),
        splits.test.classes,
        [*leaked.sources, *splits.test.sources],
    )
    rename(copy.folder)
    evaluation = copy.evaluate(test)
    without = evaluation.without(leaked.sources)
    assert without is not None
    path = report.write_report(copy, replace(splits, test=test), evaluation)
    page = path.read_text(encoding="utf-8")
    assert "could not be made" not in page
    text = " ".join(Elements(page).text.split())
    share = percent(without.accuracy)
    assert f"{share} right on the {without.count} test pictures without a copy in training" in text
    assert f"With the 6 copies it would be {percent(evaluation.accuracy)}." in text
    assert "right on pictures it never saw" not in text
    assert f"Without them, {share} of {without.count} are right, 95 % interval" in text
    grouped = replace(evaluation, groups=torch.arange(evaluation.count) % 4)
    section = report.render_section(
        environment_of_pages(),
        1,
        ("data", "Data", data.gather),
        ReportContext(copy, replace(splits, test=test), grouped),
    )
    body = " ".join(Elements(section.body).text.split())
    assert f"Without them, {share} of {without.count} are right; too few groups: 4, so no interval." in body
    assert all(source in text for source in leaked.sources)


def rename(folder: Path) -> None:
    """Make the run forget which test pictures it was trained beside and judged on."""
    (folder / "evaluation.json").unlink()
    (folder / "findings.json").unlink()


def leaky(made: tuple[Run, Splits, Evaluation], folder: Path) -> tuple[Run, Splits, Evaluation]:
    """The run judged on nothing but pictures it was trained on."""
    run, splits, _ = made
    copy = replace(run, folder=Path(shutil.copytree(run.folder, folder)))
    rename(copy.folder)
    test = replace(splits.train.subset(torch.arange(20)), sources=[f"leak/{n}" for n in range(20)])
    return copy, replace(splits, test=test), copy.evaluate(test)


def test_a_score_on_pictures_that_were_all_seen_in_training_is_called_that_in_every_place(
    made: tuple[Run, Splits, Evaluation], tmp_path: Path
) -> None:
    run, splits, evaluation = leaky(made, tmp_path / "run")
    page = report.write_report(run, splits, evaluation).read_text(encoding="utf-8")
    text = " ".join(Elements(page).text.split())
    assert "right, but only on pictures it has seen in training" in text
    assert "right on pictures it never saw" not in text
    assert "Every test picture was also used in training, so this says nothing about new pictures." in text
    assert "there is no score for new pictures" in text
    assert run.basis().clean(evaluation) is None
