"""A recipe holds every choice, refuses what makes no sense, and comes back from its file."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from pellucid.errors import PellucidError, UsageError
from pellucid.files import write_json
from pellucid.recipe import CHOICES, RANGES, RECIPES, Recipe, changed, read_recipe


def test_every_setting_is_a_plain_value_with_a_rule() -> None:
    for field in fields(Recipe):
        assert type(field.default) in (str, int, float, bool)
        named = {"model", "augment", "size", "group_by", "label_from", "crop_boxes", "use_all"}
        assert field.name in {*CHOICES, *RANGES, *named}


def test_a_recipe_cannot_be_changed_behind_ones_back() -> None:
    with pytest.raises(AttributeError):
        Recipe().epochs = 4  # type: ignore[misc]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("pictures", [1, 100, 1150, 48_000, 10_000_000])
def test_a_recipe_comes_back_from_its_file(tmp_path: Path, name: str, pictures: int) -> None:
    recipe = replace(Recipe.named(name).resolve(pictures), learning_rate=0.1 + 0.2, seed=-(2**63))
    write_json(tmp_path / "recipe.json", recipe.to_json())
    assert read_recipe(tmp_path / "recipe.json") == recipe


def test_the_accurate_recipe_takes_its_time_and_the_network_that_suits() -> None:
    large = Recipe.named("accurate").resolve(57_000)
    assert (large.model, large.epochs, large.augment, large.validation) == ("compact", 9, "handwriting", 0.05)
    assert Recipe.named("accurate").resolve(1_150).epochs == 60
    assert Recipe.named("accurate", model="tutorial").resolve(57_000).model == "tutorial"
    quick, slow = (Recipe.named(name).resolve(800, (3, 32, 32)) for name in ("fast", "accurate"))
    assert slow == replace(quick, epochs=2 * quick.epochs)


def test_the_course_recipe_is_the_lessons() -> None:
    for pictures in (10, 48_000):
        page = asdict(Recipe.named("course").resolve(pictures))
        expected = {"model": "tutorial", "epochs": 20, "batch_size": 32, "optimizer": "adam", "patience": 3}
        expected |= {"learning_rate": 1e-3, "schedule": "constant", "label_smoothing": 0.0, "seed": 42}
        assert expected.items() <= page.items()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 0, "Expected epochs from 1 to 1,000,000; got 0."),
        ("epochs", -1, "Expected epochs from 1 to 1,000,000; got -1."),
        ("epochs", 2.5, "Expected epochs as int; got 2.5."),
        ("epochs", "3", "Expected epochs as int; got '3'."),
        ("epochs", True, "Expected epochs as int; got True."),
        ("epochs", None, "Expected epochs as int; got None."),
        ("batch_size", 0, "Expected batch_size from 1 to 1,000,000; got 0."),
        ("learning_rate", 0.0, "Expected learning_rate above 0 and at most 1000; got 0.0."),
        ("learning_rate", -1e-3, "Expected learning_rate above 0"),
        ("learning_rate", float("nan"), "Expected learning_rate above 0 and at most 1000; got nan."),
        ("learning_rate", float("inf"), "Expected learning_rate above 0"),
        ("learning_rate", 10**400, "Expected learning_rate above 0"),
        ("learning_rate", "fast", "Expected learning_rate as float; got 'fast'."),
        ("weight_decay", -0.1, "Expected weight_decay from 0 to 1000"),
        ("label_smoothing", 1.0, "Expected label_smoothing from 0 to below 1; got 1.0."),
        ("patience", -1, "Expected patience from 0 to 1,000,000"),
        ("validation", 0.0, "Expected validation between 0 and 1, such as 0.2; got 0.0."),
        ("validation", 1, "Expected validation between 0 and 1"),
        ("seed", 2**63, "Expected seed that fits 64 bits"),
        ("threads", -1, "Expected threads from 0 to 4,096"),
        ("optimizer", "sgd", "Unknown optimizer 'sgd'. Known: adam, adamw, muon."),
        ("optimizer", ["adam"], "Expected optimizer as str"),
        ("schedule", "cosine", "Unknown schedule 'cosine'. Known: constant, one-cycle, linear."),
        ("precision", "float16", "Unknown precision 'float16'. Known: auto, float32, bfloat16."),
        ("model", 7, "Expected model as str; got 7."),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_from_python_and_from_a_file(
    tmp_path: Path, name: str, value: Any, message: str
) -> None:
    for attempt in (lambda: Recipe(**{name: value}), lambda: changed(Recipe(), {name: value})):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert str(caught.value).startswith(message)
    (tmp_path / "recipe.json").write_text(json.dumps({name: value}))
    with pytest.raises(PellucidError):  # numbers that JSON has not are refused before
        read_recipe(tmp_path / "recipe.json")


def test_a_whole_number_serves_where_a_fraction_is_expected() -> None:
    assert changed(Recipe(), {"learning_rate": 1, "weight_decay": 0}).learning_rate == 1


def test_an_unknown_setting_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"Unknown setting 'epoch'\. Did you mean 'epochs'\?"):
        changed(Recipe(), {"epoch": 3})


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"Unknown recipe 'coarse'\. Did you mean 'course'\?"):
        Recipe.named("coarse").resolve(1)


@pytest.mark.parametrize("content", ["[]", "3", '"fast"', "null"])
def test_a_recipe_file_that_is_no_object_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(UsageError, match="to hold one object of settings; got"):
        read_recipe(tmp_path / "recipe.json")


def test_a_recipe_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a file\. Expected a recipe\.json"):
        read_recipe(tmp_path / "recipe.json")


def test_folds_are_at_least_two_and_need_no_second_training() -> None:
    with pytest.raises(UsageError, match=r"Expected folds from 2 to 100 \(0: a test and a validation part"):
        Recipe(folds=1)
    with pytest.raises(UsageError, match="leave `use_all` out"):
        Recipe(folds=5, use_all=True)
    assert Recipe.named("fast", folds=5).resolve(100, (3, 64, 64)).model == "lite0"
    assert Recipe.named("fast", folds=5, model="compact").resolve(100).model == "compact"
