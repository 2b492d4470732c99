"""A run in the making: one training, or several one after the other, saved so that it can be gone on with."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.classifier import MANIFEST, Classifier
from pellucid.data.dataset import Dataset, Origin
from pellucid.errors import PellucidError, UsageError
from pellucid.evaluation.calibration import NOT_FITTED, TemperatureFit
from pellucid.evaluation.held_out import HeldOut
from pellucid.evaluation.ledger import number_judged, weights_digest
from pellucid.evaluation.novelty import NO_REFERENCE, NOT_HELD_OUT, REFERENCE, Reference, ReferenceFit
from pellucid.files import read_object, remove, write_bytes
from pellucid.machine import torch_threads
from pellucid.models import PretrainedNetwork, description_of
from pellucid.reading import TENSOR_BYTES, read_regular
from pellucid.recipe import Recipe
from pellucid.runs.basis import basis_of_folds
from pellucid.runs.calibrate import Calibrated, calibrated
from pellucid.runs.checkpoint import CHECKPOINT, write_checkpoint
from pellucid.runs.history import History
from pellucid.runs.kept import KeptTraining
from pellucid.runs.reference import HeldOutPictures, reference_of
from pellucid.runs.run import Run
from pellucid.runs.stages import Stage, State
from pellucid.runs.stopping import Stopped, StopTraining, stop_requests
from pellucid.runs.tables import METRICS_ALL, write_diagnostics, write_history, write_margins
from pellucid.runs.trained import AllPictures
from pellucid.training.loop import Epoch, Progress, Step
from pellucid.training.snapshots import MAX_SNAPSHOTS, SNAPSHOTS, SnapshotRecorder
from pellucid.training.timer import CheckpointTimer
from pellucid.training.transfer import FeatureStore, held_out_logits, train_network

Callback = Callable[[Step | Epoch], None]
Activity = Callable[[str, int, int], None]  # with what is done, the number of pictures so far and of all


@dataclass(eq=False)
class Session:
    """All that a run's trainings work on: its folder, its network, its pictures and where it stands.

    folds    of a run by folds, the fold of each picture, int64 (N,)
    initial  the weights that each of several trainings begins from; of one, where they cannot be drawn again
    timer    when what was reached is saved, should the process be killed
    fit      how the classifier came to its temperature
    reference_fit  what the run's reference is made of
    """

    folder: Path
    classifier: Classifier
    recipe: Recipe
    environment: dict[str, Any]
    origin: Origin
    stages: list[Stage]
    state: State
    folds: Tensor | None = None
    initial: dict[str, Tensor] = field(default_factory=dict)
    snapshots: int = MAX_SNAPSHOTS
    recorder: SnapshotRecorder | None = None
    timer: CheckpointTimer = field(default_factory=CheckpointTimer)
    fit: TemperatureFit = NOT_FITTED
    reference_fit: ReferenceFit = NO_REFERENCE

    @cached_property
    def store(self) -> FeatureStore | None:
        """The features of all pictures, of a pretrained network."""
        if not isinstance(self.classifier.network, PretrainedNetwork):
            return None
        first = self.stages[-1] if self.folds is not None else self.stages[0]
        return FeatureStore([first.train] if first.validation is None else [first.train, first.validation])

    @property
    def stage(self) -> Stage:
        """The training at hand."""
        return self.stages[self.state.stage]

    @property
    def at_last(self) -> bool:
        """Whether it is the last, which gives the weights of the run."""
        return self.state.stage == len(self.stages) - 1

    @property
    def shown(self) -> Progress:
        """The training that the run's history is of: the first of two, else the one at hand."""
        return self.state.first or self.state.progress

    @property
    def again(self) -> AllPictures | None:
        """The training on all pictures, once it is complete; None in a run that holds some out."""
        best = self.state.progress.best
        if len(self.stages) == 1 or not self.at_last or best is None:
            return None
        if not self.state.progress.finished(self.recipe):
            return None
        return AllPictures(len(self.stage.train), best.epoch, best.loss, best.accuracy)


def take_kept_training(session: Session) -> None:
    """The first training is the one by which the network was chosen, where the cache still has it."""
    first, steps_shown = session.stages[0], session.snapshots == MAX_SNAPSHOTS
    if first.validation is None or not steps_shown:
        return
    kept = KeptTraining.of(session.recipe, first.train, first.validation)
    progress = kept.training()
    if progress is None:
        return
    if kept.snapshots.is_file() and session.at_last:
        write_bytes(session.folder / SNAPSHOTS, read_regular(kept.snapshots, TENSOR_BYTES))
    session.state.progress = progress


def complete(session: Session, callbacks: Sequence[Callback], activity: Activity | None) -> Run:
    """Train what is left, and leave a run that opens, whatever is raised.

    activity  called while a pretrained network computes features

    Raises Stopped on Ctrl-C, SIGTERM or SIGHUP, PellucidError when the loss is no longer finite or a file
    cannot be written, and what a callback raises.
    """
    folder, ended = session.folder, ""
    with torch_threads(session.recipe.threads), stop_requests() as requests:

        def on_features(done: int, count: int) -> None:
            if activity is not None:
                activity("features", done, count)
            if requests:
                save_checkpoint(session)
                raise Stopped(folder, requests[0], judged=False)

        if session.store is not None:
            session.store.on_features = on_features
        try:
            while True:
                _train_stage(session, callbacks, requests)
                if session.at_last:
                    break
                _go_on(session)
                if requests:
                    raise Stopped(folder, requests[0])
        except StopTraining as wish:
            ended = str(wish) or "a callback ended it"
        except Exception as error:
            _save(session, ended=str(error) or type(error).__name__)
            raise
        except Stopped:
            _save(session)
            raise
        _save(session, ended=ended, finished=True)
        remove(folder / CHECKPOINT)
        if requests:
            raise Stopped(folder, requests[0])
    shown, again = session.shown, session.again
    return Run(
        folder, session.classifier, session.recipe, History(shown.history), session.environment,
        session.origin, ended, head=shown.head, all_pictures=again,
        calibration=session.fit, reference_fit=session.reference_fit,
    )  # fmt: skip


def _train_stage(session: Session, callbacks: Sequence[Callback], requests: Sequence[int]) -> None:
    """The training at hand, to its end; afterwards, however it ends, the network has its best weights.

    Raises Stopped on request, and whatever a callback raises.
    """
    stage, progress, recipe = session.stage, session.state.progress, session.recipe
    network = session.classifier.network
    if session.initial:
        network.load_state_dict(session.initial)
    session.recorder = recorder = _recorder(session)
    if progress.finished(recipe):  # it was trained when the network was chosen
        network.load_state_dict({**network.state_dict(), **_prefixed(network, progress.best_weights)})
        events: Iterator[Step | Epoch] = (epoch for epoch in progress.history)
    else:
        events = train_network(
            network, stage.train, stage.validation, recipe, progress=progress, store=session.store
        )
    with closing(events):  # type: ignore[type-var]  # a generator
        for event in events:
            recorder.on_event(event)
            if isinstance(event, Epoch):
                if session.state.first is not None:
                    write_history(session.folder, progress.history, name=METRICS_ALL)
                elif session.at_last or stage.validation is not None:
                    write_history(session.folder, progress.history)
                # Before the checkpoint, so that no snapshot older than it can be lost.
                _write_optional(session)
                if not progress.finished(recipe):
                    save_checkpoint(session)
            elif session.timer.due:
                _write_optional(session)
                save_checkpoint(session)
            for callback in callbacks:
                callback(replace(event, stage=stage.name) if stage.name else event)
            if requests and not progress.finished(recipe):
                _write_optional(session)
                save_checkpoint(session)
                raise Stopped(session.folder, requests[0])


def _recorder(session: Session) -> SnapshotRecorder:
    """Of the last training, whose weights the run has; none is kept of those before."""
    path, network, progress = session.folder / SNAPSHOTS, session.classifier.network, session.state.progress
    if not session.at_last:
        return SnapshotRecorder(path, network, [], 1)
    steps = math.ceil(len(session.stage.train) / session.recipe.batch_size)
    done = (progress.epoch - 1) * steps + progress.step
    if done:
        return SnapshotRecorder.resume(path, network, done)
    epochs = progress.until or session.recipe.epochs
    return SnapshotRecorder.start(path, network, epochs, steps, session.snapshots)


def _go_on(session: Session) -> None:
    """After one training: what it predicts of the pictures held out is kept, and the next one is prepared."""
    state, stage = session.state, session.stage
    if stage.validation is not None:
        state.logits = _logits(session, stage.validation)
    elif len(stage.held_out):
        whole = session.stages[-1].train
        if not len(state.logits):
            state.logits = torch.zeros(len(whole), len(whole.classes))
        state.logits[stage.held_out] = _logits(session, whole.subset(stage.held_out))
    state.advance(session.stages)
    save_checkpoint(session)


def _logits(session: Session, dataset: Dataset) -> Tensor:
    """The scores (N, K) that the network gives pictures as it is now."""
    at_rest = not session.recipe.fine_tune
    return held_out_logits(session.classifier, dataset, session.store, at_rest=at_rest)


def save_checkpoint(session: Session) -> None:
    """What a training needs to go on from here lies in the run's folder."""
    state, weights = session.state, session.state.progress.weights
    if len(session.stages) == 1 and state.initial.keys() <= weights.keys():
        state = replace(state, initial={})  # it has moved on from them
    manifest = {
        "preprocess": session.classifier.preprocess.to_json(),
        "recipe": session.recipe.to_json(),
        "data": session.environment["fingerprints"],
        "network": description_of(session.classifier.network),
        "snapshots": session.snapshots,
    }
    with session.timer.writing():
        write_checkpoint(session.folder / CHECKPOINT, state, manifest)


def _write_optional(session: Session) -> None:
    """Diagnostics and snapshots; where one cannot be written, training goes on without it."""
    diagnosed = session.state.first or session.state.progress
    writers: list[Callable[[], None]] = [partial(write_diagnostics, session.folder, diagnosed.diagnostics)]
    if session.recorder is not None:
        writers.append(session.recorder.write)
    for write in writers:
        try:
            write()
        except PellucidError as error:
            warnings.warn(f"Training goes on, but what pages show of it is incomplete: {error}", stacklevel=3)


def _save(session: Session, *, ended: str = "", finished: bool = False) -> None:
    """The run's weights, and how they came about; those of a second training only when it is complete.

    finished  whether nothing cut the training off: then there is time to look at the validation pictures once
              more, for the temperature
    """
    state, network = session.state, session.classifier.network
    shown, again = session.shown, session.again
    if state.first is not None and again is None:
        network.load_state_dict({**session.initial, **_prefixed(network, state.first.best_weights)})
    held_out = _calibrated(session, finished=finished)
    if held_out is not None:
        session.classifier, session.fit = held_out.classifier, held_out.fit
        HeldOut.of(held_out.evaluation).save(session.folder)
    reference, session.reference_fit = _reference(session, held_out if finished else None)
    write_history(session.folder, shown.history)
    _write_margins(session)
    training: dict[str, Any] = {"why": _why(session), "epochs": len(shown.history)}
    training["best"] = _figures(shown.best) if shown.best else {}
    training["calibration"] = asdict(session.fit)
    training["reference"] = asdict(session.reference_fit)
    if shown.head is not None:
        training["head"] = asdict(shown.head)
    if again is not None:
        training["all_pictures"] = asdict(again)
    session.classifier.save(session.folder, training={**training, **({"ended": ended} if ended else {})})
    weights = read_object(session.folder / MANIFEST)["sha256"]
    if reference is None:
        remove(session.folder / REFERENCE)
    else:
        reference.save(session.folder, weights=weights)
    if held_out is not None and session.folds is not None and (again or ended):
        judged, whole = held_out.evaluation, session.stage.train
        number = number_judged(whole.fingerprint, weights_digest(network))
        basis = basis_of_folds(session.folder, number)
        judged.save(session.folder, weights=weights, fingerprint=whole.fingerprint, **basis.facts(judged))


def _calibrated(session: Session, *, finished: bool) -> Calibrated | None:
    """The classifier with its temperature, and what is predicted of the pictures held out; None where
    training was cut off before that is known. Thresholds of several labels are chosen in any case."""
    state, first = session.state, session.stages[0].validation
    if session.folds is not None:
        if not session.at_last:
            return None
        whole = session.stage.train
        return calibrated(session.classifier, state.logits, whole, held_out="folds", folds=session.folds)
    assert first is not None  # only folds hold nothing out from the start
    again = len(state.logits) > 0
    if not again and not session.classifier.multi_label and not (finished and session.shown.best):
        return None
    logits = state.logits if again else _logits(session, first)
    return calibrated(session.classifier, logits, first, held_out="first training" if again else "validation")


def _write_margins(session: Session) -> None:
    """How probable the labels were while the weights that are kept were learned. Of folds none is kept: their
    predictions of pictures held out tell more."""
    first = session.stages[0]
    parts = {"train": first.train}
    if session.again is not None and first.validation is not None:
        parts["validation"] = first.validation
    progress = session.state.progress if session.again is not None else session.shown
    if session.folds is None and progress.margins is not None:
        write_margins(session.folder, parts, progress.margins)


def _reference(session: Session, held_out: Calibrated | None) -> tuple[Reference | None, ReferenceFit]:
    """What new pictures can be compared with: training pictures, and such as the network did not learn from.

    held_out  what is predicted of those; None where training was cut off
    """
    if held_out is None:
        return None, NO_REFERENCE
    first, last = session.stages[0], session.stage
    at_rest = session.store is not None and not session.recipe.fine_tune
    on_all = session.folds is not None or session.again is not None
    if on_all and not at_rest:
        return None, ReferenceFit(0, 0, NOT_HELD_OUT)
    # The features of a backbone at rest are those of pictures it has not seen, also in training.
    pictures = first.validation or last.train
    positions = torch.full((len(pictures),), -1)
    if on_all:
        positions = torch.arange(len(pictures)) + len(last.train) - len(pictures)
    compared = HeldOutPictures(pictures, held_out.evaluation.probabilities, positions)
    train, store = last.train if on_all else first.train, session.store if at_rest else None
    try:
        return reference_of(held_out.classifier, train, compared, store=store)
    except (RuntimeError, IndexError, UsageError) as error:  # a network of one's own may have no such layer
        return None, ReferenceFit(0, 0, f"its last hidden layer cannot be read ({error})")


def _why(session: Session) -> str:
    """Why the weights are those that they are, in words."""
    if session.folds is not None:
        if session.again is None:
            return f"training stopped: {session.stage.name}"
        return "trained on all pictures, nothing held out"
    if session.again is not None:
        return (
            "trained again on training and validation pictures, nothing held out, for as many epochs as had "
            "the lowest validation loss in the first training; 'best' and metrics.csv are of the first"
        )
    return (
        "lowest validation loss"
        if session.shown.best
        else "training stopped before its first epoch was judged"
    )


def _figures(epoch: Epoch) -> dict[str, float]:
    """The figures of an epoch that were measured."""
    values = {name: value for name, value in asdict(epoch).items() if name not in ("seconds", "stage")}
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _prefixed(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the last layer alone under their names in a pretrained network; others as they are."""
    alone = isinstance(network, PretrainedNetwork) and "dense.weight" in weights
    return {f"head.{name}" if alone else name: tensor for name, tensor in weights.items()}


def copied_weights(network: nn.Module) -> dict[str, Tensor]:
    """The weights of a network as they are now."""
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}
