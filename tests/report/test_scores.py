"""Every score stands beside its interval and leads to the pictures it is made of."""

import re
from dataclasses import replace

import torch

from pellucid.evaluation.evaluation import Evaluation
from pellucid.formatting import percent
from pellucid.report import report, scores
from pellucid.report.context import ReportContext
from tests.pages import Elements, section


def test_every_figure_of_a_class_opens_its_pictures(context: ReportContext, page: str) -> None:
    found = scores.gather(context)
    evaluation = context.one_class
    assert [row.score for row in found.rows] == evaluation.per_class
    shown = section(page, "scores")
    links = re.findall(r'<a href="#([^"]+)">', shown)
    ids = {str(attributes.get("id")) for _, attributes in Elements(page).found}
    assert set(links) <= ids
    for row in found.rows:
        assert percent(row.score.recall, count=row.score.support).replace(" %", "\xa0%") in shown
    for block in found.opened:
        if block.kind == "missed":
            assert all(picture.label == block.name != picture.prediction for picture in block.pictures)
        if block.kind == "mistaken":
            assert all(picture.prediction == block.name != picture.label for picture in block.pictures)
    wrong = evaluation.count - evaluation.correct
    assert sum(block.count for block in found.opened if block.kind == "missed") == wrong


def test_groups_are_counted_and_too_few_are_said(context: ReportContext) -> None:
    evaluation = context.one_class
    for number, words in ((12, "over 12 groups"), (4, "too few groups: 4, so no interval")):
        grouped = replace(evaluation, groups=torch.arange(evaluation.count) % number)
        page = report.render(replace(context, full_evaluation=grouped))
        text = " ".join(Elements(page).text.split())
        assert words in text
        assert ("95 % interval" in text.split("Draw")[0]) == (number == 12)
        assert "could not be made" not in page


def test_no_pair_is_called_the_most_confused_where_any_could_be(context: ReportContext) -> None:
    evaluation = context.one_class
    number = len(evaluation.classes)
    labels = torch.arange(evaluation.count) % number
    predictions = labels.clone()
    predictions[: number * (number - 1)] = (
        labels[: number * (number - 1)] + 1 + torch.arange(number * (number - 1)) // number
    ) % number  # each pair once
    even = Evaluation(
        torch.nn.functional.one_hot(predictions, number).float(),
        labels,
        evaluation.classes,
        evaluation.sources,
    )
    assert len(even.confusions) == number * (number - 1)
    assert even.most_confused == []
    assert even.verdict.endswith("%.")
    page = report.render(replace(context, full_evaluation=even))
    assert "most confused" not in page
    assert "most often" not in page
