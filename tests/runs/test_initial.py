"""What is called the untrained network of a run is the one that its training began with."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pellucid.models import build
from pellucid.runs.fit import fit
from pellucid.runs.initial import initial_network
from pellucid.runs.run import Run
from tests.runs.toy_runs import SHORT, SPLITS, TOYS, started

SPLITS_WITH_ORIGIN = replace(SPLITS, origin=TOYS)


def first_snapshot(run: Run) -> dict[str, torch.Tensor]:
    """The weights that the run kept before its first step, in 16 bits."""
    return next(dict(state) for _, step, state in run.snapshots() if step == 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return started(tmp_path_factory.mktemp("run"), recipe=replace(SHORT, seed=7))


def test_it_is_drawn_again_by_the_seed_of_the_run(run: Run) -> None:
    found = initial_network(run)
    assert found is not None
    assert (found.source, found.warm) == ("seed", False)
    weights = found.network.state_dict()
    for name, kept in first_snapshot(run).items():
        assert torch.equal(weights[name].half().float(), kept), name
    other = build(run.recipe.model, 1, 4, (16, 16), seed=0).state_dict()
    assert not torch.equal(other["conv1.weight"], weights["conv1.weight"])
    assert not torch.equal(run.classifier.network.state_dict()["conv1.weight"], weights["conv1.weight"])


def test_a_run_that_began_from_another_began_with_the_weights_of_that_one(run: Run, tmp_path: Path) -> None:
    later = fit(SPLITS_WITH_ORIGIN, SHORT, folder=tmp_path / "later", warm_start=run)
    found = initial_network(later)
    assert found is not None
    assert (found.source, found.warm) == ("snapshot", True)
    for name, weights in run.classifier.network.state_dict().items():
        assert torch.equal(weights.half().float(), found.network.state_dict()[name]), name
    assert (
        initial_network(fit(SPLITS_WITH_ORIGIN, SHORT, folder=tmp_path / "bare", warm_start=run, snapshots=0))
        is None
    )


def test_of_ones_own_network_it_is_what_the_run_kept(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 4))
    begun = {name: weights.clone() for name, weights in network.state_dict().items()}
    own = fit(SPLITS_WITH_ORIGIN, SHORT, folder=tmp_path / "own", model=network)
    found = initial_network(own)
    assert found is not None
    assert found.source == "snapshot"
    for name, weights in begun.items():
        assert torch.equal(weights.half().float(), found.network.state_dict()[name]), name


def test_a_pretrained_network_begins_with_its_published_weights(run: Run) -> None:
    """Built again as `fit` builds it: a new last layer by the seed, all else published."""
    read = replace(run.classifier.preprocess, channels=3, height=32, width=32)
    network = build("lite0", 3, 4, (32, 32), seed=7)
    classifier = replace(run.classifier, network=network, model="lite0", preprocess=read)
    found = initial_network(replace(run, classifier=classifier, recipe=replace(run.recipe, model="lite0")))
    assert found is not None
    assert found.source == "published"
    for name, weights in classifier.network.state_dict().items():
        assert torch.equal(weights, found.network.state_dict()[name]), name
