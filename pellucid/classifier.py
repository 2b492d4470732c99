"""A network with everything that must travel with it: its classes and how pictures reach it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from pellucid.data.preprocess import SCALING, Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.files import read_object, write_bytes, write_json
from pellucid.inference import evaluating, fixed_batches
from pellucid.machine import keep_memory
from pellucid.models import MODELS, build, description_of
from pellucid.models.kernels.build import prepare
from pellucid.models.kernels.fused import unseen_layers
from pellucid.models.pretrained import PREFIX

FORMAT = 1
WEIGHTS, MANIFEST = "model.safetensors", "model.json"
MANY = 40_000  # pictures worth keeping memory for


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained network that can be asked.

    network     float 0..1 (B, C, H, W) -> logits (B, K); whatever scales further lives inside it
    classes     K names: column k of every answer speaks of `classes[k]`
    preprocess  how a picture becomes what the network receives
    model       the name of the architecture in MODELS
    """

    network: nn.Module
    classes: tuple[str, ...]
    preprocess: Preprocess
    model: str

    def predict(self, images: Tensor) -> Tensor:
        """Probabilities (N, K), float32, of uint8 pictures (N, C, H, W).

        A picture gets the same answer to the last digit whatever pictures come with it: the network always
        works on batches of one shape. Raises UsageError when the pictures are of another shape or type.
        """
        return self.logits(images).softmax(dim=1)

    def logits(self, images: Tensor) -> Tensor:
        """Scores (N, K) before the softmax, float32, of uint8 pictures (N, C, H, W)."""
        self._refuse_unlike(images)
        prepare()
        if len(images) >= MANY:
            keep_memory()
        scores = torch.empty(len(images), len(self.classes))  # (N, K)
        with evaluating(self.network), unseen_layers(), torch.inference_mode():
            for start, batch, filled in fixed_batches(images):
                scores[start : start + filled] = self.network(batch)[:filled]
        return scores

    def save(self, folder: Path, *, training: dict[str, Any] | None = None) -> None:
        """`folder` holds model.safetensors and model.json, durably; `training` tells how it came to be."""
        weights = save(_plain(self.network.state_dict()))
        write_bytes(folder / WEIGHTS, weights)
        manifest = {
            "format": FORMAT,
            "model": self.model,
            "classes": list(self.classes),
            "preprocess": self.preprocess.to_json(),
            "sha256": hashlib.sha256(weights).hexdigest(),
            "training": training or {},
        }
        if (description := description_of(self.network)) is not None:
            manifest["network"] = description
        write_json(folder / MANIFEST, manifest)

    @staticmethod
    def load(folder: Path) -> "Classifier":
        """The classifier that `save` left in `folder`. No code comes from the files: the network is one of
        MODELS, the weights are checked against their SHA-256 before they are read.

        Raises UsageError when the folder holds no classifier, PellucidError when it is damaged.
        """
        if not (folder / MANIFEST).is_file():
            raise UsageError(
                f"'{folder}' holds no {MANIFEST}. Expected a run's folder, such as 'runs/latest'."
            )
        manifest = read_object(folder / MANIFEST)
        classes, preprocess = _understood(manifest, folder / MANIFEST)
        tensors = _verified(folder / WEIGHTS, manifest["sha256"])
        shape = (preprocess.channels, len(classes), (preprocess.height, preprocess.width))
        with torch.device("meta"):  # shapes without memory: a manifest may claim a network of any size
            expected = build(
                manifest["model"], *shape, seed=0, description=manifest.get("network")
            ).state_dict()
        _refuse_unfit(tensors, expected, folder / WEIGHTS)
        network = build(manifest["model"], *shape, seed=0, description=manifest.get("network"))
        network.load_state_dict(tensors)
        return Classifier(network.eval(), classes, preprocess, manifest["model"])

    def _refuse_unlike(self, images: Tensor) -> None:
        expected = (self.preprocess.channels, self.preprocess.height, self.preprocess.width)
        if images.dtype == torch.uint8 and images.dim() == 4 and images.shape[1:] == expected:
            return
        raise UsageError(
            f"Expected pictures as uint8 {('N', *expected)}; got "
            f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}. "
            "classifier.preprocess.read(file) makes one from a file; torch.stack() joins several."
        )


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _understood(manifest: dict[str, Any], path: Path) -> tuple[tuple[str, ...], Preprocess]:
    """The classes and preprocessing of a manifest whose every entry is of the kind and size expected."""
    try:
        if manifest["format"] != FORMAT:
            raise PellucidError(
                f"'{path}' has format {manifest['format']!r}; this pellucid reads format {FORMAT}. "
                "Open it with the version that wrote it."
            )
        classes = manifest["classes"]
        preprocess = Preprocess(**manifest["preprocess"])
        numbers = (preprocess.channels, preprocess.height, preprocess.width)
        sound = (
            isinstance(classes, list)
            and 1 < len(classes) <= 100_000
            and all(isinstance(name, str) and _encodable(name) for name in classes)
            and len(set(classes)) == len(classes)
            and all(type(number) is int and 0 < number <= 16_384 for number in numbers)
            and preprocess.channels in (1, 3)
            and preprocess.scaling in SCALING
            and type(preprocess.background) is int
            and 0 <= preprocess.background <= 255
            and _of_a_kind_known(manifest["model"], manifest.get("network"))
            and isinstance(manifest["sha256"], str)
        )
    except (KeyError, TypeError) as error:
        raise PellucidError(
            f"'{path}' is damaged: an entry is missing or of another kind ({error}). "
            "Train again, or restore the file."
        ) from error
    if not sound:
        raise PellucidError(
            f"'{path}' is damaged: model, classes, preprocess or sha256 is not of the kind expected. "
            "Train again, or restore the file."
        )
    return tuple(classes), preprocess


def _of_a_kind_known(model: object, description: object) -> bool:
    """One of MODELS, or a pretrained network with what is needed to build it without asking anyone."""
    if description is None:
        return model in MODELS
    return isinstance(model, str) and model.startswith(PREFIX) and isinstance(description, dict)


def _verified(path: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file whose bytes have that SHA-256."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError(None, "it is no file")
        content = path.read_bytes()
    except OSError as error:
        raise PellucidError(
            f"'{path}' cannot be read: {error.strerror}. Restore it or train again."
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise PellucidError(
            f"'{path}' is damaged: its SHA-256 is not the one in {MANIFEST}. Restore it or train again."
        )
    try:
        return load(content)
    except (SafetensorError, ValueError, KeyError) as error:  # KeyError: a type torch has not
        raise PellucidError(f"'{path}' is not a safetensors file: {error}.") from error


def _refuse_unfit(tensors: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    """The tensors of a file are, name by name, of the shape and type the network has."""
    if tensors.keys() != expected.keys():
        odd = ", ".join(sorted(tensors.keys() ^ expected.keys()))[:200]
        raise PellucidError(f"'{path}' does not fit the network: {odd} is in only one of them.")
    for name, tensor in tensors.items():
        found, wanted = ((t.dtype, tuple(t.shape)) for t in (tensor, expected[name]))
        if found != wanted:
            raise PellucidError(f"'{path}' does not fit the network: {name} is {found}, expected {wanted}.")


def _encodable(name: str) -> bool:
    """No half of a surrogate pair, which no file and no terminal could be given."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
