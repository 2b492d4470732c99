"""The order of pictures follows from the seed, and uneven classes can be made to count alike."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from pellucid.data.dataset import Dataset
from pellucid.errors import UsageError
from pellucid.models import build
from pellucid.recipe import Recipe
from pellucid.training.loop import loss_and_accuracy, train
from pellucid.training.sampling import (
    balanced_order,
    class_weights,
    sample_order,
    seeded_random_numbers,
    stratified_order,
)
from tests.toys import CLASSES, QUICK, economical, only_class, same_weights, toy_dataset

LABELS = torch.tensor([0] * 90 + [1] * 30 + [3] * 4)


@pytest.fixture(autouse=True)
def cheaply() -> Iterator[None]:
    with economical():
        yield


def uneven(count: int, *, seed: int) -> Dataset:
    """Toys of which only every twelfth box, cross or post is left."""
    toys = toy_dataset(count, seed=seed)
    kept = [n for n, label in enumerate(toys.labels.tolist()) if label == 0 or (n // 4) % 12 == 0]
    return toys.subset(torch.tensor(kept))


def order(epoch: int, seed: int = 1) -> Tensor:
    return balanced_order(LABELS, seed, epoch)


def test_a_balanced_order_shows_every_class_alike_and_every_rare_picture_as_often() -> None:
    for epoch in range(1, 5):
        seen = order(epoch)
        assert len(seen) == len(LABELS)
        counts = torch.bincount(LABELS[seen], minlength=4).tolist()
        assert counts[2] == 0
        assert max(counts) - min(c for c in counts if c) <= 1
        times = Counter(seen.tolist())
        rare = [times[index] for index in range(120, 124)]
        assert max(rare) - min(rare) <= 1
        assert max(times[index] for index in range(90)) == 1


def test_a_balanced_order_is_a_function_of_labels_seed_and_epoch_alone() -> None:
    first, state = order(3), torch.random.get_rng_state()
    torch.rand(5)
    torch.random.set_rng_state(state)
    assert torch.equal(order(3), first)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(order(4), first)
    assert not torch.equal(order(3, seed=2), first)


def test_over_the_epochs_every_common_picture_has_its_turn() -> None:
    seen = {index for epoch in range(1, 12) for index in order(epoch).tolist()}
    assert seen == set(range(len(LABELS)))


def test_class_weights_are_scikit_learns_and_one_on_average() -> None:
    shown = [0, 1, 3]
    expected = compute_class_weight("balanced", classes=torch.tensor(shown).numpy(), y=LABELS.numpy())
    weights = class_weights(LABELS, 4)
    assert torch.allclose(weights[shown].double(), torch.tensor(expected))
    assert weights[2] == 0
    assert float(weights[LABELS].mean()) == pytest.approx(1)


def test_even_classes_are_weighted_one() -> None:
    assert torch.equal(class_weights(torch.arange(12) % 4, 4), torch.ones(4))


@pytest.mark.parametrize("balance", ["weights", "sampler"])
def test_a_balanced_training_recognises_more_of_the_rare_classes(balance: str) -> None:
    recalls = {}
    data, even = uneven(480, seed=0), toy_dataset(120, seed=5)
    rare = torch.nonzero(even.labels != 0)[:, 0]
    for way in ("none", balance):
        network = build("tutorial", 1, len(CLASSES), (16, 16), seed=0)
        recipe = replace(QUICK, balance=way, epochs=8, learning_rate=2e-3, batch_size=32)
        list(train(network, data, data, recipe))
        recalls[way] = loss_and_accuracy(network, even.subset(rare))[1]
    assert recalls[balance] > recalls["none"] + 0.05


def test_weights_of_even_classes_change_nothing() -> None:
    data = toy_dataset(64)
    networks = []
    for way in ("none", "weights"):
        network = build("tutorial", 1, len(CLASSES), (16, 16), seed=0)
        list(train(network, data, data, Recipe(balance=way, epochs=1, threads=1, precision="float32")))
        networks.append(network)
    assert same_weights(*networks)


def test_one_class_alone_is_still_refused_when_balanced() -> None:
    from pellucid.errors import UsageError

    data = only_class(toy_dataset(40), "box")
    with pytest.raises(UsageError, match="at least two classes"):
        network = build("tutorial", 1, len(CLASSES), (16, 16), seed=0)
        list(train(network, data, data, replace(QUICK, balance="sampler")))


def test_sample_order_is_a_function_of_seed_and_epoch_alone() -> None:
    order = sample_order(1000, 42, 3)
    torch.manual_seed(1)
    torch.rand(5)
    assert torch.equal(sample_order(1000, 42, 3), order)
    assert sorted(order.tolist()) == list(range(1000))
    others = [sample_order(1000, 42, 4), sample_order(1000, 43, 3), sample_order(1000, -42, 3)]
    assert not any(torch.equal(order, other) for other in others)
    assert not torch.equal(sample_order(1000, 3, 42), order)


def test_sample_order_is_the_one_it_has_always_been() -> None:
    assert sample_order(8, 42, 1).tolist() == [6, 7, 0, 2, 4, 3, 1, 5]


def test_random_numbers_drawn_from_a_seed_leave_the_others_alone_even_after_an_error() -> None:
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    drawn: list[Tensor] = []
    for numbers in ((1, 2, 3), (1, 2, 3), (1, 2, 4), (12, 3, 0)):
        with seeded_random_numbers(*numbers):
            drawn.append(torch.rand(4))
    with pytest.raises(ValueError, match="x"), seeded_random_numbers(1):
        raise ValueError("x")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(drawn[0], drawn[1])
    assert len({tuple(values.tolist()) for values in drawn}) == 3


def test_a_rare_label_weighs_as_much_where_it_is_present_as_where_it_is_not() -> None:
    labels = torch.tensor([[True, True], [False, True], [False, False], [False, False]])
    weights = class_weights(labels, 2)
    assert (weights * labels.sum(dim=0)).tolist() == (~labels).sum(dim=0).tolist()


def test_classes_are_not_dealt_out_where_pictures_have_several() -> None:
    with pytest.raises(UsageError, match="Expected `balance=weights`, which counts a rare label more"):
        balanced_order(torch.ones(4, 2, dtype=torch.bool), 0, 1)


def test_a_sample_has_every_class_in_its_share_however_the_pictures_are_sorted() -> None:
    labels = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)  # a folder, class after class
    images = torch.zeros(1000, 1, 2, 2, dtype=torch.uint8)
    dataset = Dataset(images, labels, ("a", "b", "c"), [str(n) for n in range(1000)])
    order = stratified_order(dataset, seed=1)
    assert sorted(order.tolist()) == list(range(1000))
    for part in (order[:100], order[300:400], order[900:]):
        counts = torch.bincount(labels[part], minlength=3)
        assert (counts - torch.tensor([60, 30, 10])).abs().max() <= 1
    assert torch.equal(order, stratified_order(dataset, seed=1))
    assert not torch.equal(order, stratified_order(dataset, seed=2))
