"""Any number of files is predicted: in order, as soon as some are read, the unreadable with the reason."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import pellucid
from pellucid import Run, prediction
from pellucid.errors import UsageError
from pellucid.prediction import FilePrediction, picture_files, predict_files
from tests.toys import QUICK, economical, toy_splits, write_picture

SPLITS = toy_splits()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with economical():
        return pellucid.fit(SPLITS, QUICK, folder=str(tmp_path_factory.mktemp("runs") / "run"))


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Twelve files whose names are in natural order, in a folder with a text and a hidden picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    files = [write_picture(folder / f"{n}.png", SPLITS.test.images[n]) for n in range(12)]
    (folder / "notes.txt").write_text("mine")
    (folder / ".hidden.png").write_bytes(files[0].read_bytes())
    return files


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


def test_a_folder_is_read_in_natural_order_without_what_is_hidden(run: Run, pictures: list[Path]) -> None:
    answers = list(predict_files(run.classifier, pictures[0].parent))
    assert [Path(answer.source) for answer in answers] == pictures
    assert picture_files(pictures[3]) == [pictures[3]]


def test_answers_come_before_the_last_file_is_read(
    run: Run, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "READ_AT_ONCE", 3)
    asked: list[Path] = []

    def paths() -> Iterator[Path]:
        for path in pictures:
            asked.append(path)
            yield path

    answers = predict_files(run.classifier, paths())
    assert asked == []
    first = next(answers)
    assert asked == pictures[:3]
    whole = torch.stack([answer.probabilities for answer in (first, *answers)])  # type: ignore[misc]
    assert torch.equal(whole, run.classifier.predict(SPLITS.test.images[:12]))
    assert asked == pictures


def test_a_bad_file_moves_no_other_answer(run: Run, pictures: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"text")
    mixed = [bad, pictures[1], tmp_path / "absent.png", pictures[2], bad]
    answers = list(predict_files(run.classifier, mixed))
    assert [answer.probabilities is None for answer in answers] == [True, False, True, False, True]
    expected = run.classifier.predict(SPLITS.test.images[1:3])
    assert torch.equal(answers[1].probabilities, expected[0])  # type: ignore[arg-type]
    assert torch.equal(answers[3].probabilities, expected[1])  # type: ignore[arg-type]
    assert all(isinstance(answers[n].error, UsageError) for n in (0, 2, 4))
    assert "does not exist" in str(answers[2].error)


def test_no_file_gives_no_answer_and_a_folder_without_pictures_is_told(run: Run, tmp_path: Path) -> None:
    assert list(predict_files(run.classifier, [])) == []
    (tmp_path / "empty").mkdir()
    (answer,) = predict_files(run.classifier, tmp_path / "empty")
    assert "is a folder" in str(answer.error)
    assert picture_files(tmp_path / "empty") == [tmp_path / "empty"]


def test_pictures_of_another_size_are_refused_unless_they_may_be_stretched(run: Run, tmp_path: Path) -> None:
    large = write_picture(tmp_path / "large.png", torch.zeros(1, 40, 30, dtype=torch.uint8))
    (refused,) = predict_files(run.classifier, large)
    assert "is 30x40 gray; this classifier was trained on 16x16 gray" in str(refused.error)
    (answered,) = predict_files(run.classifier, large, fit="stretch")
    expected = run.classifier.predict(torch.zeros(1, 1, 16, 16, dtype=torch.uint8))[0]
    assert torch.equal(answered.probabilities, expected)  # type: ignore[arg-type]


def test_bad_arguments_are_refused_when_the_first_answer_is_asked_for(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Unknown fit 'squeeze'\. Known: none, stretch"):
        next(predict_files(run.classifier, [], fit="squeeze"), None)
    with pytest.raises(UsageError, match=r"holds no model\.json"):
        next(predict_files(tmp_path, []), None)


def test_an_answer_reads_as_a_line() -> None:
    right = FilePrediction("a/1.png", ("cat", "dog"), torch.tensor([0.25, 0.75]))
    assert repr(right) == "FilePrediction('a/1.png', dog 75.0%)"
    assert (right.prediction, right.confidence) == ("dog", 0.75)
    wrong = FilePrediction("2.png", ("cat", "dog"), None, UsageError("'2.png' is cut off."))
    assert repr(wrong) == "FilePrediction('2.png', '2.png' is cut off.)"
    assert (wrong.prediction, wrong.confidence) == ("", 0.0)


def test_what_is_less_confident_than_the_threshold_is_not_sure(run: Run, pictures: list[Path]) -> None:
    threshold = run.threshold(coverage=0.5)
    answers = list(predict_files(run.classifier, pictures, threshold=threshold))
    plain = list(predict_files(run.classifier, pictures))
    assert {answer.sure for answer in answers} == {True, False}
    for answer, without in zip(answers, plain, strict=True):
        assert answer.sure == (without.confidence >= threshold.confidence)
        assert answer.confidence == without.confidence
        assert answer.prediction == (without.prediction if answer.sure else "")
        assert answer.sure or "not sure" in repr(answer)
    assert all(answer.sure and answer.prediction_set is None for answer in plain)


def test_sets_stand_beside_the_answers(run: Run, pictures: list[Path]) -> None:
    sets = run.prediction_sets(0.97)
    for answer in predict_files(run.classifier, pictures, sets=sets):
        assert answer.probabilities is not None
        assert answer.prediction_set is not None
        assert answer.prediction_set[0] == answer.prediction
        inside = {
            name
            for name, share in zip(answer.classes, answer.probabilities.tolist(), strict=True)
            if share >= sets.probability
        }
        assert set(answer.prediction_set) == inside | {answer.prediction}


def test_pictures_unlike_anything_taught_are_marked_or_get_no_answer(run: Run, tmp_path: Path) -> None:
    noise = torch.randint(0, 256, (8, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    images = torch.cat([SPLITS.test.images[:8], noise.to(torch.uint8)])
    files = [write_picture(tmp_path / f"{n}.png", image) for n, image in enumerate(images)]
    known, expected = run.reference(), run.novelty(images)
    answers = list(predict_files(run.classifier, files, reference=known))
    assert [answer.unlike for answer in answers] == expected.unlike.tolist()
    assert [answer.novelty for answer in answers] == expected.percentiles.tolist()
    assert sum(answer.unlike for answer in answers[8:]) > 5
    assert all(answer.prediction for answer in answers)
    plain = list(predict_files(run.classifier, files))
    for answer, without in zip(answers, plain, strict=True):
        assert torch.equal(answer.probabilities, without.probabilities)  # type: ignore[arg-type]
        assert (without.novelty, without.unlike) == (None, False)
    refused = list(predict_files(run.classifier, files, reference=known, refuse_unlike=True))
    assert [answer.withheld for answer in refused] == expected.unlike.tolist()
    assert [answer.predictions == () for answer in refused] == expected.unlike.tolist()
    assert "unlike anything taught" in repr(refused[-1])
    with pytest.raises(UsageError, match=r"give run\.reference\(\)"):
        list(predict_files(run.classifier, files, refuse_unlike=True))
