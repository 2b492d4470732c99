"""The networks of benchmarks/zoo.py: public ones, built from their repositories, and ten written here."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALL, LARGE = (3, 32, 32), (3, 64, 64)
CIFAR, CIFAR100, VIT = "pytorch-cifar", "pytorch-cifar100", "vit-pytorch"  # folders of the repositories


class Entry(NamedTuple):
    """A network by name: where it comes from, how it is built, and the picture (C, H, W) it takes."""

    name: str
    family: str
    build: Callable[[], nn.Module]
    shape: tuple[int, int, int]


def entries(repositories: list[Path]) -> list[Entry]:
    """All networks; those of a repository that is not among the folders are left out."""
    folders = {folder.name: folder for folder in repositories}
    found = []
    for family, package, table in ((CIFAR, "models", _CIFAR), (CIFAR100, "models", _CIFAR100)):
        for name, (module, call) in table.items() if family in folders else ():
            found.append(
                Entry(f"{family}/{name}", family, _from(folders[family], package, module, call), SMALL)
            )
    for name, (module, made) in _VIT.items() if VIT in folders else ():
        found.append(Entry(f"{VIT}/{name}", VIT, _from(folders[VIT], "vit_pytorch", module, made), LARGE))
    found += [Entry(f"transformers/{name}", "transformers", _hugging(name), LARGE) for name in _HUGGING]
    return found + [Entry(f"own/{name}", "own", make, SMALL) for name, make in _OWN.items()]


def _from(
    folder: Path, package: str, module: str, make: Callable[[ModuleType], nn.Module]
) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        bare = ModuleType(package)  # without running the package's own __init__, which may need more
        bare.__path__ = [str(folder / package)]
        sys.modules[package] = bare
        return make(importlib.import_module(f"{package}.{module}"))

    return build


_CIFAR: dict[str, tuple[str, Callable[[ModuleType], nn.Module]]] = {
    "LeNet": ("lenet", lambda m: m.LeNet()),
    "VGG11": ("vgg", lambda m: m.VGG("VGG11")),
    "VGG16": ("vgg", lambda m: m.VGG("VGG16")),
    "ResNet18": ("resnet", lambda m: m.ResNet18()),
    "ResNet50": ("resnet", lambda m: m.ResNet50()),
    "PreActResNet18": ("preact_resnet", lambda m: m.PreActResNet18()),
    "GoogLeNet": ("googlenet", lambda m: m.GoogLeNet()),
    "densenet_cifar": ("densenet", lambda m: m.densenet_cifar()),
    "ResNeXt29_2x64d": ("resnext", lambda m: m.ResNeXt29_2x64d()),
    "MobileNet": ("mobilenet", lambda m: m.MobileNet()),
    "MobileNetV2": ("mobilenetv2", lambda m: m.MobileNetV2()),
    "DPN26": ("dpn", lambda m: m.DPN26()),
    "SENet18": ("senet", lambda m: m.SENet18()),
    "ShuffleNetV2": ("shufflenetv2", lambda m: m.ShuffleNetV2(0.5)),
    "EfficientNetB0": ("efficientnet", lambda m: m.EfficientNetB0()),
    "RegNetY_400MF": ("regnet", lambda m: m.RegNetY_400MF()),
    "SimpleDLA": ("dla_simple", lambda m: m.SimpleDLA()),
    "DLA": ("dla", lambda m: m.DLA()),
    "PNASNetA": ("pnasnet", lambda m: m.PNASNetA()),
}
_CIFAR100: dict[str, tuple[str, Callable[[ModuleType], nn.Module]]] = {
    "vgg11_bn": ("vgg", lambda m: m.vgg11_bn()),
    "vgg16_bn": ("vgg", lambda m: m.vgg16_bn()),
    "densenet121": ("densenet", lambda m: m.densenet121()),
    "googlenet": ("googlenet", lambda m: m.googlenet()),
    "inceptionv3": ("inceptionv3", lambda m: m.inceptionv3()),
    "inceptionv4": ("inceptionv4", lambda m: m.inceptionv4()),
    "inception_resnet_v2": ("inceptionv4", lambda m: m.inception_resnet_v2()),
    "xception": ("xception", lambda m: m.xception()),
    "resnet18": ("resnet", lambda m: m.resnet18()),
    "resnet50": ("resnet", lambda m: m.resnet50()),
    "preactresnet18": ("preactresnet", lambda m: m.preactresnet18()),
    "resnext50": ("resnext", lambda m: m.resnext50()),
    "resnet_in_resnet": ("rir", lambda m: m.resnet_in_resnet()),
    "shufflenet": ("shufflenet", lambda m: m.shufflenet()),
    "shufflenetv2": ("shufflenetv2", lambda m: m.shufflenetv2()),
    "squeezenet": ("squeezenet", lambda m: m.squeezenet()),
    "mobilenet": ("mobilenet", lambda m: m.mobilenet()),
    "mobilenetv2": ("mobilenetv2", lambda m: m.mobilenetv2()),
    "nasnet": ("nasnet", lambda m: m.nasnet()),
    "attention56": ("attention", lambda m: m.attention56()),
    "seresnet18": ("senet", lambda m: m.seresnet18()),
    "wideresnet16_4": ("wideresidual", lambda m: m.wideresnet(16, 4)),
    "stochastic_depth_resnet18": ("stochasticdepth", lambda m: m.stochastic_depth_resnet18()),
}

_PLAIN = {"image_size": 64, "patch_size": 8, "num_classes": 10, "dim": 64, "depth": 2, "heads": 4,
          "mlp_dim": 128, "dim_head": 16}  # fmt: skip


def _plain(name: str, **more: object) -> Callable[[ModuleType], nn.Module]:
    """The class of that name, with the settings that most of them share."""
    return lambda module: getattr(module, name)(**(_PLAIN | more))  # type: ignore[no-any-return]


def _exactly(name: str, **settings: object) -> Callable[[ModuleType], nn.Module]:
    return lambda module: getattr(module, name)(**settings)  # type: ignore[no-any-return]


_VIT: dict[str, tuple[str, Callable[[ModuleType], nn.Module]]] = {
    "ViT": ("vit", _plain("ViT")),
    "ViT mean": ("vit", _plain("ViT", pool="mean")),
    "SimpleViT": ("simple_vit", _plain("SimpleViT")),
    "SimpleViT registers": ("simple_vit_with_register_tokens", _plain("SimpleViT")),
    "SimpleViT fft": ("simple_vit_with_fft", _plain("SimpleViT", freq_patch_size=8)),
    "SimpleViT qk norm": ("simple_vit_with_qk_norm", _plain("SimpleViT")),
    "SimpleViT patch dropout": ("simple_vit_with_patch_dropout", _plain("SimpleViT")),
    "SimpleViT orthogonal": ("simple_vit_orthog_residual_update", _plain("SimpleViT")),
    "SimpleViT hyper connections": (
        "simple_vit_with_hyper_connections",
        _plain("SimpleViT", num_residual_streams=2),
    ),
    "SimpleViT value residual": ("simple_vit_with_value_residual", _plain("SimpleViT")),
    "SimpleUViT": ("simple_uvit", _plain("SimpleUViT")),
    "ViT small dataset": ("vit_for_small_dataset", _plain("ViT")),
    "ViT patch merger": ("vit_with_patch_merger", _plain("ViT")),
    "parallel ViT": ("parallel_vit", _plain("ViT")),
    "learnable memory ViT": ("learnable_memory_vit", _plain("ViT")),
    "JumboViT": ("jumbo_vit", _plain("JumboViT", jumbo_cls_k=2)),
    "DeepViT": ("deepvit", _plain("DeepViT")),
    "CaiT": ("cait", _plain("CaiT", cls_depth=1)),
    "nViT": ("normalized_vit", _plain("nViT")),
    "RvT": ("rvt", _plain("RvT")),
    "XCiT": ("xcit", _plain("XCiT", cls_depth=1)),
    "ats ViT": ("ats_vit", _plain("ViT", max_tokens_per_depth=(32, 16))),
    "PiT": ("pit", _plain("PiT", depth=(1, 1))),
    "CvT": (
        "cvt",
        _exactly("CvT", num_classes=10, s1_emb_dim=16, s2_emb_dim=32, s3_emb_dim=64, s3_depth=1),
    ),
    "CCT": (
        "cct",
        _exactly("CCT", img_size=64, embedding_dim=64, num_layers=2, num_heads=4, mlp_ratio=2.0,
                 num_classes=10),
    ),
    "LeViT": (
        "levit",
        _exactly("LeViT", image_size=64, num_classes=10, stages=2, dim=(64, 96), depth=1, heads=(2, 3),
                 mlp_mult=2),
    ),
    "MaxViT": (
        "max_vit",
        _exactly("MaxViT", num_classes=10, dim=32, depth=(1, 1), dim_head=16, window_size=8),
    ),
    "MobileViT": (
        "mobile_vit",
        _exactly("MobileViT", image_size=(64, 64), dims=[48, 64, 80], num_classes=10,
                 channels=[8, 16, 24, 24, 32, 32, 48, 48, 64, 64, 128]),
    ),
    "NesT": (
        "nest",
        _exactly("NesT", image_size=64, patch_size=4, dim=32, heads=2, num_hierarchies=3,
                 block_repeats=(1, 1, 1), num_classes=10),
    ),
    "CrossViT": (
        "cross_vit",
        _exactly("CrossViT", image_size=64, num_classes=10, sm_dim=32, lg_dim=48, sm_patch_size=8,
                 lg_patch_size=16, depth=1, sm_enc_heads=2, lg_enc_depth=1, lg_enc_heads=2, sm_enc_mlp_dim=64,
                 lg_enc_mlp_dim=64, cross_attn_depth=1, cross_attn_heads=2),
    ),
}  # fmt: skip

_VISION = {"image_size": 64, "patch_size": 8, "hidden_size": 48, "num_hidden_layers": 2,
           "num_attention_heads": 4, "intermediate_size": 96}  # fmt: skip
_STAGES = {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 24, 32, 48]}
_WINDOWS = {"image_size": 64, "patch_size": 4, "embed_dim": 24, "depths": [1, 1], "num_heads": [2, 4],
            "window_size": 4}  # fmt: skip
_HUGGING: dict[str, dict[str, object]] = {
    "ViT": _VISION,
    "DeiT": _VISION,
    "Beit": _VISION,
    "Data2VecVision": _VISION,
    "Dinov2": _VISION,
    "ViTMSN": _VISION,
    "Swin": _WINDOWS,
    "Swinv2": _WINDOWS,
    "FocalNet": {"image_size": 64, "embed_dim": 24, "depths": [1, 1], "focal_levels": [2, 2],
                 "focal_windows": [3, 3]},
    "ConvNext": _STAGES,
    "ConvNextV2": _STAGES,
    "ResNet": {**_STAGES, "embedding_size": 16, "layer_type": "basic"},
    "RegNet": {**_STAGES, "embedding_size": 16, "groups_width": 8},
    "Bit": {**_STAGES, "embedding_size": 16, "num_groups": 8},
    "MobileNetV1": {"image_size": 64, "depth_multiplier": 0.25},
    "MobileNetV2": {"image_size": 64, "depth_multiplier": 0.25},
    "MobileViT": {"image_size": 64, "hidden_sizes": [32, 48, 64],
                  "neck_hidden_sizes": [8, 16, 16, 24, 32, 48, 96]},
    "PoolFormer": {**_STAGES, "num_encoder_blocks": 4},
    "Segformer": {**_STAGES, "decoder_hidden_size": 32, "num_attention_heads": [1, 2, 2, 3]},
    "EfficientNet": {"image_size": 64, "width_coefficient": 0.25, "depth_coefficient": 0.25,
                     "hidden_dim": 320},
}  # fmt: skip


def _hugging(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        config = getattr(transformers, f"{name}Config")(num_labels=10, **_HUGGING[name])
        made: nn.Module = getattr(transformers, f"{name}ForImageClassification")(config)
        return made

    return build


# --- networks written for this table: kinds that the repositories lack


def _double(channels: int, filters: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU(),
        nn.Conv2d(filters, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU(),
    )  # fmt: skip


class UNet(nn.Module):
    """Down and up again with skips, then a mean over the map: by transposed convolution or by resizing."""

    def __init__(self, *, transposed: bool) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = _double(3, 16), _double(16, 32), _double(32, 64)
        if transposed:
            self.rise2: nn.Module = nn.ConvTranspose2d(64, 32, 2, stride=2)
            self.rise1: nn.Module = nn.ConvTranspose2d(32, 16, 2, stride=2)
        else:
            self.rise2 = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(64, 32, 1))
            self.rise1 = nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(32, 16, 1))
        self.up2, self.up1 = _double(64, 32), _double(32, 16)
        self.head = nn.Conv2d(16, 10, 1)

    def forward(self, images: Tensor) -> Tensor:
        first = self.down1(images)
        second = self.down2(functional.max_pool2d(first, 2))
        bottom = self.bottom(functional.max_pool2d(second, 2))
        second = self.up2(torch.cat([second, self.rise2(bottom)], dim=1))
        first = self.up1(torch.cat([first, self.rise1(second)], dim=1))
        return self.head(first).mean((2, 3))


class KanLinear(nn.Module):
    """Learned functions on edges: radial bumps of every input, summed with weights (a radial KAN)."""

    def __init__(self, inputs: int, outputs: int, bumps: int = 5) -> None:
        super().__init__()
        self.register_buffer("centres", torch.linspace(-2, 2, bumps))
        self.weight = nn.Parameter(torch.randn(outputs, inputs * bumps) / (inputs * bumps) ** 0.5)
        self.straight = nn.Linear(inputs, outputs)

    def forward(self, values: Tensor) -> Tensor:
        bumps = torch.exp(-((values[..., None] - self.centres) ** 2)).flatten(-2)
        return functional.linear(bumps, self.weight) + self.straight(functional.silu(values))


class KanNetwork(nn.Module):
    """Two convolutions and two KAN layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.SiLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.SiLU())
        self.kan1, self.kan2 = KanLinear(512, 32), KanLinear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.kan2(self.kan1(self.stem(images).flatten(1)))


class KanConvolution(nn.Module):
    """KAN layers over unfolded patches of three by three."""

    def __init__(self) -> None:
        super().__init__()
        self.kan1, self.kan2, self.head = KanLinear(27, 8), KanLinear(72, 12), nn.Linear(12, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = images
        for kan in (self.kan1, self.kan2):
            patches = functional.unfold(maps, 3, padding=1, stride=2).transpose(1, 2)  # (B, n, C*9)
            side = int(patches.shape[1] ** 0.5)
            maps = kan(patches).transpose(1, 2).unflatten(2, (side, side))
        return self.head(maps.mean((2, 3)))


class Capsules(nn.Module):
    """Primary capsules, three rounds of routing, the lengths of ten class capsules as scores."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 9, stride=2)
        self.primary = nn.Conv2d(32, 32, 5, stride=2)
        self.weight = nn.Parameter(torch.randn(1, 4 * 16, 10, 8, 8) * 0.1)

    @staticmethod
    def squash(capsules: Tensor) -> Tensor:
        square = capsules.square().sum(-1, keepdim=True)
        return capsules * square.sqrt() / (1 + square)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.primary(functional.relu(self.conv(images)))  # (B, 32, 4, 4)
        capsules = self.squash(maps.unflatten(1, (4, 8)).movedim(2, -1).flatten(1, 3))  # (B, 64, 8)
        votes = (self.weight @ capsules[:, :, None, :, None]).squeeze(-1)  # (B, 64, 10, 8)
        logits = torch.zeros_like(votes[..., 0])
        for _ in range(3):
            shares = logits.softmax(dim=2)
            outputs = self.squash((shares[..., None] * votes).sum(dim=1))  # (B, 10, 8)
            logits = logits + (votes * outputs[:, None]).sum(-1)
        return outputs.norm(dim=-1)


class MixerBlock(nn.Module):
    """Tokens mixed, then channels."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens))
        self.channels = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.tokens(self.norm1(tokens).mT).mT
        return tokens + self.channels(self.norm2(tokens))


class Mixer(nn.Module):
    """Patches as tokens through blocks, their mean to the scores; `fourier` mixes tokens by an FFT."""

    def __init__(self, *, fourier: bool = False) -> None:
        super().__init__()
        self.fourier = fourier
        self.patches = nn.Conv2d(3, 48, 4, 4)
        self.blocks = nn.ModuleList(MixerBlock(64, 48) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(48), nn.Linear(48, 10)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).mT
        for block in self.blocks:
            if self.fourier:
                tokens = block.norm1(tokens + torch.fft.fft2(tokens).real)
            tokens = block(tokens)
        return self.head(self.norm(tokens).mean(1))


class ConvMixerBlock(nn.Module):
    """A depthwise convolution beside a skip, then one over channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, groups=width, padding="same")
        self.pointwise = nn.Conv2d(width, width, 1)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps + self.norm1(functional.gelu(self.depthwise(maps)))
        return self.norm2(functional.gelu(self.pointwise(maps)))


def _conv_mixer() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, 4), nn.GELU(), nn.BatchNorm2d(32), ConvMixerBlock(32), ConvMixerBlock(32),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


class Rows(nn.Module):
    """A recurrent network that reads the picture row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(96, 48, batch_first=True)
        self.head = nn.Linear(48, 10)

    def forward(self, images: Tensor) -> Tensor:
        outputs, _ = self.recurrent(images.transpose(1, 2).flatten(2))
        return self.head(outputs[:, -1])


_OWN: dict[str, Callable[[], nn.Module]] = {
    "UNet transposed": lambda: UNet(transposed=True),
    "UNet resized": lambda: UNet(transposed=False),
    "KAN dense": KanNetwork,
    "KAN patches": KanConvolution,
    "capsules": Capsules,
    "MLP mixer": Mixer,
    "Fourier mixer": lambda: Mixer(fourier=True),
    "ConvMixer": _conv_mixer,
    "LSTM over rows": Rows,
    "multilayer perceptron": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(3072, 64), nn.ReLU(), nn.Linear(64, 10)
    ),
}
