"""On real digits: well-trained maps are believed, broken ones stamped, answers turned by a few edits."""

import os
from statistics import median
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.classifier import Classifier
from pellucid.data.dataset import Splits
from pellucid.data.preprocess import Preprocess
from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.counterfactual import small_change
from pellucid.explanation.explanation import DEFAULT_METHODS
from pellucid.explanation.faithfulness import edges, evaluate_maps
from pellucid.models import build
from pellucid.recipe import fast
from pellucid.report.evidence import count_affordable_pictures

pytestmark = [pytest.mark.mnist, pytest.mark.slow]

DATA = os.environ.get("PELLUCID_DATA")


def edges_of_the_picture(network: nn.Module, images: Tensor, target: Any, **_: Any) -> Tensor:
    """A broken method: it never asks the network."""
    return edges(images)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return pellucid.load("mnist", data_dir=DATA)


@pytest.fixture(scope="module")
def reader(splits: Splits) -> Classifier:
    """A network trained by the default recipe."""
    recipe = fast(len(splits.train))
    network = build(recipe.model, 1, 10, (28, 28), seed=recipe.seed)
    for _ in pellucid.train(network, splits.train, splits.validation, recipe):
        pass
    return Classifier(network.eval(), splits.train.classes, Preprocess(1, 28, 28), recipe.model)


def test_of_a_well_trained_network_the_default_method_is_believed_and_a_broken_one_is_not(
    reader: Classifier, splits: Splits
) -> None:
    methods = {**EXPLAINERS, "broken": edges_of_the_picture}
    counts = count_affordable_pictures(reader, splits.test)  # as many as the report takes
    pictures = {**counts, "broken": max(counts.values())}
    results = {
        test.method: test for test in evaluate_maps(reader, splits.test, methods, pictures=pictures).tests
    }
    assert results[DEFAULT_METHODS[0]].outcome == "passed", results[DEFAULT_METHODS[0]].sentence
    assert results["broken"].outcome == "failed"


def test_of_two_hundred_digits_nearly_all_are_turned_by_a_few_edits(
    reader: Classifier, splits: Splits
) -> None:
    found = [small_change(reader, image) for image in splits.test.images[:200]]
    turned = [one for one in found if one.confirmed]
    assert len(turned) >= 190
    answers = reader.predict(torch.stack([one.changed for one in turned])).argmax(dim=1).tolist()
    assert answers == [one.target for one in turned]
    assert median(one.amount for one in turned) < 20
