"""Pictures in: the data sets pellucid knows and your own, and `load`, which gives them in three parts."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid.data.corrections import Excluded, Relabelled, corrected, read_corrections
from pellucid.data.dataset import Choices, Dataset, Origin, Splits, split
from pellucid.data.known import catalogue, find
from pellucid.data.known.download import Progress, Transfer
from pellucid.data.known.find import KnownDataset
from pellucid.data.own import read_own
from pellucid.data.preprocess import Preprocess
from pellucid.data.sources.detect import refuse_missing
from pellucid.data.store.pixels import OnUnreadable
from pellucid.errors import UsageError, did_you_mean
from pellucid.recipe import Fitting, Size, refuse_unknown_keywords

__all__ = [
    "DATASETS",
    "Dataset",
    "KnownDataset",
    "Splits",
    "is_known",
    "load",
    "load_again",
    "load_by",
    "locate",
    "split",
]

DATASETS: dict[str, KnownDataset] = {
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


@refuse_unknown_keywords
def load(
    data: Any,
    *,
    data_dir: str | Path | None = None,
    seed: int = 42,
    validation: float = 0.2,
    size: Size = 0,
    fit: Fitting = "stretch",
    group_by: str = "",
    split_file: str | Path = "",
    on_unreadable: OnUnreadable = "skip",
    label_from: str = "",
    crop_boxes: bool = False,
    exclude: Excluded = (),
    relabel: Relabelled = "",
    progress: Progress | None = None,
) -> Splits:
    """Pictures in three parts that share no picture, for training, validation and one final test.

    data        a known data set's name, such as "mnist"; or your own pictures: a folder, a table, an
                archive, a pandas DataFrame, NumPy arrays, a Hugging Face Dataset. A name that is known is
                never a folder: write "./mnist" for one
    data_dir    a folder to look for known data sets in first, then in PELLUCID_DATA, pellucid's cache,
                Keras' and torchvision's
    size        pixels per side of your own pictures, or (height, width); 0: chosen by their sizes
    fit         what is done with your own pictures of other proportions: "stretch" resizes the whole picture,
                "pad" keeps its proportions and puts a ground around it, "crop" takes its middle
    group_by    a column, or a pattern in the names, of your own pictures that stay on one side
    split_file  a run's split.csv: your own pictures are split as it says
    on_unreadable  "skip" passes over pictures that cannot be read, "stop" refuses them
    label_from  where the labels of your own pictures are: a table's column, or a pattern in the names, such
                as "([a-z]+)_" for "cat" in cat_001.jpg
    crop_boxes  of annotations of COCO or Pascal VOC: read each box as a picture of its own
    exclude     pictures to leave out: a table with a column `source`, such as a run's suspects.csv once you
                have looked through it, or the sources
    relabel     labels to change: a table with `source` and `suggested_label`, or else `label`, or a dict; all
                other pictures stay in the part they were in
    progress    called with what is done, how much so far and how much in all

    Where the data bring no validation part, the share `validation` of the training pictures is held out by
    `seed`. The test part depends on neither. `splits.origin` says where they come from and how they were
    read.

    Raises UsageError when the name is unknown, a setting is not one, or it is not clear what they are;
    PellucidError when a known data set is nowhere and cannot be downloaded.
    """
    split_path = str(Path(split_file).resolve()) if split_file else ""
    choices = Choices(
        seed, validation, size, group_by, split_path, on_unreadable, label_from, fit, crop_boxes=crop_boxes,
        corrections=read_corrections(exclude, relabel),
    )  # fmt: skip
    return load_by(data, choices, data_dir=data_dir, progress=progress)


def load_by(
    data: Any,
    choices: Choices,
    *,
    data_dir: str | Path | None = None,
    preprocess: Preprocess | None = None,
    progress: Progress | None = None,
    refused: str = "",
) -> Splits:
    """What `load` gives, its settings in one record.

    preprocess  how an earlier run read its pictures, in place of the size in `choices`
    refused     why a known data set that is not on this machine is not downloaded; "" where it is
    """
    if not is_known(data):
        own = read_own(data, choices, preprocess=preprocess, progress=progress)
        return corrected(own.splits, choices.corrections)
    usual = Choices()
    names = ("size", "fit", "group_by", "split_file", "label_from", "crop_boxes")
    given = [name for name in names if getattr(choices, name) != getattr(usual, name)]
    if given:
        raise UsageError(
            f"{' and '.join(f'`{name}`' for name in given)} is for your own pictures; "
            f"'{data}' is known and comes as it is."
        )
    known = DATASETS[data]
    splits = find.read(known, _path(data_dir), transfer=Transfer(progress=progress, refused=refused))
    train, validation = splits.train, splits.validation
    if not len(validation):
        train, validation = split(train, fraction=choices.validation, seed=choices.seed)
        if not len(validation):
            raise UsageError(
                f"Of {len(train):,} pictures a share of {choices.validation:g} leaves none to choose by. "
                "Expected a larger validation share, such as 0.2."
            )
    origin = Origin(
        name=data,
        known=True,
        choices=choices,
        preprocess=Preprocess(train.channels, *train.size),
        augmentation=known.augment,
        found=len(train) + len(validation) + len(splits.test),
    )
    return corrected(Splits(train, validation, splits.test, origin), choices.corrections)


def load_again(
    origin: Origin,
    *,
    data_dir: str | Path | None = None,
    split_file: str | Path = "",
    progress: Progress | None = None,
) -> Splits:
    """The pictures of an earlier `load`, found and read as they were then.

    data_dir    where they lie now, should they have been moved
    split_file  a table of parts that stands in for the one in `origin`, should that be gone

    Nothing is downloaded: what a file says is not what a person asked for. Raises UsageError when they came
    from values in memory, or are not where they were; PellucidError for a known data set that is not on this
    machine.
    """
    if not origin.data:
        raise UsageError(
            f"'{origin.name}' came from memory, not from files or a known data set. Pass the pictures "
            "again, as in run.evaluate(test)."
        )
    choices = origin.choices
    if choices.split_file and not Path(choices.split_file).is_file():
        choices = replace(choices, split_file=str(split_file))
    if origin.known:  # which a file says, and nobody asked for
        refused = f"a run names it, you did not; 'pellucid check {origin.name}' fetches it"
        return load_by(origin.name, origin.choices, data_dir=data_dir, progress=progress, refused=refused)
    return load_by(str(data_dir or origin.location), choices, preprocess=origin.preprocess, progress=progress)


def is_known(data: Any) -> bool:
    """Whether `data` is a known data set's name; False for your own pictures.

    Raises UsageError for a name that is neither in DATASETS nor that of a file or folder.
    """
    if not isinstance(data, str) or data not in DATASETS:
        if isinstance(data, str) and re.search(r"[/\\\\~.]", data) and not Path(data).exists():
            raise UsageError(
                f"'{data}' does not exist. Expected a folder of pictures, a table or an archive, or the name "
                "of a known data set, such as 'digits'."
            )
        if isinstance(data, str) and (not data or not Path(data).exists()):
            suggestion = did_you_mean(data, DATASETS)
            if data and not suggestion.startswith("Did you mean"):
                refuse_missing(data)  # a path or an address rather than a misspelt name
            raise UsageError(
                f"Unknown data set '{data}'. {suggestion} "
                "Nor is it a folder, a table or an archive of your own pictures here."
            )
        return False
    return True


def locate(name: str, data_dir: str | Path | None = None) -> str | None:
    """Where `load` would take the data set from: "embedded", a path, or None when it would be downloaded.

    It only looks whether the files are there; `load` checks them. Raises UsageError when the name is unknown.
    """
    return find.locate_copy(_known(name), _path(data_dir))


def _known(name: str) -> KnownDataset:
    if name not in DATASETS:
        raise UsageError(f"Unknown data set '{name}'. {did_you_mean(name, DATASETS)}")
    return DATASETS[name]


def _path(data_dir: str | Path | None) -> Path | None:
    return None if data_dir is None else Path(data_dir)
