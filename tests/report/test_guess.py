"""A reader is offered the prediction among the choices."""

from pellucid.report import guess
from pellucid.report.context import ReportContext
from tests.pages import section


def test_guesses_are_offered_the_prediction_and_the_sections_caveats_are_printed(
    context: ReportContext, page: str
) -> None:
    section_ = guess.gather(context)
    assert 2 <= len(section_.questions) <= 10
    assert all(question.picture.prediction in question.choices for question in section_.questions)
    for key, words in {
        "guess": "So few pictures make a weak test",
        "counterfactual": "the network&#39;s decision boundary, not a person&#39;s",
        "neighbours": "not the cause of its prediction",
        "embedding": "distances mislead",
        "layer_stats": "need not use what a probe can read",
    }.items():
        assert words in section(page, key)
