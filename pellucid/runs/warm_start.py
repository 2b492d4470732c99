"""A training that begins from the weights of an earlier run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.classifier import MANIFEST
from pellucid.data.dataset import Dataset, Splits, content_hashes
from pellucid.data.preprocess import Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.files import read_object
from pellucid.formatting import listed, plural
from pellucid.recipe import AUTO, NamedRecipe, Recipe, Size, with_model
from pellucid.records import Count, record_from
from pellucid.runs.run import Run
from pellucid.runs.tables import seen_contents


@dataclass(frozen=True)
class WarmStart:
    """What was taken from an earlier run; part of environment.json.

    run      its folder
    weights  the SHA-256 of its weights
    kept     classes that both have: the last layer keeps their weights
    new      classes that it does not know: their weights are drawn anew
    dropped  classes that it knew and these pictures do not show
    learned_in_validation  how many validation pictures it learned from
    """

    run: str
    weights: str
    kept: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]
    learned_in_validation: Count = 0

    def __str__(self) -> str:
        parts = [f"all {len(self.kept)} classes kept"] if not self.new else []
        if self.new:
            parts = [f"{len(self.kept)} of its classes kept, new: {listed(self.new)}"]
        if self.dropped:
            parts.append(f"left out: {listed(self.dropped)}")
        return f"Begins from the weights of {self.run}: {'; '.join(parts)}."

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "WarmStart":
        """What `to_json` wrote. Raises PellucidError when it is damaged."""
        try:
            return record_from(WarmStart, values)
        except ValueError as error:
            raise PellucidError(f"The warm start in environment.json is damaged: {error}.") from error


def recipe_from(recipe: Recipe | NamedRecipe, run: Run) -> Recipe | NamedRecipe:
    """The recipe with the network of the run, whose weights fit no other.

    Raises UsageError when it asks for another, and for a run that was trained elsewhere.
    """
    if run.recipe is None:
        raise UsageError(
            f"'{run.folder}' was trained elsewhere, and what it learned from is not known: no test picture "
            "would be new for certain. Begin from a run that was trained here."
        )
    asked = recipe.settings.get("model") if isinstance(recipe, NamedRecipe) else recipe.model
    if asked not in (None, AUTO, run.recipe.model):
        raise UsageError(
            f"'{run.folder}' holds the weights of '{run.recipe.model}', which do not fit '{asked}'. "
            f"Expected `model={run.recipe.model}`, or no `model`."
        )
    return with_model(recipe, run.recipe.model)


def preprocess_of(run: Run, size: Size = 0) -> Preprocess:
    """How the run read its pictures, for pictures of any size. Raises UsageError when another `size` is
    asked for."""
    used = run.classifier.preprocess
    sides = size if isinstance(size, tuple) else (size, size)
    if size and sides != (used.height, used.width):
        raise UsageError(
            f"'{run.folder}' takes pictures of {used.height}x{used.width} (height x width); "
            f"`size={'x'.join(map(str, sides))}` was asked for. Leave `size` out."
        )
    return replace(used, fit="stretch") if used.fit == "none" else used


def refuse_other_pictures(run: Run, dataset: Dataset, preprocess: Preprocess) -> None:
    """Raises UsageError for pictures of another size, colour or scaling than the run's, or read otherwise."""
    used = run.classifier.preprocess
    height, width = dataset.size
    if (dataset.channels, height, width) != (used.channels, used.height, used.width):
        raise UsageError(
            f"'{run.folder}' takes pictures of {_described(used.channels, used.height, used.width)}; these "
            f"are {_described(dataset.channels, height, width)}. Have `fit` read them as that run did: give "
            "it their folder or name instead of Splits."
        )
    alike = "none" in (used.fit, preprocess.fit)
    if used != (replace(preprocess, fit=used.fit) if alike else preprocess):
        raise UsageError(
            f"'{run.folder}' reads pictures as {used}, these were read as {preprocess}. Have `fit` read them "
            "as that run did: give it their folder or name instead of Splits."
        )


def take_weights(network: nn.Module, classes: Sequence[str], run: Run) -> WarmStart:
    """Puts the run's weights into `network`; of the last layer those of classes with the same names.

    Raises UsageError when a layer differs in shape.
    """
    old = run.classifier
    theirs = old.network.state_dict()
    last, their_last = _last_layer(network, len(classes)), _last_layer(old.network, len(old.classes))
    rows = [old.classes.index(name) if name in old.classes else -1 for name in classes]
    weights: dict[str, Tensor] = {}
    for name, drawn in network.state_dict().items():
        found = theirs.get(name)
        if found is not None and last == their_last and name.rpartition(".")[0] == last:
            known = torch.tensor([row >= 0 for row in rows])
            weights[name] = drawn.clone()
            weights[name][known] = found[[row for row in rows if row >= 0]]
        elif found is not None and found.shape == drawn.shape:
            weights[name] = found
        else:
            shape = "missing" if found is None else tuple(found.shape)
            raise UsageError(
                f"The weights of '{run.folder}' do not fit this network: {name} is {shape}, expected "
                f"{tuple(drawn.shape)}. Train anew, or with the network of that run."
            )
    network.load_state_dict(weights)
    return WarmStart(
        run=str(run.folder.resolve()),
        weights=str(read_object(run.folder / MANIFEST)["sha256"]),
        kept=tuple(name for name in classes if name in old.classes),
        new=tuple(name for name in classes if name not in old.classes),
        dropped=tuple(name for name in old.classes if name not in classes),
    )


def learned_in_validation(run: Run, splits: Splits) -> int:
    """How many validation pictures the run learned from.

    Raises UsageError when it learned from a test picture, or was chosen by one, which would then be no test.
    Pictures are compared by their pixels, so that a resized copy is not found.
    """
    seen = seen_contents(run.folder)
    if splits.train is splits.test:
        count = sum(digest.hex() in seen for digest in content_hashes(splits.train))
        if count:
            raise UsageError(
                f"'{run.folder}' has learned from {plural(count, 'of these pictures', 'of these pictures')}, "
                "so that none of its folds could judge them. Leave `warm_start` or `folds` out."
            )
        return 0
    leaked = [
        source
        for source, digest in zip(splits.test.sources, content_hashes(splits.test), strict=True)
        if digest.hex() in seen
    ]
    if leaked:
        raise UsageError(
            f"'{run.folder}' has learned from {len(leaked):,} of these {len(splits.test):,} test pictures, "
            f"such as {listed(leaked[:3])}: their score would say nothing about new pictures. Split them as "
            f"that run did, with `split_file={run.folder / 'split.csv'}`, or begin from another run."
        )
    return sum(seen.get(digest.hex()) == "train" for digest in content_hashes(splits.validation))


def _last_layer(network: nn.Module, classes: int) -> str:
    """The name of the last module that has a row of weights for each class; "" where there is none."""
    last = ""
    for name, module in network.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.dim() > 1 and weight.shape[0] == classes:
            last = name
    return last


def _described(channels: int, height: int, width: int) -> str:
    kind = {1: "gray", 3: "colour"}.get(channels, f"{channels} channels")
    return f"{width}x{height}, {kind}"
