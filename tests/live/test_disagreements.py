"""Pictures on which runs disagree are found, and only among runs that can be compared."""

import base64
from dataclasses import replace

import torch

from pellucid.data.preprocess import Preprocess
from pellucid.live.disagreements import disputed
from pellucid.models import build
from pellucid.pad.section import Subject
from tests.networks import classifier
from tests.toys import toy_dataset


def test_pictures_on_which_runs_disagree_are_found() -> None:
    toys = toy_dataset(60)
    one = replace(classifier("tutorial"), classes=toys.classes, preprocess=Preprocess(1, 16, 16))
    two = [replace(one, network=build("tutorial", 1, 4, (16, 16), seed=seed).eval()) for seed in (1, 2)]
    found = disputed([Subject(each, "toys", test=toys) for each in two])
    assert found is not None
    answers = [each.predict(toys.images).argmax(dim=1) for each in two]
    assert (found.sample_size, found.disagreements) == (60, int((answers[0] != answers[1]).sum()))
    assert found.disagreements > 0
    shown = torch.frombuffer(bytearray(base64.b64decode(found.pictures)), dtype=torch.uint8)
    for image, said in zip(shown.reshape(-1, 1, 16, 16), found.answers, strict=True):
        assert said == [int(each.predict(image[None]).argmax()) for each in two]
        assert said[0] != said[1]


def test_runs_that_cannot_be_compared_are_not() -> None:
    toys = toy_dataset(20)
    one = Subject(replace(classifier("tutorial"), classes=toys.classes), "toys", test=toys)
    assert disputed([one]) is None
    assert disputed([one, Subject(classifier("tutorial"), "toys", test=toys)]) is None
    assert disputed([replace(one, test=None)] * 2) is None
