"""Any number of picture files through a classifier: rows as they are ready, one for every file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from pellucid.classifier import Classifier
from pellucid.data.preprocess import Preprocess
from pellucid.data.sources.tree import folder_tree
from pellucid.errors import UsageError
from pellucid.evaluation.conformal import PredictionSets
from pellucid.evaluation.novelty import Reference
from pellucid.evaluation.selective import Threshold
from pellucid.explanation.neighbours import answers_and_features
from pellucid.recipe import refuse_unknown_keywords
from pellucid.task import OneClass, Task, answer_names

READ_AT_ONCE = 1024  # files read before they go through the network


@dataclass(frozen=True, eq=False)
class FilePrediction:
    """What a classifier answers to one file, or why it has no answer.

    source         the file's path as it was given
    classes        K names
    probabilities  float32 (K,); None where the file cannot be read
    error          why not; None where it can
    task           how probabilities become an answer: the most probable class, or any number of labels
    sure           whether the confidence reaches the threshold asked for: where not, there is no prediction
    prediction_set  the classes that hold the label with the probability asked for, the most probable first;
                   None where no sets were asked for
    novelty        how far it is from the nearest training pictures, as a percentile, 0..100, of the pictures
                   held out of training; None where no reference was given
    unlike         whether that is unlike anything taught, as about 5 of 100 ordinary pictures are
    withheld       whether there is no prediction because of that
    """

    source: str
    classes: tuple[str, ...]
    probabilities: Tensor | None
    error: UsageError | None = None
    task: Task = field(default_factory=OneClass)
    sure: bool = True
    prediction_set: tuple[str, ...] | None = None
    novelty: float | None = None
    unlike: bool = False
    withheld: bool = False

    def __repr__(self) -> str:
        if self.probabilities is None:
            return f"FilePrediction('{self.source}', {self.error})"
        answer = self.prediction if self.sure else "not sure,"
        if self.withheld:
            return f"FilePrediction('{self.source}', unlike anything taught)"
        return f"FilePrediction('{self.source}', {answer} {self.confidence:.1%})"

    @property
    def prediction(self) -> str:
        """The most probable class, or all labels given: "cat|red"; "" where there is no answer, it is not
        sure or it is withheld."""
        return "|".join(self.predictions)

    @property
    def predictions(self) -> tuple[str, ...]:
        """The most probable class alone; of several labels those given, the most probable first; none where
        it is not sure, or withheld."""
        if self.probabilities is None or not self.sure or self.withheld:
            return ()
        return answer_names(self.task, self.probabilities, self.classes)

    @property
    def confidence(self) -> float:
        """The probability of the most probable class, 0..1, of several labels that of the least certain
        decision; 0 where the file cannot be read."""
        return 0.0 if self.probabilities is None else float(self.task.confidence(self.probabilities))


@refuse_unknown_keywords
def predict_files(
    classifier: Classifier | str | Path,
    sources: str | Path | Iterable[str | Path],
    *,
    fit: str | None = None,
    threshold: Threshold | None = None,
    sets: PredictionSets | None = None,
    reference: Reference | None = None,
    refuse_unlike: bool = False,
) -> Iterator[FilePrediction]:
    """One FilePrediction for every picture file, in order, as soon as some are ready.

    classifier  a Classifier, or the folder of a run
    sources     one path or several; of a folder every picture in it, in natural order
    fit         "stretch" converts pictures of another size or colour, "none" refuses them; without it, as the
                classifier was trained
    threshold   below which there is no answer but "not sure", as `run.threshold(coverage=0.95)` gives it
    sets        of classes beside each answer, as `run.prediction_sets(0.95)` gives them
    reference   by which pictures unlike anything taught are found, as `run.reference()` gives it
    refuse_unlike  whether these get no answer

    A file that cannot be read has an `error` and does not end the iteration. Raises UsageError for an unknown
    fit, for a folder that holds no classifier, and where unlike pictures are refused without a reference.
    """
    if refuse_unlike and reference is None:
        raise UsageError("What is unlike anything taught is found by a reference: give run.reference().")
    if isinstance(classifier, str | Path):
        classifier = Classifier.load(classifier)
    preprocess = classifier.preprocess.with_fit(fit)
    paths = [sources] if isinstance(sources, str | Path) else sources
    files = (file for path in paths for file in picture_files(Path(path)))
    while some := list(islice(files, READ_AT_ONCE)):
        read = [read_picture(preprocess, file) for file in some]
        pictures = [picture for picture in read if isinstance(picture, Tensor)]
        answers = iter(_answers(classifier, pictures, reference))
        for file, picture in zip(some, read, strict=True):
            found = FilePrediction(str(file), classifier.classes, None, task=classifier.task)
            if isinstance(picture, UsageError):
                yield replace(found, error=picture)
                continue
            answer, percentile, unlike = next(answers)
            found = replace(found, probabilities=answer, novelty=percentile, unlike=unlike)
            yield replace(
                found,
                sure=threshold is None or found.confidence >= threshold.confidence,
                prediction_set=None if sets is None else sets.names(answer, classifier.classes),
                withheld=unlike and refuse_unlike,
            )


def _answers(
    classifier: Classifier, pictures: list[Tensor], reference: Reference | None
) -> Iterator[tuple[Tensor, float | None, bool]]:
    """Of each picture its probabilities (K,), and how novel it is where there is a reference."""
    if not pictures:
        return
    images = torch.stack(pictures)
    if reference is None:
        yield from ((answer, None, False) for answer in classifier.predict(images))
        return
    answers, features = answers_and_features(classifier, images)
    found = reference.novelty(features)
    yield from zip(answers, found.percentiles.tolist(), found.unlike.tolist(), strict=True)


def picture_files(path: Path) -> list[Path]:
    """The file itself, or every picture of a folder, hidden ones left out, in natural order.

    A folder without pictures stays what it is: whoever reads it says that it is one.
    """
    if not path.is_dir():
        return [path]
    return [path / name for name in folder_tree(path).pictures()] or [path]


def read_picture(preprocess: Preprocess, file: Path) -> Tensor | UsageError:
    """What the network receives of a file, uint8 (C, H, W), or why it cannot be read."""
    try:
        return preprocess.read(file)
    except UsageError as error:
        return error
