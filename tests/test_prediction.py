"""Any number of files is predicted."""

from pathlib import Path

import pytest
import torch

import pellucid
from pellucid import Run
from tests.toys import QUICK, economical, toy_splits, write_picture

SPLITS = toy_splits()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with economical():
        return pellucid.fit(SPLITS, QUICK, folder=str(tmp_path_factory.mktemp("runs") / "run"))


def test_files_are_predicted_one_by_one_and_the_unreadable_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number, image in enumerate(SPLITS.test.images[:3]):
        write_picture(tmp_path / "pictures" / f"{number}.png", image)
    (tmp_path / "pictures" / "cut.png").write_bytes(b"no picture")
    answers = list(pellucid.predict_files(str(run.folder), tmp_path / "pictures"))
    assert [Path(answer.source).name for answer in answers] == ["0.png", "1.png", "2.png", "cut.png"]
    expected = run.classifier.predict(SPLITS.test.images[:3])
    given = [answer.probabilities for answer in answers if answer.probabilities is not None]
    assert torch.equal(torch.stack(given), expected)
    assert answers[-1].error is not None
    assert "cut.png" in str(answers[-1].error)
    assert answers[0].prediction == run.classifier.classes[int(expected[0].argmax())]
