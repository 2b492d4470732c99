"""A border pixel, a brightness or a file that tells the class is warned of; plain pictures are not."""

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset, FileHeader, Origin, Splits
from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.shortcuts import Shortcuts, shortcuts, views_of
from tests.toys import toys_of_several_labels

SIDE = 16


def noise(draws: np.random.Generator, count: int = 400, classes: int = 2) -> Dataset:
    labels = torch.from_numpy(draws.permutation(np.arange(count) % classes))
    images = torch.from_numpy(draws.integers(0, 256, size=(count, 1, SIDE, SIDE), dtype=np.uint8))
    names = tuple("abcdefghij"[:classes])
    return Dataset(images, labels, names, [f"{number}.png" for number in range(count)])


def tried(
    dataset: Dataset, *, headers: tuple[FileHeader, ...] = (), accuracy: float = 0.95, folds: bool = False
) -> Shortcuts:
    half = len(dataset) // 2
    train, test = (dataset, dataset) if folds else (dataset[:half], dataset[half:])
    network = nn.Sequential(nn.Flatten(), nn.Linear(dataset.images[0].numel(), len(dataset.classes)))
    with torch.no_grad():
        network[1].weight.zero_()
    preprocess = Preprocess(dataset.channels, *dataset.size)
    classifier = Classifier(network.eval(), dataset.classes, preprocess, "none")
    wrong = torch.arange(len(test)) >= accuracy * len(test)
    answers = torch.where(wrong, (test.labels + 1) % len(test.classes), test.labels)
    evaluation = Evaluation(
        torch.eye(len(test.classes))[answers],
        test.labels,
        test.classes,
        test.sources,
        torch.arange(len(test)) % 4 if folds else None,
    )
    return shortcuts(classifier, Splits(train, test, test, Origin(headers=headers)), evaluation)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("coded", ["by value", "by place"])
def test_a_planted_border_pixel_is_found_and_plain_noise_is_not_warned_of(classes: int, coded: str) -> None:
    draws = np.random.default_rng(classes)
    for _ in range(4):
        plain = noise(draws, classes=classes)
        assert tried(plain).suspicious == []
        images = plain.images.clone()
        if coded == "by value":
            images[:, 0, 0, 5] = (plain.labels * 255 // (classes - 1)).to(torch.uint8)
        else:
            images[torch.arange(len(plain)), 0, SIDE - 1, plain.labels] = 255
            images[torch.arange(len(plain)), 0, SIDE - 1, plain.labels + 1] = 0
        planted = Dataset(images, plain.labels, plain.classes, plain.sources)
        found = tried(planted)
        assert [cue.name for cue in found.suspicious] == ["border"]
        assert "not proof" in found.verdict
        assert (tried(plain).remark, found.remark) == ("", found.verdict)
        assert found.to_json()["cues"]["border"]["suspicious"] is True


def test_brightness_and_files_that_tell_the_class_are_warned_of() -> None:
    plain = noise(np.random.default_rng(3))
    darker = torch.where(plain.labels[:, None, None, None] == 1, plain.images // 2, plain.images)
    dark = Dataset(darker, plain.labels, plain.classes, plain.sources)
    assert "colour" in {cue.name for cue in tried(dark).suspicious}
    headers = tuple(
        FileHeader(64, 48, "RGB", 1000 + 500 * label + number % 7, source)
        for number, (label, source) in enumerate(zip(plain.labels.tolist(), plain.sources, strict=True))
    )
    assert [cue.name for cue in tried(plain, headers=headers).suspicious] == ["files"]
    alike = tuple(header._replace(bytes=1000) for header in headers)
    found = tried(plain, headers=alike)
    assert found.suspicious == []
    files = next(cue for cue in found.cues if cue.name == "files")
    assert files.accuracy.value == found.chance.value  # nothing differs, so the commonest class is answered


def test_a_cue_far_below_the_network_is_told_but_not_warned_of() -> None:
    plain = noise(np.random.default_rng(4), 800)
    images = plain.images.clone()
    assert tried(plain, accuracy=0.5).suspicious == []  # nor beside a network that knows nothing
    half = torch.rand(800, generator=torch.Generator().manual_seed(0)) < 0.35
    images[half, 0, 0, 5] = (plain.labels[half] * 255).to(torch.uint8)
    found = tried(Dataset(images, plain.labels, plain.classes, plain.sources), accuracy=1)
    border = next(cue for cue in found.cues if cue.name == "border")
    assert border.accuracy.interval is not None
    assert border.accuracy.interval[0] > found.chance.value
    assert not border.suspicious


def test_views_replace_the_rest_by_the_mean() -> None:
    images = torch.randint(0, 256, (20, 3, 32, 40), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    views = views_of(images)
    mean = images.double().mean(dim=0).round().to(torch.uint8)
    assert torch.equal(views["border"][:, :, 2:-2, 2:-2], mean[:, 2:-2, 2:-2].expand(20, -1, -1, -1))
    assert torch.equal(views["border"][:, :, :2], images[:, :, :2])
    assert torch.equal(views["centre"][:, :, 2:-2, 2:-2], images[:, :, 2:-2, 2:-2])
    assert torch.equal(views["centre"][:, :, :, -2:], mean[:, :, -2:].expand(20, -1, -1, -1))


def test_of_small_pictures_the_border_is_left_out_with_the_reason() -> None:
    plain = noise(np.random.default_rng(5))
    small = Dataset(plain.images[:, :, :8, :8].clone(), plain.labels, plain.classes, plain.sources)
    found = tried(small)
    assert "44 % of them" in str(found.left_out["border"])
    assert "files of their own" in str(found.left_out["files"])


def test_of_folds_the_pictures_judged_are_not_learned_from() -> None:
    plain = noise(np.random.default_rng(6))
    found = tried(plain, folds=True)
    assert set((found.indices % 4).tolist()) == {0}
    assert found.learned == 300
    assert found.suspicious == []


def test_pictures_of_several_labels_or_of_one_class_are_refused() -> None:
    several = toys_of_several_labels(40)
    evaluation = Evaluation(torch.eye(2), torch.tensor([0, 1]), ("a", "b"), ["0", "1"])
    classifier = Classifier(nn.Flatten(), ("a", "b"), Preprocess(3, 16, 16), "none")
    with pytest.raises(UsageError, match="each picture has one class"):
        shortcuts(classifier, Splits(several, several, several), evaluation)
    plain = noise(np.random.default_rng(7), 40)
    with pytest.raises(UsageError, match="Too few pictures"):
        tried(Dataset(plain.images, plain.labels * 0, plain.classes, plain.sources))
