"""Test pictures on which runs disagree: where a comparison is worth looking at."""

import base64
import time
from collections.abc import Sequence
from typing import Any

import torch

from pellucid.pad.section import Subject, in_turn

LOOKED, SHOWN = 500, 16  # pictures asked, and shown of those disputed
A_TIME = 50
SECONDS = 3.0  # that asking may take: a large network is asked fewer


def disputed(subjects: Sequence[Subject]) -> dict[str, Any] | None:
    """How many test pictures of the first run are answered differently, and the first SHOWN of them.

    None where there is nothing to compare: a single run, other classes or sizes, no test pictures.
    """
    first = subjects[0]
    kinds = {
        (one.classifier.classes, one.classifier.preprocess.channels, one.classifier.preprocess.height,
         one.classifier.preprocess.width, one.data)
        for one in subjects
    }  # fmt: skip
    if len(subjects) < 2 or len(kinds) > 1 or first.test is None or not len(first.test):
        return None
    pictures = in_turn(first.test, LOOKED)
    answers: list[torch.Tensor] = []
    begun, looked = time.monotonic(), 0
    while looked < len(pictures) and time.monotonic() - begun < SECONDS:
        images = pictures.images[looked : looked + A_TIME]
        answers.append(torch.stack([one.classifier.logits(images).argmax(dim=1) for one in subjects]))
        looked += len(images)
    said = torch.cat(answers, dim=1)  # (runs, N)
    places = torch.nonzero((said != said[:1]).any(dim=0))[:, 0]
    shown = places[:SHOWN]
    return {
        "looked": looked,
        "differ": len(places),
        "pictures": base64.b64encode(pictures.images[shown].contiguous().numpy().tobytes()).decode(),
        "labels": pictures.labels[shown].tolist(),
        "answers": said[:, shown].T.tolist(),
    }
