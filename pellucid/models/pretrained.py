"""A published pretrained network with a new last layer: `hf:NAME_OR_FOLDER`.

Read through Hugging Face `transformers`, from the hub or from a folder: weights as safetensors only, no
remote code, no pickle, and with the preprocessing it was trained with. A saved run holds all that is needed
to build it again, so that neither the hub nor the folder is needed afterwards.
"""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.errors import PellucidError, UsageError
from pellucid.models.backbones import KINDS, checked_settings, published_settings, refuse_many_parts
from pellucid.models.head import Head
from pellucid.reading import JSON_BYTES, parsed_json, read_regular

PREFIX = "hf:"
CONFIG, PREPROCESSING = "config.json", "preprocessor_config.json"
MOST_WEIGHTS = 1_500_000_000  # of a network that is built from a description: 6 GB
MOST_PIXELS = 1_024  # per side, of what a backbone receives
DESCRIPTION = ("config", "preprocessing")  # what `to_json` gives, no more and no less


@dataclass(frozen=True)
class InputPreprocessing:
    """How pictures of 0..1 become a backbone's input: resized, centre-cropped, scaled, normalised.

    shortest  whether `height` is the length of the shorter side, the proportions kept
    factor    multiplies the pixels before mean and standard deviation
    """

    height: int
    width: int
    crop_height: int
    crop_width: int
    shortest: bool
    factor: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Pretrained(nn.Module):
    """A pretrained `backbone` between its preprocessing and `head`, the new last layer."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        config: dict[str, Any],
        preprocessing: InputPreprocessing,
        classes: int,
        size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.config, self.preprocessing = config, preprocessing
        self.resize_to = _resize_to(preprocessing, size)
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(3, 1, 1), persistent=False)
        self.backbone = backbone
        self.class_token = any(name.endswith("cls_token") for name, _ in backbone.named_parameters())
        self.head = Head(_width(backbone, config), classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W), float 0..1 -> logits (B, K)"""
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W), float 0..1 -> the backbone's features (B, D)"""
        outputs = self.backbone(pixel_values=self.preprocess(images))
        last: Tensor = outputs["last_hidden_state"]
        if last.dim() == 3:
            return last[:, 0] if self.class_token else last.mean(dim=1)
        pooled = outputs.get("pooler_output")  # of a convolutional backbone: the mean of each map
        return last.mean(dim=(2, 3)) if pooled is None else pooled.flatten(1)

    def preprocess(self, images: Tensor) -> Tensor:
        """The input of the backbone: (B, C, H, W), float 0..1 -> (B, 3, h, w)."""
        images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        if images.shape[2:] != self.resize_to:
            images = functional.interpolate(
                images, self.resize_to, mode="bilinear", antialias=True, align_corners=False
            )
        height, width = self.preprocessing.crop_height, self.preprocessing.crop_width
        top, left = (self.resize_to[0] - height) // 2, (self.resize_to[1] - width) // 2
        images = images[:, :, top : top + height, left : left + width]
        return (images * self.preprocessing.factor - self.mean) / self.std

    def to_json(self) -> dict[str, Any]:
        """What `rebuild` needs, as plain values: everything but the weights."""
        return {"config": self.config, "preprocessing": asdict(self.preprocessing)}


def build(
    name: str, channels: int, num_classes: int, size: tuple[int, int], *, fetch: bool = True
) -> nn.Module:
    """The backbone of that name or in that folder, with its published weights and a new last layer.

    fetch  whether the hub may be asked for what is not on this machine

    Raises UsageError when `transformers` is not installed, when there is no such network, no safetensors
    weights or no preprocessing, when it is of a kind that is not understood, or when weights are missing.
    """
    _refuse_channels(channels)
    transformers = _transformers()
    source = name.removeprefix(PREFIX)
    local = _offline() or not fetch or Path(source).is_dir()
    try:
        with _unreachable(local):
            published, preprocessing = (_json(source, file, local=local) for file in (CONFIG, PREPROCESSING))
            config = _understood(transformers, published, name)
            input_preprocessing = _input_preprocessing(preprocessing, name)
            backbone, loading_info = transformers.AutoModel.from_pretrained(
                source,
                config=transformers.CONFIG_MAPPING[config["model_type"]].from_dict(config),
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation="eager",
                local_files_only=local,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UsageError(f"'{name}' cannot be loaded: {' '.join(str(error).split())[:300]}") from error
    _without_pooler(backbone)
    missing = sorted(set(loading_info["missing_keys"]) & set(backbone.state_dict()))
    if missing:
        raise UsageError(
            f"'{name}' lacks weights that its {CONFIG} calls for: {', '.join(missing)[:200]}. They would be "
            "random. Use files that belong to the same network."
        )
    return Pretrained(backbone.float(), config, input_preprocessing, num_classes, size)


def rebuild(
    description: Mapping[str, Any], channels: int, num_classes: int, size: tuple[int, int]
) -> nn.Module:
    """The network that `to_json` described, without its weights. Nothing is read or downloaded, whatever the
    description says: its settings are those of a closed table.

    Raises PellucidError when the description is damaged, or of a network beyond all bounds.
    """
    _refuse_channels(channels)
    transformers = _transformers()
    try:
        if sorted(description) != sorted(DESCRIPTION):
            raise ValueError(f"expected {' and '.join(DESCRIPTION)}; got {', '.join(description)[:60]}")
        config = checked_settings(description["config"])
        preprocessing = _checked_preprocessing(description["preprocessing"])
        refuse_many_parts(config, max(preprocessing.crop_height, preprocessing.crop_width))

        def built() -> Pretrained:
            backbone = transformers.AutoModel.from_config(
                transformers.CONFIG_MAPPING[config["model_type"]].from_dict(config),
                trust_remote_code=False,
                attn_implementation="eager",
            )
            _without_pooler(backbone)
            return Pretrained(backbone.float(), config, preprocessing, num_classes, size)

        with _unreachable():
            with torch.device("meta"):  # shapes without memory: is it a network, and of a reasonable size?
                shapes = built()
                weights = sum(weight.numel() for weight in shapes.state_dict().values())
                if weights > MOST_WEIGHTS:
                    raise ValueError(f"{weights:,} weights; expected up to {MOST_WEIGHTS:,}")
                with torch.no_grad():
                    shapes.eval()(torch.zeros(1, channels, *size))
            return shapes.train() if torch.get_default_device().type == "meta" else built()
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        ArithmeticError,
        IndexError,
    ) as error:
        raise PellucidError(f"The pretrained network cannot be built again: {error!r}.") from error


def _transformers() -> Any:
    try:
        import transformers  # slow to import, and only such a network needs it
    except ImportError as error:
        raise UsageError(
            "A pretrained network needs the package transformers. Install it with: pip install transformers"
        ) from error
    import huggingface_hub.constants

    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True  # else it says, and asks, more than it must
    logging: Any = transformers.utils.logging
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    return transformers


@contextmanager
def _unreachable(local: bool = True) -> Iterator[None]:
    """A block in which the libraries behind ask nobody, whatever they are made to do; where `local` is False
    they may."""
    import huggingface_hub.constants as hub

    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = before or local
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


def _offline() -> bool:
    return os.environ.get("PELLUCID_OFFLINE", "0") not in ("", "0")


def _json(source: str, file: str, *, local: bool) -> dict[str, Any]:
    """A JSON file from the folder or the hub's repository. Raises UsageError when it is missing."""
    try:
        if Path(source).is_dir():
            path = Path(source) / file
        else:
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(source, file, local_files_only=local))
        content = parsed_json(read_regular(path, JSON_BYTES))
    except (OSError, ValueError) as error:  # the hub's errors are of these kinds
        raise UsageError(
            f"'{PREFIX}{source}' has no {file}: {' '.join(str(error).split())[:200]}. Expected a folder "
            f"with {CONFIG}, {PREPROCESSING} and model.safetensors, or a name on the Hugging Face hub."
        ) from error
    if not isinstance(content, dict):
        raise UsageError(
            f"Expected {file} of '{PREFIX}{source}' to hold one object; got {str(content)[:60]}."
        )
    return content


def _understood(transformers: Any, published: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings of a published configuration by which its network is built.

    Raises UsageError where it needs remote code, or is of another kind than those that are built.
    """
    if "auto_map" in published:
        raise UsageError(f"'{name}' needs remote code, which is never run. Choose a network without.")
    kind = published.get("model_type")
    if kind not in KINDS:
        raise UsageError(
            f"'{kind}' is not a network for pictures of a kind that is understood: {', '.join(KINDS)}. "
            "Choose one of these."
        )
    if kind not in transformers.CONFIG_MAPPING:
        raise UsageError(f"transformers {transformers.__version__} has no model type '{kind}'.")
    return published_settings(published, transformers.CONFIG_MAPPING[kind]().to_dict(), name)


def _without_pooler(backbone: nn.Module) -> None:
    """Drops a dense layer over the class token: classifiers are published without its weights."""
    pooler = getattr(backbone, "pooler", None)
    if isinstance(pooler, nn.Module) and any(True for _ in pooler.parameters()):
        backbone.register_module("pooler", None)


def _input_preprocessing(config: Mapping[str, Any], name: str) -> InputPreprocessing:
    """What a preprocessor_config.json describes. Raises UsageError where it is not understood."""
    try:
        height, width, shortest = _side(config["size"])
        crop_height, crop_width, _ = (
            _side(config["crop_size"]) if config.get("do_center_crop") else (height, width, 0)
        )
        if config.get("crop_pct") and shortest:  # as in ConvNeXT: from 384 pixels on nothing is cropped
            shortest = height < 384
            height = width = int(height / config["crop_pct"]) if shortest else height
        factor = 255 * config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 255.0
        normalize = config.get("do_normalize", True)
        mean, std = (config["image_mean"], config["image_std"]) if normalize else ([0.0] * 3, [1.0] * 3)
        sides = height, width, crop_height, crop_width
        numbers = float(factor), _three_numbers(mean), _three_numbers(std)
        return _checked_preprocessing(asdict(InputPreprocessing(*sides, shortest, *numbers)))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"The {PREPROCESSING} of '{name}' is not understood: {error!r}. "
            "Expected size, image_mean and image_std for three channels."
        ) from error


def _checked_preprocessing(values: Mapping[str, Any]) -> InputPreprocessing:
    """The preprocessing of these values. Raises ValueError or TypeError beyond what a backbone receives."""
    numbers = {"mean": _three_numbers(values["mean"]), "std": _three_numbers(values["std"])}
    found = InputPreprocessing(**{**values, **numbers})
    sides = (found.height, found.width, found.crop_height, found.crop_width)
    if not all(type(side) is int and 1 <= side <= MOST_PIXELS for side in sides):
        raise ValueError(f"sides {sides}; expected from 1 to {MOST_PIXELS:,} pixels")
    if type(found.shortest) is not bool:
        raise ValueError(f"shortest is {found.shortest!r}; expected true or false")
    if type(found.factor) not in (int, float) or not 0 < found.factor <= 1e6 or min(found.std) <= 0:
        raise ValueError(f"rescale_factor {found.factor / 255}, image_std {found.std}")
    return found


def _three_numbers(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    if not all(map(math.isfinite, (red, green, blue))):
        raise ValueError(f"{values} is not finite")
    return red, green, blue


def _side(size: Any) -> tuple[int, int, bool]:
    """(height, width, whether it is the shorter side alone) of 224, {"shortest_edge": 224} or both sides."""
    if isinstance(size, Mapping) and "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"]), True
    if isinstance(size, Mapping):
        return int(size["height"]), int(size["width"]), False
    return int(size), int(size), False


def _resize_to(wanted: InputPreprocessing, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) to which a picture of `size` is resized before the crop, never less than the crop.

    Raises UsageError for pictures so long and narrow that they would be enlarged beyond all bounds.
    """
    height, width = max(wanted.height, wanted.crop_height), max(wanted.width, wanted.crop_width)
    if wanted.shortest:
        scale = max(height, width) / min(size)
        height, width = (
            max(crop, round(side * scale))
            for crop, side in zip((wanted.crop_height, wanted.crop_width), size, strict=True)
        )
    if height * width > 4 * MOST_PIXELS**2:
        raise UsageError(
            f"Pictures of {size[1]} x {size[0]} pixels would be enlarged to {width:,} x {height:,}. "
            "Choose a `size` nearer to a square."
        )
    return height, width


def _width(backbone: nn.Module, config: Mapping[str, Any]) -> int:
    """D, the number of features of the backbone."""
    backbone_config: Any = backbone.config
    sizes = getattr(backbone_config, "hidden_sizes", None)
    number = getattr(backbone_config, "hidden_size", None) or (sizes[-1] if sizes else None)
    if not isinstance(number, int):
        raise UsageError(f"'{config.get('model_type')}' does not say how many features it has.")
    return number


def _refuse_channels(channels: int) -> None:
    if channels not in (1, 3):
        raise UsageError(f"A pretrained network takes gray or colour pictures; got {channels} channels.")
