"""A run tells what is unlike its training pictures by those held out, or says why it cannot."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional

from pellucid.data import load
from pellucid.data.dataset import Dataset, Splits
from pellucid.errors import PellucidError, UsageError
from pellucid.evaluation.drift import Drift
from pellucid.evaluation.novelty import REFERENCE, PictureSample, ReferenceFit, neighbour_distances
from pellucid.explanation.neighbours import answers_and_features, hidden_features
from pellucid.files import read_object, sha256
from pellucid.models import PretrainedNetwork
from pellucid.recipe import Recipe, fast
from pellucid.runs.fit import fit
from pellucid.runs.run import Run
from pellucid.runs.stopping import Stopped
from tests.resealed import rewrite
from tests.runs.toy_runs import SHORT, SPLITS, resumed, started
from tests.toys import QUICK, at, economical, toy_dataset, toy_splits, toys_of_several_labels


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with economical():
        return fit(SPLITS, QUICK, folder=tmp_path_factory.mktemp("reference") / "run")


def test_a_run_keeps_training_pictures_and_those_held_out(run: Run) -> None:
    reference = run.reference()
    assert run.reference_fit == ReferenceFit(len(SPLITS.train), len(SPLITS.validation))
    assert Run.open(run.folder).reference_fit == run.reference_fit
    features = functional.normalize(hidden_features(run.classifier, SPLITS.train.images), dim=1)
    assert torch.equal(reference.features, features.half())
    rows = functional.normalize(hidden_features(run.classifier, SPLITS.validation.images), dim=1)
    assert torch.equal(reference.held_out.distances, neighbour_distances(rows, features.half().float()))
    probabilities = run.classifier.predict(SPLITS.validation.images)
    assert torch.equal(reference.held_out.predictions, probabilities.argmax(dim=1).int())
    assert torch.equal(reference.held_out.confidence, probabilities.amax(dim=1))


def test_a_resumed_run_leaves_the_same_bytes(tmp_path: Path) -> None:
    whole = started(tmp_path / "whole", recipe=SHORT)
    with pytest.raises(Stopped):
        started(tmp_path / "run", at(2, signal.SIGINT), recipe=SHORT)
    assert not (tmp_path / "run" / REFERENCE).exists()
    with pytest.raises(UsageError, match="training was cut off"):
        Run.open(tmp_path / "run").reference()
    resumed(tmp_path / "run")
    assert sha256(tmp_path / "run" / REFERENCE) == sha256(whole.folder / REFERENCE)


def test_strange_pictures_are_unlike_and_ordinary_ones_are_not(run: Run, noise: torch.Tensor) -> None:
    assert float(run.novelty(noise).percentiles.mean()) > 90
    ordinary = run.novelty(toy_dataset(400, seed=9).images)
    assert float(ordinary.unlike.double().mean()) < 0.2
    assert run.novelty(SPLITS.test).percentiles.shape == (len(SPLITS.test),)


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.randint(0, 256, (60, 1, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def told_apart(run: Run, ordinary: Dataset, strange: torch.Tensor) -> float:
    """AUROC of the distance: how often a strange picture is farther than an ordinary one."""
    distances = torch.cat([run.novelty(ordinary).distances, run.novelty(strange).distances])
    truth = torch.arange(len(distances)) >= len(ordinary)
    return float(roc_auc_score(truth, distances))


def turned(test: Dataset) -> torch.Tensor:
    """Every digit but 0, which stays one, turned by a quarter."""
    return torch.rot90(test.images[torch.nonzero(test.labels != 0)[:, 0].tolist()], 1, (2, 3))


def test_embedded_digits_are_told_from_turned_ones_and_from_noise(place: Path, digits: Splits) -> None:
    run = Run.open(place / "one")
    noise = torch.randint(0, 256, (200, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    assert told_apart(run, digits.test, noise.to(torch.uint8)) > 0.9
    assert told_apart(run, digits.test, turned(digits.test)) > 0.85
    assert float(run.novelty(digits.test).unlike.double().mean()) < 0.1


@pytest.mark.mnist
def test_mnist_is_told_from_turned_digits_and_from_noise(real_data: Path, tmp_path: Path) -> None:
    mnist = load("mnist", data_dir=real_data)
    run = fit(mnist, replace(fast(48_000, (1, 28, 28)), threads=1), folder=tmp_path / "run", snapshots=0)
    noise = torch.randint(0, 256, (500, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    assert told_apart(run, mnist.test, noise.to(torch.uint8)) > 0.985
    assert told_apart(run, mnist.test, turned(mnist.test)) > 0.97
    assert 0.04 <= float(run.novelty(mnist.test).unlike.double().mean()) <= 0.065
    assert (run.folder / REFERENCE).stat().st_size < 2_000_000


def test_drift_is_found_in_noise_and_in_darker_toys_and_not_in_toys(run: Run, noise: torch.Tensor) -> None:
    assert not run.drift(SPLITS.test).found
    darker = (SPLITS.test.images.float() * 0.7).to(torch.uint8)
    found: Drift = run.drift(darker)
    assert "brightness" in {test.name for test in found.differences}
    assert run.drift(noise).found
    parts = [run.sample(darker[:20]), run.sample(darker[20:])]
    assert run.drift(PictureSample.joined(parts)) == found
    with pytest.raises(UsageError, match="Expected at least 10 pictures"):
        run.drift(noise[:3])


@pytest.mark.parametrize("settings", [{"use_all": True}, {"folds": 3, "epochs": 1}])
def test_a_run_that_learned_from_all_says_that_it_cannot_tell(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    made = fit(SPLITS, replace(SHORT, **settings), folder=tmp_path / "run")
    assert not (tmp_path / "run" / REFERENCE).exists()
    with pytest.raises(UsageError, match="no picture was held out of the training that gave the weights"):
        made.novelty(SPLITS.test)
    facts = read_object(tmp_path / "run" / "model.json")["training"]["reference"]
    assert facts == {
        "training": 0,
        "held_out": 0,
        "reason": "no picture was held out of the training that gave the weights",
    }


def test_too_few_pictures_held_out_give_none(tmp_path: Path) -> None:
    splits = toy_splits()
    few = Splits(splits.train, splits.validation.subset(range(18)), splits.test)
    made = fit(few.train, few.validation, replace(SHORT, epochs=1), folder=tmp_path / "run")
    assert made.reference_fit == ReferenceFit(len(few.train), 18, "too few pictures")


@pytest.mark.parametrize("settings", [{"use_all": False}, {}, {"folds": 3, "use_all": False}])
def test_a_backbone_at_rest_tells_by_all_its_pictures(settings: dict[str, Any], tmp_path: Path) -> None:
    colour = toy_splits(120, channels=3)
    recipe: Recipe = replace(fast(72, (3, 16, 16), "lite0"), threads=1, precision="float32", **settings)
    made = fit(colour, recipe, folder=tmp_path / "run")
    assert isinstance(made.classifier.network, PretrainedNetwork)
    held_out = 120 if settings.get("folds") else len(colour.validation)
    reference = made.reference()
    assert len(reference.held_out) == held_out
    # No picture is its own neighbour, though it may be among those learned from.
    assert float(reference.held_out.distances.min()) > 1e-4
    answers, features = answers_and_features(made.classifier, colour.test.images)
    assert torch.equal(answers, made.classifier.predict(colour.test.images))
    torch.testing.assert_close(features, hidden_features(made.classifier, colour.test.images))


def test_several_labels_have_a_reference_too(tmp_path: Path) -> None:
    toys = toys_of_several_labels()
    made = fit(
        toys.subset(range(160)),
        toys.subset(range(160, 240)),
        replace(SHORT, epochs=1),
        folder=tmp_path / "run",
    )
    assert len(made.reference().held_out) == 80
    assert not made.drift(toys_of_several_labels(60, seed=1)).found


class Wide(nn.Module):
    """Scores straight from the pixels of three copies: its last layer takes (1, B, C H W)."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(256, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.dense(images.flatten(1)[None])[0]
        return scores


def test_a_network_whose_last_layer_cannot_be_read_is_trained_all_the_same(tmp_path: Path) -> None:
    made = fit(SPLITS, replace(SHORT, epochs=1), folder=tmp_path / "run", model=Wide())
    assert "its last hidden layer cannot be read" in made.reference_fit.reason
    with pytest.raises(UsageError, match="its last hidden layer cannot be read"):
        made.reference()


def test_a_reference_of_other_weights_is_refused(run: Run, tmp_path: Path) -> None:
    other = started(tmp_path / "run", recipe=replace(SHORT, seed=3))
    rewrite(other.folder / REFERENCE, (run.folder / REFERENCE).read_bytes())
    with pytest.raises(PellucidError, match="belongs to other weights"):
        other.reference()
