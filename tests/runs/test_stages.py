"""The trainings of a run are those its recipe asks for, and a state survives its file."""

from dataclasses import replace

import torch

from pellucid.data.folds import assign_folds, everything
from pellucid.models.head import HeadSettings
from pellucid.runs.stages import State, stages_of
from pellucid.training.loop import Epoch, Progress
from tests.runs.toy_runs import SHORT, SPLITS


def test_every_picture_is_held_out_of_exactly_one_training_that_never_sees_it() -> None:
    whole = everything(SPLITS).train
    folds = assign_folds(whole, 3, seed=0, groups={})
    *parts, last = stages_of(replace(SHORT, folds=3), whole, whole.subset([]), folds)
    assert torch.cat([stage.held_out for stage in parts]).sort().values.tolist() == list(range(len(whole)))
    for stage in parts:
        held_out = {whole.sources[index] for index in stage.held_out.tolist()}
        assert not held_out & set(stage.train.sources)
        assert len(held_out) + len(stage.train) == len(whole)
    assert last.train is whole
    assert not len(last.held_out)
    assert [stage.name for stage in (*parts, last)] == [
        "fold 1 of 3", "fold 2 of 3", "fold 3 of 3", "all pictures",
    ]  # fmt: skip


def test_a_second_training_has_all_that_the_first_was_chosen_by() -> None:
    first, second = stages_of(replace(SHORT, use_all=True), SPLITS.train, SPLITS.validation)
    assert first.validation is SPLITS.validation
    assert second.validation is None
    assert list(second.train.sources) == [*SPLITS.train.sources, *SPLITS.validation.sources]
    (only,) = stages_of(SHORT, SPLITS.train, SPLITS.validation)
    assert (only.name, only.validation) == ("", SPLITS.validation)


def test_a_state_is_read_as_it_was_written() -> None:
    epoch = Epoch(1, 0.5, 1e-3, 0.4, 0.9, 0.5, 0.8, best=True)
    first = Progress(2, history=[epoch], head=HeadSettings(0.1, True), best_weights={"w": torch.ones(2)})
    progress = Progress(1, 3, until=1, weights={"w": torch.zeros(2)})
    state = State(1, progress, first, torch.rand(4, 2), {"w": torch.full((2,), 7.0)})
    again = State.from_tensors(*state.to_tensors())
    assert again.first == first
    assert again.progress.until == 1
    assert (again.stage, again.progress.step) == (1, 3)
    assert torch.equal(again.logits, state.logits)
    assert torch.equal(again.initial["w"], state.initial["w"])
    assert not State.from_tensors(*State().to_tensors()).initial
