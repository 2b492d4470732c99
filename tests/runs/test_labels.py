"""Wrong labels are found in every part of a run's pictures, whatever way it was trained."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.data.dataset import Dataset, Splits
from pellucid.errors import PellucidError, UsageError
from pellucid.evaluation.label_errors import HELD_OUT, LEFT_OUT, OUT_OF_FOLD, OVER_EPOCHS
from pellucid.recipe import Recipe
from pellucid.runs.fit import fit
from pellucid.runs.labels import label_errors
from pellucid.runs.run import Run
from tests.resealed import rewrite
from tests.runs.toy_runs import SHORT, SPLITS
from tests.toys import toys_of_several_labels

LEARNED = replace(
    SHORT, epochs=15, batch_size=32, augment="none", optimizer="muon", learning_rate=5e-3, schedule="linear"
)


def flipped(dataset: Dataset, count: int, *, seed: int = 0) -> tuple[Dataset, set[int]]:
    """The pictures with `count` wrong labels, and which they are."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(dataset), generator=generator)[:count]
    labels, classes = dataset.labels.clone(), len(dataset.classes)
    labels[chosen] = (labels[chosen] + torch.randint(1, classes, (count,), generator=generator)) % classes
    return Dataset(dataset.images, labels, dataset.classes, dataset.sources), set(chosen.tolist())


def share_found(order: torch.Tensor, wrong: set[int], times: int) -> float:
    """The share of the wrong labels among so many times as many of the least probable."""
    return len(wrong & set(order[: times * len(wrong)].tolist())) / len(wrong)


def test_labels_learned_by_heart_are_found_by_their_margins_over_epochs(
    digits: Splits, tmp_path: Path
) -> None:
    train, wrong = flipped(digits.train, round(0.03 * len(digits.train)))
    run = fit(train, digits.validation, Recipe.named("fast", epochs=20, threads=1), folder=tmp_path / "run")
    assert run.best is not None
    found = label_errors(Run.open(tmp_path / "run"), replace(digits, train=train))
    judged = found.parts[0]
    assert (judged.part, judged.judged_by) == ("train", OVER_EPOCHS)
    assert share_found(judged.order, wrong, 2) >= 0.95
    right = judged.suggested[list(wrong)] == digits.train.labels[list(wrong)]
    assert float(right.float().mean()) >= 0.9
    assert found.unjudged[0].startswith("The labels of the test part are not judged before")


@pytest.fixture(scope="module")
def learned(
    tmp_path_factory: pytest.TempPathFactory, digits: Splits
) -> tuple[Run, Splits, dict[str, set[int]]]:
    """A run on digits of which five of each part have wrong labels."""
    parts, wrong = {}, {}
    for name, part in digits.items():
        parts[name], wrong[name] = flipped(part.subset(range(600 if name == "train" else 250)), 5, seed=3)
    splits = Splits(**parts)
    run = fit(splits.train, splits.validation, LEARNED, folder=tmp_path_factory.mktemp("learned") / "run")
    run.evaluate(splits.test)
    return run, splits, wrong


def test_each_part_is_judged_as_it_can_be(learned: tuple[Run, Splits, dict[str, set[int]]]) -> None:
    run, splits, wrong = learned
    before = (run.folder / "evaluation.json").read_bytes()
    found = run.label_errors(splits)
    assert [(part.part, part.judged_by) for part in found.parts] == [
        ("train", OVER_EPOCHS), ("validation", HELD_OUT), ("test", HELD_OUT),
    ]  # fmt: skip
    for part in found.parts:
        assert share_found(part.order, wrong[part.part], 3) >= 0.8, part.part
        assert list(part.sources) == list(dict(splits.items())[part.part].sources)
    assert found.unjudged == []
    assert found.accuracy == run.best.val_accuracy if run.best else False
    assert (run.folder / "evaluation.json").read_bytes() == before  # the test set was not opened for it


def test_what_a_second_training_learned_from_is_judged_by_it(tmp_path: Path) -> None:
    train, wrong = flipped(SPLITS.train, 3)
    run = fit(train, SPLITS.validation, replace(LEARNED, use_all=True), folder=tmp_path / "run")
    found = run.label_errors(replace(SPLITS, train=train))
    assert [(part.part, part.judged_by) for part in found.parts] == [
        ("train", OVER_EPOCHS), ("validation", OVER_EPOCHS),
    ]  # fmt: skip
    assert share_found(found.parts[0].order, wrong, 2) == 1.0
    assert len(found.parts[1].sources) == len(SPLITS.validation)


def test_folds_judge_every_label_by_a_network_that_had_not_learned_it(digits: Splits, tmp_path: Path) -> None:
    whole, wrong = flipped(digits.train.subset(range(240)), 5)
    none = whole.subset([])
    splits = Splits(whole, none, none)
    run = fit(splits, replace(LEARNED, folds=3), folder=tmp_path / "run")
    assert not (run.folder / "margins.csv").exists()
    (judged,) = run.label_errors(splits).parts
    assert (judged.part, judged.judged_by, len(judged.order)) == ("train", OUT_OF_FOLD, 240)
    names = {whole.sources[index] for index in wrong}
    assert len(names & {judged.sources[index] for index in judged.order[:10].tolist()}) >= 4


def test_a_last_layer_that_was_solved_is_judged_by_others_without_the_picture(tmp_path: Path) -> None:
    train, wrong = flipped(SPLITS.train, 4)
    recipe = Recipe(model="lite0", threads=1)
    run = fit(train, SPLITS.validation, recipe, folder=tmp_path / "run")
    found = run.label_errors(replace(SPLITS, train=train))
    assert (found.parts[0].part, found.parts[0].judged_by) == ("train", LEFT_OUT)
    assert share_found(found.parts[0].order, wrong, 2) >= 0.75
    assert found.unjudged == ["The labels of the test part are not judged before it is evaluated."]


def test_mixed_pictures_leave_the_training_labels_unjudged(tmp_path: Path) -> None:
    run = fit(
        SPLITS.train, SPLITS.validation, replace(SHORT, augment="mixup"), folder=tmp_path / "run"
    )  # fmt: skip
    found = run.label_errors(SPLITS)
    assert found.unjudged[0].startswith("The labels of the training pictures are not judged")
    assert [part.part for part in found.parts] == ["validation"]


def test_several_labels_are_not_judged_and_a_damaged_table_is_named(
    learned: tuple[Run, Splits, dict[str, set[int]]], tmp_path: Path
) -> None:
    several = toys_of_several_labels(60)
    run = fit(several.subset(range(40)), several.subset(range(40, 60)), SHORT, folder=tmp_path / "several")
    with pytest.raises(UsageError, match="Labels are judged where each picture has one"):
        run.label_errors(Splits(several, several, several))
    run, splits, _ = learned
    table = run.folder / "margins.csv"
    before = table.read_text()
    rewrite(table, before.replace(",train,", ",train,x", 1))
    with pytest.raises(PellucidError, match=r"margins\.csv' is damaged: could not convert string to float"):
        run.label_errors(splits)
    rewrite(table, before)
