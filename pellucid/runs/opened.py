"""A network that was trained elsewhere, as a run: judged on test pictures, and opened as any other run is."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pellucid.classifier import MANIFEST, Classifier
from pellucid.data import load_by
from pellucid.data.audit.findings import audit
from pellucid.data.audit.record import record_of
from pellucid.data.dataset import Choices, Dataset, Origin, Splits
from pellucid.data.preprocess import Preprocess
from pellucid.errors import UsageError
from pellucid.evaluation.calibration import NOT_GIVEN, TemperatureFit
from pellucid.evaluation.held_out import HeldOut
from pellucid.evaluation.novelty import NOT_KNOWN, ReferenceFit
from pellucid.files import (
    claim,
    claim_empty_folder,
    claim_numbered_folder,
    point,
    read_object,
    seal,
    write_json,
)
from pellucid.models import OWN, opened_network, own_name
from pellucid.models.adapted import Adaptation, adaptation_of
from pellucid.models.checkpoints import read_weights
from pellucid.recipe import refuse_unknown_keywords
from pellucid.runs.calibrate import calibrated
from pellucid.runs.elsewhere import OPENED, Elsewhere, in_classes
from pellucid.runs.environment import ENVIRONMENT, environment_of
from pellucid.runs.history import History
from pellucid.runs.reference import HeldOutPictures, reference_of
from pellucid.runs.run import Run
from pellucid.runs.tables import write_split
from pellucid.task import task_of

OF_TRAINING = ("small-class", "absent-class", "imbalance")  # findings on pictures that were not given


@refuse_unknown_keywords
def open_module(
    network: nn.Module,
    classes: Sequence[str],
    *,
    test: Any,
    preprocess: Preprocess | tuple[int, int, int] | None = None,
    normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    validation: Dataset | None = None,
    train: Dataset | None = None,
    weights: str | Path | None = None,
    folder: str | Path | None = None,
    name: str = "",
) -> Run:
    """A network that was trained elsewhere as a run, judged on `test`: `report`, `export`, `evaluate` and the
    rest work as on one that was trained here, and say what is not known of its training.

    network     any module that takes float 0..1 (B, C, H, W) and puts out a score or a probability for each
                class: a tensor, or a part of a tuple, dict or dataclass. Of a network of one unit that is the
                second of two classes. It is put into evaluation mode
    classes     their names, in the order of its outputs
    test        a Dataset; Splits, or anything `load` takes, such as "mnist" or "./photos": of these the test
                part alone
    preprocess  how a picture becomes what it receives; or (channels, height, width), to which pictures are
                stretched; as the test pictures are when omitted
    normalize   (mean, std), a number for each channel: what is done to pictures of 0..1 before the network,
                where it does not do it itself
    validation  pictures it did not learn from: a temperature and thresholds are fitted on them
    train       the pictures it learned from: copies of them among the test pictures are found, and with
                `validation` what is unlike them
    weights     a file to read its weights from: .safetensors, or a state dict as torch.save writes it, which
                is opened without running anything it holds
    folder      new or empty; without one, the next free `runs/<name>-<n>` in the working folder
    name        of the network; that of its class when omitted

    `Run.open(folder, model=network)` opens it again. Raises UsageError for a network that does not take such
    pictures or gives no score for each class, for weights that do not fit, and for pictures of other classes.
    """
    if not isinstance(network, nn.Module):
        raise UsageError(f"Expected a network as a torch.nn.Module; got {type(network).__name__}.")
    classes = _names(classes)
    splits = _splits(test, validation, train, classes, _wanted(preprocess))
    read = _preprocess(preprocess, splits)
    shape = (read.channels, read.height, read.width)
    if weights is not None:
        network.load_state_dict(read_weights(weights, network))
    how = adaptation_of(network, shape, len(classes), _normalising(normalize, read.channels))
    whole = opened_network(network, read.channels, len(classes), shape[1:], how).eval()
    model = f"{OWN}{name}" if name else own_name(network)
    task = task_of(splits.test.labels)
    classifier = Classifier(whole, classes, read, model, task)
    _refuse_sigmoids(classifier)
    known = Elsewhere(Path(weights).name if weights else "", train is not None, validation is not None)
    with ExitStack() as claims:
        if folder is not None:
            claims.enter_context(claim_empty_folder(Path(folder)))
            place = Path(folder)
        else:
            place = claim_numbered_folder(Path("runs"), model.removeprefix(OWN))
            claims.enter_context(claim(place))
            point(place.parent / "latest", place)
        run = _written(place, classifier, splits, known)
        run.evaluate(splits.test)
    return run


def _written(folder: Path, classifier: Classifier, splits: Splits, known: Elsewhere) -> Run:
    """The files of a run that was not trained here, but for its evaluation."""
    seal(folder)
    environment = {
        "origin": splits.origin.to_json(),
        **environment_of(splits.train, splits.validation, None),
        OPENED: asdict(known),
    }
    write_json(folder / ENVIRONMENT, environment)
    write_split(folder, splits.train, splits.validation)
    record = record_of(audit(splits), splits)
    if not known.train:
        record = replace(record, warned=tuple(each for each in record.warned if each.kind not in OF_TRAINING))
    record.write(folder)
    fit, reference = TemperatureFit("validation", 0, NOT_GIVEN), None
    reference_fit = ReferenceFit(0, 0, NOT_KNOWN)
    if known.validation:
        found = calibrated(
            classifier, classifier.logits(splits.validation), splits.validation, held_out="validation"
        )
        classifier, fit = found.classifier, found.fit
        HeldOut.of(found.evaluation).save(folder)
        if known.train:
            positions = torch.full((len(splits.validation),), -1)
            held_out = HeldOutPictures(splits.validation, found.evaluation.probabilities, positions)
            try:
                reference, reference_fit = reference_of(classifier, splits.train, held_out, store=None)
            except (RuntimeError, IndexError, UsageError) as error:  # it may have no such layer
                reason = f"its last hidden layer cannot be read ({error})"
                reference, reference_fit = None, ReferenceFit(0, 0, reason)
    facts = {"why": "trained elsewhere", "epochs": 0, "best": {}}
    fits = {"calibration": asdict(fit), "reference": asdict(reference_fit)}
    classifier.save(folder, training={**facts, **fits})
    if reference is not None:
        reference.save(folder, weights=read_object(folder / MANIFEST)["sha256"])
    return Run(
        folder, classifier, None, History(), environment, splits.origin,
        calibration=fit, reference_fit=reference_fit, given=splits,
    )  # fmt: skip


def _names(classes: Sequence[str]) -> tuple[str, ...]:
    sequence = isinstance(classes, Sequence) and not isinstance(classes, str)
    if not sequence or not all(isinstance(name, str) for name in classes):
        raise UsageError(
            f"Expected the names of the classes, in the order of the outputs, such as ['cat', 'dog']; got "
            f"{classes!r:.100}."
        )
    return tuple(classes)


def _wanted(preprocess: Preprocess | tuple[int, int, int] | None) -> Preprocess | None:
    if preprocess is None or isinstance(preprocess, Preprocess):
        return preprocess
    if len(preprocess) != 3:
        raise UsageError(f"Expected a Preprocess, or (channels, height, width); got {preprocess!r:.100}.")
    return Preprocess(*preprocess, fit="stretch")


def _splits(
    test: Any,
    validation: Dataset | None,
    train: Dataset | None,
    classes: tuple[str, ...],
    preprocess: Preprocess | None,
) -> Splits:
    """The pictures that were given, each label the number of an output."""
    if isinstance(test, Dataset):
        origin, pictures = Origin(), test
    else:
        loaded = test if isinstance(test, Splits) else load_by(test, Choices(), preprocess=preprocess)
        origin, pictures = loaded.origin, loaded.test
    if not len(pictures):
        raise UsageError(
            "There are no test pictures to judge the network on. Give some as `test`; of pictures in parts "
            "the test part is taken."
        )
    pictures = in_classes(pictures, classes)
    empty = pictures.subset([])
    given = [empty if part is None else in_classes(part, classes) for part in (train, validation)]
    shapes = [tuple(part.images.shape[1:]) for part in (pictures, *given) if len(part)]
    if len(set(shapes)) > 1:
        raise UsageError(f"Expected pictures of one size and colour (C, H, W) in all parts; got {shapes}.")
    return Splits(given[0], given[1], pictures, origin)


def _preprocess(preprocess: Preprocess | tuple[int, int, int] | None, splits: Splits) -> Preprocess:
    """How pictures reach the network. Raises UsageError where the test pictures do not fit that."""
    test = splits.test
    found = _wanted(preprocess) or splits.origin.preprocess or Preprocess(test.channels, *test.size)
    if (found.channels, found.height, found.width) != (test.channels, *test.size):
        raise UsageError(
            f"The network takes pictures (C, H, W) of {(found.channels, found.height, found.width)} by "
            f"`preprocess`; the test pictures are {(test.channels, *test.size)}. Give their folder as `test` "
            "to have them read so, or bring them to that size."
        )
    return found


def _normalising(normalize: tuple[Sequence[float], Sequence[float]] | None, channels: int) -> Adaptation:
    if normalize is None:
        return Adaptation()
    try:
        mean, std = (tuple(float(number) for number in numbers) for numbers in normalize)
        if not len(mean) == len(std) == channels:
            raise ValueError(f"the pictures have {channels} channels")
        return Adaptation.from_json({"mean": list(mean), "std": list(std), "unit": ""})
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"Expected `normalize` as (mean, std), a number above 0 in std for each channel; got "
            f"{normalize!r:.100}: {error}."
        ) from error


def _refuse_sigmoids(classifier: Classifier) -> None:
    """Raises UsageError where the network's probabilities and the labels are of two kinds."""
    if classifier.output.kind == "sigmoids" and not classifier.multi_label:
        raise UsageError(
            "This network ends in a sigmoid for each class, so that its probabilities do not add up to 1, "
            "and each test picture shows one class. Have it return the scores before the sigmoid, or give "
            "pictures with several labels."
        )
    if classifier.multi_label and classifier.output.kind in ("probabilities", "log-probabilities"):
        raise UsageError(
            "This network ends in a softmax, so that it gives one class, and these test pictures can have "
            "several labels. Have it return the scores before the softmax."
        )
