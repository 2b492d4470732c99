"""The section shows the suspects of every part, each beside its own picture."""

from dataclasses import replace

import numpy as np
import pytest

from pellucid.data.dataset import Splits
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.label_errors import OVER_EPOCHS, JudgedPart, LabelErrors
from pellucid.report import label_errors
from pellucid.report.context import ReportContext
from pellucid.runs.run import Run
from tests.report.sections import drawn, rendered, tile


@pytest.fixture
def suspected(context: ReportContext, monkeypatch: pytest.MonkeyPatch) -> ReportContext:
    """Every third training picture and the second test picture are suspect."""
    parts = []
    for name, every in (("train", 3), ("test", len(context.splits.test) - 2)):
        dataset = dict(context.splits.items())[name]
        scores = dataset.labels.float() * 0 + 1
        scores[1::every] = -2
        others = (dataset.labels + 1) % len(dataset.classes)
        parts.append(
            JudgedPart(name, OVER_EPOCHS, dataset.sources, dataset.labels, others, scores, scores < 0)
        )
    found = LabelErrors(context.splits.train.classes, parts, 0.9, ["A part was not judged."])
    monkeypatch.setattr(Run, "label_errors", lambda *_: found)
    return context


def test_each_suspect_is_beside_its_picture(suspected: ReportContext) -> None:
    record = label_errors.gather(suspected)
    train, test = record.parts
    assert (train.title, len(train.pictures), test.title, len(test.pictures)) == (
        "train", label_errors.SHOWN, "test", 2,
    )  # fmt: skip
    assert train.count > label_errors.SHOWN
    for part, dataset in ((train, suspected.splits.train), (test, suspected.splits.test)):
        for number, shown in enumerate(part.pictures):
            place = list(dataset.sources).index(shown.source)
            assert shown.label == dataset.label_names[place]
            pixels = tile(record.atlases["suspects"], shown.cell)[..., 0]
            assert np.abs(pixels.astype(int) - dataset.images[place, 0].numpy()).max() <= 8, number
    answer, body = drawn("label_errors", record)
    assert "They are suspects, not verdicts" in answer
    assert f"pellucid labels {suspected.run.folder.name}" in body
    assert "A part was not judged." in body


def test_a_weak_network_shows_none(suspected: ReportContext, monkeypatch: pytest.MonkeyPatch) -> None:
    weak = replace(suspected.run.label_errors(), accuracy=0.5)
    monkeypatch.setattr(Run, "label_errors", lambda *_: weak)
    answer, body = drawn("label_errors", label_errors.gather(suspected))
    assert answer.startswith("This network is too weak to judge labels: 50.0 %")
    assert "<figure" not in body


def test_a_run_without_suspects_has_a_section_too(made: tuple[Run, Splits, Evaluation]) -> None:
    section = rendered(ReportContext(*made), "label_errors")
    assert section.record is not None
    assert "judged" in section.answer or "labels look wrong" in section.answer or "weak" in section.answer
