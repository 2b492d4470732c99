"""Test pictures on which runs disagree, to look at side by side."""

import time
from collections.abc import Sequence

import torch

from pellucid.pad.data import DisputedData
from pellucid.pad.packing import base64_of
from pellucid.pad.section import Subject, class_balanced_sample

MAX_CLASSIFIED, MAX_SHOWN = 500, 16  # pictures classified, and shown of those that differ
BATCH = 50
SECONDS = 3.0  # after which no further batch is classified


def disputed(subjects: Sequence[Subject]) -> DisputedData | None:
    """How many test pictures of the first run get different predictions, and the first MAX_SHOWN of them.

    None where nothing can be compared: a single run, different classes or sizes, no test pictures.
    """
    first = subjects[0]
    kinds = {
        (subject.classifier.classes, subject.classifier.preprocess.form, subject.data) for subject in subjects
    }
    if len(subjects) < 2 or len(kinds) > 1 or first.test is None or not len(first.test):
        return None
    pictures = class_balanced_sample(first.test, MAX_CLASSIFIED)
    predictions: list[torch.Tensor] = []
    start, sample_size = time.monotonic(), 0
    while sample_size < len(pictures) and time.monotonic() - start < SECONDS:
        images = pictures.images[sample_size : sample_size + BATCH]
        batch = [subject.classifier.logits(images).argmax(dim=1) for subject in subjects]
        predictions.append(torch.stack(batch))
        sample_size += len(images)
    classes = torch.cat(predictions, dim=1)  # (runs, N)
    differing = torch.nonzero((classes != classes[:1]).any(dim=0))[:, 0]
    shown = differing[:MAX_SHOWN]
    return DisputedData(
        sample_size=sample_size,
        disagreements=len(differing),
        pictures=base64_of(pictures.images[shown].contiguous().numpy().tobytes()),
        labels=pictures.labels[shown].tolist(),
        answers=classes[:, shown].T.tolist(),
    )
