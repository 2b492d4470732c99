"""One recipe with several seeds: runs as `fit` leaves them, done once, gone on with where it was stopped."""

import json
import shutil
from pathlib import Path

import pytest

from pellucid.errors import UsageError
from pellucid.recipe import Recipe
from pellucid.runs.fit import fit
from pellucid.runs.repeat import Repetition, repeat
from pellucid.runs.run import Run
from pellucid.training.loop import Epoch, Step
from tests.data.folders import picture, planted, shapes
from tests.resealed import change

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


def test_seeds_are_not_mixed_over_pictures_that_changed_under_their_names(tmp_path: Path) -> None:
    pictures, place = shapes(tmp_path / "pictures", parts=("train", "test")), tmp_path / "two"
    two = repeat(str(pictures), SHORT, seeds=2, folder=place)
    other = planted(tmp_path / "other", {"test/bright/000.png": picture(7)})
    shutil.copytree(
        pictures, other, ignore=lambda folder, names: {"000.png"} & set(names), dirs_exist_ok=True
    )
    shutil.copytree(pictures / "train", other / "train", dirs_exist_ok=True)
    judged = repeat(str(other), SHORT, seeds=2, folder=tmp_path / "judged")
    with pytest.raises(UsageError, match="other test pictures"):
        judged.against(two)
    (pictures / "train" / "bright" / "000.png").write_bytes(picture(8))
    with pytest.raises(
        UsageError, match=r"now has other pictures to learn from than '.*seed-1', or other labels"
    ):
        repeat(str(pictures), SHORT, seeds=3, folder=place)
    assert not (place / "seed-3").exists()
    assert Repetition.open(place).scores.seeds == (1, 2)
    shutil.rmtree(place / "seed-2")
    shutil.copytree(tmp_path / "judged" / "seed-2", place / "seed-2")
    with pytest.raises(UsageError, match=r"seed-2' has other pictures to be judged on"):
        Repetition.open(place)


def test_another_version_between_two_seeds_is_told(two: Repetition, tmp_path: Path) -> None:
    place = tmp_path / "moved"
    shutil.copytree(two.folder, place)
    path = place / "seed-2" / "environment.json"
    change(path, versions={**json.loads(path.read_text())["versions"], "torch": "0.1"})
    with pytest.warns(UserWarning, match=r"seed-2' was not trained as .* \(torch .* → 0\.1\)"):
        Repetition.open(place)


def with_copies(place: Path, number: int) -> Path:
    """Pictures in train/ and test/, the first so many of a class in both."""
    folder = shapes(place, parts=("train", "test"))
    for index in range(number):
        shutil.copy(folder / "train" / "bright" / f"{index:03}.png", folder / "test" / "bright")
    return folder


def test_copies_of_what_was_learned_from_are_left_out_of_the_scores(tmp_path: Path) -> None:
    found = repeat(str(with_copies(tmp_path / "pictures", 7)), SHORT, seeds=1, folder=tmp_path / "one")
    assert (found.copies, found.scores.count) == (7, 53)
    assert json.loads((tmp_path / "one" / "repeat.json").read_text())["copies"] == 7
    assert not {f"test/bright/{index:03}.png" for index in range(7)} & set(found.sources)


@pytest.mark.parametrize("seeds", [0, 1_001])
def test_so_many_seeds_are_refused_before_anything_is_written(seeds: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected from 1 to 1,000 seeds"):
        repeat("digits", SHORT, seeds=seeds, folder=tmp_path / "many")
    assert not (tmp_path / "many").exists()
