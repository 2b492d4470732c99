"""Each cause is found where it was planted, in the order of the rules; of many mistakes the worst."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset, Splits
from pellucid.data.preprocess import Preprocess
from pellucid.evaluation.evaluation import Evaluation
from pellucid.explanation import causes
from pellucid.explanation.causes import CAUSES, MistakeCauses, causes_of_mistakes
from tests.toys import rows_of

CLASSES, SIDE = ("left", "right"), 16
PLANTED = ("twin", "label", "unlike", "border", "shift", "plain")


class Halves(nn.Module):
    """Compares the light of the left half with that of the right; the last hidden layer is the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(SIDE * SIDE, 2)
        side = (torch.arange(SIDE) >= SIDE // 2).float().expand(SIDE, SIDE).flatten()
        with torch.no_grad():
            self.dense.weight.copy_(torch.stack([1 - side, side]))
            self.dense.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.dense(images.flatten(1))
        return scores


CLASSIFIER = Classifier(Halves().eval(), CLASSES, Preprocess(1, SIDE, SIDE), "halves")


def bar(column: int, generator: torch.Generator) -> Tensor:
    """A bright column on noise, uint8 (1, 16, 16)."""
    image = torch.randint(0, 101, (1, SIDE, SIDE), generator=generator)
    image[:, :, column] += 150
    return image.to(torch.uint8)


def bars(name: str, count: int, generator: torch.Generator) -> Dataset:
    columns = torch.arange(count) % SIDE
    images = torch.stack([bar(column, generator) for column in columns.tolist()])
    return Dataset(images, (columns >= SIDE // 2).long(), CLASSES, [f"{name}/{n}" for n in range(count)])


def planted() -> tuple[Splits, Evaluation]:
    """Bars, and before them in the test part a mistake of each cause, with invented probabilities."""
    generator = torch.Generator().manual_seed(4)
    train, validation = bars("train", 320, generator), bars("validation", 160, generator)
    right = bars("test", 48, generator)
    noise = torch.randint(0, 256, (1, SIDE, SIDE), generator=generator).to(torch.uint8)
    twin = (train.images[1].float() * 0.9 + 10).round().to(torch.uint8)  # of column 1, so labelled "left"
    wrong = [
        (twin, 0.99),
        (bar(3, generator), 0.99),
        (noise, 0.7),
        (bar(2, generator), 0.6),
        (bar(7, generator), 0.8),
        (bar(2, generator), 0.8),
    ]
    images = torch.cat([torch.stack([image for image, _ in wrong]), right.images])
    labels = torch.cat([torch.ones(len(wrong), dtype=torch.int64), right.labels])
    sources = [*(f"wrong/{cause}" for cause in PLANTED), *right.sources]
    sure = torch.tensor([[0.95, 0.05], [0.05, 0.95]])[right.labels]
    said = torch.cat([torch.tensor([[confidence, 1 - confidence] for _, confidence in wrong]), sure])
    splits = Splits(train, validation, Dataset(images, labels, CLASSES, sources))
    return splits, Evaluation(said, labels, CLASSES, sources)


def by_source(found: MistakeCauses) -> dict[str, str]:
    return {found.evaluation.sources[each.index]: each.cause for each in found.examined}


def test_each_cause_is_found_where_it_was_planted() -> None:
    splits, evaluation = planted()
    found = causes_of_mistakes(CLASSIFIER, splits, evaluation)
    assert by_source(found) == {f"wrong/{cause}": cause for cause in PLANTED}
    assert [each.index for each in found.examined] == evaluation.mistakes.tolist()  # the worst first
    assert {each.twin for each in found.examined} == {"train/1", ""}
    assert found.counts == dict.fromkeys(CAUSES, 1)
    assert (found.mistakes, found.gone) == (6, ())
    assert repr(found).startswith("MistakeCauses(6 of 6 mistakes examined: twin in training")


def test_a_twin_with_the_same_label_is_no_cause() -> None:
    splits, evaluation = planted()
    labels = splits.train.labels.clone()
    labels[1] = 1  # as the test picture has it
    same = replace(splits, train=replace(splits.train, labels=labels))
    assert by_source(causes_of_mistakes(CLASSIFIER, same, evaluation))["wrong/twin"] == "label"


def test_of_folds_neither_shifts_nor_distances_are_tried_and_a_picture_is_not_its_own_twin() -> None:
    splits, evaluation = planted()
    whole = Splits(splits.test, splits.test.subset([]), splits.test)
    found = causes_of_mistakes(CLASSIFIER, whole, evaluation)
    assert found.gone == ("unlike", "shift")
    assert by_source(found) == {
        "wrong/twin": "label", "wrong/label": "label", "wrong/unlike": "plain", "wrong/border": "border",
        "wrong/shift": "plain", "wrong/plain": "plain",
    }  # fmt: skip


def test_only_the_worst_are_examined_and_their_number_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causes, "MOST", 3)
    splits, evaluation = planted()
    found = causes_of_mistakes(CLASSIFIER, splits, evaluation)
    assert [each.index for each in found.examined] == evaluation.mistakes[:3].tolist()
    assert found.mistakes == 6


def test_nothing_wrong_has_no_cause() -> None:
    splits, evaluation = planted()
    right = list(range(6, 54))
    judged = Evaluation(
        evaluation.probabilities[right], evaluation.labels[right], CLASSES,
        [evaluation.sources[index] for index in right],
    )  # fmt: skip
    found = causes_of_mistakes(CLASSIFIER, replace(splits, test=splits.test.subset(right)), judged)
    assert (found.examined, found.mistakes) == ((), 0)


def test_a_table_and_the_evaluation_have_them(tmp_path: Path) -> None:
    splits, evaluation = planted()
    evaluation.save(tmp_path, opened=1)
    before = json.loads((tmp_path / "evaluation.json").read_text())
    causes_of_mistakes(CLASSIFIER, splits, evaluation).save(tmp_path)
    rows = rows_of(tmp_path / "causes.csv")
    assert {(row["source"], row["cause"]) for row in rows} == {(f"wrong/{each}", each) for each in PLANTED}
    assert {(row["label"], row["prediction"]) for row in rows} == {("right", "left")}
    facts = json.loads((tmp_path / "evaluation.json").read_text())
    assert facts.pop("causes") == {"examined": 6, "mistakes": 6, **dict.fromkeys(CAUSES, 1)}
    assert facts == before
