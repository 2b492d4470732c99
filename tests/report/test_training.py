"""The section about the training names what was tried before it, and which training it speaks of."""

from dataclasses import replace
from pathlib import Path

from pellucid.data.dataset import Splits
from pellucid.data.folds import everything
from pellucid.evaluation.evaluation import Evaluation
from pellucid.files import sha256
from pellucid.language import use_language
from pellucid.recipe import Recipe
from pellucid.report import report
from pellucid.report.neighbours import NeighboursSection
from pellucid.report.templates import environment_of_pages
from pellucid.runs.choose import Candidate
from pellucid.runs.fit import fit
from pellucid.runs.history import History
from pellucid.runs.run import Run
from tests.toys import toy_splits


def test_the_networks_that_were_tried_are_listed_and_the_chosen_one_is_marked(
    made: tuple[Run, Splits, Evaluation],
) -> None:
    run, splits, evaluation = made
    tried = [
        Candidate("lite0", 12.0, 0.75, 0.9),
        Candidate("compact", 900.0),
        Candidate("compact", 20.0, half_accuracy=0.4375, pruned=True),
        Candidate("resnet", 0.0, pruned=True),
        Candidate("tutorial", 8.0, 0.8125, 0.7, chosen=True),
    ]
    environment = {**run.environment, "candidates": [candidate.to_json() for candidate in tried]}
    (entry,) = (entry for entry in report.SECTIONS if entry[0] == "training")
    for given, expected in ((environment, True), (run.environment, False)):
        context = report.ReportContext(replace(run, environment=given), splits, evaluation)
        body = str(report.render_section(environment_of_pages(), 3, entry, context).body)
        assert ("Networks that were tried" in body) == expected
        assert (
            '<tr class="kept"><th scope="row">tutorial</th><td>0.8125</td><td>0.7000</td><td>8.0</td>' in body
        ) == expected
        assert ("not tried: allow more time with --budget" in body) == expected
        assert ("<td>0.4375</td><td>given up after half of its epochs, far behind</td>" in body) == expected
        assert ("not tried: every validation picture was right already" in body) == expected


def sections(
    run: Run, splits: Splits, *names: str, language: str = "en"
) -> dict[str, report.RenderedSection]:
    """The sections of that name, each without an error message."""
    evaluation = run.evaluation() or run.evaluate(splits.test)
    with use_language(language):
        context = report.ReportContext(run, splits, evaluation, language)
        entries = [entry for entry in report.SECTIONS if entry[0] in names]
        rendered = [report.render_section(environment_of_pages(), 1, entry, context) for entry in entries]
    assert not [section.body for section in rendered if section.record is None]
    return {section.name: section for section in rendered}


def test_a_history_that_is_lost_is_not_called_a_training_that_was_stopped(
    made: tuple[Run, Splits, Evaluation],
) -> None:
    run, splits, evaluation = made
    (entry,) = (entry for entry in report.SECTIONS if entry[0] == "training")
    for epochs, expected in (
        (3, "Its history by epoch (metrics.csv) is lost."),
        (0, "Stopped before the end"),
    ):
        bare = replace(run, history=History(), epochs=epochs)
        section = report.render_section(
            environment_of_pages(), 3, entry, report.ReportContext(bare, splits, evaluation)
        )
        assert expected in str(section.answer)


def test_a_run_by_folds_says_whose_predictions_are_shown(tmp_path: Path) -> None:
    given = toy_splits(80)
    run = fit(given, Recipe(epochs=1, folds=4, threads=1), folder=tmp_path / "run")
    shown = sections(
        run, everything(given), "data", "training", "predictions", "calibration", "neighbours", "reproduce"
    )
    for name in ("predictions", "calibration"):
        assert shown[name].note == "Each picture was predicted by a network that had not seen it."
    assert shown["neighbours"].note.startswith(
        "Shown for the network that was kept, which learned from these"
    )
    assert "80 pictures in 4 folds" in str(shown["data"].answer)
    assert "No test picture was seen" not in str(shown["data"].answer)
    assert "there are no validation figures" in str(shown["training"].answer)
    assert ">nan<" not in str(shown["training"].body)
    assert "the test set was opened" not in str(shown["reproduce"].body)
    neighbours = shown["neighbours"].record
    assert isinstance(neighbours, NeighboursSection)
    for row in neighbours.rows:
        assert row.picture.source not in [tile.source for tile in row.neighbours]
    context = report.ReportContext(run, everything(given), run.evaluate())
    assert "Judged by 4 folds, whose accuracies go from" in report.remark_on_training(context)


def test_the_second_training_is_kept_apart_from_the_figures_of_the_first(tmp_path: Path) -> None:
    given = toy_splits(80)
    run = fit(given, Recipe(epochs=1, use_all=True, threads=1), folder=tmp_path / "run")
    shown = sections(run, given, "data", "training", "reproduce")
    assert "First training:" in str(shown["training"].answer)
    assert "for one epoch: the validation figures are of the first training" in str(shown["training"].answer)
    assert "metrics_all.csv" in str(shown["reproduce"].body)
    assert "In a first training, the network learned from the training pictures alone" in str(
        shown["data"].body
    )
    context = report.ReportContext(run, given, run.evaluate(given.test))
    assert "the validation figures are of the first" in report.remark_on_training(context)


def test_the_run_that_it_began_from_is_named_with_the_hash_of_its_weights(tmp_path: Path) -> None:
    given, other = toy_splits(80), toy_splits(80, seed=4)
    first = fit(given, Recipe(epochs=1, threads=1), folder=tmp_path / "first")
    run = fit(other, Recipe(epochs=1, threads=1), folder=tmp_path / "run", warm_start=first)
    shown = sections(run, other, "training", "reproduce")
    body = str(shown["reproduce"].body)
    assert str(tmp_path / "first") in body
    assert sha256(tmp_path / "first" / "model.safetensors") in body
    assert "seen.csv" in body
    assert "4 of its classes are known here, 0 are new" in str(shown["training"].body)
