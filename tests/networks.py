"""Toy networks: with every operation a page can run, with what it cannot, with something to explain."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.classifier import Classifier
from pellucid.data.preprocess import Preprocess
from pellucid.models import build, lite0


class Block(nn.Module):
    """A residual block whose one in-place ReLU is used twice."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=2, dilation=2, groups=2, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.shortcut = nn.Conv2d(channels, filters, 1, stride=stride)

    def forward(self, maps: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(maps)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(maps)
        return self.relu(out)


class Residual(nn.Module):
    """Colour in, scaled inside, two residual blocks, a mean over the whole map."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1))
        self.stem = nn.Conv2d(3, 8, 3, padding="same")
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = Block(8, 8, 1)
        self.layer2 = Block(8, 12, 2)
        self.gap = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.pool(functional.relu(self.stem((images - self.mean) / 0.25)))
        return self.fc(self.gap(self.layer2(self.layer1(maps))).flatten(1))


class Mixed(nn.Module):
    """Every other operation: gates, joins, uneven pools, all activations, a softmax at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, (3, 5), stride=(1, 2), padding=(0, 2))
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.gate = nn.Sequential(nn.Conv2d(6, 3, 1), nn.ReLU6(), nn.Conv2d(3, 6, 1), nn.Hardsigmoid())
        self.average = nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)
        self.adaptive = nn.AdaptiveAvgPool2d((3, 2))
        self.largest = nn.AdaptiveMaxPool2d((3, 2))
        self.fc1 = nn.Linear(12 * 6, 10)
        self.bn = nn.BatchNorm1d(10)
        self.fc2 = nn.Linear(10, 4)

    def forward(self, images: Tensor) -> Tensor:
        maps = functional.gelu(self.conv1(1 - 2 * images))
        maps = maps * self.gate(maps.mean((2, 3), keepdim=True))
        other = functional.silu(self.conv2(maps))
        joined = torch.cat([functional.leaky_relu(maps, 0.1), functional.hardswish(other)], dim=1)
        joined = functional.avg_pool2d(self.average(joined), 2, ceil_mode=True)
        pooled = self.adaptive(joined) - 0.5 * torch.sigmoid(self.largest(joined))
        features = torch.tanh(self.fc1(pooled.view(pooled.shape[0], -1)))
        features = functional.gelu(1 / (1.5 + self.bn(features).clamp(-1, 1)), approximate="tanh")
        features = functional.softmax(features, dim=1) - functional.log_softmax(features, dim=1)
        return functional.softmax(self.fc2(functional.dropout(features, training=self.training)), dim=1)


class Lite(nn.Module):
    """lite0's parts in small: pictures brought to its size, unevenly padded and depthwise convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.resize = lite0.Resize((19, 24))
        self.stem = lite0.Convolution(3, 8, 3, stride=2)
        self.block1 = lite0.Block(8, 8, 5, 1, 2)
        self.block2 = lite0.Block(8, 11, 3, 2, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(11, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.block2(self.block1(self.stem(self.resize(images))))
        return self.fc(self.pool(maps).flatten(1))


class Tokens(nn.Module):
    """Patches as tokens with one in front, attention in three ways of writing, tokens shifted, a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 3, 3)
        self.front = nn.Parameter(torch.randn(1, 1, 12))
        self.position = nn.Parameter(torch.randn(1, 13, 12))
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(12), nn.LayerNorm(12, elementwise_affine=False)
        self.both = nn.Linear(12, 24, bias=False)
        self.mix = nn.Conv1d(13, 13, 3, padding=1)
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(12, 5))
        self.register_buffer("ahead", torch.ones(13, 13).triu(1).bool())

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).mT
        tokens = torch.cat([self.front.expand(len(images), -1, -1), tokens], dim=1) + self.position
        tokens = tokens + self.attention(self.norm1(tokens), self.norm1(tokens), self.norm1(tokens))[0]
        query, key = self.both(self.norm2(tokens)).chunk(2, dim=-1)
        query, key = (part.unflatten(2, (3, 4)).transpose(1, 2) for part in (query, key))
        scores = torch.einsum("bhid,bhjd->bhij", query, key) / 2
        mixed = scores.masked_fill(self.ahead, -torch.inf).softmax(dim=-1) @ key
        mixed = mixed + functional.scaled_dot_product_attention(query, key, key, is_causal=True)
        tokens = tokens + torch.roll(mixed.transpose(1, 2).flatten(2), 2, dims=1)
        tokens = self.mix(tokens) * tokens.sigmoid().amax(dim=1, keepdim=True)
        return self.head(tokens[:, 0] - tokens[:, 1:].mean(dim=1))


class Moving(nn.Module):
    """Maps that are padded, enlarged, joined and turned; norms of groups; convolutions of windows."""

    def __init__(self) -> None:
        super().__init__()
        self.frame = nn.ReflectionPad2d(1)
        self.conv = nn.Conv2d(3, 8, 3)
        self.group, self.instance = nn.GroupNorm(2, 8), nn.InstanceNorm2d(8)
        self.back = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1, groups=2)
        self.nearest = nn.Upsample(scale_factor=2)
        self.window = nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.shuffle = nn.PixelShuffle(2)
        self.prelu = nn.PReLU(6)
        self.last = nn.LayerNorm(6)
        self.fc = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(self.frame(images))
        maps = self.group(maps) + self.instance(maps)
        maps = functional.pad(self.prelu(self.back(maps)), (1, 0, 2, 1), mode="replicate")[:, :, 1:-1, :-1]
        large = functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=True)
        large = torch.stack([large, self.nearest(maps)], dim=2).sum(dim=2)[..., :16, :16].flip(3)
        windows = large.unflatten(2, (2, 8)).unflatten(4, (2, 8)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        windows = functional.max_pool2d(self.window(windows), 2).unflatten(0, (-1, 2, 2))
        maps = torch.cat([windows[:, 0], windows[:, 1]], dim=3).flatten(1, 2)
        wide = self.shuffle(functional.pad(maps, (0, 0, 0, 0), value=1.0))
        rows = self.last(maps[:, :6].permute(0, 2, 3, 1)).mean(dim=(1, 2))
        return self.fc(rows + wide.std(dim=(2, 3)).repeat(1, 2)[:, :6])


class Numbers(nn.Module):
    """Functions of one number and of two, and what is taken over dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3)
        self.elu, self.selu, self.celu = nn.ELU(0.5), nn.SELU(), nn.CELU(2.0)
        self.softplus, self.mish, self.tanh = nn.Softplus(2.0), nn.Mish(), nn.Tanh()
        self.limit = nn.Parameter(torch.tensor(0.4))
        self.mixed = nn.Parameter(torch.randn(6, 6))
        self.fc = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        maps = self.elu(maps) + self.selu(maps) * self.celu(maps) - self.softplus(maps) / self.mish(maps + 3)
        maps = torch.minimum(torch.maximum(maps, self.tanh(-maps)), self.limit).clamp(max=self.limit)
        maps = torch.where(maps > 0.1, maps.abs().sqrt(), maps.sin() * maps.cos()) + (maps >= 0.2) * 0.5
        flat = maps.flatten(2)
        found = flat.square().mean(dim=2).add(0.1).rsqrt() + (flat.exp() + 1).log().sum(dim=2) / 100
        found = found + torch.erf(flat.amin(dim=2)) + flat.max(dim=2).values ** 2 + 2 ** flat[:, :, 0]
        found = found / found.norm(dim=1, keepdim=True) + (flat[:, :, 1] == 0)
        return functional.log_softmax(self.fc(found @ self.mixed), dim=1).exp() @ torch.eye(4)


class Sorting(nn.Module):
    """It uses what no page can run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).flatten(1).sort(dim=1).values[:, :3]


SHAPES: dict[str, tuple[int, int, int]] = {
    "tutorial": (1, 28, 28),
    "residual": (3, 21, 18),
    "mixed": (1, 19, 23),
    "tokens": (3, 12, 9),
    "moving": (3, 10, 9),
    "numbers": (1, 8, 7),
    "enlarged": (1, 11, 13),
    "reduced": (3, 40, 31),
}


def network(name: str) -> nn.Module:
    """One of SHAPES, its weights and running statistics drawn from a fixed seed, in evaluation mode."""
    if name == "tutorial":
        return build("tutorial", 1, 10, (28, 28), seed=3).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        kinds = {
            "residual": Residual, "mixed": Mixed, "tokens": Tokens, "moving": Moving, "numbers": Numbers,
            "enlarged": Lite, "reduced": Lite,
        }  # fmt: skip
        made: nn.Module = kinds[name]()
        for module in made.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.5, 0.5)
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.uniform_(module.weight, 0.5, 1.5)
            elif isinstance(module, lite0.Convolution):
                nn.init.uniform_(module.mean, -0.5, 0.5)
                nn.init.uniform_(module.variance, 0.5, 2)
                nn.init.uniform_(module.scale, 0.5, 1.5)
    return made.eval()


def pictures(name: str, count: int) -> Tensor:
    """`count` pictures (N, C, H, W) of 0..1 that the network takes."""
    return torch.rand(count, *SHAPES[name], generator=torch.Generator().manual_seed(4))


class SmallResidual(nn.Module):
    """A block that adds and rectifies outside of modules, an in-place ReLU used twice, strange layouts."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.block = SmallBlock()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self.block(self.stem(images))).flatten(1))


class SmallBlock(nn.Module):
    """What SmallResidual holds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        return self.relu(self.conv2(self.relu(self.conv1(maps))) + maps)


class Seeing(nn.Module):
    """A small transformer: 2x2 patches, a class token in front, the answer read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 2, 2)
        self.front = nn.Parameter(torch.randn(1, 1, 8))
        self.block1 = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, norm_first=True)
        self.block2 = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, norm_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).mT
        tokens = torch.cat([self.front.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.head(self.block2(self.block1(tokens))[:, 0])


class Wasteful(nn.Module):
    """Channels 0 and 1 are duplicates, 2 is dead, 3 is always on, of pictures of that side."""

    def __init__(self, side: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 1)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(5 * (side // 2) ** 2, classes)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, 2.0, -1.0, 1.0, -1.0]).reshape(5, 1, 1, 1))
            self.conv.bias.copy_(torch.tensor([-0.2, -0.4, 0.0, 1.0, 0.5]))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(functional.relu(self.relu(self.conv(images)))).flatten(1))


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """A network with the weights of a fixed seed, in evaluation mode."""
    torch.manual_seed(5)
    return make().eval()


@contextmanager
def unchanged(network: nn.Module, images: Tensor) -> Iterator[None]:
    """Hooks, modes, gradients, weights, random state and pictures are after the block as before."""

    def state() -> list[object]:
        parts: list[object] = [torch.get_rng_state().tolist(), images.tolist(), images.requires_grad]
        for module in network.modules():
            hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
            parts += [module.training, *map(len, hooks)]
        for weight in network.parameters():
            gradient = None if weight.grad is None else weight.grad.tolist()
            parts += [weight.tolist(), gradient, weight.requires_grad]
        return parts

    before = state()
    yield
    assert state() == before


SIDE, PATCH = 16, 5


PATTERNS = torch.tensor(
    [
        [[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]],
        [[1, 0, 1, 0, 1], [1, 0, 1, 0, 1], [1, 0, 1, 0, 1], [1, 0, 1, 0, 1], [1, 0, 1, 0, 1]],
        [[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]],
    ]
)


def planted(count: int, *, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Float pictures (N, 1, 16, 16) of faint noise with one planted pattern, labels, and corners (N, 2)."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, SIDE, SIDE, generator=generator) * 0.3
    labels = torch.randint(len(PATTERNS), (count,), generator=generator)
    corners = torch.randint(SIDE - PATCH + 1, (count, 2), generator=generator)
    for image, label, (top, left) in zip(images, labels.tolist(), corners.tolist(), strict=True):
        image[0, top : top + PATCH, left : left + PATCH] += PATTERNS[label] * 0.7
    return images, labels, corners


def learned(network: nn.Module, images: Tensor, labels: Tensor, *, steps: int, rate: float) -> nn.Module:
    """The network after so many steps of Adam on random batches of 64, on one thread: it is too small for
    two, and faster so where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), rate)
    network.train()
    for _ in range(steps):
        batch = torch.randint(len(images), (64,), generator=generator)
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(network(images[batch]), labels[batch]).backward()
        optimizer.step()
    for weight in network.parameters():
        weight.grad = None
    torch.set_num_threads(threads)
    return network.eval()


def classifier(name: str) -> Classifier:
    """One of SHAPES with names for its classes."""
    made = network(name)
    channels, height, width = SHAPES[name]
    count = made(torch.zeros(1, *SHAPES[name])).shape[1]
    names = tuple(f"class {number}" for number in range(count))
    return Classifier(made, names, Preprocess(channels, height, width), name)


# How the tiny pretrained networks that `shelf` holds want their pictures, and their names
PREPROCESSING = {
    "do_resize": True, "size": {"height": 24, "width": 24}, "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2],
}  # fmt: skip
KINDS = ("vit", "resnet", "dinov2", "convnext")
