"""The section names weak slices and shows their mistakes; every figure opens its own."""

from dataclasses import replace

import torch

from pellucid.data.dataset import Dataset, Splits
from pellucid.evaluation.evaluation import Evaluation
from pellucid.report import slices
from pellucid.report.context import ReportContext
from tests.pages import Elements
from tests.report.sections import drawn, rendered


def in_folders(context: ReportContext, *, weak: bool) -> ReportContext:
    """Three times the test pictures, a third in the folder "night", half of which is wrong if `weak`."""
    test = context.splits.test
    images, labels = test.images.repeat(3, 1, 1, 1), test.labels.repeat(3)
    sources = [f"{'night' if n < len(test) else 'day'}/{n}.png" for n in range(3 * len(test))]
    dataset = Dataset(images, labels, test.classes, sources)
    wrong = torch.arange(len(dataset)) % 2 < (torch.arange(len(dataset)) < len(test)).long() * weak
    answers = torch.where(wrong, (labels + 1) % len(test.classes), labels)
    evaluation = Evaluation(torch.eye(len(test.classes))[answers], labels, test.classes, sources)
    splits = Splits(context.splits.train, context.splits.validation, dataset, context.splits.origin)
    return replace(context, all_splits=splits, full_evaluation=evaluation)


def test_a_weak_slice_is_named_first_and_its_mistakes_are_shown(context: ReportContext) -> None:
    record = slices.gather(in_folders(context, weak=True))
    night = next(row for row in record.weak if row.title == "folder: night")
    assert night.pictures
    assert all(not p.correct and p.source.startswith("night/") for p in night.pictures)
    answer, body = drawn("slices", record)
    assert "<b>folder: night</b>" in answer
    links = {a["href"] for tag, a in Elements(answer + body).found if tag == "a" and "href" in a}
    ids = {f"#{a['id']}" for _, a in Elements(body).found if a.get("id")}
    assert links <= ids | {"#slices", "#predictions"}
    assert f"#{night.id}" in links
    assert body.count('class="shown"') == 1  # slices overlap: of the least accurate one alone
    assert f'<div class="shown" id="{record.weak[0].id}">' in body


def test_without_a_weak_slice_it_says_that_none_is_shown(context: ReportContext) -> None:
    section = rendered(in_folders(context, weak=False), "slices")
    assert "is shown to be worse than the rest" in " ".join(section.answer.split())
    assert 'class="shown"' not in section.body
    assert section.record is not None


def test_too_few_pictures_are_said(context: ReportContext) -> None:
    test = context.splits.test[:12]
    evaluation = Evaluation(torch.eye(4)[test.labels], test.labels, test.classes, test.sources)
    splits = Splits(context.splits.train, context.splits.validation, test, context.splits.origin)
    section = rendered(replace(context, all_splits=splits, full_evaluation=evaluation), "slices")
    assert section.answer.strip() == "There are too few test pictures to compare slices of them."
