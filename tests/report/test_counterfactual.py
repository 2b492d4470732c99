"""A change that is shown turns the prediction of the network itself, and the least stands first."""

import re
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.explanation.counterfactual import CAVEAT
from pellucid.report import counterfactual
from pellucid.report.context import ReportContext
from tests.pages import section as part
from tests.report.sections import drawn, tile, with_network


class Stubborn(nn.Module):
    """It answers the third class, whatever it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(256, 4)
        with torch.no_grad():
            self.dense.weight.zero_()
            self.dense.bias.copy_(torch.tensor([0.0, 0.0, 5.0, 0.0]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.dense(images.flatten(1))


@pytest.fixture(scope="module")
def found(context: ReportContext) -> counterfactual.CounterfactualSection:
    return counterfactual.gather(context)


def test_a_change_that_is_shown_was_confirmed_and_the_least_stands_first(
    context: ReportContext, found: counterfactual.CounterfactualSection
) -> None:
    assert found.examined == len(found.rows) >= 2
    for row in found.rows:
        amounts = [float(change.amount) for change in row.changes if change.confirmed]
        assert amounts == sorted(amounts)
        others = set(context.evaluation.classes) - {row.picture.prediction}
        assert {change.prediction for change in row.changes} == others
        assert all((change.after is not None) == change.confirmed for change in row.changes)
        if row.smallest.confirmed:
            assert float(row.smallest.amount) == min(amounts)


def test_the_network_itself_predicts_the_other_class_for_the_picture_that_is_shown(
    context: ReportContext, found: counterfactual.CounterfactualSection
) -> None:
    """Read from the page's own image, and run through the classifier again."""
    shown = [change for row in found.rows for change in row.changes if change.after]
    assert shown
    pictures = [tile(found.atlases["change"], change.after)[..., 0] for change in shown if change.after]
    probabilities = context.run.classifier.predict(torch.from_numpy(np.stack(pictures))[:, None])
    for change, row in zip(shown, probabilities, strict=True):
        assert context.evaluation.classes[int(row.argmax())] == change.prediction
        assert float(row.max()) == pytest.approx(change.confidence, abs=1e-5)


def test_the_traces_are_the_pixels_that_differ(
    context: ReportContext, found: counterfactual.CounterfactualSection
) -> None:
    """Orange where the picture got lighter, blue where it got darker, gray where it stayed."""
    row = next(row for row in found.rows if row.smallest.after)
    assert row.smallest.traces is not None
    assert row.smallest.after is not None
    before = context.splits.test.images[row.picture.index, 0].numpy().astype(int)
    after = tile(found.atlases["change"], row.smallest.after)[..., 0].astype(int)
    traces = tile(found.atlases["change"], row.smallest.traces).astype(int)
    rise = after - before
    assert float(row.smallest.amount) == pytest.approx(abs(rise).sum() / 255, abs=0.05)
    assert (traces[rise > 20, 0] > traces[rise > 20, 2]).all()
    assert (traces[rise < -20, 2] > traces[rise < -20, 0]).all()
    assert (np.ptp(traces[rise == 0], axis=-1) == 0).all()


def test_the_answer_counts_what_changed_and_names_the_median(
    found: counterfactual.CounterfactualSection,
) -> None:
    amounts = [float(row.smallest.amount) for row in found.rows if row.smallest.confirmed]
    assert found.changed == len(amounts)
    assert found.median is not None
    assert float(found.median) == pytest.approx(median(amounts), abs=0.11)
    assert (found.other_classes, found.target_classes) == (3, 3)
    assert drawn("counterfactual", found)[0] == (
        f"{found.changed} of {found.examined} predictions changed after a few dabs of pen or eraser, half of "
        f"them with {found.median} pixels of change or less."
    )


def test_a_prediction_that_cannot_be_turned_is_said_so(context: ReportContext) -> None:
    section = counterfactual.gather(with_network(context, Stubborn()))
    assert (section.changed, section.median) == (0, None)
    for row in section.rows:
        assert not any(change.confirmed or change.after or change.traces for change in row.changes)
        assert {change.amount for change in row.changes} == {"0.0"}
    answer, body = drawn("counterfactual", section)
    assert answer == f"No small change was found for any of {section.examined} predictions."
    assert body.count("No small change was found.") == len(section.rows)


def test_its_caveat_is_printed(page: str) -> None:
    assert CAVEAT.partition(":")[0].replace("'", "&#39;") in part(page, "counterfactual")


def test_no_page_and_no_document_promises_the_smallest_change() -> None:
    """The search is not exhaustive: a smaller change exists for some pictures."""
    root = Path(__file__).parents[2]
    texts = [*(root / "pellucid").rglob("*.*"), *(root / "docs").glob("*.md"), root / "README.md"]
    promises = re.compile(
        r"the smallest (change|edit|dab)|가장 작은 변화 찾기|찾은 가장 작은 변화", re.IGNORECASE
    )
    pages = [path for path in texts if path.suffix in (".html", ".json", ".js", ".md", ".py")]
    assert len(pages) > 100
    assert [str(path) for path in pages if promises.search(path.read_text(encoding="utf-8"))] == []
