"""One recipe with several seeds: runs as `fit` leaves them, done once, gone on with where it was stopped."""

import json
from pathlib import Path

import pytest

from pellucid.errors import UsageError
from pellucid.recipe import Recipe
from pellucid.runs.fit import fit
from pellucid.runs.repeat import Repetition, repeat
from pellucid.runs.run import Run
from pellucid.training.loop import Epoch, Step

SHORT = Recipe(epochs=1, threads=1, augment="none", precision="float32")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Repetition:
    return repeat("digits", SHORT, seeds=2, folder=tmp_path_factory.mktemp("repeat") / "two")


def test_each_seed_is_the_run_that_fit_leaves_for_it(two: Repetition, tmp_path: Path) -> None:
    alone = fit("digits", Recipe(**{**SHORT.to_json(), "seed": 2}), folder=tmp_path / "alone")
    weights = [folder / "model.safetensors" for folder in (alone.folder, two.folder / "seed-2")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert two.scores.accuracies == [run.evaluate().accuracy for run in two.runs]
    facts = json.loads((two.folder / "repeat.json").read_text())
    assert facts["mean"] == pytest.approx(two.scores.mean)


def test_runs_that_are_done_are_not_done_again(two: Repetition) -> None:
    events: list[Step | Epoch] = []
    found: list[Run] = []
    again = repeat("digits", SHORT, seeds=2, folder=two.folder, callbacks=[events.append], done=found.append)
    assert events == []
    assert [run.recipe.seed for run in found] == [1, 2]
    assert again.scores.accuracies == two.scores.accuracies
    assert Repetition.open(two.folder).sources == two.sources


def test_a_folder_of_another_recipe_is_refused(two: Repetition, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="other pictures or by another recipe"):
        repeat("digits", "accurate", seeds=2, folder=two.folder)
    with pytest.raises(UsageError, match=r"holds no repeat\.json"):
        Repetition.open(tmp_path)
    with pytest.raises(UsageError, match="no `folds`"):
        repeat("digits", Recipe(folds=2), folder=tmp_path / "folds")


def test_what_was_done_before_an_interruption_is_kept(tmp_path: Path) -> None:
    class Cut(Exception):
        pass

    def cut(event: Step | Epoch) -> None:
        if len(finished) == 1:
            raise Cut

    finished: list[Run] = []
    with pytest.raises(Cut):
        repeat("digits", SHORT, seeds=2, folder=tmp_path / "cut", callbacks=[cut], done=finished.append)
    kept = Repetition.open(tmp_path / "cut")
    assert kept.scores.seeds == (1,)
    with pytest.raises(UsageError, match="two seeds each"):
        kept.against(kept)


def test_a_recipe_is_no_better_than_itself(two: Repetition) -> None:
    found = two.against(two)
    assert found.difference == 0
    assert not found.shown
