"""A label is suspect where a network says so that had not learned it by heart."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.evaluation.label_errors import (
    HELD_OUT,
    LabelErrors,
    judged_by_probabilities,
    judged_over_epochs,
)
from tests.toys import rows_of

CLASSES = ("cat", "dog", "fox")


def invented(count: int = 600, *, wrong: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities (N, K) of a good network, labels of which the first are wrong, and the true ones."""
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(0, 3, (count,), generator=generator)
    scores = torch.randn(count, 3, generator=generator)
    scores[torch.arange(count), true] += 4
    labels = true.clone()
    labels[:wrong] = (true[:wrong] + 1) % 3
    return scores.softmax(dim=1), labels, true


def test_a_label_is_suspect_where_another_class_is_as_probable_as_for_most_of_its_own_pictures() -> None:
    probabilities, labels, true = invented()
    judged = judged_by_probabilities("test", HELD_OUT, [""] * 600, labels, probabilities)
    usual = [np.quantile(probabilities[labels == k, k].numpy(), 0.05) for k in range(3)]
    for index in range(600):
        others = [k for k in range(3) if k != int(labels[index])]
        best = max(others, key=lambda k: float(probabilities[index, k]))
        row = probabilities[index]
        expected = float(row[best]) > float(row[labels[index]]) and float(row[best]) >= usual[best] - 1e-6
        assert bool(judged.suspect[index]) == expected
        assert int(judged.suggested[index]) == best
    assert int(judged.suspect[:30].sum()) >= 20  # of those that are wrong
    assert int(judged.suspect[30:].sum()) <= 3
    assert torch.equal(judged.suggested[:30][judged.suspect[:30]], true[:30][judged.suspect[:30]])


def test_pictures_without_a_margin_are_not_judged_and_come_last() -> None:
    margins = torch.tensor([0.5, torch.nan, -2.0, 3.0])
    labels = torch.tensor([0, 1, 2, 0])
    judged = judged_over_epochs("train", list("abcd"), labels, torch.tensor([1, 0, 0, 1]), margins)
    found = LabelErrors(CLASSES, [judged], 0.9)
    assert judged.order.tolist() == [2, 0, 3]
    assert found.count == 3
    assert [(each.source, each.label, each.suggested_label, each.rank) for each in found.suspects] == [
        ("c", "fox", "cat", 1)
    ]
    assert [each.source for each in found.listed(2)] == ["c", "a"]
    assert found.summary == "3 labels judged, 1 looks wrong (train 1)"


def test_a_class_without_pictures_is_never_suggested() -> None:
    probabilities = torch.tensor([[0.2, 0.1, 0.7], [0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    judged = judged_by_probabilities("test", HELD_OUT, list("abc"), torch.tensor([0, 0, 1]), probabilities)
    assert not judged.suspect.any()


@pytest.mark.parametrize(("accuracy", "weak"), [(0.69, True), (0.71, False), (None, False)])
def test_a_weak_network_accuses_no_label(accuracy: float | None, weak: bool, tmp_path: Path) -> None:
    probabilities, labels, _ = invented()
    judged = judged_by_probabilities(
        "test", HELD_OUT, [f"test/{n}" for n in range(600)], labels, probabilities
    )
    found = LabelErrors(CLASSES, [judged], accuracy)
    assert found.too_weak == weak
    assert bool(found.suspects) != weak
    assert ("too weak to judge labels: 69.0 % of the pictures held out" in found.summary) == weak
    found.save(tmp_path / "suspects.csv")
    found.save(tmp_path / "suspects.csv")  # the same once more
    rows = rows_of(tmp_path / "suspects.csv")
    assert [row["source"] for row in rows] == [each.source for each in found.suspects]
    if rows:
        assert list(rows[0]) == [
            "source", "part", "label", "suggested_label", "score", "rank", "judged_by",
        ]  # fmt: skip


def test_a_table_that_was_looked_through_is_not_overwritten(tmp_path: Path) -> None:
    probabilities, labels, _ = invented()
    sources = [f"test/{n}" for n in range(600)]
    found = LabelErrors(
        CLASSES, [judged_by_probabilities("test", HELD_OUT, sources, labels, probabilities)], 0.9
    )
    path = tmp_path / "suspects.csv"
    found.save(path)
    kept = path.read_text().splitlines(keepends=True)[:-1]
    path.write_text("".join(kept))
    with pytest.raises(UsageError, match="is another table, perhaps one that was looked through"):
        found.save(path)
    assert path.read_text() == "".join(kept)
