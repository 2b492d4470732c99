"""Training is exactly repeatable, can be stopped anywhere, and stops by itself before it does harm."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pellucid.data.dataset import Dataset
from pellucid.errors import PellucidError, UsageError
from pellucid.inference import scaled
from pellucid.models import build, resnet
from pellucid.recipe import Recipe
from pellucid.training import loop
from pellucid.training.loop import Epoch, Progress, Step, loss_and_accuracy, train
from pellucid.training.sampling import sample_order
from pellucid.training.schedule import learning_rate
from tests.toys import CLASSES, QUICK, economical, only_class, same_weights, toy_dataset, toy_splits

SPLITS = toy_splits()
CONSTANT = replace(QUICK, schedule="constant")


@pytest.fixture(autouse=True)
def cheaply() -> Iterator[None]:
    with economical():
        yield


def network(seed: int = 0) -> nn.Module:
    return build("tutorial", 1, len(CLASSES), (16, 16), seed=seed)


def trained(recipe: Recipe = QUICK, progress: Progress | None = None) -> tuple[nn.Module, list[Step | Epoch]]:
    model = network()
    return model, list(train(model, SPLITS.train, SPLITS.validation, recipe, progress=progress))


def epochs(events: list[Step | Epoch]) -> list[Epoch]:
    """The judged epochs, without the time they took."""
    return [replace(event, seconds=0.0) for event in events if isinstance(event, Epoch)]


def with_figures(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Judging finds these validation losses, one an epoch, whatever the network learned."""
    found = iter(losses)

    def judged(_: nn.Module, dataset: Dataset) -> tuple[float, float]:
        return (next(found), 0.5) if dataset is SPLITS.validation else (1.0, 0.5)

    monkeypatch.setattr(loop, "loss_and_accuracy", judged)


MUON = replace(QUICK, optimizer="muon", schedule="linear", precision="bfloat16")


@pytest.mark.parametrize("recipe", [QUICK, replace(QUICK, optimizer="adam", precision="bfloat16"), MUON])
def test_same_seed_gives_same_weights(recipe: Recipe) -> None:
    first, events = trained(recipe)
    torch.rand(17)  # what else is drawn in this process does not matter
    second, others = trained(recipe)
    assert same_weights(first, second)
    assert epochs(events) == epochs(others)


@pytest.mark.parametrize("change", [{"seed": 43}, {"learning_rate": 1e-3}, {"batch_size": 50}])
def test_another_choice_gives_other_weights(change: dict[str, Any]) -> None:
    assert not same_weights(trained()[0], trained(replace(QUICK, **change))[0])


def test_every_picture_is_seen_once_per_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    apply_augmentations = loop.apply_augmentations
    pictures = scaled(SPLITS.train.images)

    def noted(images: Tensor, *others: Any, **words: Any) -> Any:
        seen.append([int((pictures == image).flatten(1).all(dim=1).nonzero()[0]) for image in images])
        return apply_augmentations(images, *others, **words)

    monkeypatch.setattr(loop, "apply_augmentations", noted)
    trained(replace(QUICK, epochs=2, batch_size=50))
    count = len(SPLITS.train)
    assert [len(batch) for batch in seen] == 2 * [50, 50, count - 100]
    half = len(seen) // 2
    for part in (seen[:half], seen[half:]):
        assert Counter(index for batch in part for index in batch) == Counter(range(count))
    assert seen[:half] != seen[half:]


def test_events_come_in_order_and_count_from_one() -> None:
    _, events = trained(replace(QUICK, epochs=2, batch_size=50))
    seen = [(type(event).__name__, event.epoch, getattr(event, "step", 0)) for event in events]
    steps = [[("Step", n, 1), ("Step", n, 2), ("Step", n, 3), ("Epoch", n, 0)] for n in (1, 2)]
    assert seen == [*steps[0], *steps[1]]
    assert {event.steps for event in events if isinstance(event, Step)} == {3}
    seconds = [event.seconds for event in events if isinstance(event, Epoch)]
    assert 0 < seconds[0] < seconds[1]
    assert all(event.images_per_second > 0 for event in events if isinstance(event, Step))


@pytest.mark.parametrize("recipe", [QUICK, MUON])
def test_training_stopped_at_any_step_and_gone_on_with_ends_like_one_never_stopped(recipe: Recipe) -> None:
    whole, events = trained(recipe)
    for stop in range(len(events)):
        progress = Progress()
        model = network()
        for number, _ in enumerate(train(model, SPLITS.train, SPLITS.validation, recipe, progress=progress)):
            if number == stop:
                break
        tensors, facts = progress.to_tensors()
        copies = {name: tensor.clone() for name, tensor in tensors.items()}
        other = network(seed=9)  # its own first weights must not matter
        rest = list(
            train(
                other, SPLITS.train, SPLITS.validation, recipe, progress=Progress.from_tensors(copies, facts)
            )
        )
        assert len(rest) == len(events) - stop - 1, stop
        assert same_weights(other, whole), stop
        assert epochs(rest) == epochs(events[stop + 1 :]), stop


def test_whatever_gathers_or_draws_a_training_gone_on_with_ends_like_one_never_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Batch norm's statistics, augmentation, mixed targets and a sampler, all in play, stopped anywhere."""
    monkeypatch.setattr(resnet, "WIDTH_SMALL", 8)
    data = toy_splits(120, channels=3)
    ways = "turn,crop,flip,colour,erase,mixup,cutmix"
    recipe = replace(QUICK, model="resnet", epochs=2, batch_size=40, augment=ways, balance="sampler")

    def begun(seed: int = 0) -> nn.Module:
        return build("resnet", 3, len(CLASSES), (16, 16), seed=seed)

    whole = begun()
    events = list(train(whole, data.train, data.validation, recipe))
    for stop in range(len(events)):
        progress, model = Progress(), begun()
        for number, _ in enumerate(train(model, data.train, data.validation, recipe, progress=progress)):
            if number == stop:
                break
        tensors, facts = progress.to_tensors()
        copies = {name: tensor.clone() for name, tensor in tensors.items()}
        other, kept = begun(seed=9), Progress.from_tensors(copies, facts)
        rest = list(train(other, data.train, data.validation, recipe, progress=kept))
        assert same_weights(other, whole), stop
        assert epochs(rest) == epochs(events[stop + 1 :]), stop


def test_a_loss_that_is_no_number_leaves_what_batch_norm_gathered_as_it_was() -> None:
    data = toy_splits(120, channels=3)
    model = build("resnet", 3, len(CLASSES), (16, 16), seed=0)
    with torch.no_grad():
        model.get_parameter("dense.bias").fill_(math.nan)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with pytest.raises(PellucidError, match="the loss is nan"):
        list(train(model, data.train, data.validation, replace(QUICK, model="resnet")))
    assert before
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())


def test_pictures_to_choose_by_are_never_augmented(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    change = loop.apply_augmentations

    def noted(images: Tensor, *others: Any, **words: Any) -> Any:
        seen.append(images)
        return change(images, *others, **words)

    monkeypatch.setattr(loop, "apply_augmentations", noted)
    before = SPLITS.validation.images.clone()
    trained(replace(QUICK, augment="erase,shift", epochs=1))
    assert sum(map(len, seen)) == len(SPLITS.train)
    assert torch.equal(SPLITS.validation.images, before)


def test_every_step_of_every_epoch_has_draws_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    draws: list[int] = []
    change = loop.apply_augmentations

    def noted(*given: Any, generator: torch.Generator, **words: Any) -> Any:
        draws.append(generator.initial_seed())
        return change(*given, generator=generator, **words)

    monkeypatch.setattr(loop, "apply_augmentations", noted)
    trained(replace(QUICK, augment="flip"))
    assert len(draws) == len(set(draws)) == QUICK.epochs * -(-len(SPLITS.train) // QUICK.batch_size)


def test_augmentation_is_part_of_the_choice() -> None:
    assert not same_weights(trained()[0], trained(replace(QUICK, augment="shift"))[0])
    first, _, targets = loop.first_batch(SPLITS.train, replace(QUICK, augment="cutmix"))
    assert len(first) == QUICK.batch_size
    assert targets.shape == (QUICK.batch_size, len(CLASSES))


def test_the_same_progress_goes_on_after_a_break() -> None:
    whole, events = trained()
    for stop in (0, 3, 4, 6):
        progress, model = Progress(), network()
        for number, _ in enumerate(train(model, SPLITS.train, SPLITS.validation, QUICK, progress=progress)):
            if number == stop:
                break
        list(train(model, SPLITS.train, SPLITS.validation, QUICK, progress=progress))
        assert same_weights(model, whole), stop
        assert [replace(epoch, seconds=0.0) for epoch in progress.history] == epochs(events)


def test_a_break_leaves_the_best_weights_in_the_network() -> None:
    model, best = network(), None
    for event in train(model, SPLITS.train, SPLITS.validation, QUICK):
        if isinstance(event, Epoch) and event.epoch == 2:
            best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            assert event.best
        if isinstance(event, Step) and event.epoch == 3:
            break
    assert best is not None
    assert all(torch.equal(best[name], tensor) for name, tensor in model.state_dict().items())


def test_a_break_before_the_first_judgement_leaves_the_weights_reached() -> None:
    model = network()
    next(train(model, SPLITS.train, SPLITS.validation, QUICK))
    assert not same_weights(model, network())


def test_the_best_weights_come_back_though_later_epochs_were_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    with_figures(monkeypatch, [0.9, 0.5, 0.5, 0.7])
    model, kept = network(), {}
    for event in train(model, SPLITS.train, SPLITS.validation, replace(CONSTANT, epochs=4)):
        if isinstance(event, Epoch):
            kept[event.epoch] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            assert event.best == (event.epoch <= 2)  # an equal loss is no better one
    assert all(torch.equal(kept[2][name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("patience", "losses", "length"),
    [
        (1, [0.9, 0.8, 0.85, 0.1], 3),
        (2, [0.9, 0.8, 0.85, 0.84, 0.1], 4),
        (2, [0.9, 0.8, 0.85, 0.7, 0.75, 0.7, 0.1], 6),
        (3, [0.5, 0.6, 0.6, 0.6, 0.1], 4),
        (3, [0.5, 0.5, 0.5, 0.5, 0.1], 4),
        (0, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1], 7),
        (7, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], 7),
    ],
)
def test_patience_counts_epochs_without_a_lower_validation_loss(
    monkeypatch: pytest.MonkeyPatch, patience: int, losses: list[float], length: int
) -> None:
    with_figures(monkeypatch, losses)
    progress = Progress()
    recipe = replace(CONSTANT, epochs=7, patience=patience)
    _, events = trained(recipe, progress)
    assert len(epochs(events)) == length
    assert progress.finished(recipe)
    assert progress.best is not None
    assert progress.best.val_loss == min(losses[:length])
    assert trained(recipe, progress)[1] == []  # and a finished one does not go on


def test_the_schedule_is_what_the_updates_use() -> None:
    _, events = trained(replace(QUICK, epochs=2, batch_size=50))
    seen = [event.learning_rate for event in events if isinstance(event, Step)]
    recipe = replace(QUICK, epochs=2)
    assert seen == [learning_rate(recipe, step, 3) for step in range(6)]
    assert [event.learning_rate for event in epochs(events)] == [seen[2], seen[5]]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    "name", ["conv1.weight", "conv2.bias", "dense1.weight", "dense2.weight", "dense2.bias"]
)
def test_a_weight_that_is_no_number_stops_before_the_update(name: str, value: float) -> None:
    model = network()
    with torch.no_grad():
        model.get_parameter(name).view(-1)[0] = value
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(PellucidError, match=r"epoch 1, step 1: the loss is .* before the update") as caught:
        list(train(model, SPLITS.train, SPLITS.validation, QUICK))
    assert "Try a smaller `learning_rate`" in str(caught.value)
    assert caught.value.exit_code == 1
    after = model.state_dict()
    assert all(torch.equal(t.nan_to_num(7), after[key].nan_to_num(7)) for key, t in before.items())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_stops_before_the_update(value: float) -> None:
    model = network()
    model.get_parameter("conv2.weight").register_hook(lambda gradient: gradient * value)
    with pytest.raises(PellucidError, match=r"epoch 1, step 1: the loss is \d.* and its gradient (nan|inf)"):
        list(train(model, SPLITS.train, SPLITS.validation, QUICK))
    assert same_weights(model, network())


def test_weights_that_break_down_later_give_the_best_ones_back() -> None:
    model, best = network(), {}
    with pytest.raises(PellucidError, match=r"epoch 2, step 2.*kept are those of epoch 1, the best before"):
        for event in train(model, SPLITS.train, SPLITS.validation, QUICK):
            if isinstance(event, Epoch):
                best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            elif event.epoch == 2 and event.step == 1:
                with torch.no_grad():
                    model.get_parameter("dense2.bias").fill_(math.nan)
    assert best
    assert all(torch.equal(best[name], tensor) for name, tensor in model.state_dict().items())


def test_a_validation_loss_that_is_no_number_is_never_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    with_figures(monkeypatch, [0.5, math.nan, 0.1])
    model, best = network(), {}
    with pytest.raises(PellucidError, match="epoch 2, its end: the validation loss is nan"):
        for event in train(model, SPLITS.train, SPLITS.validation, QUICK):
            if isinstance(event, Epoch):
                best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert all(torch.equal(best[name], tensor) for name, tensor in model.state_dict().items())


def test_a_learning_rate_far_too_large_ends_in_finite_weights() -> None:
    model = network()
    recipe = replace(CONSTANT, learning_rate=1000.0, epochs=6, optimizer="adam")
    try:
        list(train(model, SPLITS.train, SPLITS.validation, recipe))
    except PellucidError as error:
        assert "smaller `learning_rate`" in str(error)  # noqa: PT017
    assert all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("end", ["finished", "stopped", "broken"])
def test_training_leaves_modes_random_state_and_threads_as_they_were(mode: bool, end: str) -> None:
    model = network().train(mode)
    model.dropout.train(not mode)  # type: ignore[operator, union-attr]
    if end == "broken":
        with torch.no_grad():
            model.get_parameter("dense2.bias").fill_(math.nan)
    modes = [module.training for module in model.modules()]
    torch.manual_seed(3)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    try:
        for event in train(model, SPLITS.train, SPLITS.validation, QUICK):
            assert torch.equal(torch.random.get_rng_state(), state)
            if end == "stopped" and isinstance(event, Epoch):
                break
    except PellucidError:
        assert end == "broken"
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_dropout_draws_anew_at_every_step_of_every_epoch() -> None:
    masks: list[Tensor] = []
    model = network()
    dropout = model.get_submodule("dropout")
    dropout.register_forward_pre_hook(lambda _, inputs: (torch.ones_like(inputs[0]),))
    dropout.register_forward_hook(
        lambda module, _, output: masks.append(output[:16] == 0) if module.training else None
    )
    list(train(model, SPLITS.train, SPLITS.validation, replace(QUICK, epochs=2)))
    assert len(masks) == 6
    assert 0.35 < float(torch.cat(masks).float().mean()) < 0.45
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(masks, 2))


def test_judging_is_the_mean_cross_entropy_and_the_share_recognised() -> None:
    model = network().eval()
    data = SPLITS.validation
    with torch.no_grad():
        logits = model(data.images / 255).double()
    expected = -logits.log_softmax(dim=1)[torch.arange(len(data)), data.labels].mean()
    loss, accuracy = loss_and_accuracy(model.train(), data)
    assert loss == pytest.approx(float(expected), rel=1e-5)
    assert accuracy == float((logits.argmax(dim=1) == data.labels).double().mean())
    assert model.training


def test_an_epochs_figures_are_those_of_its_final_weights() -> None:
    model = network()
    for event in train(model, SPLITS.train, SPLITS.validation, QUICK):
        if isinstance(event, Epoch):
            assert loss_and_accuracy(model, SPLITS.train) == pytest.approx(
                (event.loss, event.accuracy), rel=1e-6
            )
            assert loss_and_accuracy(model, SPLITS.validation) == (event.val_loss, event.val_accuracy)


def test_training_figures_of_a_large_set_are_those_of_a_fixed_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "TRAINING_SAMPLE", 40)
    model = network()
    watched = SPLITS.train.subset(sample_order(len(SPLITS.train), QUICK.seed, 0)[:40])
    for event in train(model, SPLITS.train, SPLITS.validation, QUICK):
        if isinstance(event, Epoch):
            assert loss_and_accuracy(model, watched) == pytest.approx((event.loss, event.accuracy), rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 1000])
def test_fewer_pictures_than_a_batch_and_batches_of_one_train(batch_size: int) -> None:
    few = SPLITS.train.subset(torch.arange(12))
    events = list(train(network(), few, SPLITS.validation, replace(QUICK, batch_size=batch_size, epochs=1)))
    assert len(events) == (13 if batch_size == 1 else 2)
    assert math.isfinite(epochs(events)[0].val_loss)


def test_what_cannot_be_trained_on_is_refused_with_a_way_out() -> None:
    model = network()
    nothing = SPLITS.train.subset(torch.empty(0, dtype=torch.int64))
    colour = toy_dataset(20, channels=3)
    renamed = Dataset(colour.images[:, :1], colour.labels, ("a", "b", "c", "d"), colour.sources)
    cases = {
        "at least two classes; got 36 pictures of box": (only_class(SPLITS.train, "box"), SPLITS.validation),
        "at least two classes; got 0 pictures of none": (nothing, SPLITS.validation),
        "No validation pictures beside 144 training ones": (SPLITS.train, nothing),
        r"validation pictures of \(C, H, W\) \(1, 16, 16\).*got \(3, 16, 16\)": (SPLITS.train, colour),
        "same classes in training and validation; got bar, box": (SPLITS.train, renamed),
    }
    for message, (train_set, validation_set) in cases.items():
        with pytest.raises(UsageError, match=message):
            next(train(model, train_set, validation_set, QUICK))
    assert same_weights(model, network())


def test_neither_train_nor_fit_could_be_given_a_test_set() -> None:
    import inspect

    from pellucid.runs.fit import fit, resume

    for function in (train, fit, resume):
        assert not any("test" in name for name in inspect.signature(function).parameters)


def test_label_smoothing_and_weight_decay_are_what_torch_makes_of_them() -> None:
    """Two updates written out by hand with torch.optim, dropout off, give the same weights."""
    recipe = replace(CONSTANT, label_smoothing=0.1, weight_decay=0.1, epochs=1, batch_size=72)
    ours, theirs = network(), network()
    for model in (ours, theirs):
        model.dropout.p = 0.0  # type: ignore[assignment, union-attr]
    list(train(ours, SPLITS.train, SPLITS.validation, recipe))
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=2e-3, weight_decay=0.1, eps=1e-7)
    for batch in sample_order(144, 42, 1).split(72):
        optimizer.zero_grad()
        scores = theirs(SPLITS.train.images[batch] / 255)
        nn.functional.cross_entropy(scores, SPLITS.train.labels[batch], label_smoothing=0.1).backward()
        optimizer.step()
    for name, tensor in ours.state_dict().items():
        assert torch.allclose(tensor, theirs.state_dict()[name], atol=1e-5), name
