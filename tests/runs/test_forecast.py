"""Trainings on shares of the pictures: done once, kept when interrupted, and read back as they were."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.data.dataset import Origin, Splits, joined
from pellucid.errors import UsageError
from pellucid.recipe import Recipe
from pellucid.runs.forecast import Forecast, ShareTraining, forecast, stratified_order
from pellucid.runs.several import PlannedTraining, Watch
from pellucid.training.loop import Epoch, Step
from tests.toys import QUICK, economical, rows_of, toy_dataset, toy_splits

SHORT = replace(QUICK, epochs=1)
TOYS = replace(toy_splits(), origin=Origin("toys", known=True))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Forecast:
    with economical():
        return forecast(TOYS, SHORT, folder=tmp_path_factory.mktemp("forecast") / "toys")


def test_every_share_is_trained_on_three_times_and_judged_on_the_test_pictures(done: Forecast) -> None:
    whole = len(TOYS.train)
    assert done.curve.counts == (whole // 8, whole // 4, whole // 2, whole)
    assert [len(scores) for scores in done.curve.accuracies] == [3, 3, 3, 3]
    rows = rows_of(done.folder / "forecast.csv")
    assert [row["source"] for row in rows] == list(TOYS.test.sources) == list(done.sources)
    right = [row[f"{whole}/2"] == row["label"] for row in rows]
    assert done.curve.accuracies[3][1] == pytest.approx(sum(right) / len(right))


def test_a_training_is_the_one_of_its_pictures_recipe_and_seed(done: Forecast) -> None:
    from pellucid.runs.fit import fit

    with economical():
        run = fit(TOYS.train, TOYS.validation, replace(SHORT, seed=43), folder=done.folder / "alone")
    predictions = run.classifier.predict(TOYS.test.images).argmax(dim=1).tolist()
    names = [TOYS.test.classes[index] for index in predictions]
    assert [row[f"{len(TOYS.train)}/2"] for row in rows_of(done.folder / "forecast.csv")] == names


def test_what_was_left_is_read_back(done: Forecast) -> None:
    again = Forecast.open(done.folder)
    assert again.curve.to_json() == done.curve.to_json()
    assert again.sources == done.sources
    facts = json.loads((done.folder / "forecast.json").read_text(encoding="utf-8"))
    assert facts["verdict"] == done.curve.verdict
    assert [each["times"] for each in facts["ahead"]] == [2, 4]


def test_an_interrupted_forecast_keeps_what_was_done_and_goes_on(done: Forecast, tmp_path: Path) -> None:
    begun: list[str] = []
    first: list[ShareTraining] = []

    def cut(event: Step | Epoch) -> None:
        begun.append(event.stage)
        if len(first) == 5:
            raise KeyboardInterrupt

    with economical(), pytest.raises(KeyboardInterrupt):
        forecast(TOYS, SHORT, folder=tmp_path / "cut", callbacks=[cut], done=first.append)
    assert begun[-1] == "training 6 of 12"
    with pytest.raises(UsageError, match="are not done"):
        Forecast.open(tmp_path / "cut")
    plan: list[PlannedTraining] = []
    events: list[Step | Epoch] = []
    with economical():
        rest = forecast(
            TOYS, SHORT, folder=tmp_path / "cut", callbacks=[events.append], watch=Watch(planned=plan.extend)
        )
    assert [each.name for each in plan] == [f"training {number} of 12" for number in range(6, 13)]
    assert all(each.seconds > 0 and each.epochs == 1 for each in plan)
    assert {event.stage for event in events} == {each.name for each in plan}
    assert rest.curve.to_json() == done.curve.to_json()


def test_a_named_recipe_is_that_of_so_many_pictures(tmp_path: Path) -> None:
    plan: list[PlannedTraining] = []

    class Cut(Exception):
        pass

    def stop(event: Step | Epoch) -> None:
        raise Cut

    recipe = Recipe.named("fast", model="tutorial", threads=1, precision="float32")
    with economical(), pytest.raises(Cut):
        forecast(TOYS, recipe, folder=tmp_path / "a", callbacks=[stop], watch=Watch(planned=plan.extend))
    resolved = [recipe.resolve(len(TOYS.train) // share).epochs for share in (8, 4, 2, 1)]
    assert [each.epochs for each in plan[:4]] == resolved


def test_every_beginning_of_the_order_has_each_class_by_its_share() -> None:
    toys = toy_dataset(160)
    order = stratified_order(toys, seed=1)
    assert sorted(order.tolist()) == list(range(160))
    for count in (20, 40, 80):
        assert torch.bincount(toys.labels[order[:count]], minlength=4).tolist() == pytest.approx(
            [count / 4] * 4, abs=1
        )
    assert not torch.equal(order, stratified_order(toys, seed=2))
    paired = replace(toys, groups=[f"{index // 8}" for index in range(160)])
    owners = torch.tensor([index // 8 for index in stratified_order(paired, seed=1).tolist()])
    assert int((owners.diff() != 0).sum()) == 19  # a group's pictures follow one another


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (toy_splits(60), "Too few pictures to forecast from: 'bar' has 9 training pictures. Expected 16"),
        (
            Splits(TOYS.train, TOYS.validation, TOYS.test.subset(range(12)), TOYS.origin),
            "Too few test pictures to forecast from: 12. Expected 20 test pictures",
        ),
        (
            replace(TOYS, test=replace(TOYS.test, groups=["ann"] * 24 + ["bob"] * 24)),
            "48 in 2 groups. Expected 10 groups",
        ),
    ],
)
def test_too_few_pictures_are_refused(splits: Splits, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        forecast(splits, SHORT, folder=tmp_path / "few")
    assert not (tmp_path / "few").exists()


def test_other_pictures_and_recipes_that_judge_otherwise_are_refused(done: Forecast, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="other pictures or by another recipe"):
        forecast(replace(toy_splits(seed=3), origin=TOYS.origin), SHORT, folder=done.folder)
    with pytest.raises(UsageError, match="leave `folds` and `use_all` out"):
        forecast(TOYS, replace(SHORT, use_all=True), folder=tmp_path / "all")
    with pytest.raises(UsageError, match=r"holds no forecast\.json"):
        Forecast.open(tmp_path)


def test_copies_of_what_is_learned_from_are_left_out_and_told(tmp_path: Path) -> None:
    whole = toy_splits()
    few = whole.test.subset(range(12))
    test = joined([few, whole.train.subset(range(5))])
    with (
        pytest.warns(UserWarning, match="5 test pictures are left out: what was learned from has copies"),
        pytest.raises(UsageError, match=r"Too few test pictures to forecast from: 12"),
    ):
        forecast(replace(whole, test=test), SHORT, folder=tmp_path / "copies")
