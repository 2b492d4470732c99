"""What several trainings share: a folder that is found again, one network, names for their events."""

from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.data.dataset import Origin
from pellucid.errors import UsageError
from pellucid.recipe import Recipe
from pellucid.runs.choose import Listener
from pellucid.runs.several import Watch, chosen, claimed, described, planned, seeded, under_name
from pellucid.training.loop import Epoch
from tests.toys import QUICK, economical, toy_splits

EPOCH = Epoch(1, 1.0, 1e-3, 0.5, 0.8, 0.6, 0.7, True)


def test_what_was_begun_is_found_again_and_other_things_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def place(folder: str | Path | None, data: str) -> Path:
        with claimed(folder, "toys-repeat", "repeat.json", {"data": data}) as found:
            return found

    first = place(None, "toys")
    assert place(None, "toys") == first
    assert place(None, "others") != first
    with pytest.raises(UsageError, match="other pictures or by another recipe"):
        place(first, "others")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(UsageError, match="is not empty"):
        place("mine", "toys")


def test_events_bear_the_name_of_their_training() -> None:
    heard: list[str] = []
    (callback,) = under_name("seed 2 of 5", [lambda event: heard.append(event.stage)])
    callback(EPOCH)
    callback(replace(EPOCH, stage="all pictures"))
    assert heard == ["seed 2 of 5", "seed 2 of 5, all pictures"]


def test_a_recipe_is_described_without_its_seed() -> None:
    named = Recipe.named("fast", epochs=3)
    for recipe in (QUICK, named):
        assert described(seeded(recipe, 1)) == described(seeded(recipe, 2)) == described(recipe)
    assert seeded(named, 7).resolve(100).seed == 7  # type: ignore[union-attr]


def test_the_estimate_counts_a_second_training_on_all_pictures() -> None:
    splits = toy_splits()
    with economical():
        once, twice = (planned("x", replace(QUICK, use_all=again), splits) for again in (False, True))
    assert (once.name, once.epochs) == ("x", 3)
    assert twice.seconds > once.seconds > 0


def test_a_network_is_chosen_only_where_the_recipe_leaves_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[list[str]] = []
    watch = Watch(choosing=Listener(planned=lambda names, seconds: heard.append(names)))
    splits = replace(toy_splits(), origin=Origin("toys"))
    for recipe in (QUICK, Recipe.named("fast", model="tutorial")):
        assert chosen(splits, recipe, watch) == (recipe, ())
    assert heard == []
    best = (QUICK, ("candidate",))

    class Choice:
        recipe, candidates = best

    monkeypatch.setattr("pellucid.runs.several.choose", lambda *_, **words: Choice)
    assert chosen(splits, Recipe.named("fast"), watch) == best
