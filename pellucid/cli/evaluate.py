"""The command that judges a run: evaluate."""

import shlex
from typing import Annotated, Any

import typer

from pellucid.cli.options import AsJson, DataDir, Quiet, RunArgument, choice, writing_into
from pellucid.cli.output import Output
from pellucid.cli.pictures import splits_of
from pellucid.errors import CheckFailed

EXAMPLES = """\
Examples:
  pellucid evaluate runs/latest
  pellucid evaluate runs/latest --again --json
  pellucid evaluate runs/latest --min-accuracy 0.97 --max-ece 0.03
"""


def limit(flag: str, meaning: str) -> Any:
    """An option that takes the limit of a score."""
    return typer.Option(flag, metavar="NUMBER", help=meaning)


def evaluate(
    run_folder: RunArgument,
    *,
    data_dir: DataDir = None,
    again: Annotated[bool, typer.Option("--again", help="Open the test set once more.")] = False,
    min_accuracy: Annotated[
        float | None,
        limit("--min-accuracy", "Exit with 3 unless the accuracy is at least this, such as 0.97."),
    ] = None,
    min_balanced_accuracy: Annotated[
        float | None, limit("--min-balanced-accuracy", "The same for the mean recall of the classes.")
    ] = None,
    min_f1: Annotated[float | None, limit("--min-f1", "The same for macro F1.")] = None,
    min_map: Annotated[
        float | None, limit("--min-map", "The same for mAP, where pictures have several labels.")
    ] = None,
    max_loss: Annotated[
        float | None, limit("--max-loss", "Exit with 3 unless the log loss is at most this.")
    ] = None,
    max_ece: Annotated[
        float | None, limit("--max-ece", "The same for the expected calibration error, such as 0.02.")
    ] = None,
    on: Annotated[
        str,
        choice(
            "interval|point",
            "What must keep a limit: the less favourable end of the 95 % interval, or the score itself.",
        ),
    ] = "interval",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Judge RUN on the test set, once: later calls repeat what was found then."""
    from pellucid.evaluation import EVALUATION

    output = Output(quiet, as_json)
    judged = (run_folder / EVALUATION).is_file() and not again
    with writing_into(None if judged else run_folder):  # what was found before is only read
        from pellucid.evaluation.gates import known_limits
        from pellucid.runs.run import Run

        limits = known_limits(
            on,
            min_accuracy=min_accuracy,
            min_balanced_accuracy=min_balanced_accuracy,
            min_f1=min_f1,
            min_map=min_map,
            max_loss=max_loss,
            max_ece=max_ece,
        )
        run = Run.open(run_folder)
        evaluation, test_set, other = (None if again else run.evaluation()), None, False
        if evaluation is None:
            same = f"pellucid evaluate {shlex.quote(str(run_folder))}{' --again' if again else ''}"
            with output.stage("Judging the run on its test set", again=same):
                test_set = splits_of(run, data_dir, other_test=again).test
                evaluation = run.evaluate(test_set)
            if other := not run.folds and not run.is_own_test(test_set):
                output.line("These are other test pictures than before: the run's own evaluation is kept.")
    basis = run.basis(test_set)
    clean = basis.clean(evaluation)
    output.evaluation(run, evaluation, basis)
    output.scores(clean or evaluation)
    if not other:
        output.remarks(run)
    if clean is not None:
        output.gates(clean.gates(on=on, **limits))
    elif limits:
        raise CheckFailed("No limit is kept: every test picture was also learned from or chosen by.")
