"""One section of a report at a time: rendered alone, its pictures read back, its evaluation made up."""

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pellucid.data.dataset import Splits
from pellucid.evaluation.evaluation import Evaluation
from pellucid.plots.images import Atlas, Cell
from pellucid.report import report
from pellucid.report.context import ReportContext
from pellucid.report.evidence import Evidence
from pellucid.report.templates import environment_of_pages


def rendered(context: ReportContext, name: str) -> report.RenderedSection:
    """The section of that name, as the page shows it."""
    (entry,) = (entry for entry in report.SECTIONS if entry[0] == name)
    return report.render_section(environment_of_pages(), 1, entry, context)


def drawn(name: str, record: report.SectionRecord) -> tuple[str, str]:
    """The answer and the body of what that section has gathered, as `words` gives them."""
    macros: Any = environment_of_pages().get_template(f"report/sections/{name}.html").module
    return words(macros.answer(record)), words(macros.body(record))


def words(markup: str) -> str:
    """Text with every run of spaces as one."""
    return " ".join(markup.split())


def tile(atlas: Atlas, cell: Cell) -> NDArray[np.uint8]:
    """The picture in this cell of an atlas, pixels (h, w, 3)."""
    content = base64.b64decode(atlas.address.partition(",")[2])
    sheet = np.array(Image.open(io.BytesIO(content)).convert("RGB"))
    left, top = cell[0] * atlas.width, cell[1] * atlas.height
    return sheet[top : top + atlas.height, left : left + atlas.width]


def judged(context: ReportContext, probabilities: Tensor) -> ReportContext:
    """A context in which the first test pictures have these probabilities (n, K), and there are no others."""
    test = context.splits.test[: len(probabilities)]
    evaluation = Evaluation(probabilities, test.labels, test.classes, list(test.sources))
    splits = Splits(context.splits.train, context.splits.validation, test, context.splits.origin)
    return ReportContext(context.run, splits, evaluation)


def with_passed(context: ReportContext) -> ReportContext:
    """The same context in which every kind of map has passed its tests."""
    methods = tuple(replace(method, outcome="passed") for method in context.evidence.methods)
    return with_evidence(context, replace(context.evidence, methods=methods))


def with_evidence(context: ReportContext, evidence: Evidence) -> ReportContext:
    """The same context with these test results of the maps, which are then not computed."""
    other = replace(context)
    other.__dict__["evidence"] = evidence
    return other


def with_network(context: ReportContext, network: nn.Module) -> ReportContext:
    """The same pictures through another network, which no table of models knows."""
    classifier = replace(context.run.classifier, network=network.eval(), model="another")
    return replace(context, run=replace(context.run, classifier=classifier))


def answers(context: ReportContext, right: list[float]) -> Tensor:
    """Probabilities (n, K) that give each label this much and the rest to the next class."""
    labels = context.splits.test.labels[: len(right)]
    rows = torch.zeros(len(right), len(context.splits.test.classes))
    for row, label, share in zip(rows, labels.tolist(), right, strict=True):
        row[label], row[(label + 1) % len(row)] = share, 1 - share
    return rows
