"""How a training went, epoch by epoch: a list of Epochs that also reads as Keras' history does."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import overload

from pellucid.errors import UsageError, did_you_mean
from pellucid.training.loop import Epoch

COLUMNS = tuple(field.name for field in fields(Epoch))


class History(Sequence[Epoch]):
    """Epochs in order: `history[-1]` is the last one, `history["val_loss"]` that figure of every epoch."""

    def __init__(self, epochs: Iterable[Epoch] = ()) -> None:
        self._epochs = tuple(epochs)

    def __len__(self) -> int:
        return len(self._epochs)

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self._epochs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, History) and self._epochs == other._epochs

    def __hash__(self) -> int:
        return hash(self._epochs)

    def __repr__(self) -> str:
        epochs = "epoch" if len(self) == 1 else "epochs"
        return f"History({len(self)} {epochs}: {', '.join(COLUMNS)})"

    @overload
    def __getitem__(self, key: int) -> Epoch: ...
    @overload
    def __getitem__(self, key: slice) -> "History": ...
    @overload
    def __getitem__(self, key: str) -> list[float]: ...
    def __getitem__(self, key: int | slice | str) -> "Epoch | History | list[float]":
        """One epoch by position, some as a History, or one figure of all epochs by its name.

        Raises UsageError with the nearest name for a figure that is not recorded.
        """
        if isinstance(key, str):
            if key not in COLUMNS:
                raise UsageError(f"No '{key}' in the history. {did_you_mean(key, COLUMNS)}")
            return [getattr(epoch, key) for epoch in self._epochs]
        return History(self._epochs[key]) if isinstance(key, slice) else self._epochs[key]
