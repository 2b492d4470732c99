"""A network that others trained on many pictures, with a new last layer: `hf:NAME_OR_FOLDER`.

Read through Hugging Face `transformers`, from its hub or from a folder, under rules of our own: weights as
safetensors, no code from outside, no pickle, and the preprocessing it was trained with taken along. A saved
run holds all that is needed to build it again, so that neither the hub nor the folder is needed afterwards.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.errors import PellucidError, UsageError

PREFIX = "hf:"
CONFIG, PREPROCESSING = "config.json", "preprocessor_config.json"
# What could fetch code, or make another type of the weights than the float32 they are used in.
FORBIDDEN = ("quantization_config", "attn_implementation", "use_kernels", "dtype", "torch_dtype")


@dataclass(frozen=True)
class Fitting:
    """How pictures reach a backbone, from 0..1: resized, cropped in the middle, factor, mean, spread."""

    height: int
    width: int
    crop_height: int
    crop_width: int
    shortest: bool
    factor: float
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


class Pretrained(nn.Module):
    """`backbone` with what it expects of pictures before it, and `head`, the new last layer, behind it."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        config: dict[str, Any],
        fitting: Fitting,
        classes: int,
        size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.config, self.fitting = config, fitting
        self.resized = _resized(fitting, size)
        self.register_buffer("mean", torch.tensor(fitting.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(fitting.deviation).view(3, 1, 1), persistent=False)
        self.backbone = backbone
        self.class_token = any(name.endswith("cls_token") for name, _ in backbone.named_parameters())
        self.head = Head(_width(backbone, config), classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W), float 0..1 -> logits (B, K)"""
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W), float 0..1 -> what the backbone makes of them (B, D)"""
        found = self.backbone(pixel_values=self.fitted(images))
        last: Tensor = found["last_hidden_state"]
        if last.dim() == 3:
            return last[:, 0] if self.class_token else last.mean(dim=1)
        pooled = found.get("pooler_output")  # of convolutions: the mean of each map, perhaps normalised
        return last.mean(dim=(2, 3)) if pooled is None else pooled.flatten(1)

    def fitted(self, images: Tensor) -> Tensor:
        """The pictures as the backbone was trained on them: (B, C, H, W) -> (B, 3, h, w)."""
        images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        if images.shape[2:] != self.resized:
            images = functional.interpolate(
                images, self.resized, mode="bilinear", antialias=True, align_corners=False
            )
        height, width = self.fitting.crop_height, self.fitting.crop_width
        top, left = (self.resized[0] - height) // 2, (self.resized[1] - width) // 2
        images = images[:, :, top : top + height, left : left + width]
        return (images * self.fitting.factor - self.mean) / self.deviation

    def to_json(self) -> dict[str, Any]:
        """What `rebuilt` needs, as plain values: everything but the weights."""
        return {"config": self.config, "fitting": asdict(self.fitting)}


class Head(nn.Module):
    """Features brought to a mean of 0 and a spread of 1, whatever they were, then a dense layer."""

    centre: Tensor
    spread: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.dense = nn.Linear(features, classes)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) -> logits (B, K)"""
        logits: Tensor = self.dense((features - self.centre) / self.spread)
        return logits

    def measure(self, features: Tensor) -> None:
        """Take mean and spread from the features (N, D) of the training pictures."""
        deviation, mean = torch.std_mean(features, dim=0, correction=0)
        self.centre.copy_(mean)
        self.spread.copy_(torch.where(deviation > 1e-6, deviation, 1.0))  # a feature that never changes


def build(name: str, channels: int, num_classes: int, size: tuple[int, int]) -> nn.Module:
    """The backbone of that name or in that folder, its weights as published, with a fresh last layer.

    Raises UsageError when `transformers` is not installed, when the place holds no such network, no weights
    as safetensors or no preprocessing, when it is no network for pictures, or when weights are missing.
    """
    _refuse_channels(channels)
    transformers = _transformers()
    place = name.removeprefix(PREFIX)
    config, preprocessing = _json(place, CONFIG), _json(place, PREPROCESSING)
    clean = _clean(config, name)
    try:
        backbone, told = transformers.AutoModel.from_pretrained(
            place,
            config=_config(transformers, clean),
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="eager",
            local_files_only=_offline() or Path(place).is_dir(),
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UsageError(f"'{name}' cannot be loaded: {' '.join(str(error).split())[:300]}") from error
    _without_pooler(backbone)
    missing = sorted(set(told["missing_keys"]) & set(backbone.state_dict()))
    if missing:
        raise UsageError(
            f"'{name}' lacks weights that its {CONFIG} speaks of: {', '.join(missing)[:200]}. They would be "
            "random. Take the files of one and the same network."
        )
    return Pretrained(backbone.float(), clean, _fitting(preprocessing, name), num_classes, size)


def rebuilt(
    description: Mapping[str, Any], channels: int, num_classes: int, size: tuple[int, int]
) -> nn.Module:
    """The network that `to_json` described, its weights still to be loaded. Nothing is read or fetched.

    Raises PellucidError when the description is damaged.
    """
    _refuse_channels(channels)
    transformers = _transformers()
    try:
        config, given = _clean(description["config"], "its config"), description["fitting"]
        fitting = Fitting(**{**given, "mean": _three(given["mean"]), "deviation": _three(given["deviation"])})
        backbone = transformers.AutoModel.from_config(
            _config(transformers, config), trust_remote_code=False, attn_implementation="eager"
        )
        _without_pooler(backbone)
        return Pretrained(backbone.float(), config, fitting, num_classes, size)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise PellucidError(f"The pretrained network cannot be built again: {error!r}.") from error


def _transformers() -> Any:
    try:
        import transformers  # seconds to import: only who asks for such a network needs it
    except ImportError as error:
        raise UsageError(
            "A pretrained network needs the package transformers. Install it with: "
            "pip install 'pellucid[pretrained]'"
        ) from error
    logging: Any = transformers.utils.logging
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    return transformers


def _offline() -> bool:
    return os.environ.get("PELLUCID_OFFLINE", "0") not in ("", "0")


def _json(place: str, file: str) -> dict[str, Any]:
    """A JSON file of the folder, or of the hub's repository. Raises UsageError when it is not there."""
    try:
        if Path(place).is_dir():
            path = Path(place) / file
        else:
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(place, file, local_files_only=_offline()))
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # the hub's errors are of these kinds
        raise UsageError(
            f"'{PREFIX}{place}' gives no {file}: {' '.join(str(error).split())[:200]}. Expected a folder "
            f"with {CONFIG}, {PREPROCESSING} and model.safetensors, or a name on the Hugging Face hub."
        ) from error
    if not isinstance(found, dict):
        raise UsageError(f"Expected {file} of '{PREFIX}{place}' to hold one object; got {str(found)[:60]}.")
    return found


def _clean(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The configuration without what could fetch code. Raises UsageError where it needs code of its own."""
    if "auto_map" in config:
        raise UsageError(f"'{name}' brings code of its own, which is not run. Take a network without.")
    return {key: value for key, value in config.items() if key not in FORBIDDEN and not key.startswith("_")}


def _config(transformers: Any, config: Mapping[str, Any]) -> Any:
    kind = config.get("model_type")
    if kind not in transformers.CONFIG_MAPPING:
        raise UsageError(f"transformers {transformers.__version__} knows no network of the kind '{kind}'.")
    made = transformers.CONFIG_MAPPING[kind].from_dict(dict(config))
    network = transformers.MODEL_MAPPING.get(type(made), None)
    if getattr(network, "main_input_name", "") != "pixel_values":
        raise UsageError(f"'{kind}' is no network for pictures. Expected one such as vit, dinov2 or resnet.")
    return made


def _without_pooler(backbone: nn.Module) -> None:
    """A dense layer over the class token is dropped: classifiers are published without its weights."""
    pooler = getattr(backbone, "pooler", None)
    if isinstance(pooler, nn.Module) and any(True for _ in pooler.parameters()):
        backbone.register_module("pooler", None)


def _fitting(given: Mapping[str, Any], name: str) -> Fitting:
    """What a preprocessor_config.json says. Raises UsageError where it is of no kind known here."""
    try:
        height, width, shortest = _side(given["size"])
        crop_height, crop_width, _ = (
            _side(given["crop_size"]) if given.get("do_center_crop") else (height, width, 0)
        )
        if given.get("crop_pct") and shortest:  # as ConvNeXT has it: from 384 on nothing is cut off
            shortest = height < 384
            height = width = int(height / given["crop_pct"]) if shortest else height
        factor = 255 * given.get("rescale_factor", 1 / 255) if given.get("do_rescale", True) else 255.0
        even = given.get("do_normalize", True)
        mean, deviation = (given["image_mean"], given["image_std"]) if even else ([0.0] * 3, [1.0] * 3)
        fitting = Fitting(
            height, width, crop_height, crop_width, shortest, float(factor), _three(mean), _three(deviation)
        )
        if not math.isfinite(factor) or min(fitting.deviation) <= 0:
            raise ValueError(f"rescale_factor {factor / 255}, image_std {deviation}")
        return fitting
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"The {PREPROCESSING} of '{name}' is of a kind not known here: {error!r}. "
            "Expected size, image_mean and image_std for three channels."
        ) from error


def _three(given: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, given)
    if not all(map(math.isfinite, (red, green, blue))):
        raise ValueError(f"{given} is no number")
    return red, green, blue


def _side(size: Any) -> tuple[int, int, bool]:
    """(height, width, whether the shorter side is meant) of 224, {"shortest_edge": 224} or both sides."""
    if isinstance(size, Mapping) and "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"]), True
    if isinstance(size, Mapping):
        return int(size["height"]), int(size["width"]), False
    return int(size), int(size), False


def _resized(fitting: Fitting, size: tuple[int, int]) -> tuple[int, int]:
    """What a picture of `size` is resized to before the crop, never less than the crop."""
    if not fitting.shortest:
        return max(fitting.height, fitting.crop_height), max(fitting.width, fitting.crop_width)
    share = max(fitting.height, fitting.crop_height, fitting.crop_width) / min(size)
    return max(fitting.crop_height, round(size[0] * share)), max(fitting.crop_width, round(size[1] * share))


def _width(backbone: nn.Module, config: Mapping[str, Any]) -> int:
    """D, how many features the backbone gives."""
    made: Any = backbone.config
    sizes = getattr(made, "hidden_sizes", None)
    number = getattr(made, "hidden_size", None) or (sizes[-1] if sizes else None)
    if not isinstance(number, int):
        raise UsageError(f"'{config.get('model_type')}' does not tell how many features it gives.")
    return number


def _refuse_channels(channels: int) -> None:
    if channels not in (1, 3):
        raise UsageError(f"A pretrained network takes gray or coloured pictures; got {channels} channels.")
