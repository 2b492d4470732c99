"""What a person types first works: strings for paths, any kind of picture, a network of one's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import pellucid
from pellucid import Classifier, Recipe, Run, Splits, StopTraining, UsageError
from pellucid.training.loop import Epoch, Step
from tests.toys import QUICK, economical, toy_splits, write_picture

SPLITS = toy_splits()
HEIGHT, WIDTH = SPLITS.train.size


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with economical():
        return pellucid.fit(SPLITS, QUICK, folder=str(tmp_path_factory.mktemp("runs") / "run"))


class Own(nn.Module):
    """A network as a person writes it in a notebook."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 4)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Scores (B, 4) of pictures (B, 1, 16, 16)."""
        scores: Tensor = self.layers(images)
        return scores


def test_paths_are_strings_or_paths(run: Run) -> None:
    folder = str(run.folder)
    assert Run.open(folder).classifier.classes == Classifier.load(folder).classes == run.classifier.classes


def test_what_is_printed_fits_on_a_line(run: Run) -> None:
    for thing in (SPLITS, SPLITS.train, SPLITS.train[:0], SPLITS.origin, run, run.history, run.classifier):
        assert "\n" not in repr(thing)
        assert len(repr(thing)) < 200, repr(thing)
    assert repr(SPLITS.train) == "Dataset(144 pictures, 16x16 gray, 4 classes)"


def test_a_dataset_is_indexed_measured_sliced_and_walked_through() -> None:
    train = SPLITS.train
    image, label, source = train[3]
    assert image.shape == (1, 16, 16)
    assert (label, source) == (int(train.labels[3]), train.sources[3])
    assert train[-1].source == train.sources[-1]
    assert len(list(train)) == len(train) == len(train[:])
    assert list(train.subset([1, 2]).sources) == list(train[1:3].sources)
    assert len(train.subset(train.labels == 0)) == train.counts[train.classes[0]]
    with pytest.raises(IndexError, match="index 144 is out of range for 144 pictures"):
        train[144]
    with pytest.raises(UsageError, match="Expected indices as one row of whole numbers"):
        train.subset([0.5, 1.0])  # type: ignore[list-item]


def test_a_misspelt_setting_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"Recipe has no setting 'epoch'\. Did you mean 'epochs'\?"):
        Recipe(epoch=3)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match=r"Did you mean 'epochs'\?"):
        Recipe.named("fast", epoch=3)
    with pytest.raises(UsageError, match=r"Did you mean 'fast'\?"):
        Recipe.named("fats")
    with pytest.raises(UsageError, match="Expected epochs from 1 to 1,000,000; got 0"):
        Recipe.named("fast", epochs=0)


def test_predict_takes_a_picture_however_it_comes(run: Run, tmp_path: Path) -> None:
    classifier, image = run.classifier, SPLITS.test.images[0]
    expected = classifier.predict(SPLITS.test.images[:1])
    file = write_picture(tmp_path / "picture.png", image)
    array = image[0].numpy()
    with Image.open(file) as opened:
        opened.load()
    kinds: list[Any] = [
        image, image[None], [image], image.float() / 255, [image.float() / 255], (image[None].float() / 255),
        str(file), file, file.read_bytes(), opened, array, array[..., None], array[None, ..., None],
        [str(file)], (array,), image[None].numpy(), array / np.float32(255), SPLITS.test[:1],
    ]  # fmt: skip
    for kind in kinds:
        assert torch.equal(classifier.predict(kind), expected), type(kind)
    mixed = classifier.predict([file, image, array, opened])
    assert torch.equal(mixed, expected.expand(4, -1))
    assert classifier.predict([]).shape == (0, 4)


def test_what_predict_cannot_take_is_named(run: Run, tmp_path: Path) -> None:
    for wrong, words in (
        (torch.zeros(2, 3, 9, 9, dtype=torch.uint8), r"got uint8 \(2, 3, 9, 9\)"),
        (torch.full((1, 1, 16, 16), 200.0), r"got float32 from 200 to 200"),
        (str(tmp_path / "none.png"), "does not exist"),
        (np.zeros((4, 4, 2), np.uint8), r"got uint8 \(4, 4, 2\)"),
        (3, "Expected pictures as paths, bytes, PIL images, arrays or tensors.*got int"),
        (None, "got NoneType"),
    ):
        with pytest.raises(UsageError, match=words):
            run.classifier.predict(wrong)


def test_a_recipe_by_its_name_is_the_one_of_the_command_line(tmp_path: Path) -> None:
    named = Recipe.named("fast", epochs=2, threads=1)
    assert repr(named) == "Recipe.named('fast', epochs=2, threads=1)"
    run = pellucid.fit(SPLITS, named, folder=tmp_path / "run")
    shape = (SPLITS.train.channels, *SPLITS.train.size)
    assert run.recipe.batch_size == named.resolve(len(SPLITS.train), shape).batch_size
    assert run.recipe.epochs == 2
    for wrong in (3, {"epochs": 2}):
        with pytest.raises(UsageError, match="Expected a Recipe or the name of one, such as 'fast'"):
            pellucid.fit(SPLITS, wrong, folder=tmp_path / "other")  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [Own(), lambda channels, classes, size: Own()], ids=["module", "function"])
def test_a_network_of_ones_own_is_trained_saved_and_opened_again(model: Any, tmp_path: Path) -> None:
    with economical():
        run = pellucid.fit(SPLITS, Recipe.named("fast", epochs=2), model=model, folder=tmp_path / "run")
    assert run.recipe.model.startswith("own:")
    answers = run.classifier.predict(SPLITS.test.images)
    with pytest.raises(UsageError, match=r"your own network.*Run\.open\(folder, model=network\)"):
        Run.open(tmp_path / "run")
    again = Run.open(tmp_path / "run", model=Own())
    assert torch.equal(again.classifier.predict(SPLITS.test.images), answers)
    assert again.evaluate(SPLITS.test).count == len(SPLITS.test)


def test_a_network_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for network, words in (
        (
            nn.Sequential(nn.Flatten(), nn.Linear(256, 3)),
            r"gives \(2, 3\) for 2 pictures; expected scores",
        ),
        (nn.Linear(7, 4), r"Linear cannot take pictures \(B, 1, 16, 16\)"),
    ):
        with pytest.raises(UsageError, match=words):
            pellucid.fit(SPLITS, QUICK, model=network, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_callback_ends_the_training_and_the_best_weights_are_kept(tmp_path: Path) -> None:
    def enough(event: Step | Epoch) -> None:
        if isinstance(event, Epoch) and event.epoch == 2:
            raise StopTraining("two epochs are enough")

    with economical():
        run = pellucid.fit(SPLITS, QUICK, callbacks=[enough], folder=tmp_path / "run")
    assert len(run.history) == 2
    assert run.ended == Run.open(run.folder).ended == "two epochs are enough"
    assert not (run.folder / "checkpoint.safetensors").exists()


def test_what_a_callback_raises_leaves_a_run_that_can_be_opened(tmp_path: Path) -> None:
    def breaks(event: Step | Epoch) -> None:
        if isinstance(event, Epoch) and event.epoch == 2:
            raise ZeroDivisionError("mine")

    with economical(), pytest.raises(ZeroDivisionError, match="mine"):
        pellucid.fit(SPLITS, QUICK, callbacks=[breaks], folder=tmp_path / "run")
    opened = Run.open(tmp_path / "run")
    assert opened.ended == "mine"
    assert len(opened.history) == 2


def test_being_stopped_is_a_keyboard_interrupt() -> None:
    assert issubclass(pellucid.Stopped, KeyboardInterrupt)


def test_pictures_from_memory_are_asked_for_and_the_report_names_no_command(run: Run) -> None:
    opened = Run.open(run.folder)
    with pytest.raises(UsageError, match=r"came from memory.*Pass the pictures again"):
        opened.splits()
    opened.evaluate(SPLITS.test)
    page = opened.report(SPLITS).read_text(encoding="utf-8")
    assert "pellucid train &#39;&#39;" not in page
    assert "came from memory" in page


def test_splits_and_datasets_are_not_confused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected validation pictures as a Dataset"):
        pellucid.fit(SPLITS.train, "fast", folder=tmp_path / "run")
    with pytest.raises(UsageError, match="Splits bring their own validation pictures"):
        pellucid.fit(SPLITS, SPLITS.validation, QUICK, folder=tmp_path / "run")
    assert isinstance(SPLITS, Splits)


def test_check_compare_and_export_are_functions_too(run: Run, tmp_path: Path) -> None:
    found = pellucid.check("digits", tmp_path / "check.html", language="ko")
    assert found.findings == ()
    assert '<html lang="ko"' in (tmp_path / "check.html").read_text(encoding="utf-8")
    page = pellucid.export(run, tmp_path / "page.html", splits=SPLITS)
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    with economical():
        runs = [
            pellucid.fit("digits", Recipe.named("fast", epochs=1, seed=42, threads=1), folder=tmp_path / name)
            for name in ("a", "b")
        ]
    comparison = pellucid.compare(runs[0], str(runs[1].folder), tmp_path / "compare.html")
    assert comparison.disagreements == []
    assert (tmp_path / "compare.html").is_file()


def test_explain_takes_a_picture_however_it_comes(run: Run, tmp_path: Path) -> None:
    file = write_picture(tmp_path / "picture.png", SPLITS.test.images[0])
    by_path, by_tensor = (pellucid.explain(run.classifier, one) for one in (str(file), SPLITS.test.images[0]))
    assert torch.equal(by_path.probabilities, by_tensor.probabilities)
    with pytest.raises(UsageError, match=r"Expected a Classifier, such as run\.classifier.*got Run and str"):
        pellucid.explain(run, str(file))


def test_only_public_names_are_offered_for_completion() -> None:
    assert {name for name in dir(pellucid) if not name.startswith("__")} == set(pellucid.__all__)
