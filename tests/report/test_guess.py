"""A reader guesses the hardest pictures, each with the prediction among its choices."""

from dataclasses import replace

import numpy as np
import pytest

from pellucid.explanation.attribution import EXPLAINERS
from pellucid.explanation.explanation import DEFAULT_METHODS, explain
from pellucid.explanation.outcomes import Outcome
from pellucid.formatting import figure
from pellucid.report import guess, report
from pellucid.report.context import ReportContext
from tests.pages import section as part
from tests.report.sections import answers, drawn, judged, with_evidence, with_passed


@pytest.fixture(scope="module")
def context(context: ReportContext) -> ReportContext:
    """The report's, with maps to guess by."""
    return with_passed(context)


@pytest.fixture(scope="module")
def found(context: ReportContext) -> guess.GuessSection:
    return guess.gather(context)


def test_guesses_are_offered_the_prediction(found: guess.GuessSection) -> None:
    assert 2 <= len(found.questions) <= 10
    assert all(question.picture.prediction in question.choices for question in found.questions)


def test_half_are_the_worst_mistakes_and_the_others_the_hardest_that_were_right(
    context: ReportContext, found: guess.GuessSection
) -> None:
    mistakes = context.evaluation.mistakes.tolist()[:5]
    asked = {question.picture.index for question in found.questions}
    assert found.mistakes == len(mistakes)
    assert asked == {*mistakes, *context.hardest_correct[: 10 - len(mistakes)]}
    assert sum(not question.picture.correct for question in found.questions) == found.mistakes


def test_the_order_is_mixed_and_the_same_for_the_same_seed(
    context: ReportContext, found: guess.GuessSection
) -> None:
    asked = [question.picture.index for question in found.questions]
    assert asked != sorted(asked, key=lambda index: (index not in context.evaluation.mistakes, index))
    again = [question.picture.index for question in guess.gather(context).questions]
    assert again == asked
    recipe = replace(context.run.recipe, seed=7)
    other = with_evidence(replace(context, run=replace(context.run, recipe=recipe)), context.evidence)
    shuffled = [question.picture.index for question in guess.gather(other).questions]
    assert sorted(shuffled) == sorted(asked)
    assert shuffled != asked


def test_of_many_classes_the_likeliest_are_offered_in_their_usual_order(
    context: ReportContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guess, "MAX_CHOICES", 2)
    classes = context.evaluation.classes
    for question in guess.gather(context).questions:
        row = context.evaluation.probabilities[question.picture.index].numpy()
        likeliest = sorted(np.argsort(-row, kind="stable")[:2])
        assert question.choices == [classes[k] for k in likeliest]


def test_each_map_is_that_of_its_picture(context: ReportContext, found: guess.GuessSection) -> None:
    method = DEFAULT_METHODS[0]
    for question in found.questions[:3]:
        image = context.splits.test.images[question.picture.index]
        heat = explain(context.run.classifier, image, methods=[method]).heatmaps[method]
        assert question.evidence.scale_limit == figure(float(heat.abs().max()))
        assert question.evidence.sum == figure(float(heat.sum()))
    assert (found.method, method in EXPLAINERS) == (method, True)


def test_without_mistakes_and_without_hits_there_is_something_to_guess(context: ReportContext) -> None:
    for share, mistakes in ((0.9, 0), (0.1, 5)):
        some = with_evidence(judged(context, answers(context, [share] * 12)), context.evidence)
        section = guess.gather(some)
        assert section.mistakes == mistakes
        assert len(section.questions) == (10 if share == 0.9 else 5)


@pytest.mark.parametrize("outcome", ["passed", "failed", "undecided"])
def test_where_no_method_passed_there_is_nothing_to_guess_by(
    context: ReportContext, outcome: Outcome
) -> None:
    methods = tuple(replace(method, outcome=outcome) for method in context.evidence.methods)
    section = guess.gather(with_evidence(context, replace(context.evidence, methods=methods)))
    answer, body = drawn("guess", section)
    assert (len(section.questions) > 0) is (outcome == "passed")
    assert ("No map is shown: no kind of map passed its tests" in answer) is (outcome != "passed")
    assert body.count("<article") == len(section.questions)


def test_the_prediction_is_told_without_scripts_and_its_caveat_is_printed(context: ReportContext) -> None:
    shown = part(report.render(context), "guess")
    assert shown.count("It predicts <b>") == shown.count('<article class="guess"') > 0
    assert "So few pictures make a weak test" in shown
