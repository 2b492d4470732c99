"""The section in which a reader guesses a prediction before and after seeing its evidence map."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pellucid.explanation.explanation import explain
from pellucid.language import translate
from pellucid.plots.images import Atlas, zoom
from pellucid.report.context import JudgedPicture, ReportContext, judged_picture
from pellucid.report.evidence import EvidenceMap, evidence_map

MAX_QUESTIONS = 10
MAX_CHOICES = 10  # classes offered per question


@dataclass(frozen=True)
class Question:
    """A test picture, the evidence for its prediction, and the classes a reader can choose from."""

    picture: JudgedPicture
    evidence: EvidenceMap
    choices: list[str]


@dataclass(frozen=True)
class GuessSection:
    """Test pictures whose prediction a reader guesses, before and after seeing a map of its evidence.

    questions  none where no method passed its tests; `remark` says so
    mistakes   how many of the pictures are mistakes
    """

    atlases: Mapping[str, Atlas]
    large_zoom: int
    questions: list[Question]
    method: str
    remark: str
    mistakes: int


def gather(context: ReportContext) -> GuessSection:
    """Test pictures whose prediction a reader guesses, before and after seeing a map of its evidence."""
    test, evaluation, pictures = context.splits.test, context.one_class, context.pictures
    mistakes = [i for i in evaluation.mistakes[: MAX_QUESTIONS // 2].tolist() if i in pictures.positions]
    right = [i for i in context.hardest_correct if i in pictures.positions][: MAX_QUESTIONS - len(mistakes)]
    generator = torch.Generator().manual_seed(context.run.seed)
    drawn = [*mistakes, *right]
    order = [drawn[place] for place in torch.randperm(len(drawn), generator=generator).tolist()]
    preferred = context.evidence.preferred
    method = preferred.name if preferred else ""
    questions = []
    for index in order if preferred else ():
        heat = explain(context.run.classifier, test.images[index], methods=[method]).heatmaps[method]
        likeliest = evaluation.probabilities[index].argsort(descending=True)[:MAX_CHOICES].sort().values
        questions.append(
            Question(
                picture=judged_picture(context, index),
                evidence=evidence_map(heat, translate("evidence for its prediction")),
                choices=[evaluation.classes[k] for k in likeliest.tolist()],
            )
        )
    return GuessSection(
        atlases={"test": pictures.atlas},
        large_zoom=zoom(pictures.atlas, 168),
        questions=questions,
        method=preferred.title if preferred else "",
        remark=context.evidence.remark,
        mistakes=len(mistakes),
    )
