"""What is said to flip an answer flips it, and is small."""

from dataclasses import replace

import pytest
import torch

import pellucid
from pellucid.classifier import Classifier
from pellucid.data.dataset import Splits
from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from pellucid.explanation.counterfactual import counterfactuals, small_change
from pellucid.models import build
from tests.networks import unchanged


def test_nearly_every_digit_is_flipped_and_the_flip_confirmed(reader: Classifier, digits: Splits) -> None:
    ways = [small_change(reader, image) for image in digits.test.images[:20]]
    assert sum(way.confirmed for way in ways) >= 19
    for way in ways:
        assert int(reader.predict(way.image[None]).argmax()) == way.answer
        assert way.confirmed == (int(reader.predict(way.changed[None]).argmax()) == way.target != way.answer)
        assert torch.equal(way.after, reader.predict(way.changed[None])[0])
        difference = (way.changed.float() - way.image.float()).abs().sum() / 255
        assert way.amount == pytest.approx(float(difference))
    assert sorted(way.amount for way in ways)[10] < 16  # of 64 pixels


def test_every_dab_is_needed_and_leads_to_the_changed_picture(reader: Classifier, digits: Splits) -> None:
    way = small_change(reader, digits.test.images[3])
    assert {edit.kind for edit in way.edits} <= {"add", "erase"}
    reach = max(edit.radius for edit in way.edits) + 0.5
    rows, columns = torch.nonzero(way.changed[0] != way.image[0], as_tuple=True)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        assert any((row - edit.row) ** 2 + (column - edit.column) ** 2 <= reach**2 for edit in way.edits)
    name, wanted = way.classes[way.answer], way.classes[way.target]
    assert way.sentence.startswith(f"{name} -> {wanted}: ")
    assert "pixels changed; then" in way.sentence


def test_the_way_to_each_other_class_is_sought(reader: Classifier, digits: Splits) -> None:
    ways = counterfactuals(reader, digits.test.images[0])
    answer = ways[0].answer
    assert [way.target for way in ways] == [k for k in range(10) if k != answer]
    assert sum(way.confirmed for way in ways) >= 7
    assert counterfactuals(reader, digits.test.images[0], [answer]) == []
    assert [way.target for way in counterfactuals(reader, digits.test.images[0], [1, 2])] == [1, 2]
    with pytest.raises(UsageError, match="Expected a class from 0 to 9; got 10"):
        counterfactuals(reader, digits.test.images[0], [10])


def test_coloured_and_larger_pictures_are_covered_in_part() -> None:
    network = build("tutorial", 3, 4, (24, 32), seed=1)
    classifier = Classifier(network, ("a", "b", "c", "d"), Preprocess(3, 24, 32), "tutorial")
    image = torch.randint(0, 256, (3, 24, 32), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    way = small_change(classifier, image)
    assert {edit.kind for edit in way.edits} <= {"cover"}
    assert way.changed.shape == image.shape
    assert way.confirmed == (int(classifier.predict(way.changed[None]).argmax()) == way.target)


def test_an_answer_that_cannot_be_changed_is_said_so(reader: Classifier, digits: Splits) -> None:
    network = build("tutorial", 1, 10, (8, 8), seed=1)
    torch.nn.init.zeros_(network.get_parameter("dense2.weight"))
    torch.nn.init.constant_(network.get_parameter("dense2.bias")[3:4], 1.0)
    stubborn = replace(reader, network=network)
    way = small_change(stubborn, digits.test.images[0])
    assert not way.confirmed
    assert way.amount == 0
    assert torch.equal(way.changed, way.image)
    assert "no change of up to 12 dots was found" in way.sentence
    coloured = replace(way, image=way.image.expand(3, -1, -1))  # covered, not drawn on
    assert "no change of up to 6 covered regions was found" in coloured.sentence


def test_network_and_picture_are_afterwards_as_before(reader: Classifier, digits: Splits) -> None:
    image = digits.test.images[0].clone()
    reader.network.train()
    with unchanged(reader.network, image):
        small_change(reader, image)
    reader.network.eval()


@pytest.mark.mnist
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_of_200_mnist_digits_95_in_100_are_flipped() -> None:
    splits = pellucid.load("mnist")
    run = pellucid.fit(splits.train, splits.validation)
    ways = [small_change(run.classifier, image) for image in splits.test.images[:200]]
    assert sum(way.confirmed for way in ways) >= 190
