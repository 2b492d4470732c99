"""An explanation says what it explains, takes any module, and refuses what does not fit."""

import pytest
import torch
from torch import nn

from pellucid.classifier import Classifier
from pellucid.data.dataset import Splits
from pellucid.errors import UsageError
from pellucid.explanation.attribution import (
    EXPLAINERS,
)
from pellucid.explanation.explanation import explain, explain_each
from pellucid.models import build
from tests.networks import SmallResidual, seeded


def test_a_wrong_method_class_or_picture_is_refused() -> None:
    from pellucid.classifier import Classifier
    from pellucid.data.preprocess import Preprocess
    from tests.toys import toy_splits

    splits = toy_splits()
    size, classes = splits.train.size, splits.train.classes
    network = build("tutorial", 1, len(classes), size, seed=1)
    classifier = Classifier(network, classes, Preprocess(1, *size), "tutorial")
    image = splits.train.images[0]
    assert explain(classifier, image).probabilities.sum() == pytest.approx(1)
    with pytest.raises(UsageError, match="Unknown method 'grad cam'"):
        explain(classifier, image, methods=["grad cam"])
    with pytest.raises(UsageError, match=r"Expected a class from 0 to \d+; got 99"):
        explain(classifier, image, 99)
    with pytest.raises(UsageError, match="Expected pictures as uint8"):
        explain(classifier, image[:, :3])


def test_explain_takes_any_module_and_says_what_must_be_known() -> None:
    network = nn.Sequential(seeded(SmallResidual), nn.Softmax(dim=1))
    image = torch.randn(1, 8, 8)
    explanation = explain(network, image, methods=EXPLAINERS, against=0, target=1, layer="0.stem")
    torch.testing.assert_close(explanation.probabilities, network(image[None])[0].detach())
    assert explanation.classes == ("0", "1", "2")
    assert explanation.layer == "0.stem"
    assert explanation.image.dtype == torch.uint8
    assert "ends in a softmax. The evidence is for the score before it" in str(explanation.notes[0])
    assert "shown from its lowest to its highest" in str(explanation.notes[1])
    assert "evidence for 1 and not 0" in explanation.sentence
    assert set(explanation.to_json()["evidence"]) == set(EXPLAINERS)


def test_explain_refuses_what_does_not_fit(reader: Classifier, digits: Splits) -> None:
    image = digits.test.images[0]
    with pytest.raises(UsageError, match="Unknown class 'x'"):
        explain(reader, image, "x")
    with pytest.raises(UsageError, match="two different classes to compare; got '3' twice"):
        explain(reader, image, "3", against=3)
    with pytest.raises(UsageError, match="one picture"):
        explain(reader, digits.test.images[:2])
    with pytest.raises(UsageError, match=r"No layer 'conv3' in this network\. Its layers: conv1"):
        explain(reader, image, layer="conv3")
    assert explain(reader, image[None], "3").target == 3


def test_each_of_a_batch_is_explained_as_it_is_alone(reader: Classifier, digits: Splits) -> None:
    images = digits.test.images[:3]
    for network, given in ((reader, images), (reader.network, images.float() / 255)):
        together = explain_each(network, given, methods=["occlusion"], against=0, targets=[4, 5, 6])
        for one, image, target in zip(together, given, (4, 5, 6), strict=True):
            alone = explain(network, image, target, methods=["occlusion"], against=0)
            assert torch.equal(one.heatmaps["occlusion"], alone.heatmaps["occlusion"])
            assert (one.target, one.against) == (target, 0)
    assert [one.target for one in explain_each(reader, images, "7")] == [7, 7, 7]
    with pytest.raises(UsageError, match="one class for each of 3 pictures; got 2"):
        explain_each(reader, images, [1, 2])
    with pytest.raises(UsageError, match=r"Expected pictures \(N, C, H, W\)"):
        explain_each(reader, images[0])


def test_a_picture_without_evidence_is_said_to_have_none(reader: Classifier, digits: Splits) -> None:
    black = torch.zeros_like(digits.test.images[0])
    explanation = explain(reader, black, methods=["integrated gradients"])
    assert "no evidence, the map is zero everywhere" in explanation.caption("integrated gradients")
    html = explanation._repr_html_()
    assert "no evidence" in html
    assert html.count("data:image/png;base64,") == 2


def test_captions_print_place_scale_sum_and_caveat(reader: Classifier, digits: Splits) -> None:
    explanation = explain(reader, digits.test.images[0])
    caption = explanation.caption("gradient x activation")
    reach = float(explanation.heatmaps["gradient x activation"].abs().max())
    assert f"at conv2: scale -{reach:.3g} (against) to {reach:.3g} (for)" in caption
    assert "Coarse" in caption
