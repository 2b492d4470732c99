"""Pictures in: the data sets pellucid knows and your own, and `load`, which gives them in three parts."""

from pathlib import Path
from typing import Any

from pellucid.data.dataset import Dataset, Splits, split
from pellucid.data.known import catalogue, find
from pellucid.data.known.download import Progress, Transfer
from pellucid.data.known.find import Known
from pellucid.data.own import Reading, read_pictures
from pellucid.errors import UsageError, did_you_mean

__all__ = [
    "DATASETS",
    "Dataset",
    "Known",
    "Reading",
    "Splits",
    "is_known",
    "load",
    "locate",
    "read_pictures",
    "split",
]

DATASETS: dict[str, Known] = {
    "cifar-10": catalogue.cifar_10,
    "cifar-100": catalogue.cifar_100,
    "digits": catalogue.digits,
    "emnist-balanced": catalogue.emnist_balanced,
    "emnist-digits": catalogue.emnist_digits,
    "emnist-letters": catalogue.emnist_letters,
    "fashion-mnist": catalogue.fashion_mnist,
    "kmnist": catalogue.kmnist,
    "mnist": catalogue.mnist,
}


def load(
    data: Any,
    *,
    data_dir: str | Path | None = None,
    seed: int = 42,
    validation: float = 0.2,
    size: int = 0,
    group_by: str = "",
    progress: Progress | None = None,
) -> Splits:
    """Pictures in three parts that share no picture: to learn from, to choose by, to judge with.

    data      a known data set's name, such as "mnist"; or your own pictures: a folder, a table, an archive, a
              pandas DataFrame, NumPy arrays, a Hugging Face Dataset. A name that is known is never a folder:
              write "./mnist" for one
    data_dir  a folder to look for known data sets in first, then in PELLUCID_DATA, pellucid's cache, Keras'
              and torchvision's
    size      pixels a side of your own pictures; 0: chosen by their sizes
    group_by  a column, or a pattern in the names, of your own pictures that stay on one side
    progress  called with what is done, how much so far and how much in all

    Where the data bring no validation part, the share `validation` of the training pictures is held out by
    `seed`. The test part depends on neither. `read_pictures` tells more, and takes more settings.

    Raises UsageError when the name is unknown, a setting is not one, or it is not clear what they are;
    PellucidError when a known data set is nowhere and cannot be downloaded.
    """
    if not is_known(data):
        reading = read_pictures(
            data, size=size, seed=seed, validation=validation, group_by=group_by, progress=progress
        )
        return reading.splits
    if size or group_by:
        raise UsageError(f"'{data}' comes as it is: size and group_by are for your pictures.")
    splits = find.read(_known(data), _path(data_dir), transfer=Transfer(progress=progress))
    if len(splits.validation):
        return splits
    rest, held_out = split(splits.train, fraction=validation, seed=seed)
    return Splits(rest, held_out, splits.test)


def is_known(data: Any) -> bool:
    """Whether `data` is a known data set's name; False for your own pictures.

    Raises UsageError for a word that is neither: no name of DATASETS, and nothing of that name lies here.
    """
    if not isinstance(data, str) or data not in DATASETS:
        if isinstance(data, str) and (not data or not Path(data).exists()):
            raise UsageError(
                f"Unknown data set '{data}'. {did_you_mean(data, DATASETS)} "
                "Nor is it a folder, a table or an archive of your own pictures here."
            )
        return False
    return True


def locate(name: str, data_dir: str | Path | None = None) -> str | None:
    """Where `load` would take the data set from: "embedded", a path, or None when it would be downloaded.

    It only looks whether the files are there; `load` checks them. Raises UsageError when the name is unknown.
    """
    return find.place(_known(name), _path(data_dir))


def _known(name: str) -> Known:
    if name not in DATASETS:
        raise UsageError(f"Unknown data set '{name}'. {did_you_mean(name, DATASETS)}")
    return DATASETS[name]


def _path(data_dir: str | Path | None) -> Path | None:
    return None if data_dir is None else Path(data_dir)
