"""A network with everything that must travel with it: its classes and how pictures reach it."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pellucid.data.dataset import Dataset
from pellucid.data.preprocess import FITS, Preprocess
from pellucid.decode.images import WHITE
from pellucid.errors import PellucidError, UsageError
from pellucid.files import read_object, write_bytes, write_json
from pellucid.formatting import breaks_lines
from pellucid.inference import evaluation_mode, fixed_batches
from pellucid.machine import keep_memory
from pellucid.manifest import damage
from pellucid.models import MODELS, OWN, Build, build, description_of, is_pretrained, opened_network
from pellucid.models.adapted import Adaptation
from pellucid.models.kernels.build import prepare
from pellucid.models.kernels.fused import fast_path
from pellucid.models.outputs import Output, output_of
from pellucid.reading import reason_of, refuse_other_keys
from pellucid.records import record_from
from pellucid.task import OneClass, SeveralLabels, Task, answer_names
from pellucid.tensors import Header, packed, read_header, read_whole, unpacked

FORMAT = 1
WEIGHTS, MANIFEST = "model.safetensors", "model.json"
MOST_CLASSES, MOST_SIDE, MOST_PIXELS = 100_000, 4_096, 2_048 * 2_048  # pixels per side, and in all
MOST_WEIGHTS = 1_500_000_000  # 6 GB
NAME_LENGTH = 1_000  # characters of the name of a class or a model
KEYS = ("format", "model", "classes", "preprocess", "temperature", "sha256", "training")
OPTIONAL_KEYS = ("thresholds", "network")
TRAINING_KEYS = ("why", "epochs", "best", "calibration", "reference", "head", "all_pictures", "ended")
LEAST_DIFFERENCE = 1e-3  # of a sum of probabilities from 1 that is no matter of rounding
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.01, 100.0
MANY = 40_000  # pictures worth keeping memory for


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained network that can be asked.

    network      float 0..1 (B, C, H, W) -> scores (B, K), one per class; whatever scales further lives inside
                 it. Of one that ends in a softmax or a sigmoid the scores before it are taken
    classes      K names: column k of every answer speaks of `classes[k]`
    preprocess   how a picture becomes what the network receives
    model        the name of the architecture, as `pellucid models` lists it
    task         OneClass, or SeveralLabels with the threshold of each label: how scores become answers
    temperature  what scores are divided by before they become probabilities (Guo et al. 2017,
                 arXiv:1706.04599): below 1 answers become more confident, above 1 less. Which class is the
                 most probable does not change
    """

    network: nn.Module
    classes: tuple[str, ...]
    preprocess: Preprocess
    model: str
    task: Task = field(default_factory=OneClass)
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if fault := _fault(self.classes, self.preprocess, self.task, self.temperature):
            raise UsageError(f"This classifier could not be saved and loaded again: {fault}")

    def __repr__(self) -> str:
        size = f"{self.preprocess.width}x{self.preprocess.height}"
        kind = "gray" if self.preprocess.channels == 1 else "colour"
        classes = f"{len(self.classes)} {'labels' if self.multi_label else 'classes'}"
        return f"Classifier({self.model}, {size} {kind}, {classes})"

    @property
    def multi_label(self) -> bool:
        """Whether a picture can have several labels, or none."""
        return self.task.multi_label

    @cached_property
    def output(self) -> Output:
        """What the network puts out, as a picture of noise shows: where its scores are, and whether a softmax
        or a sigmoid comes after them.

        Raises UsageError when it does not give a score for each class.
        """
        noise = torch.rand(1, *self._shape, generator=torch.Generator().manual_seed(0))
        return output_of(self.network, noise, units=len(self.classes))

    def predict(self, pictures: Any) -> Tensor:
        """Probabilities (N, K), float32, of one picture or many. A row adds up to 1, unless pictures can have
        several labels: then each label has a probability of its own.

        pictures  uint8 (N, C, H, W), or float 0..1 of that shape, as the network receives them; or one
                  picture, or a list of any: a path, the bytes of an image file, a PIL image, a uint8
                  array (H, W) or (H, W, C), a tensor (C, H, W). An array of four dimensions is (N, H, W, C),
                  or (N, C, H, W) where that fits; a float array 0..1 has the size the network receives. Of a
                  Dataset all its pictures

        A picture gets the same answer to the last digit whatever pictures come with it: the network always
        works on batches of one shape. Raises UsageError, naming the picture, for one that cannot be read or
        does not fit.
        """
        return self.probabilities(self.logits(pictures))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Scores (..., K) of this network as probabilities, at its temperature: the only way from one to the
        other.

        Raises PellucidError for scores from which there are none, of which one is not finite.
        """
        probabilities = self.task.probabilities(logits / self.temperature)
        sums = not self.multi_label  # each label has a probability of its own
        if not bool(torch.isfinite(probabilities).all()) or (
            sums and not bool(((probabilities.sum(dim=-1) - 1).abs() < LEAST_DIFFERENCE).all())
        ):
            raise PellucidError(
                "The network gives scores that are not finite (NaN or infinity), from which there are no "
                "probabilities that add up to 1. Its weights are too large: restore the run, or train again."
            )
        return probabilities

    def names(self, probabilities: Tensor) -> tuple[str, ...]:
        """The answer to one picture by name, from its probabilities (K,): the most probable class, or every
        label whose probability reaches its threshold, the most probable first."""
        return answer_names(self.task, probabilities, self.classes)

    def logits(self, pictures: Any) -> Tensor:
        """Scores (N, K) before the softmax or sigmoid, float32, of what `predict` takes."""
        images = self.received(pictures)
        prepare()
        if len(images) >= MANY:
            keep_memory()
        scores = torch.empty(len(images), len(self.classes))  # (N, K)
        with evaluation_mode(self.network), fast_path(), torch.inference_mode():
            for start, batch, filled in fixed_batches(images, network=self.network):
                scores[start : start + filled] = self.output.scores(self.network, batch)[:filled]
        return scores

    def received(self, pictures: Any) -> Tensor:
        """What the network receives of what `predict` takes: uint8 (N, C, H, W), or float 0..1 as given.

        Raises UsageError, naming the picture, for one that cannot be read or does not fit.
        """
        if isinstance(pictures, Dataset):
            pictures = pictures.images
        if isinstance(pictures, np.ndarray):
            pictures = self._as_received(pictures)
        if isinstance(pictures, Tensor) and pictures.dim() != 3:
            return self._fitting(pictures)
        if not isinstance(pictures, list | tuple):
            pictures = [pictures]
        if not pictures:
            return torch.empty(0, *self._shape, dtype=torch.uint8)
        if all(isinstance(picture, Tensor) and picture.is_floating_point() for picture in pictures):
            return self._fitting(torch.stack(list(pictures)))
        for picture in pictures:
            if not isinstance(picture, str | Path | bytes | np.ndarray | Tensor | Image.Image):
                raise UsageError(
                    "Expected pictures as paths, bytes, PIL images, arrays or tensors, one or many; "
                    f"got {type(picture).__name__}."
                )
        return torch.stack([self.preprocess.read(picture) for picture in pictures])

    def _as_received(self, array: NDArray[Any]) -> Any:
        """An array as a tensor where it has the shape the network receives, else one picture or a list."""
        channels, height, width = self._shape
        if array.shape[1:] == self._shape:
            return torch.from_numpy(array)
        if array.dtype.kind == "f":
            if array.shape[-3:] == (height, width, channels):
                return torch.from_numpy(np.moveaxis(array, -1, -3).copy())
            return torch.from_numpy(array.copy())[..., None, :, :]
        return list(array) if array.ndim == 4 else array

    def save(self, folder: str | Path, *, training: dict[str, Any] | None = None) -> None:
        """`folder` holds model.safetensors and model.json, durably; `training` says how it came to be."""
        folder = Path(folder)
        weights = packed(self.network.state_dict())
        write_bytes(folder / WEIGHTS, weights)
        manifest = {
            "format": FORMAT,
            "model": self.model,
            "classes": list(self.classes),
            "preprocess": self.preprocess.to_json(),
            "temperature": self.temperature,
            "sha256": hashlib.sha256(weights).hexdigest(),
            "training": training or {},
        }
        if isinstance(self.task, SeveralLabels):
            manifest["thresholds"] = list(self.task.thresholds)
        if (description := description_of(self.network)) is not None:
            manifest["network"] = description
        write_json(folder / MANIFEST, manifest)

    @staticmethod
    def load(folder: str | Path, *, model: nn.Module | Build | None = None) -> "Classifier":
        """The classifier that `save` left in `folder`. No code comes from the files: the network is one of
        MODELS, the weights are checked against their SHA-256 before they are read.

        model  where it is a network of your own: that network, whose weights are replaced, or the function
               that builds it

        Raises UsageError when the folder holds no classifier, or its network is not given; PellucidError when
        it is damaged.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise UsageError(
                f"'{folder}' holds no {MANIFEST}. Expected a run's folder, such as 'runs/latest'."
            )
        manifest = read_object(folder / MANIFEST)
        classes, preprocess, task, temperature = _understood(manifest, folder / MANIFEST)
        shape = (preprocess.channels, len(classes), (preprocess.height, preprocess.width))
        if manifest["model"].startswith(OWN):
            if model is None:
                name = manifest["model"].removeprefix(OWN)
                raise UsageError(
                    f"'{folder}' holds the weights of your own network '{name}'. "
                    "Code is not kept in a run: give the network, as in Run.open(folder, model=network)."
                )
            how = Adaptation.from_json(manifest["network"]) if "network" in manifest else Adaptation()
            network = opened_network(model, *shape, how)
            expected = network.state_dict()
        else:
            with torch.device("meta"):  # shapes without memory: a manifest may claim a network of any size
                expected = build(
                    manifest["model"], *shape, seed=0, description=manifest.get("network")
                ).state_dict()
        tensors = _verified(folder / WEIGHTS, manifest["sha256"], expected)
        if not manifest["model"].startswith(OWN):
            network = build(manifest["model"], *shape, seed=0, description=manifest.get("network"))
        network.load_state_dict(tensors)
        return Classifier(network.eval(), classes, preprocess, manifest["model"], task, temperature)

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.preprocess.channels, self.preprocess.height, self.preprocess.width

    def _fitting(self, images: Tensor) -> Tensor:
        kind = str(images.dtype).removeprefix("torch.")
        if images.dim() == 4 and images.shape[1:] == self._shape:
            if images.dtype == torch.uint8:
                return images
            if images.is_floating_point():
                low, high = (float(images.min()), float(images.max())) if images.numel() else (0.0, 1.0)
                if low >= 0 and high <= 1:
                    return images.float()
                kind = f"{kind} from {low:.3g} to {high:.3g}"
        raise UsageError(
            f"Expected pictures as uint8 {('N', *self._shape)}, or float 0..1 of that shape; got "
            f"{kind} {tuple(images.shape)}. Of files, arrays and PIL images predict takes any size."
        )


def _understood(manifest: dict[str, Any], path: Path) -> tuple[tuple[str, ...], Preprocess, Task, float]:
    """Classes, preprocessing, task and temperature of a manifest whose every entry is of the kind and size
    expected, with none besides."""
    if "format" in manifest and manifest["format"] != FORMAT:
        raise PellucidError(
            f"'{path}' has format {manifest.get('format')!r}; this pellucid reads format {FORMAT}. "
            "Open it with the version that wrote it."
        )
    refuse_other_keys(manifest, KEYS, OPTIONAL_KEYS, path=path)
    refuse_other_keys(manifest["training"], (), TRAINING_KEYS, path=path, within="training")
    try:
        classes, preprocess = manifest["classes"], record_from(Preprocess, manifest["preprocess"])
        task = SeveralLabels(tuple(manifest["thresholds"])) if "thresholds" in manifest else OneClass()
        temperature = manifest["temperature"]
        sound = (
            isinstance(classes, list)
            and not _fault(tuple(classes), preprocess, task, temperature)
            and _is_known(manifest["model"], manifest.get("network"))
            and isinstance(manifest["sha256"], str)
        )
    except (TypeError, ValueError) as error:
        raise PellucidError(
            f"'{path}' is damaged: an entry is missing or of another kind ({error}). "
            "Train again, or restore the file."
        ) from error
    if not sound:
        raise PellucidError(
            f"'{path}' is damaged: model, classes, preprocess, temperature or sha256 is not of the kind "
            "expected. Train again, or restore the file."
        )
    return tuple(classes), preprocess, task, temperature


def _fault(classes: tuple[object, ...], preprocess: Preprocess, task: Task, temperature: float) -> str:
    """What stands against saving these and loading them again; "" where nothing does."""
    if not 1 < len(classes) <= MOST_CLASSES:
        return f"expected from 2 to {MOST_CLASSES:,} classes; got {len(classes):,}."
    for name in classes:
        if not isinstance(name, str) or len(name) > NAME_LENGTH:
            return f"expected class names as text of up to {NAME_LENGTH:,} characters; got {name!r:.60}."
        if any("\ud800" <= character <= "\udfff" for character in name):
            return f"the class name {name!r} is not valid Unicode. Rename its folder in UTF-8."
        if breaks_lines(name):
            return f"the class name {name!r:.80} has a control character. Rename its folder, or its label."
    if len(set(classes)) != len(classes):
        return "expected class names that differ."
    if isinstance(task, SeveralLabels):
        sound = all(type(number) is float and 0 < number < 1 for number in task.thresholds)
        if not sound or len(task.thresholds) != len(classes):
            return f"expected {len(classes)} thresholds between 0 and 1; got {task.thresholds}."
    if type(temperature) is not float or not LEAST_TEMPERATURE <= temperature <= MOST_TEMPERATURE:
        return (
            f"expected a temperature from {LEAST_TEMPERATURE:g} to {MOST_TEMPERATURE:g}; got {temperature!r}."
        )
    numbers = (preprocess.channels, preprocess.height, preprocess.width)
    if not all(type(number) is int and 0 < number <= MOST_SIDE for number in numbers):
        return f"expected sizes from 1 to {MOST_SIDE:,} pixels; got {numbers[1:]}."
    if preprocess.height * preprocess.width > MOST_PIXELS:
        return f"expected up to {MOST_PIXELS:,} pixels; got {numbers[1:]}."
    if preprocess.channels not in (1, 3):
        return f"expected pictures of 1 channel (gray) or 3 (colour); got {preprocess.channels}."
    if preprocess.fit not in FITS:
        return f"unknown fit '{preprocess.fit}'."
    if type(preprocess.background) is not int or not 0 <= preprocess.background <= 255:
        return f"expected a background from 0 to 255; got {preprocess.background!r}."
    if type(preprocess.white) is not int or not 1 <= preprocess.white <= WHITE:
        return f"expected a white from 1 to {WHITE:,}; got {preprocess.white!r}."
    return ""


def _is_known(model: object, description: object) -> bool:
    """One of MODELS, one's own, or a pretrained network with what is needed to build it offline."""
    if not isinstance(model, str) or len(model) > NAME_LENGTH:
        return False
    if description is None:
        return model in MODELS or model.startswith(OWN)
    if model.startswith(OWN):
        return isinstance(description, dict) and bool(Adaptation.from_json(description))
    return is_pretrained(model) and isinstance(description, dict)


def _verified(path: Path, sha256: str, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a safetensors file whose bytes have that SHA-256, of the shapes that the network has,
    which are compared before memory is asked for."""
    try:
        weights = sum(tensor.numel() for tensor in expected.values())
        if weights > MOST_WEIGHTS:
            raise ValueError(f"{MANIFEST} says {weights:,} weights; expected up to {MOST_WEIGHTS:,}")
        _refuse_unfit(read_header(path), expected, path)
        content = read_whole(path)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError(f"its SHA-256 is not the one in {MANIFEST}")
        return unpacked(content, path)[0]
    except FileNotFoundError:
        raise damage(path, "it is missing") from None
    except (OSError, ValueError) as error:
        raise damage(path, reason_of(error)) from error


def _refuse_unfit(header: Header, expected: dict[str, Tensor], path: Path) -> None:
    """The tensors of a file are, name by name, of the shape and type the network has."""
    if header.tensors.keys() != expected.keys():
        odd = ", ".join(sorted(header.tensors.keys() ^ expected.keys()))[:200]
        raise PellucidError(
            f"'{path}' does not fit the network: {odd} is in only one of them. Restore it or train again."
        )
    for name, found in header.tensors.items():
        wanted = (expected[name].dtype, tuple(expected[name].shape))
        if found != wanted:
            raise PellucidError(
                f"'{path}' does not fit the network: {name} is {found}, expected {wanted}. "
                "Restore it or train again."
            )
