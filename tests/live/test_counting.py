"""What is counted on test pictures is what a plain loop finds; it stops in time, and is counted once."""

import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid.classifier import Classifier
from pellucid.data.dataset import Dataset
from pellucid.data.preprocess import Preprocess
from pellucid.live import counting
from pellucid.live.answers import Answerer, InvalidQuestion
from pellucid.live.counting import CHANNEL_QUESTION, ChannelCounter, ChannelQuestion
from pellucid.pad.section import Subject, class_balanced_order, drawing_section
from tests.networks import classifier
from tests.toys import toy_dataset


@pytest.fixture(scope="module")
def subject() -> Subject:
    toys = toy_dataset(90)
    made = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(96, 4)
    )
    torch.manual_seed(2)
    for weight in made.parameters():
        nn.init.normal_(weight, std=0.3)
    return Subject(Classifier(made.eval(), toys.classes, Preprocess(1, 16, 16), "plain"), "", test=toys)


@pytest.fixture
def counter(subject: Subject) -> ChannelCounter:
    return ChannelCounter(Answerer(subject.classifier), subject)


def statistics_of(counter: ChannelCounter, layer: int, channel: int) -> tuple[dict[str, Any], np.ndarray]:
    """What is told of a channel: the head, and the pictures (n, C, h, w)."""
    for _ in range(10_000):
        if not counter.step(layer, channel):
            break
    content = counter.statistics(layer, channel)
    (length,) = struct.unpack_from("<I", content)
    head = json.loads(content[4 : 4 + length])
    images = np.frombuffer(content, np.uint8, offset=4 + length)
    return head, images.reshape(head.get("shape", (0,)))


def in_order(subject: Subject) -> Dataset:
    assert subject.test is not None
    return subject.test.subset(class_balanced_order(subject.test))


def test_pictures_and_share_of_a_channel_are_those_of_a_plain_loop(
    subject: Subject, counter: ChannelCounter
) -> None:
    pictures = in_order(subject)
    network: Any = subject.classifier.network
    for place, stop in ((0, 1), (2, 3)):
        assert counter.answerer.layers[place].key == str(stop - 1)
        for channel in (0, 5):
            highest = [
                float(network[:stop](image[None].float() / 255)[0, channel].max())
                for image in pictures.images
            ]
            head, images = statistics_of(counter, place, channel)
            assert head["sample_size"] == 90
            order = sorted(range(90), key=lambda one: -highest[one])
            assert np.allclose([highest[one] for one in head["top"]], [highest[one] for one in order[:9]])
            assert np.allclose([highest[one] for one in head["low"]], [highest[one] for one in order[-9:]])
            assert head["excited"] == pytest.approx(sum(one > 0 for one in highest) / 90, abs=1e-4)
            for number, label, source, image in zip(
                head["places"], head["labels"], head["sources"], images, strict=True
            ):
                assert label == pictures.labels[number]
                assert source == pictures.sources[number]
                assert np.array_equal(image, pictures.images[number].numpy())
            assert {*head["top"], *head["low"], *head["random"]} == set(head["places"])
            assert len(head["random"]) == 9


def test_what_a_channel_is_worth_is_that_of_a_plain_loop(subject: Subject, counter: ChannelCounter) -> None:
    pictures = in_order(subject)
    network: Any = subject.classifier.network

    def share(channel: int | None) -> list[float]:
        hits: list[list[bool]] = [[] for _ in pictures.classes]
        for image, label in zip(pictures.images, pictures.labels.tolist(), strict=True):
            maps = network[:1](image[None].float() / 255)
            if channel is not None:
                maps[:, channel] = 0
            hits[label].append(int(network[1:](maps).argmax()) == label)
        whole = [hit for one in hits for hit in one]
        return [sum(whole) / len(whole), *(sum(one) / len(one) for one in hits)]

    before, changed = share(None), 0
    for channel in range(6):
        head, _ = statistics_of(counter, 0, channel)
        assert head["ablation_pictures"] == 90
        known = [round((after - one) * 1000) for one, after in zip(before, share(channel), strict=True)]
        assert head["accuracy_change"] == known
        changed += any(known)
    assert changed


def test_it_is_the_table_that_the_page_itself_carries(subject: Subject, counter: ChannelCounter) -> None:
    """Two ways to one table: torch counting when asked, and the lowered network when a page is made."""
    carried = drawing_section(subject).pad.channels["0"]
    for channel in range(6):
        head, _ = statistics_of(counter, 0, channel)
        for name in ("top", "low", "excited", "accuracy_change"):
            assert head[name] == getattr(carried, name)[channel]
        assert set(head["beyond_chance"]) <= set(carried.beyond_chance[channel])  # corrected no less
        assert head["tested_channels"] >= 6


def test_scales_reach_from_the_lowest_to_the_highest_value(subject: Subject, counter: ChannelCounter) -> None:
    while counter.step_pass():
        pass
    content = counter.scales()
    head = json.loads(content[4:])
    maps = subject.classifier.network[:1](in_order(subject).images.float() / 255)  # type: ignore[index]
    assert head["sample_size"] == 90
    assert head["scales"][0] == pytest.approx([float(maps.min()), float(maps.max())], rel=1e-3)
    assert len(head["scales"]) == len(counter.answerer.layers)


def test_counting_ends_when_its_time_is_spent_and_says_how_far_it_came(
    counter: ChannelCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "PASS_SECONDS", 0.0)
    monkeypatch.setattr(counting, "SWITCHED_OFF_SECONDS", 0.0)
    monkeypatch.setattr(counting, "SLICE_SECONDS", 0.0)  # one picture a slice
    head, _ = statistics_of(counter, 0, 1)
    assert head["sample_size"] == counting.MIN_PICTURES
    assert (head["ablation_pictures"], head["accuracy_change"]) == (
        1,
        None,
    )  # too few to say what it is worth


def test_a_channel_asked_again_is_not_counted_again(counter: ChannelCounter, monkeypatch: Any) -> None:
    first = statistics_of(counter, 0, 1)
    monkeypatch.setattr(counter.answerer, "scores", None)
    again = statistics_of(counter, 0, 1)
    assert first[0] == again[0]
    assert not counter.step(0, 1)


def test_switching_to_another_channel_halfway_gives_each_its_own(
    counter: ChannelCounter, monkeypatch: Any
) -> None:
    monkeypatch.setattr(counting, "SLICE_SECONDS", 0.0)
    while not counter.done:
        counter.step(0, 1)
    for channel in (1, 2, 1, 2):
        counter.step(0, channel)
    fresh = ChannelCounter(counter.answerer, counter.subject)
    for channel in (2, 1):
        assert (
            statistics_of(counter, 0, channel)[0]["accuracy_change"]
            == statistics_of(fresh, 0, channel)[0]["accuracy_change"]
        )


def test_large_pictures_are_shown_small_and_given_whole() -> None:
    toys = toy_dataset(40)
    images = nn.functional.interpolate(toys.images.float(), size=(100, 140)).to(torch.uint8)
    large = replace(toys, images=images)
    made = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)).eval()
    subject = Subject(Classifier(made, toys.classes, Preprocess(1, 100, 140), "plain"), test=large)
    counter = ChannelCounter(Answerer(subject.classifier), subject)
    head, shown = statistics_of(counter, 0, 2)
    assert shown.shape[1:] == (1, 46, 64)
    whole = np.frombuffer(counter.picture(head["top"][0]), np.uint8).reshape(1, 100, 140)
    assert np.array_equal(whole, large.images[class_balanced_order(large)[head["top"][0]]].numpy())
    with pytest.raises(InvalidQuestion):
        counter.picture(40)


def test_without_test_pictures_nothing_is_counted() -> None:
    one = classifier("tutorial")
    head, _ = statistics_of(ChannelCounter(Answerer(one), Subject(one)), 0, 0)
    assert head == {"sample_size": 0}


@pytest.mark.parametrize("pair", [(99, 0), (0, 6), (0, 65_535)])
def test_a_channel_that_is_not_there_is_refused(counter: ChannelCounter, pair: tuple[int, int]) -> None:
    with pytest.raises(InvalidQuestion):
        counter.step(*pair)


@pytest.mark.parametrize("body", [b"", bytes(CHANNEL_QUESTION.size - 1), bytes(CHANNEL_QUESTION.size + 1)])
def test_another_number_of_bytes_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidQuestion):
        ChannelQuestion.read(body)


def test_counting_changes_nothing_in_the_network(subject: Subject, counter: ChannelCounter) -> None:
    before: dict[str, Tensor] = {n: w.clone() for n, w in subject.classifier.network.state_dict().items()}
    statistics_of(counter, 0, 1)
    after = subject.classifier.network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(module._forward_hooks for module in subject.classifier.network.modules())
