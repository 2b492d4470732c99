"""Pictures in: the data sets pellucid knows, and `load`, which gives one in three parts."""

from pathlib import Path

from pellucid.data import known
from pellucid.data.dataset import Dataset, Splits, split
from pellucid.data.known import Known, Progress, Transfer
from pellucid.errors import UsageError, did_you_mean

__all__ = ["DATASETS", "Dataset", "Known", "Splits", "load", "locate", "split"]

DATASETS: dict[str, Known] = {
    "digits": known.digits,
    "fashion-mnist": known.fashion_mnist,
    "mnist": known.mnist,
}


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    seed: int = 42,
    validation: float = 0.2,
    progress: Progress | None = None,
) -> Splits:
    """A known data set in three parts that share no picture: to learn from, to choose by, to judge with.

    Where the data set brings no validation part, the share `validation` of its training pictures is held
    out, every class alike, by `seed`. The test part is the data set's own and depends on neither.

    data_dir  a folder to look in first, then in PELLUCID_DATA, pellucid's cache, Keras' and torchvision's
    progress  called during a download with the file's name, the bytes so far and the bytes in all

    Raises UsageError when the name is unknown or `validation` is not between 0 and 1; PellucidError when
    the data set is nowhere and cannot be downloaded.
    """
    splits = known.read(_known(name), _path(data_dir), transfer=Transfer(progress=progress))
    if len(splits.validation):
        return splits
    rest, held_out = split(splits.train, fraction=validation, seed=seed)
    return Splits(rest, held_out, splits.test)


def locate(name: str, data_dir: str | Path | None = None) -> str | None:
    """Where `load` would take the data set from: "embedded", a path, or None when it would be downloaded.

    It only looks whether the files are there; `load` checks them. Raises UsageError when the name is unknown.
    """
    return known.place(_known(name), _path(data_dir))


def _known(name: str) -> Known:
    if name not in DATASETS:
        raise UsageError(
            f"Unknown data set '{name}'. {did_you_mean(name, DATASETS)} "
            "Folders of your own pictures are not read yet."
        )
    return DATASETS[name]


def _path(data_dir: str | Path | None) -> Path | None:
    return None if data_dir is None else Path(data_dir)
