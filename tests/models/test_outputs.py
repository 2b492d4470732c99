"""What the output of a network is, however it is written, and the scores in it."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.explanation import explain
from pellucid.models.outputs import Output, output_of

IMAGES = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(1))


@dataclass
class Record:
    """An output as a record."""

    logits: Tensor
    maps: Tensor


class Named(NamedTuple):
    """An output as a named tuple."""

    maps: Tensor
    scores: Tensor


class Ending(nn.Module):
    """A convolution and a linear layer; what the network puts out is made of its maps and scores."""

    def __init__(self, end: Callable[[Tensor, Tensor], Any], units: int = 4) -> None:
        super().__init__()
        self.conv, self.linear, self.end = nn.Conv2d(1, 3, 3), nn.Linear(48, units), end

    def scores(self, images: Tensor) -> Tensor:
        scores: Tensor = self.linear(self.conv(images).relu().flatten(1))
        return scores

    def forward(self, images: Tensor) -> Any:
        maps = self.conv(images).relu()
        return self.end(maps, self.linear(maps.flatten(1)))


def made(end: Callable[[Tensor, Tensor], Any], units: int = 4) -> Ending:
    torch.manual_seed(2)
    return Ending(end, units).eval()


ENDS: dict[str, tuple[Callable[[Tensor, Tensor], Any], str]] = {
    "scores": (lambda _, scores: scores, "logits"),
    "softmax": (lambda _, scores: scores.softmax(dim=1), "probabilities"),
    "functional softmax": (lambda _, scores: functional.softmax(scores, dim=-1), "probabilities"),
    "softmax in double precision": (lambda _, scores: scores.double().softmax(1).float(), "probabilities"),
    "softmax, reshaped": (lambda _, scores: scores.softmax(dim=1).view(len(scores), -1), "probabilities"),
    "log-softmax": (lambda _, scores: scores.log_softmax(dim=1), "log-probabilities"),
    "logarithm of a softmax": (lambda _, scores: scores.softmax(dim=1).log(), "log-probabilities"),
    "sigmoid": (lambda _, scores: torch.sigmoid(scores), "sigmoids"),
    "sigmoid in place": (lambda _, scores: scores.clone().sigmoid_(), "sigmoids"),
    "a tuple": (lambda maps, scores: (scores, maps), "logits"),
    "a tuple, scores last": (lambda maps, scores: (maps, scores.softmax(dim=1)), "probabilities"),
    "a dictionary": (lambda maps, scores: {"aux": -scores, "logits": scores, "maps": maps}, "logits"),
    "an ordered dictionary": (lambda maps, scores: OrderedDict(maps=maps, out=scores), "logits"),
    "a record": (lambda maps, scores: Record(scores, maps), "logits"),
    "a named tuple": (lambda maps, scores: Named(maps, scores.sigmoid()), "sigmoids"),
    "nested": (lambda maps, scores: {"out": [maps, scores]}, "logits"),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_scores_before_any_last_function_are_found(name: str) -> None:
    end, kind = ENDS[name]
    network = made(end)
    output = output_of(network, IMAGES)
    assert (output.kind, output.units) == (kind, 4)
    scores = network.scores(IMAGES)
    torch.testing.assert_close(output.scores(network, IMAGES), scores, atol=1e-5, rtol=1e-5)
    probabilities = scores.sigmoid() if kind == "sigmoids" else scores.softmax(dim=1)
    torch.testing.assert_close(output.probabilities(scores), probabilities)


@pytest.mark.parametrize("name", [name for name in ENDS if name not in ("sigmoid in place", "a record")])
@pytest.mark.parametrize("method", ["gradient x activation", "integrated gradients"])
def test_the_evidence_is_for_the_score_before_it(name: str, method: str) -> None:
    network, plain = made(ENDS[name][0]), made(ENDS["scores"][0])
    found, expected = EXPLAINERS[method](network, IMAGES, 2), EXPLAINERS[method](plain, IMAGES, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert expected.abs().max() > 0.01


def by_hand(maps: Tensor, scores: Tensor) -> Tensor:
    powers = (scores - scores.amax(dim=1, keepdim=True)).exp()
    return powers / powers.sum(dim=1, keepdim=True)


def test_a_softmax_written_out_by_hand_is_known_by_its_sums() -> None:
    network = made(by_hand)
    output = output_of(network, IMAGES)
    assert (output.kind, output.inside) == ("probabilities", False)
    scores = output.scores(network, IMAGES)
    torch.testing.assert_close(output.probabilities(scores), network(IMAGES))
    assert "the scores before them cannot be taken from it" in str(explain(network, IMAGES[0]).notes[0])


def test_scores_that_add_up_to_one_by_chance_are_still_scores() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 2, bias=False)).eval()
    image = torch.ones(1, 1, 6, 6)
    with torch.no_grad():
        network[1].weight.fill_(1 / 72)
    assert float(network(image).detach().sum()) == pytest.approx(1)
    assert output_of(network, image).kind == "logits"


@pytest.mark.parametrize(
    "inside",
    [
        lambda _, scores: scores.softmax(dim=1) * scores,
        lambda _, scores: scores.sigmoid() + scores,
        lambda _, scores: scores.softmax(dim=0),
    ],
)
def test_a_softmax_that_is_not_the_last_or_not_over_classes_is_part_of_the_scores(
    inside: Callable[[Tensor, Tensor], Tensor],
) -> None:
    network = made(inside)
    output = output_of(network, IMAGES)
    assert output.kind == "logits"
    torch.testing.assert_close(output.scores(network, IMAGES), network(IMAGES))


@pytest.mark.parametrize("end", [lambda _, scores: scores, lambda _, scores: scores[:, 0]])
def test_one_unit_is_a_yes_or_no_and_never_sure_by_itself(end: Callable[[Tensor, Tensor], Tensor]) -> None:
    network = made(end, units=1)
    explanation = explain(network, IMAGES[0], methods=["occlusion"])
    share = float(network.scores(IMAGES[:1]).detach().sigmoid())
    assert explanation.probabilities.tolist() == [pytest.approx(share, abs=1e-6)]
    assert 0.05 < share < 0.95
    assert explanation.sentence == f"its one output says {100 * share:.1f} %; evidence for it"
    assert "The network has one output" in str(explanation.notes[0])


def test_of_several_sigmoids_each_has_a_probability_of_its_own() -> None:
    network = made(lambda _, scores: scores.sigmoid())
    explanation = explain(network, IMAGES[0])
    torch.testing.assert_close(explanation.probabilities, network(IMAGES[:1])[0].detach())
    shares = explanation.probabilities
    given = [str(k) for k in shares.argsort(descending=True).tolist() if shares[k] >= 0.5]
    assert explanation.given == tuple(given)
    assert "ends in a sigmoid" in str(explanation.notes[0])


def test_two_parts_that_could_be_scores_are_refused_unless_the_classes_decide() -> None:
    both = made(lambda _, scores: (scores[:, :3], scores))
    with pytest.raises(UsageError, match=r"could be its scores: \[0\] \(1, 3\) and \[1\] \(1, 4\)"):
        output_of(both, IMAGES)
    assert output_of(both, IMAGES, units=4).place == (1,)
    with pytest.raises(UsageError, match=r"gives scores \(B, 7\) for 1 pictures; got \(1, 4\)"):
        output_of(made(ENDS["scores"][0]), IMAGES, units=7)
    with pytest.raises(UsageError, match="got NoneType"):
        output_of(made(lambda *_: None), IMAGES)


def test_a_view_after_a_convolution_gets_pictures_in_the_usual_memory_format() -> None:
    network = made(lambda maps, _: maps.view(maps.shape[0], -1))
    output = output_of(network, IMAGES)
    assert output == Output("logits", 48, layout=torch.contiguous_format)
    torch.testing.assert_close(output.scores(network, IMAGES), network.conv(IMAGES).relu().flatten(1))


@pytest.mark.parametrize("name", ["softmax", "log-softmax", "a tuple, scores last"])
def test_a_classifier_predicts_what_the_network_says(name: str) -> None:
    network = made(ENDS[name][0])
    classifier = Classifier(network, ("a", "b", "c", "d"), Preprocess(1, 6, 6), "own:Ending")
    torch.testing.assert_close(classifier.logits(IMAGES), network.scores(IMAGES).detach())
    torch.testing.assert_close(classifier.predict(IMAGES), network.scores(IMAGES).softmax(dim=1).detach())


def test_what_is_compiled_is_looked_into_as_it_was_written() -> None:
    body = made(ENDS["scores"][0])
    network = nn.Sequential(torch.compile(body, backend="eager"), nn.Softmax(dim=1)).eval()
    output = output_of(network, IMAGES)
    torch.testing.assert_close(output.scores(network, IMAGES), body.scores(IMAGES))


def test_a_function_that_takes_a_tensor_where_others_take_a_dimension_is_no_softmax() -> None:
    class Powers(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            means = images.mean((2, 3))
            return torch.clamp(means, torch.zeros(means.shape[1]), torch.ones(means.shape[1]))

    assert output_of(Powers(), torch.rand(1, 3, 4, 4)).kind == "logits"
