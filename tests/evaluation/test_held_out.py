"""What was predicted of pictures held out is read back to the last digit, or refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.evaluation.held_out import HeldOut
from tests.toys import given_answers


def test_it_holds_what_the_evaluation_says_and_is_read_back_to_the_last_digit(tmp_path: Path) -> None:
    rows = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    evaluation = given_answers(rows.tolist(), [n % 4 for n in range(50)])
    HeldOut.of(evaluation).save(tmp_path)
    found = HeldOut.load(tmp_path, 50)
    assert torch.equal(found.right, evaluation.right)
    assert torch.equal(found.confidence, evaluation.confidence)
    assert torch.equal(found.label_probability, evaluation.label_probability)
    assert repr(found) == f"HeldOut({evaluation.correct} of 50 right)"


def test_which_pictures_belong_together_is_read_back(tmp_path: Path) -> None:
    groups = torch.arange(12) // 4
    evaluation = replace(given_answers([[0.75, 0.25]] * 12, [0] * 12), groups=groups)
    HeldOut.of(evaluation).save(tmp_path)
    found = HeldOut.load(tmp_path, 12)
    assert found.groups is not None
    assert found.groups.tolist() == groups.tolist()
    assert found.few_groups == 3
    path = tmp_path / "held_out.csv"
    path.write_text(path.read_text().replace("0.75,3\n", "0.75,0\n", 1))
    with pytest.raises(PellucidError, match="a group is not a number from 1 on"):
        HeldOut.load(tmp_path, 12)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("right", "wrong"),
        ("1,0.75", "2,0.75"),
        ("0.75", "1.75"),
        ("0.75", "nan"),
        ("0.75", "x"),
        ("0.75\n", ""),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, before: str, after: str) -> None:
    HeldOut.of(given_answers([[0.75, 0.25], [0.375, 0.625]], [0, 0])).save(tmp_path)
    path = tmp_path / "held_out.csv"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(PellucidError, match=r"held_out\.csv' is damaged"):
        HeldOut.load(tmp_path, 2)


def test_one_of_another_number_of_pictures_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=r"held_out\.csv"):
        HeldOut.load(tmp_path, 2)
    HeldOut.of(given_answers([[0.75, 0.25], [0.375, 0.625]], [0, 0])).save(tmp_path)
    with pytest.raises(PellucidError, match="2 pictures in place of 3"):
        HeldOut.load(tmp_path, 3)
