"""What the Tab key offers: names of data sets, models and recipes, folders of runs, the values of options.

Only names are looked at here, so that the Tab key answers at once: nothing of this loads torch. Where
nothing is offered, the shell completes files and folders as ever.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from pellucid.recipe import AUTO

# The keys of data.DATASETS and of models.MODELS and PRETRAINED; reading those would load torch.
DATA_SETS = (
    "cifar-10", "cifar-100", "digits", "emnist-balanced", "emnist-digits", "emnist-letters", "fashion-mnist",
    "kmnist", "mnist",
)  # fmt: skip
MODELS = (AUTO, "compact", "lite0", "resnet", "tutorial")

RUNS = Path("runs")  # where runs lie unless another folder was given
Complete = Callable[[str], list[str]]


def one_of(names: Iterable[str]) -> Complete:
    """A completer that offers those of `names` that begin as the word does."""
    known = list(names)

    def complete(begun: str) -> list[str]:  # typer tells what to pass by the annotation
        return [name for name in known if name.startswith(begun)]

    return complete


def data(begun: str) -> list[str]:
    """Known data sets, and with them what lies here under such a name."""
    known = [name for name in DATA_SETS if name.startswith(begun)]
    here = [path.name for path in _entries(Path()) if path.name.startswith(begun)]
    return known + here if known else []  # [] leaves paths to the shell


def run(begun: str) -> list[str]:
    """The runs in `runs`, or in the folder that was typed."""
    return _runs(begun, "recipe.json")


def stopped_run(begun: str) -> list[str]:
    """Of the runs there, those that can be gone on with."""
    return _runs(begun, "checkpoint.safetensors")


def _runs(begun: str, file: str) -> list[str]:
    typed = begun.rpartition("/")[0]
    folders = [Path(typed)] if typed else [RUNS, Path()]
    found = [path.as_posix() for folder in folders for path in _entries(folder) if (path / file).is_file()]
    return sorted(name for name in found if name.startswith(begun))


def _entries(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    except OSError:
        return []
