"""The margin of every training label is what the steps said, weighted by what the network knew, and free."""

import pytest
import torch

from pellucid.models import build
from pellucid.recipe import Recipe
from pellucid.training.loop import Progress, train
from pellucid.training.margins import Margins
from tests.toys import toy_splits


def test_the_mean_is_over_steps_weighted_by_how_well_their_batch_was_told_apart() -> None:
    margins = Margins.of(4)
    steps = [
        (torch.tensor([0, 2]), torch.tensor([1, 0]), torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.5]])),
        (torch.tensor([2, 0]), torch.tensor([0, 1]), torch.tensor([[1.0, 0.0, 4.0], [0.0, 6.0, 1.0]])),
    ]
    weights, sums = [], {0: 0.0, 2: 0.0}
    for indices, labels, logits in steps:
        margins.add(indices, labels, logits)
        margins.count()
        each = []
        for label, row in zip(labels.tolist(), logits.tolist(), strict=True):
            each.append(row[label] - max(value for k, value in enumerate(row) if k != label))
        weights.append(sum(value / (abs(value) + 2) for value in each) / len(each))
        for index, value in zip(indices.tolist(), each, strict=True):
            sums[index] += weights[-1] * value
    mean = margins.mean
    for index, total in sums.items():
        assert mean[index].item() == pytest.approx(total / sum(weights), rel=1e-6)
    assert mean[[1, 3]].isnan().all()  # never seen


def test_steps_of_a_network_that_knows_nothing_count_for_nothing() -> None:
    margins, indices, labels = Margins.of(2), torch.tensor([0, 1]), torch.tensor([0, 1])
    margins.add(indices, labels, torch.tensor([[0.0, 3.0], [3.0, 0.0]]))  # all of them wrong
    margins.count()
    assert margins.mean.isnan().all()
    margins.add(indices, labels, torch.tensor([[2.0, 0.0], [0.0, 2.0]]))
    assert margins.mean.tolist() == [2.0, 2.0]


def test_the_other_class_is_the_one_that_most_steps_name() -> None:
    margins, labels = Margins.of(2), torch.tensor([0, 0])
    for other in (1, 2, 2, 1, 2):
        logits = torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
        logits[:, other] += 1
        margins.add(torch.tensor([0, 1]), labels, logits)
        margins.count()
    assert margins.other.tolist() == [2, 2]


def test_a_picture_shown_twice_in_a_batch_counts_twice() -> None:
    margins = Margins.of(3)
    margins.add(torch.tensor([1, 1]), torch.tensor([0, 0]), torch.tensor([[4.0, 0.0], [2.0, 0.0]]))
    assert margins.mean[1].item() == 3.0


def test_it_does_not_matter_how_many_steps_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 7, (500,), generator=generator)
    kept = []
    for most in (0, 3_000, 1 << 21):
        monkeypatch.setattr("pellucid.training.margins.MOST_WAITING", most)
        generator.manual_seed(2)
        margins = Margins.of(500)
        for _ in range(3):
            for indices in torch.randperm(500, generator=generator).split(64):
                logits = torch.randn(len(indices), 7, generator=generator)
                logits[torch.arange(len(indices)), labels[indices]] += 1.5
                margins.add(indices, labels[indices], logits)
            margins.count()
        kept.append(margins.to_tensors())
    for others in kept[1:]:
        assert all(torch.equal(tensor, others[name]) for name, tensor in kept[0].items())


def test_training_keeps_them_for_one_class_each_and_not_of_mixed_pictures() -> None:
    splits = toy_splits()
    for augment, counted in (("none", True), ("mixup", False)):
        progress = Progress()
        network = build("tutorial", 1, 4, (16, 16), seed=1)
        for _ in train(
            network,
            splits.train,
            splits.validation,
            Recipe(epochs=8, batch_size=32, augment=augment),
            progress=progress,
        ):
            pass
        assert progress.margins is not None
        assert progress.margins.mean.isfinite().any() == counted


def test_a_progress_in_a_file_has_them() -> None:
    margins = Margins.of(3)
    margins.add(torch.tensor([1]), torch.tensor([0]), torch.tensor([[4.0, 0.0]]))
    tensors, values = Progress(margins=margins).to_tensors()
    again = Progress.from_tensors(tensors, values).margins
    assert again is not None
    assert all(torch.equal(tensor, again.to_tensors()[name]) for name, tensor in margins.to_tensors().items())
    assert Progress.from_tensors(*Progress().to_tensors()).margins is None
