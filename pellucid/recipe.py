"""Every choice that decides a training run, in one flat, frozen record."""

import difflib
import functools
import inspect
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, get_args

from pellucid.errors import UsageError, did_you_mean, suggest_names
from pellucid.files import read_json

Optimizer = Literal["adam", "adamw", "muon"]
Schedule = Literal["constant", "one-cycle", "linear"]
Precision = Literal["auto", "float32", "bfloat16"]
Balance = Literal["auto", "none", "weights", "sampler"]
Fitting = Literal["stretch", "pad", "crop"]
Size = int | tuple[int, int]
Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")
SMALLEST, LARGEST = 8, 1024  # pixels a side that own pictures are read with


def checked_size(size: object) -> Size:
    """A size as `Recipe` takes it, from a side, (height, width), a list of JSON, or "64x96" of a person.

    Raises UsageError for what is no size.
    """
    given: Any = size
    if isinstance(size, str) and re.fullmatch(r"\d{1,9}(x\d{1,9})?", size):
        given = [int(side) for side in size.split("x")]
    sides = list(given) if isinstance(given, list | tuple) else [given]
    whole = len(sides) in (1, 2) and all(type(side) is int for side in sides)
    if not whole or not (sides == [0] or all(SMALLEST <= side <= LARGEST for side in sides)):
        raise UsageError(
            f"Expected size from {SMALLEST} to {LARGEST:,} pixels (0: chosen by the pictures), or height and "
            f"width such as 64x96; got {size}."
        )
    return (sides[0], sides[1]) if len(set(sides)) == 2 else sides[0]


@suggest_names
@dataclass(frozen=True)
class Recipe:
    """Every choice that decides a training run. The same recipe on the same data, machine and number of
    threads gives the same bytes.

    model            a name of MODELS or PRETRAINED, or "hf:" and a name on the Hugging Face hub or a folder
    epochs           times the whole training set is seen, at most; of a pretrained one, whose last layer
                     is solved, 1
    batch_size       pictures a step
    optimizer        "adam" (Kingma and Ba, arXiv:1412.6980), "adamw" (Loshchilov and Hutter, 1711.05101) or
                     "muon" (Jordan 2024; see optimizers.py), which leaves first and last layer to "adamw"
    learning_rate    its constant value, or the peak of the schedule
    schedule         "constant", "one-cycle": up, then down to nothing (Smith and Topin, arXiv:1708.07120), or
                     "linear": up for a tenth of the way, then straight down to nothing
    weight_decay     decoupled, as AdamW defines it; "adam" does not use it
    label_smoothing  0..1, the share of the target spread over all classes (Szegedy et al., 1512.00567)
    augment          how training pictures are changed anew in every epoch: names of AUGMENTATIONS joined by
                     commas, "none", or "auto": what suits the data set (digits are never flipped)
    balance          of uneven classes: "weights" counts each picture of a rare class more, "sampler" shows it
                     more often; "none" leaves them as they are; "auto" is weights where the last layer is
                     solved, classes are uneven and macro F1 on held-out pictures is not lower by them
    fine_tune        epochs in which all of a pretrained network learns, after its last layer did
    patience         stop after so many epochs without a lower validation loss; 0: never stop early
    validation       share of the training pictures held out to choose by, where the data set brings none
    use_all          after the choice by validation pictures, train once more on these too: for as many epochs
                     as were best, nothing held out. "fast" and "accurate" do where only a last layer is
                     solved, which takes a second
    folds            0, or into how many parts all pictures are divided: each part is judged by a network that
                     learned from the others, and the network kept learned from all
    seed             decides the split, the first weights, the order of pictures and what dropout drops
    precision        of the training arithmetic; "auto" is bfloat16 where the processor computes it natively
    threads          processor threads; 0: as many as the processor has cores
    size             pixels a side that your own pictures are read with, or (height, width); 0: chosen by
                     their sizes
    fit              how your own pictures of other proportions are read: "stretch" resizes the whole picture,
                     "pad" keeps its proportions and puts a ground around it, "crop" takes its middle
    group_by         a column, or a pattern in the names, of your own pictures that stay on one side
    label_from       a column, or a pattern in the names, that holds the labels of your own pictures
    crop_boxes       of your own pictures with annotations of COCO or Pascal VOC: each box is a picture
    """

    model: str = "tutorial"
    epochs: int = 4
    batch_size: int = 128
    optimizer: Optimizer = "adamw"
    learning_rate: float = 5e-3
    schedule: Schedule = "one-cycle"
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    augment: str = "auto"
    balance: Balance = "auto"
    fine_tune: int = 0
    patience: int = 0
    validation: float = 0.2
    use_all: bool = False
    folds: int = 0
    seed: int = 42
    precision: Precision = "auto"
    threads: int = 0
    size: Size = 0
    fit: Fitting = "stretch"
    group_by: str = ""
    label_from: str = ""
    crop_boxes: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", checked_size(self.size))
        for field in fields(self):
            if field.name == "size":
                continue
            given: object = getattr(self, field.name)
            kind = type(field.default)
            if type(given) is not kind and (kind, type(given)) != (float, int):
                raise UsageError(f"Expected {field.name} as {kind.__name__}; got {given!r}.")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(f"Unknown {name} '{getattr(self, name)}'. Known: {', '.join(choices)}.")
        for name, (lowest, highest, expected) in RANGES.items():
            value = getattr(self, name)
            if not lowest <= value <= highest:
                raise UsageError(f"Expected {name} {expected}; got {value}.")
        if self.folds == 1:
            raise UsageError(f"Expected folds {RANGES['folds'][2]}; got 1.")
        if self.folds and self.use_all:
            raise UsageError("With `folds` the network kept learns from all pictures: leave `use_all` out.")

    def to_json(self) -> dict[str, Any]:
        """The fields by name, as plain numbers and words; a size of height and width as a list."""
        height_and_width = list(self.size) if isinstance(self.size, tuple) else self.size
        return {**asdict(self), "size": height_and_width}

    @staticmethod
    def named(name: str, **settings: Any) -> "NamedRecipe":
        """A recipe of RECIPES by name, with some settings changed: `Recipe.named("fast", epochs=20)`.

        It becomes a Recipe when `fit` knows how many pictures there are. Raises UsageError with the nearest
        name for an unknown recipe or setting, and for a value out of range.
        """
        named = NamedRecipe(name, settings)
        named.resolve(1)
        return named


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe by name, and the settings changed in it, before it is known how many pictures there are."""

    name: str
    settings: dict[str, Any]

    def __repr__(self) -> str:
        settings = "".join(f", {name}={value!r}" for name, value in self.settings.items())
        return f"Recipe.named('{self.name}'{settings})"

    def resolve(
        self, pictures: int, shape: tuple[int, int, int] = (1, 28, 28), *, several_labels: bool = False
    ) -> Recipe:
        """The recipe for so many training pictures of that shape (C, H, W).

        several_labels  whether a picture can have several: validation pictures are then not learned from
        """
        if self.name not in RECIPES:
            raise UsageError(f"Unknown recipe '{self.name}'. {did_you_mean(self.name, RECIPES)}")
        model = self.settings.get("model")
        if model is None and self.settings.get("folds") and shape[0] in (1, 3):
            model = "lite0"  # folds are for few pictures, and its features are computed once for all of them
        recipe = RECIPES[self.name](pictures, shape, model)
        if several_labels or self.settings.get("folds") or self.settings.get("fine_tune"):
            recipe = replace(recipe, use_all=False)
        return changed(recipe, self.settings)


def with_model(recipe: Recipe | NamedRecipe, model: str) -> Recipe | NamedRecipe:
    """The recipe with a network of that name."""
    if isinstance(recipe, NamedRecipe):
        return NamedRecipe(recipe.name, {**recipe.settings, "model": model})
    return replace(recipe, model=model)


CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": get_args(Optimizer),
    "schedule": get_args(Schedule),
    "precision": get_args(Precision),
    "balance": get_args(Balance),
    "fit": get_args(Fitting),
}

TINY = 1e-12
RANGES: dict[str, tuple[float, float, str]] = {
    "epochs": (1, 1_000_000, "from 1 to 1,000,000"),
    "batch_size": (1, 1_000_000, "from 1 to 1,000,000"),
    "learning_rate": (TINY, 1e3, "above 0 and at most 1000"),
    "weight_decay": (0, 1e3, "from 0 to 1000"),
    "label_smoothing": (0, 1 - TINY, "from 0 to below 1"),
    "fine_tune": (0, 1_000_000, "from 0 to 1,000,000 (0: the last layer alone learns)"),
    "patience": (0, 1_000_000, "from 0 to 1,000,000 (0: never stop early)"),
    "validation": (TINY, 1 - TINY, "between 0 and 1, such as 0.2"),
    "folds": (0, 100, "from 2 to 100 (0: a test and a validation part are held out instead)"),
    "seed": (-(2**63), 2**63 - 1, "that fits 64 bits"),
    "threads": (0, 4096, "from 0 to 4,096 (0: one per core)"),
}

DEFAULT = Recipe()
# Settings that decide how pictures are read and split.
READING = ("seed", "validation", "size", "fit", "group_by", "label_from", "crop_boxes")
AUTO = "auto"  # in place of a network's name: several are tried, and the best on validation pictures is kept
BUDGET = 120.0  # seconds that this takes on two cores of an ordinary machine, unless another budget is given
MOST_EPOCHS = 150
RESIDUAL_PICTURES = 2_000  # from so many on, resnet has been seen to win from the start

Shape = tuple[int, int, int]  # (C, H, W) of the pictures
SMALL_AND_GRAY: Shape = (1, 28, 28)


def fast(pictures: int, shape: Shape = SMALL_AND_GRAY, model: str | None = None) -> Recipe:
    """The most accuracy a second, by trials on validation pictures.

    The tutorial's network: two epochs for MNIST's 48,000, in batches of 256; for fewer pictures smaller
    batches and more epochs, so that there are some 750 updates, up to 150 epochs. Without a `model`, coloured
    pictures and those with a side over 32 pixels get the resnet, and the compact network where they are few.
    """
    larger = "resnet" if pictures >= RESIDUAL_PICTURES else "compact"
    model = model or ("tutorial" if shape[0] == 1 and max(shape[1:]) <= 32 else larger)
    if model == "resnet" or model.startswith("own:"):  # AdamW suits any network
        return replace(_residual(pictures), model=model)
    if model == "lite0":
        return Recipe(model=model, batch_size=32, epochs=1, learning_rate=1e-3, use_all=True)
    if model.startswith("hf:"):
        return Recipe(model=model, batch_size=64, epochs=1, use_all=True)
    swift = Recipe(
        model=model,
        epochs=2,
        batch_size=256,
        optimizer="muon",
        learning_rate=7e-3,
        schedule="linear",
        label_smoothing=0.05,
    )
    if pictures >= 40_000:
        return swift
    batch_size = 128 if pictures >= 20_000 else 64
    updates_an_epoch = max(1, math.ceil(pictures / batch_size))
    epochs = min(MOST_EPOCHS, max(2, round(750 / updates_an_epoch)))
    return replace(swift, epochs=epochs, batch_size=batch_size, learning_rate=5e-3)


def _residual(pictures: int) -> Recipe:
    batch_size = 128 if pictures >= 20_000 else 32
    updates_an_epoch = max(1, math.ceil(pictures / batch_size))
    epochs = min(40, max(10, round(600 / updates_an_epoch)))
    return Recipe(model="resnet", batch_size=batch_size, epochs=epochs, learning_rate=2e-3, weight_decay=0.05)


def accurate(pictures: int, shape: Shape = SMALL_AND_GRAY, model: str | None = None) -> Recipe:
    """The most accuracy in the time Keras takes for the `course` recipe: a minute for MNIST on two cores.

    The compact network, nine epochs of pictures as another hand might have written them, and only a
    twentieth held out; for fewer pictures more epochs. Coloured or larger ones get the network of the fast
    recipe for twice as long.
    """
    quick = fast(pictures, shape, model)
    if quick.model == "resnet" or (model is None and quick.model != "tutorial"):
        return replace(quick, epochs=2 * quick.epochs)
    batch_size = min(128, quick.batch_size)
    updates_an_epoch = max(1, math.ceil(pictures / batch_size))
    return replace(
        quick,
        model=model or "compact",
        batch_size=batch_size,
        learning_rate=5e-3,
        epochs=min(60, max(9, round(4_000 / updates_an_epoch))),
        label_smoothing=0.1,
        augment="handwriting",
        validation=0.05,
    )


def course(pictures: int, shape: Shape = SMALL_AND_GRAY, model: str | None = None) -> Recipe:
    """The settings of the usual first lesson on MNIST in Keras, whatever the pictures; the seed is ours."""
    return Recipe(
        model=model or "tutorial",
        augment="none",
        epochs=20,
        batch_size=32,
        optimizer="adam",
        learning_rate=1e-3,
        schedule="constant",
        weight_decay=0.0,
        patience=3,
        precision="float32",
    )


RECIPES: dict[str, Callable[[int, Shape, str | None], Recipe]] = {
    "fast": fast,
    "accurate": accurate,
    "course": course,
}


def read_recipe(path: Path) -> Recipe:
    """The recipe a run wrote to `path`. Raises UsageError for an unknown or mistyped setting."""
    if not path.is_file():
        raise UsageError(
            f"'{path}' is not a file. Expected a recipe.json, such as 'runs/latest/recipe.json'."
        )
    settings = read_json(path)
    if not isinstance(settings, dict):
        raise UsageError(
            f"Expected '{path}' to hold one object of settings; got {json.dumps(settings)[:60]}."
        )
    return changed(Recipe(), settings)


def changed(recipe: Recipe, settings: dict[str, Any]) -> Recipe:
    """`recipe` with some settings replaced. Raises UsageError for a name or type that does not fit."""
    names = [field.name for field in fields(Recipe)]
    for name in settings:
        if name not in names:
            raise UsageError(f"Unknown setting '{name}'. {did_you_mean(name, names)}")
    return replace(recipe, **settings)


def refuse_unknown_keywords(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """`function`, answering a keyword that it does not take with UsageError and what was meant.

    A setting of training, such as `epochs`, is shown where it belongs: in a Recipe.
    """
    known = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*given: Parameters.args, **keywords: Parameters.kwargs) -> Returned:
        if unknown := next((name for name in keywords if name not in known), None):
            data = given[0] if given and isinstance(given[0], str) else "digits"
            raise UsageError(_misplaced(function.__name__, unknown, keywords, known, data))
        return function(*given, **keywords)

    return checked


def _misplaced(
    function: str, unknown: str, keywords: Mapping[str, object], known: list[str], data: str
) -> str:
    """The sentence about a keyword that `function` does not take."""
    settings = [field.name for field in fields(Recipe)]
    both = [*known, *settings]  # of names equally near, the function's own
    meant = {name: next(iter(difflib.get_close_matches(name, both, 1, 0.8)), "") for name in keywords}
    if meant[unknown] not in settings or (meant[unknown] in known and unknown not in settings):
        return f"{function}() takes no `{unknown}`. {did_you_mean(unknown, known)}"
    moved = [
        f"{meant[name]}={value!r}" for name, value in keywords.items() if name not in known and meant[name]
    ]
    called = (
        f"train(network, train_set, validation_set, Recipe({', '.join(moved)}))"
        if function == "train"
        else f'fit("{data}", Recipe.named("fast", {", ".join(moved)}))'
    )
    named = "" if meant[unknown] == unknown else f" Did you mean `{meant[unknown]}`?"
    return f"{function}() takes no `{unknown}`.{named} Settings of training belong in a Recipe: {called}."
