"""Maps are tested before they are believed: the tests tell good ones from bad ones."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from pellucid.classifier import Classifier
from pellucid.data.dataset import Splits
from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from pellucid.explanation import faithfulness
from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.faithfulness import (
    edges,
    empty_picture,
    evaluate_maps,
    maps_of_others,
    randomised,
    rank_correlation,
)
from pellucid.explanation.outcomes import OF_ANOTHER
from pellucid.models import build
from pellucid.recipe import Recipe
from pellucid.training.loop import train
from tests.toys import toy_splits
from tests.wrong_methods import WRONG, class_average_of

SPLITS = toy_splits(600)


def untrained() -> Classifier:
    size, classes = SPLITS.train.size, SPLITS.train.classes
    network = build("tutorial", 1, len(classes), size, seed=1)
    return Classifier(network, classes, Preprocess(1, *size), "tutorial")


@pytest.fixture(scope="module")
def trained() -> Classifier:
    classifier = untrained()
    for _ in train(classifier.network, SPLITS.train, SPLITS.validation, Recipe(epochs=8, batch_size=32)):
        pass
    return classifier


def edges_of_the_picture(network: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """A broken method: it never asks the network."""
    return edges(images)


def test_of_a_network_that_guesses_nothing_is_believed() -> None:
    result = evaluate_maps(untrained(), SPLITS.test, EXPLAINERS, pictures=8)
    assert result.verdict.startswith("Not to be believed")
    assert {test.outcome for test in result.tests} == {"failed"}


def test_a_method_that_does_not_ask_the_network_is_stamped(trained: Classifier) -> None:
    result = evaluate_maps(trained, SPLITS.test, {"edges": edges_of_the_picture}, pictures=16)
    assert result.knowing == "passed"
    assert [test.outcome for test in result.tests] == ["failed"]
    assert result.tests[0].correlation == pytest.approx(1)
    assert "not to be believed" in result.tests[0].sentence


def test_each_method_is_tested_on_its_own_number_of_pictures(trained: Classifier) -> None:
    methods = {name: EXPLAINERS[name] for name in ("gradient x activation", "grad-cam", "smoothgrad")}
    counts = {"gradient x activation": 16, "grad-cam": 8, "smoothgrad": 0}
    result = evaluate_maps(trained, SPLITS.test, methods, pictures=counts, most=counts, seed=3)
    assert {test.method: test.pictures for test in result.tests} == {
        name: counts[name] for name in counts if counts[name]
    }
    assert (result.pictures, result.left_out) == (16, ("smoothgrad",))
    passed = replace(result, tests=tuple(replace(test, outcome="passed") for test in result.tests))
    assert " passed on up to 16 pictures: " in passed.verdict
    fewer = {**counts, "grad-cam": 0}
    alone = evaluate_maps(trained, SPLITS.test, methods, pictures=fewer, most=fewer, seed=3)
    assert alone.tests[0] == result.tests[0]


def test_a_large_network_is_explained_few_pictures_at_once(
    trained: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gradient keeps every layer's output: of nine pictures at 256 pixels that was half a gigabyte."""
    sizes = list[int]()

    def counted(network: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        sizes.append(len(images))
        return edges(images) * (1 + target[:, None, None])  # each picture with its own class

    whole = evaluate_maps(trained, SPLITS.test, {"counted": counted}, pictures=9)
    sizes.clear()
    monkeypatch.setattr(faithfulness, "batch_size", lambda network, images: 4)
    assert evaluate_maps(trained, SPLITS.test, {"counted": counted}, pictures=9).tests[0].leads[
        1
    ].mean == pytest.approx(whole.tests[0].leads[1].mean, abs=1e-6)
    assert max(sizes) == 4


def test_deletion_and_insertion_count_the_whole_and_the_empty_picture(trained: Classifier) -> None:
    six = SPLITS.test.subset(list(range(6)))
    result = evaluate_maps(trained, six, {"no map": lambda _, images, __: images[:, 0] * 0})
    whole = six.images.float() / 255
    empty = empty_picture(whole).expand_as(whole)
    answers = trained.predict(whole)
    ends = torch.stack([answers, trained.predict(empty)])[:, range(6), answers.argmax(dim=1)].sum(dim=0)
    least, most = float(ends.mean()) / 13, (float(ends.mean()) + 11) / 13
    assert least <= result.tests[0].deletion <= most
    assert least <= result.tests[0].insertion <= most


def test_the_same_seed_gives_the_same_verdict_and_leaves_everything_as_it_was(trained: Classifier) -> None:
    before = [weight.clone() for weight in trained.network.parameters()]
    state = torch.get_rng_state()
    methods = {"gradient x activation": EXPLAINERS["gradient x activation"]}
    first = evaluate_maps(trained, SPLITS.test, methods, pictures=8, seed=3)
    assert evaluate_maps(trained, SPLITS.test, methods, pictures=8, seed=3) == first
    assert all(torch.equal(a, b) for a, b in zip(before, trained.network.parameters(), strict=True))
    assert torch.equal(state, torch.get_rng_state())


def test_integrated_gradients_add_up_to_the_difference_of_scores(trained: Classifier) -> None:
    images = SPLITS.test.images[:8].float() / 255
    with torch.no_grad():
        difference = trained.network.eval()(images)[:, 1] - trained.network(torch.zeros_like(images))[:, 1]
    heat = EXPLAINERS["integrated gradients"](trained.network, images, 1)
    largest = difference.abs().max()
    assert (heat.sum(dim=(1, 2)) - difference).abs().max() < 0.01 * largest


def test_against_explains_the_difference_of_two_scores(trained: Classifier) -> None:
    images = SPLITS.test.images[:4].float() / 255
    method = EXPLAINERS["gradient x activation"]
    both = method(trained.network, images, 0, against=1)
    torch.testing.assert_close(both, method(trained.network, images, 0) - method(trained.network, images, 1))


def test_grad_cam_equals_that_of_captum(trained: Classifier) -> None:
    captum = pytest.importorskip("captum.attr")
    images = SPLITS.test.images[:3].float() / 255
    network = trained.network.eval()
    theirs = captum.LayerGradCam(network, network.get_submodule("pool2")).attribute(images, target=1)
    ours = EXPLAINERS["grad-cam"](network, images, 1, layer="pool2")
    torch.testing.assert_close(ours, theirs[:, 0].detach(), atol=1e-5, rtol=0)


def test_of_networks_with_shuffled_labels_or_random_weights_no_map_is_believed(
    misled: Classifier, untaught: Classifier, reader: Classifier, digits: Splits
) -> None:
    shuffled = replace(reader, network=randomised(reader.network, seed=4))
    for classifier in (misled, untaught, shuffled):
        result = evaluate_maps(classifier, digits.test, EXPLAINERS, pictures=8)
        assert result.knowing == "failed"
        assert "hardly better than guessing" in result.verdict
        assert {test.outcome for test in result.tests} == {"failed"}
        assert all("not to be believed" in test.sentence for test in result.tests)


def test_a_network_that_reads_has_maps_that_pass(reader: Classifier, digits: Splits) -> None:
    methods = {name: EXPLAINERS[name] for name in ("integrated gradients", "smoothgrad")}
    result = evaluate_maps(reader, digits.test, {**methods, "edges": edges_of_the_picture})
    results = {test.method: test for test in result.tests}
    assert results["integrated gradients"].outcome == results["smoothgrad"].outcome == "passed"
    assert results["edges"].outcome == "failed"
    assert results["integrated gradients"].gap is not None
    assert results["integrated gradients"].gap < 0.01
    assert results["smoothgrad"].gap is None
    assert result.verdict.startswith("2 of 3 methods passed on ")
    assert result.to_json()["tests"][0]["leads"][0]["rival"] == "random"


def test_a_map_that_does_not_add_up_is_stamped(reader: Classifier, digits: Splits) -> None:
    def doubled(*arguments: Any, **options: Any) -> Tensor:
        return 2 * EXPLAINERS["integrated gradients"].function(*arguments, **options)

    broken = EXPLAINERS["integrated gradients"]._replace(function=doubled)
    result = evaluate_maps(reader, digits.test, {"doubled": broken}, pictures=8)
    assert "8 of 8 maps miss the sum they must have by more than 1.0 %" in result.tests[0].sentence
    assert result.tests[0].outcome == "failed"


def test_a_map_of_nothing_is_stamped(reader: Classifier, digits: Splits) -> None:
    def nothing(network: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        return torch.zeros(len(images), 4, 4)

    result = evaluate_maps(reader, digits.test, {"nothing": nothing}, pictures=8)
    assert "it finds no evidence at all" in result.tests[0].sentence
    with pytest.raises(UsageError, match="No pictures to test maps on"):
        evaluate_maps(reader, digits.test.subset(torch.arange(0)), {})


def test_random_weights_are_the_same_numbers_elsewhere(reader: Classifier) -> None:
    before = {name: weight.clone() for name, weight in reader.network.named_parameters()}
    copy = randomised(reader.network, seed=1)
    for name, weight in copy.named_parameters():
        assert torch.equal(weight.flatten().sort().values, before[name].flatten().sort().values)
        assert weight.numel() < 20 or not torch.equal(weight, before[name])
    assert all(torch.equal(weight, before[name]) for name, weight in reader.network.named_parameters())


def test_rank_correlation_is_spearmans() -> None:
    generator = torch.Generator().manual_seed(3)
    first = torch.randint(0, 6, (4, 5, 5), generator=generator)  # with ties
    second = first + torch.randint(0, 9, (4, 5, 5), generator=generator)
    ours = rank_correlation(first, second)
    expected = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(first, second, strict=True)]
    assert ours.tolist() == pytest.approx(expected)
    assert rank_correlation(torch.zeros(1, 9), torch.rand(1, 9)).item() == 0


def test_each_map_meets_that_of_another_picture_with_its_target() -> None:
    maps = torch.arange(5.0)[:, None, None].expand(5, 2, 2)
    others = maps_of_others(maps, torch.tensor([1, 0, 1, 2, 1]))[:, 0, 0]
    assert others[[0, 2, 4]].tolist() == [4, 0, 2]
    assert others[[1, 3]].isnan().all()


@pytest.mark.parametrize("name", WRONG)
def test_of_a_network_that_reads_no_wrong_method_is_believed(
    name: str, reader: Classifier, digits: Splits
) -> None:
    for seed in range(3):
        result = evaluate_maps(reader, digits.test, {name: WRONG[name]}, pictures=48, seed=seed)
        assert result.tests[0].outcome == "failed", result.tests[0].sentence


def test_a_map_that_is_the_same_for_every_picture_of_a_class_is_not_believed(
    reader: Classifier, digits: Splits
) -> None:
    average = class_average_of(digits.train.images[:200].float() / 255)
    result = evaluate_maps(reader, digits.test, {"average": average}, pictures=64)
    leads = {lead.rival: lead.mean for lead in result.tests[0].leads}
    assert leads["ink"] > 0.1  # all other rivals are beaten
    assert leads[OF_ANOTHER] == 0
    assert f"matter no more than {OF_ANOTHER}" in result.tests[0].sentence
    assert result.tests[0].outcome == "failed"


class Standardising(nn.Module):
    """Divides by the standard deviation of a picture: an empty one becomes NaN."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        mean, spread = images.mean(dim=(1, 2, 3), keepdim=True), images.std(dim=(1, 2, 3), keepdim=True)
        scores: Tensor = self.network(images + 0 * (images - mean) / spread)
        return scores


def test_of_a_network_that_is_nan_on_an_empty_picture_nothing_passes(
    reader: Classifier, digits: Splits
) -> None:
    odd = replace(reader, network=Standardising(reader.network).eval())
    methods = {**EXPLAINERS, "noise": WRONG["random noise"]}
    result = evaluate_maps(odd, digits.test, methods, pictures=16)
    assert result.knowing == "passed"
    for test in result.tests:
        assert test.outcome == "failed", test.method
        assert "are no numbers" in test.sentence


def test_maps_that_are_no_numbers_fail(reader: Classifier, digits: Splits) -> None:
    def nan_once(network: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        maps = EXPLAINERS["smoothgrad"](network, images, target)
        maps[0, 0, 0] = math.nan
        return maps

    result = evaluate_maps(reader, digits.test, {"nan": nan_once}, pictures=16)
    assert result.tests[0].outcome == "failed"
    assert "are no numbers" in result.tests[0].sentence


def test_while_a_method_is_undecided_more_pictures_are_drawn(reader: Classifier, digits: Splits) -> None:
    methods = {"smoothgrad": EXPLAINERS["smoothgrad"]}
    few = evaluate_maps(reader, digits.test, methods, pictures=4, most=4)
    assert few.tests[0].outcome == "undecided"
    assert few.verdict == "Not to be believed: no method passed its tests. Undecided: smoothgrad."
    assert few.tests[0].sentence.startswith("smoothgrad: undecided: it is not certain that it depends on")
    more = evaluate_maps(reader, digits.test, methods, pictures=4, most=256)
    assert more.tests[0].outcome == "passed"
    assert 4 < more.tests[0].pictures == more.pictures <= 256
    assert {lead.rival for lead in more.tests[0].leads} == {"random", "edges", "ink", OF_ANOTHER}


def test_drawing_more_pictures_gives_what_drawing_them_at_once_gives(
    reader: Classifier, digits: Splits
) -> None:
    methods = {"smoothgrad": EXPLAINERS["smoothgrad"]}
    stepwise = evaluate_maps(reader, digits.test, methods, pictures=4, most=256).tests[0]
    at_once = evaluate_maps(reader, digits.test, methods, pictures=stepwise.pictures).tests[0]
    assert stepwise.deletion == pytest.approx(at_once.deletion, abs=1e-5)
    assert stepwise.leads[0].mean == pytest.approx(at_once.leads[0].mean, abs=1e-5)
    assert stepwise.correlation == pytest.approx(at_once.correlation, abs=1e-5)
