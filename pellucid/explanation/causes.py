"""What may lie behind each mistake on the test pictures: the first of a few rules that applies, each stated.

Rules of thumb, not proofs: a cause says what to look at first, and what would mend it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.data.audit.near_duplicates import COPIES, FRACTION, LIMIT, thumbnails
from pellucid.data.dataset import Dataset, Splits
from pellucid.evaluation import EVALUATION
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.label_errors import HELD_OUT, TOO_WEAK, judged_by_probabilities
from pellucid.evaluation.novelty import NEIGHBOURS
from pellucid.explanation.neighbours import index_sample, novelty
from pellucid.files import claim, read_object, write_csv, write_json
from pellucid.models import PretrainedNetwork

CAUSES_TABLE = "causes.csv"
CAUSES_HEADER = ("source", "label", "prediction", "cause", "twin")
MOST, MOST_PRETRAINED = 2_000, 200  # mistakes examined, the worst first; of a large network fewer
MOST_TWINS_SEARCHED = 100_000  # training pictures among which twins are looked for, evenly spaced
UNLIKE = 99.0  # percentile of the distances of pictures held out, beyond which one is unlike training
CLOSE = 0.5  # a border case: the label at least so many times as probable as the prediction


@dataclass(frozen=True)
class Cause:
    """A cause of mistakes: its name in a sentence, the rule by which it is found, and what would mend it."""

    title: str
    rule: str
    remedy: str


# In the order in which they are tried: each mistake has the first that applies.
CAUSES: Mapping[str, Cause] = {
    "twin": Cause(
        "twin in training with another label",
        "A training picture is the same but for brightness and compression, and has another label.",
        "Decide which of the two labels is right, and correct the other.",
    ),
    "label": Cause(
        "label suspect",
        "Another class is at least as probable as for 95 of 100 pictures that have its label.",
        "Look at them. Where the label is wrong, correct it: the network was right.",
    ),
    "border": Cause(
        "border case",
        "The label was the second choice, at least half as probable as the prediction.",
        "Add training pictures of the two classes, or let the network refuse where it is not sure.",
    ),
    "unlike": Cause(
        "unlike training",
        "In the last hidden layer it is farther from its nearest training pictures than 99 of 100 pictures "
        "held out.",
        "Add training pictures like these.",
    ),
    "shift": Cause(
        "right after a one-pixel shift",
        "Shifted by one pixel to the left, right, up or down, it is predicted correctly.",
        "Augment with crop, or predict by the mean over shifted pictures.",
    ),
    "plain": Cause(
        "plain wrong",
        "None of the other rules applies.",
        "Try a larger network, a longer training or more pictures.",
    ),
}


@dataclass(frozen=True)
class MistakeCause:
    """The cause of one mistake: a name of CAUSES.

    index  in the test set
    twin   the source of the training picture that is the same with another label; "" without one
    """

    index: int
    cause: str
    twin: str = ""


@dataclass(frozen=True, eq=False)
class MistakeCauses:
    """The causes of mistakes, the worst mistake first.

    examined  one for each mistake that was examined
    mistakes  how many there are in all
    gone      the names of rules that could not be tried as they need the networks that judged: of folds
    too_weak  whether labels were not suspected, as the network is right too rarely to doubt them
    """

    evaluation: Evaluation
    examined: tuple[MistakeCause, ...]
    mistakes: int
    gone: tuple[str, ...] = ()
    too_weak: bool = False

    def __repr__(self) -> str:
        found = ", ".join(f"{CAUSES[name].title} {count:,}" for name, count in self.counts.items() if count)
        return f"MistakeCauses({len(self.examined):,} of {self.mistakes:,} mistakes examined: {found})"

    @property
    def counts(self) -> dict[str, int]:
        """How many of the mistakes examined have each cause, in the order of CAUSES."""
        return {name: sum(each.cause == name for each in self.examined) for name in CAUSES}

    def save(self, folder: Path) -> None:
        """causes.csv has a row for each mistake examined, and evaluation.json how many have each cause."""
        judged = self.evaluation
        rows = [
            (
                judged.sources[each.index],
                judged.classes[int(judged.labels[each.index])],
                judged.classes[int(judged.predictions[each.index])],
                each.cause,
                each.twin,
            )
            for each in self.examined
        ]
        facts = {"examined": len(self.examined), "mistakes": self.mistakes, **self.counts}
        with claim(folder):
            write_csv(folder / CAUSES_TABLE, CAUSES_HEADER, rows)
            write_json(folder / EVALUATION, {**read_object(folder / EVALUATION), "causes": facts})


def causes_of_mistakes(
    classifier: Classifier, splits: Splits, evaluation: Evaluation, *, validated: bool = True
) -> MistakeCauses:
    """Why the classifier may have been wrong on each test picture that it got wrong, the worst first.

    evaluation  of `splits.test`
    validated   whether it did not learn from the validation pictures, which then say what distance is usual

    At most 2,000 mistakes are examined, of a pretrained network 200. Of folds, where the networks that judged
    are gone, shifts and distances are not tried; where fewer than 70 % are right, labels are not suspected.
    """
    mistakes = evaluation.mistakes
    chosen = mistakes[: MOST_PRETRAINED if isinstance(classifier.network, PretrainedNetwork) else MOST]
    causes = dict.fromkeys(chosen.tolist(), "plain")
    labels, test = evaluation.labels[chosen], splits.test.subset(chosen)
    probabilities = evaluation.probabilities[chosen]
    by_folds = splits.train is splits.test

    def put(cause: str, applies: Tensor) -> None:
        for index in chosen[applies].tolist():
            if causes[index] == "plain":
                causes[index] = cause

    twins = _twins(splits.train, test, labels)
    put("twin", torch.tensor([bool(twin) for twin in twins], dtype=torch.bool))
    too_weak = evaluation.accuracy < TOO_WEAK
    if not too_weak:
        judged = judged_by_probabilities(
            "test", HELD_OUT, evaluation.sources, evaluation.labels, evaluation.probabilities
        )
        put("label", judged.suspect[chosen])
    second = probabilities.topk(2, dim=1).indices[:, 1] == labels
    put("border", second & (evaluation.label_probability[chosen] >= CLOSE * evaluation.confidence[chosen]))
    if not by_folds:
        put("unlike", _unlike(classifier, splits, test, validated=validated))
        left = torch.tensor([causes[index] == "plain" for index in chosen.tolist()], dtype=torch.bool)
        shifted = torch.zeros(len(chosen), dtype=torch.bool)
        shifted[left] = _right_when_shifted(classifier, test.images[left], labels[left])
        put("shift", shifted)
    found = tuple(
        MistakeCause(index, causes[index], twin if causes[index] == "twin" else "")
        for index, twin in zip(chosen.tolist(), twins, strict=True)
    )
    return MistakeCauses(evaluation, found, len(mistakes), ("unlike", "shift") if by_folds else (), too_weak)


def _twins(train: Dataset, test: Dataset, labels: Tensor) -> list[str]:
    """The source of a training picture that is the same as each test picture with another label, or "".

    The limits are those of near-duplicates: alike, and far more so than the pictures that merely look alike.
    """
    twins = [""] * len(test)
    if not len(test):
        return twins
    step = max(1, -(-len(train) // MOST_TWINS_SEARCHED))
    searched = train if step == 1 else train.subset(torch.arange(0, len(train), step))
    small = thumbnails([searched.images])  # (N, D), of length 1
    wanted = min(COPIES + 2, len(searched))
    for place, one in enumerate(thumbnails([test.images])):
        found = (1 - small @ one).topk(wanted, largest=False)
        limit = min(LIMIT, FRACTION * float(found.values[-1]))
        for distance, index in zip(found.values.tolist(), found.indices.tolist(), strict=True):
            if distance > limit or twins[place]:
                break
            source, other = searched.sources[index], searched.labels[index] != labels[place]
            alike = _correlation(searched.images[index], test.images[place]) >= 1 - LIMIT
            if other and alike and source != test.sources[place]:
                twins[place] = source
    return twins


def _correlation(first: Tensor, second: Tensor) -> float:
    """Of the pixels of two pictures (C, H, W), their brightness apart, -1..1; 0 for a flat one."""
    centred = [picture.float().flatten(1) for picture in (first, second)]
    one, other = ((each - each.mean(dim=1, keepdim=True)).flatten() for each in centred)
    return float(functional.cosine_similarity(one, other, dim=0))


def _unlike(classifier: Classifier, splits: Splits, test: Dataset, *, validated: bool) -> Tensor:
    """Whether each picture is farther from training than nearly all that were held out, bool (M,)."""
    if not len(test) or len(splits.train) <= NEIGHBOURS:
        return torch.zeros(len(test), dtype=torch.bool)
    held_out = splits.validation if validated and len(splits.validation) else None
    index = index_sample(classifier, splits.train, held_out)
    return novelty(index, test.images[:]) > UNLIKE


def _right_when_shifted(classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """Whether a picture (M, C, H, W) is predicted as its label (M,) when moved by one pixel, bool (M,); what
    comes in at the border repeats it."""
    right = torch.zeros(len(images), dtype=torch.bool)
    if not len(images):
        return right
    rows, columns = (torch.arange(size) for size in images.shape[2:])
    for down, across in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        vertical = (rows + down).clamp(0, len(rows) - 1)
        horizontal = (columns + across).clamp(0, len(columns) - 1)
        moved = images[:, :, vertical][:, :, :, horizontal]
        right |= classifier.predict(moved).argmax(dim=1) == labels
    return right
