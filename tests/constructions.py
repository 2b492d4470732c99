"""Small networks, one for each way in which people write them: CONSTRUCTIONS[name], with its picture.

What is shown of each is to be right, or refused in words: tests/test_constructions.py.
"""

import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

Run = Callable[..., Any]
GRAY, COLOUR = (1, 16, 16), (3, 16, 16)


class Construction(NamedTuple):
    """How to make a network in evaluation mode, and the picture (C, H, W) it takes."""

    make: Callable[[], nn.Module]
    shape: tuple[int, int, int] = GRAY


CONSTRUCTIONS: dict[str, Construction] = {}


def construction(
    make: Callable[[], nn.Module] | None = None, *, shape: tuple[int, int, int] = GRAY
) -> Callable[..., Any]:
    """Enters a function that makes a network into the table, by its name."""
    if make is None:
        return lambda given: construction(given, shape=shape)
    CONSTRUCTIONS[make.__name__] = Construction(make, shape)
    return make


def made(name: str) -> nn.Module:
    """The network of that name with the weights of a fixed seed, in evaluation mode where it has one."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates some of the ways that are tried here
        torch.manual_seed(7)
        network = CONSTRUCTIONS[name].make()
    return network if type(network).__name__ == "GraphModule" else network.eval()


class Net(nn.Module):
    """Parts by name, and a function that runs them."""

    def __init__(self, run: Run, **parts: Any) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *given: Any) -> Any:
        return self.run(self, *given)


def plain(run: Run | None = None, channels: int = 1, classes: int = 10, **parts: Any) -> Net:
    """Two convolutions and a dense layer; `run` says otherwise what is done with them."""
    return Net(
        run or (lambda n, x: n.dense(maps(n, x).flatten(1))),
        conv1=nn.Conv2d(channels, 4, 3, padding=1),
        conv2=nn.Conv2d(4, 6, 3, padding=1),
        dense=nn.Linear(96, classes),
        **parts,
    )


def maps(n: Any, x: Tensor, act: Callable[[Tensor], Tensor] = functional.relu) -> Tensor:
    """(B, 6, 4, 4) of a picture of 16 x 16."""
    return functional.max_pool2d(act(n.conv2(functional.max_pool2d(act(n.conv1(x)), 2))), 2)


def scores(n: Any, x: Tensor) -> Tensor:
    """What `plain()` gives."""
    return n.dense(maps(n, x).flatten(1))


def headed(*layers: nn.Module, channels: int = 6, side: int = 4) -> nn.Sequential:
    """Layers that give maps, then a mean over cells and a dense layer."""
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(side), nn.Flatten(), nn.Linear(channels * side**2, 10))


# --- shapes: view, flatten, permute


@construction
def view_after_convolutions() -> nn.Module:
    return plain(lambda n, x: n.dense(maps(n, x).view(x.size(0), -1)))


@construction
def view_of_a_number() -> nn.Module:
    return plain(lambda n, x: n.dense(maps(n, x).view(-1, 96)))


@construction(shape=COLOUR)
def view_of_the_picture() -> nn.Module:
    return Net(
        lambda n, x: n.b(functional.relu(n.a(x.view(x.size(0), -1)))),
        a=nn.Linear(768, 16),
        b=nn.Linear(16, 10),
    )


@construction
def perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 10))


@construction
def softmax_regression() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 10))


@construction
def takes_flat_pictures_only() -> nn.Module:
    return nn.Sequential(nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 10))


@construction
def dense_over_rows() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Flatten(), nn.Linear(192, 10))


@construction
def reshape_and_transpose() -> nn.Module:
    return plain(lambda n, x: n.dense(maps(n, x).reshape(len(x), 6, 16).transpose(1, 2).reshape(len(x), -1)))


@construction(shape=(16, 16, 1))
def pictures_with_channels_last() -> nn.Module:
    return plain(lambda n, x: scores(n, x.permute(0, 3, 1, 2)))


@construction
def channels_last_inside() -> nn.Module:
    return Net(
        lambda n, x: n.head(functional.gelu(n.mix(n.norm(n.stem(x).permute(0, 2, 3, 1)))).mean((1, 2))),
        stem=nn.Conv2d(1, 8, 4, 4), norm=nn.LayerNorm(8), mix=nn.Linear(8, 8), head=nn.Linear(8, 10),
    )  # fmt: skip


@construction
def few_channels_last_inside() -> nn.Module:
    return Net(
        lambda n, x: n.head(functional.gelu(n.mix(n.stem(x).permute(0, 2, 3, 1))).mean((1, 2))),
        stem=nn.Conv2d(1, 3, 1), mix=nn.Linear(3, 3), head=nn.Linear(3, 10),
    )  # fmt: skip


@construction
def channels_last_weights() -> nn.Module:
    return plain().to(memory_format=torch.channels_last)


@construction
def unflattened_and_unfolded() -> nn.Module:
    return Net(
        lambda n, x: n.head(functional.unfold(n.conv(x), 3, stride=3).mean(2)),
        conv=nn.Conv2d(1, 4, 2), head=nn.Linear(36, 10),
    )  # fmt: skip


@construction
def sliced_into_halves() -> nn.Module:
    return plain(lambda n, x: n.dense(torch.cat([maps(n, x)[:, 3:], maps(n, x)[:, :3]], 1).flatten(1)))


@construction
def chunked_and_stacked() -> nn.Module:
    return plain(lambda n, x: n.dense(torch.stack(maps(n, x).chunk(3, dim=1), 1).flatten(1)))


@construction
def shuffled_channels() -> nn.Module:
    return plain(
        lambda n, x: n.dense(maps(n, x).view(-1, 2, 3, 4, 4).transpose(1, 2).reshape(-1, 6, 4, 4).flatten(1))
    )


@construction
def rolled_and_flipped() -> nn.Module:
    return plain(lambda n, x: n.dense(maps(n, x).roll((1, 2), (2, 3)).flip(3).flatten(1)))


# --- outputs


@construction
def logits_and_features() -> nn.Module:
    return plain(lambda n, x: (scores(n, x), maps(n, x)))


@construction
def features_and_logits() -> nn.Module:
    return plain(lambda n, x: (maps(n, x), scores(n, x)))


@construction
def two_rows_of_scores() -> nn.Module:
    return plain(lambda n, x: (n.aux(n.conv1(x).mean((2, 3))), scores(n, x)), aux=nn.Linear(4, 10))


@construction
def logits_in_a_dict() -> nn.Module:
    return plain(lambda n, x: {"logits": scores(n, x), "maps": maps(n, x)})


@construction
def logits_behind_others_in_a_dict() -> nn.Module:
    return plain(
        lambda n, x: {"aux": n.aux(n.conv1(x).mean((2, 3))), "logits": scores(n, x)}, aux=nn.Linear(4, 10)
    )


@dataclass
class Answer:
    logits: Tensor
    maps: Tensor


@construction
def logits_in_a_dataclass() -> nn.Module:
    return plain(lambda n, x: Answer(scores(n, x), maps(n, x)))


class Named(NamedTuple):
    maps: Tensor
    logits: Tensor


@construction
def logits_in_a_named_tuple() -> nn.Module:
    return plain(lambda n, x: Named(maps(n, x), scores(n, x)))


@construction
def logits_in_a_list_in_a_tuple() -> nn.Module:
    return plain(lambda n, x: ([scores(n, x)], None))


@construction
def one_logit() -> nn.Module:
    return plain(classes=1)


@construction
def one_sigmoid() -> nn.Module:
    return nn.Sequential(plain(classes=1), nn.Sigmoid())


@construction
def one_squeezed_logit() -> nn.Module:
    return plain(lambda n, x: scores(n, x).squeeze(1), classes=1)


@construction
def sigmoids() -> nn.Module:
    return nn.Sequential(plain(), nn.Sigmoid())


@construction
def softmax_inside() -> nn.Module:
    return nn.Sequential(plain(), nn.Softmax(dim=1))


@construction
def log_softmax_inside() -> nn.Module:
    return plain(lambda n, x: functional.log_softmax(scores(n, x), dim=-1))


@construction
def softmax_by_hand() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        powers = (scores(n, x) - scores(n, x).amax(1, keepdim=True)).exp()
        return powers / powers.sum(1, keepdim=True)

    return plain(run)


@construction
def softmax_with_a_temperature() -> nn.Module:
    return plain(lambda n, x: functional.softmax(scores(n, x) / 2.5, dim=1))


@construction
def scores_as_maps() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 10, 3), nn.AdaptiveAvgPool2d(1))


@construction
def fully_convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


@construction
def a_thousand_classes() -> nn.Module:
    return plain(classes=1000)


@construction
def an_embedding_and_no_scores() -> nn.Module:
    return plain(lambda n, x: functional.normalize(scores(n, x), dim=1))


@construction
def a_map_of_classes() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 10, 1))


@construction
def whole_numbers_as_answer() -> nn.Module:
    return plain(lambda n, x: scores(n, x).argmax(1))


# --- what modules give each other


class Wrapped(OrderedDict[str, Tensor]):
    """A mapping of its own kind."""


@dataclass
class Inner:
    value: Tensor


def relay(give: Run, take: Run) -> nn.Module:
    """A part in the middle that wraps what it gives."""
    middle = Net(lambda n, x: give(n.conv(x)), conv=nn.Conv2d(4, 4, 1))

    def run(n: Any, x: Tensor) -> Tensor:
        value = take(n.middle(functional.relu(n.conv1(x))))
        return n.dense(functional.adaptive_avg_pool2d(functional.relu(n.conv2(value)), 4).flatten(1))

    return plain(run, middle=middle)


@construction
def a_dataclass_inside() -> nn.Module:
    return relay(lambda x: Inner(x * 2), lambda given: given.value)


@construction
def a_mapping_inside() -> nn.Module:
    return relay(lambda x: Wrapped(value=x * 2, other=x), lambda given: given["value"])


@construction
def an_ordered_dict_inside() -> nn.Module:
    return relay(lambda x: OrderedDict(value=x * 2, other=x), lambda given: given["value"])


@construction
def a_nested_tuple_inside() -> nn.Module:
    return relay(lambda x: ((x * 2, None), 3), lambda given: given[0][0])


@construction
def nothing_given_by_a_module() -> nn.Module:
    return plain(lambda n, x: (n.watch(x), scores(n, x))[1], watch=Net(lambda n, x: None))


@construction
def called_by_keyword() -> nn.Module:
    return plain(
        lambda n, x: n.dense(input=functional.max_pool2d(n.conv2(input=n.conv1(input=x)), 4).flatten(1))
    )


@construction
def forward_called_directly() -> nn.Module:
    return plain(
        lambda n, x: n.dense(functional.max_pool2d(n.conv2.forward(n.conv1.forward(x)), 4).flatten(1))
    )


# --- the same module or weight more than once


@construction
def a_module_three_times() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        found = n.conv2(n.conv1(x))
        for _ in range(3):
            found = functional.relu(n.again(found))
        return n.dense(functional.max_pool2d(found, 4).flatten(1))

    return plain(run, again=nn.Conv2d(6, 6, 3, padding=1))


@construction
def one_activation_everywhere() -> nn.Module:
    return plain(lambda n, x: n.dense(maps(n, x, n.act).flatten(1)), act=nn.ReLU(inplace=True))


@construction
def a_module_under_two_names() -> nn.Module:
    network = plain(lambda n, x: n.dense(functional.max_pool2d(n.alias(n.conv1(x)), 4).flatten(1)))
    network.alias = network.conv2
    return network


@construction
def tied_weights() -> nn.Module:
    network = plain(lambda n, x: n.dense(n.second(n.first(maps(n, x).flatten(1)))))
    network.first, network.second = nn.Linear(96, 96), nn.Linear(96, 96)
    network.second.weight = network.first.weight
    return network


@construction
def residual_in_place() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        first = n.conv1(x)
        second = n.skip(first)
        second += first
        second.relu_()
        return n.dense(functional.max_pool2d(n.conv2(second), 4).flatten(1))

    return plain(run, skip=nn.Conv2d(4, 4, 3, padding=1))


@construction
def parallel_branches_joined() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        return n.dense(functional.max_pool2d(torch.cat([n.conv2(n.conv1(x)), n.other(x)], 1), 4).flatten(1))

    return Net(
        run, conv1=nn.Conv2d(1, 4, 3, padding=1), conv2=nn.Conv2d(4, 6, 3, padding=1),
        other=nn.Conv2d(1, 6, 5, padding=2), dense=nn.Linear(192, 10),
    )  # fmt: skip


@construction
def residual_around_everything() -> nn.Module:
    return plain(lambda n, x: scores(n, x) + n.straight(x.flatten(1)), straight=nn.Linear(256, 10))


@construction
def gates() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        found = maps(n, x)
        return n.dense((found * n.gate(found.mean((2, 3)))[..., None, None].sigmoid()).flatten(1))

    return plain(run, gate=nn.Linear(6, 6))


# --- functions in place of modules


@construction
def functions_alone() -> nn.Module:
    return Net(
        lambda n, x: torch.einsum("bchw,kchw->bk", functional.relu(functional.conv2d(x, n.w)), n.v),
        w=nn.Parameter(torch.randn(4, 1, 5, 5) * 0.2), v=nn.Parameter(torch.randn(10, 4, 12, 12) * 0.1),
    )  # fmt: skip


@construction
def a_dense_layer_as_a_function() -> nn.Module:
    return plain(lambda n, x: functional.linear(maps(n, x).flatten(1), n.dense.weight, n.dense.bias))


@construction
def a_cosine_head() -> nn.Module:
    return plain(
        lambda n, x: 8 * functional.linear(
            functional.normalize(maps(n, x).flatten(1)), functional.normalize(n.centres)
        ),
        centres=nn.Parameter(torch.randn(10, 96)),
    )  # fmt: skip


@construction
def a_matrix_product() -> nn.Module:
    return plain(
        lambda n, x: maps(n, x).flatten(1) @ n.weight + n.bias,
        weight=nn.Parameter(torch.randn(96, 10) * 0.1),
        bias=nn.Parameter(torch.zeros(10)),
    )


@construction
def no_weights_at_all() -> nn.Module:
    network = Net(lambda n, x: functional.relu(functional.conv2d(x, n.filters)).mean((2, 3)))
    network.register_buffer("filters", torch.randn(10, 1, 7, 7) * 0.1)
    return network


@construction
def a_convolution_that_computes_its_weights() -> nn.Module:
    return plain(
        lambda n, x: n.dense(
            functional.conv2d(n.conv1(x), n.base.tanh() * 0.3, stride=3)[..., :4, :4].flatten(1)
        ),
        base=nn.Parameter(torch.randn(6, 4, 3, 3)),
    )


@construction
def weights_that_depend_on_the_picture() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        found = maps(n, x).flatten(1)
        weights = n.make(found).view(-1, 10, 8)
        return torch.bmm(weights, n.squeeze(found)[..., None])[..., 0]

    return plain(run, make=nn.Linear(96, 80), squeeze=nn.Linear(96, 8))


# --- weights that are computed


@construction
def weight_norm() -> nn.Module:
    network = plain()
    parametrizations.weight_norm(network.conv2)
    return network


@construction
def weight_norm_of_old() -> nn.Module:
    network = plain()
    torch.nn.utils.weight_norm(network.conv2)
    return network


@construction
def spectral_norm() -> nn.Module:
    network = plain()
    parametrizations.spectral_norm(network.conv2)
    return network


@construction
def spectral_norm_of_old() -> nn.Module:
    network = plain()
    torch.nn.utils.spectral_norm(network.conv2)
    return network


@construction
def orthogonal() -> nn.Module:
    network = plain()
    parametrizations.orthogonal(network.dense)
    return network


@construction
def pruned() -> nn.Module:
    network = plain()
    prune.l1_unstructured(network.conv2, "weight", 0.5)
    return network


@construction
def standardised_weights() -> nn.Module:
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
            return functional.conv2d(x, weight, self.bias, padding=1)

    network = plain()
    network.conv2 = Standardised(4, 6, 3)
    return network


# --- wrapped, compiled, traced


@construction
def data_parallel() -> nn.Module:
    return nn.DataParallel(plain())


@construction
def compiled() -> nn.Module:
    network = torch.compile(plain(), backend="eager")
    with torch.no_grad():
        network.eval()(torch.rand(2, *GRAY))
    return network


@construction
def compiled_in_place() -> nn.Module:
    network = plain().eval()
    network.compile(backend="eager")
    with torch.no_grad():
        network(torch.rand(1, *GRAY))
        network(torch.rand(2, *GRAY))
    return network


@construction
def a_compiled_part() -> nn.Module:
    body = torch.compile(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3)), backend="eager")
    network = Net(lambda n, x: n.head(n.body(x).mean((2, 3))), body=body, head=nn.Linear(6, 10)).eval()
    with torch.no_grad():
        network(torch.rand(1, *GRAY))
        network(torch.rand(2, *GRAY))
    return network


@construction
def scripted() -> nn.Module:
    return torch.jit.script(headed(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU()))


@construction
def traced() -> nn.Module:
    return torch.jit.trace(plain().eval(), torch.rand(1, *GRAY))


@construction
def a_scripted_part() -> nn.Module:
    return headed(torch.jit.script(nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU())), nn.Conv2d(6, 6, 3))


@construction
def symbolically_traced() -> nn.Module:
    return torch.fx.symbolic_trace(headed(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3)))


@construction
def exported() -> nn.Module:
    dimension = torch.export.Dim("batch")
    program = torch.export.export(
        plain().eval(), (torch.rand(2, *GRAY),), dynamic_shapes=(({0: dimension},),)
    )
    return program.module()


@construction
def quantised_dense_layers() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(plain().eval(), {nn.Linear}, dtype=torch.qint8)


@construction
def quantised_throughout() -> nn.Module:
    from torch.ao import quantization

    network = nn.Sequential(
        quantization.QuantStub(), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(64, 10), quantization.DeQuantStub(),
    ).eval()  # fmt: skip
    engines = torch.backends.quantized.supported_engines
    network.qconfig = quantization.get_default_qconfig("fbgemm" if "fbgemm" in engines else "qnnpack")
    quantization.prepare(network, inplace=True)
    network(torch.rand(4, *GRAY))
    return quantization.convert(network)


# --- numbers


@construction
def double_weights() -> nn.Module:
    return plain().double()


@construction
def half_weights() -> nn.Module:
    return plain().half()


@construction
def bfloat16_weights() -> nn.Module:
    return plain().bfloat16()


@construction
def two_precisions() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        found = functional.max_pool2d(n.conv2(n.conv1(x).bfloat16()), 4)
        return n.dense(found.flatten(1)).float()

    network = plain(run)
    network.conv2.bfloat16()
    network.dense.bfloat16()
    return network


@construction
def a_double_that_only_scales() -> nn.Module:
    return plain(
        lambda n, x: scores(n, x) * n.scale.float(), scale=nn.Parameter(torch.ones((), dtype=torch.float64))
    )


@construction
def complex_inside_functions() -> nn.Module:
    return Net(
        lambda n, x: n.dense(torch.fft.irfft2(torch.fft.rfft2(n.conv(x)) * n.filters, s=(16, 16)).flatten(1)),
        conv=nn.Conv2d(1, 2, 3, padding=1), dense=nn.Linear(512, 10),
        filters=nn.Parameter(torch.randn(16, 9, dtype=torch.cfloat) * 0.3),
    )  # fmt: skip


@construction
def a_complex_layer() -> nn.Module:
    spectrum = Net(lambda n, x: torch.fft.rfft2(x) * n.filters,
                   filters=nn.Parameter(torch.randn(16, 9, dtype=torch.cfloat) * 0.3))  # fmt: skip
    return Net(
        lambda n, x: n.dense(n.spectrum(x).abs().flatten(1)), spectrum=spectrum, dense=nn.Linear(144, 10)
    )


@construction
def whole_numbers_inside() -> nn.Module:
    return plain(lambda n, x: scores(n, (x * 4).int().float()))


@construction
def a_table_of_colours() -> nn.Module:
    return Net(
        lambda n, x: n.head(n.table((x[:, 0] * 7.99).long()).mean((1, 2))),
        table=nn.Embedding(8, 6),
        head=nn.Linear(6, 10),
    )


@construction
def not_a_number_in_the_weights() -> nn.Module:
    network = plain()
    with torch.no_grad():
        network.dense.weight[3, 5] = float("nan")
    return network


@construction
def enormous_weights() -> nn.Module:
    network = plain()
    with torch.no_grad():
        network.dense.weight.mul_(1e30)
    return network


# --- modes, randomness, state


@construction
def norm_without_statistics() -> nn.Module:
    return headed(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6, track_running_stats=False), nn.ReLU())


@construction
def norm_in_training_mode() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 16), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6, 10)
    ).train()


@construction
def dropout_that_never_rests() -> nn.Module:
    return plain(lambda n, x: n.dense(functional.dropout(maps(n, x).flatten(1), 0.3)))


@construction
def noise_of_torch() -> nn.Module:
    return plain(lambda n, x: scores(n, x + 0.01 * torch.randn_like(x)))


@construction
def noise_of_numpy() -> nn.Module:
    generator = np.random.default_rng(3)
    return plain(lambda n, x: scores(n, x + torch.from_numpy(generator.normal(size=x.shape) * 0.01).to(x)))


@construction
def counts_its_runs() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        n.runs += 1
        return scores(n, x)

    network = plain(run)
    network.register_buffer("runs", torch.zeros((), dtype=torch.int64))
    return network


@construction
def keeps_its_last_maps() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        n.last = maps(n, x)
        return n.dense(n.last.flatten(1))

    return plain(run)


@construction
def decides_its_mode_itself() -> nn.Module:
    class Frozen(Net):
        def train(self, mode: bool = True) -> "Frozen":
            super().train(mode)
            self.norm.eval()
            return self

    return Frozen(
        lambda n, x: n.head(functional.relu(n.norm(n.conv(x))).mean((2, 3))),
        conv=nn.Conv2d(1, 6, 3), norm=nn.BatchNorm2d(6), head=nn.Linear(6, 10),
    )  # fmt: skip


@construction
def lazy_layers() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))


@construction
def hooks_of_its_own() -> nn.Module:
    network = plain()
    network.conv1.register_forward_hook(lambda module, inputs, output: output * 2)
    network.conv2.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 0.1,))
    return network


@construction
def hooks_for_gradients() -> nn.Module:
    network = plain()
    network.conv2.register_full_backward_hook(lambda module, given, taken: None)
    return network


# --- gradients


@construction
def without_gradients() -> nn.Module:
    return plain(torch.no_grad()(scores))


@construction
def a_body_without_gradients() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            found = maps(n, x)
        return n.dense(found.flatten(1))

    return plain(run)


@construction
def frozen_weights() -> nn.Module:
    return plain().requires_grad_(False)


@construction
def made_for_inference() -> nn.Module:
    with torch.inference_mode():
        return plain()


@construction
def checkpointed() -> nn.Module:
    return plain(lambda n, x: n.dense(checkpoint(lambda y: maps(n, y), x, use_reentrant=False).flatten(1)))


@construction
def checkpointed_of_old() -> nn.Module:
    return plain(lambda n, x: n.dense(checkpoint(lambda y: maps(n, y), x, use_reentrant=True).flatten(1)))


class Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.clamp(min=0) * (ctx.saved_tensors[0] > 0)


@construction
def a_gradient_of_its_own() -> nn.Module:
    return plain(lambda n, x: n.dense(maps(n, x, Guided.apply).flatten(1)))


@construction
def signs_without_a_gradient() -> nn.Module:
    return plain(lambda n, x: n.dense(maps(n, x, torch.sign).flatten(1)))


@construction
def rounded_on_the_way() -> nn.Module:
    return plain(lambda n, x: n.dense((maps(n, x) * 8).round().flatten(1)))


# --- control flow and inputs


@construction
def decides_by_values() -> nn.Module:
    return plain(lambda n, x: scores(n, x * 1.5 if x.mean() > 0 else x))


@construction
def leaves_early() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        early = n.early(n.conv1(x).mean((2, 3)))
        return early if early.softmax(1).max() > 2 else scores(n, x)

    return plain(run, early=nn.Linear(4, 10))


@construction
def a_part_that_never_runs() -> nn.Module:
    return plain(unused=nn.Linear(3, 4))


@construction
def two_pictures() -> nn.Module:
    return plain(lambda n, x, y: n.dense((maps(n, x) - maps(n, y)).abs().flatten(1)))


@construction
def a_keyword_with_a_default() -> nn.Module:
    return plain(lambda n, pixel_values=None, return_dict=True: scores(n, pixel_values))


@construction
def an_error_of_its_own() -> nn.Module:
    return plain(lambda n, x: n.dense(maps(n, x)))


@construction
def refuses_pictures_of_this_size() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        assert x.shape[2] == 17, "expected 17 rows"
        return scores(n, x)

    return plain(run)


@construction
def normalises_the_picture() -> nn.Module:
    return plain(
        lambda n, x: scores(n, (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True))
    )


@construction
def a_kind_of_tensor_of_its_own() -> nn.Module:
    class Own(torch.Tensor):
        pass

    return plain(lambda n, x: scores(n, x.as_subclass(Own)).as_subclass(torch.Tensor))


# --- pictures


@construction(shape=(4, 16, 16))
def four_channels() -> nn.Module:
    return plain(channels=4)


@construction(shape=(2, 16, 16))
def two_channels() -> nn.Module:
    return plain(channels=2)


@construction(shape=(3, 12, 36))
def a_wide_picture() -> nn.Module:
    return headed(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3), nn.ReLU(), side=1)


@construction(shape=(1, 64, 6))
def a_signal_as_a_picture() -> nn.Module:
    return headed(nn.Conv2d(1, 6, (5, 6)), nn.ReLU(), nn.MaxPool2d((2, 1)), nn.Conv2d(6, 6, (5, 1)), side=1)


@construction(shape=(1, 1, 1))
def a_picture_of_one_pixel() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 10))


# --- kinds of layer


@construction
def one_dimension() -> nn.Module:
    return Net(
        lambda n, x: n.head(functional.relu(n.conv(x[:, 0])).flatten(1)),
        conv=nn.Conv1d(16, 6, 3, padding=1), head=nn.Linear(96, 10),
    )  # fmt: skip


@construction
def three_dimensions() -> nn.Module:
    return Net(
        lambda n, x: n.head(functional.relu(n.conv(x[:, :, None])).mean((2, 3, 4))),
        conv=nn.Conv3d(1, 6, (1, 3, 3)), head=nn.Linear(6, 10),
    )  # fmt: skip


@construction
def lstm_over_rows() -> nn.Module:
    return Net(
        lambda n, x: n.head(n.rnn(x[:, 0])[0][:, -1]),
        rnn=nn.LSTM(16, 12, batch_first=True),
        head=nn.Linear(12, 10),
    )


@construction
def gru_over_rows() -> nn.Module:
    return Net(
        lambda n, x: n.head(n.rnn(x[:, 0])[1][-1]),
        rnn=nn.GRU(16, 12, batch_first=True),
        head=nn.Linear(12, 10),
    )


@construction
def transposed_convolutions() -> nn.Module:
    return headed(
        nn.Conv2d(1, 4, 4, 4), nn.ReLU(), nn.ConvTranspose2d(4, 6, 3, 2, 1), nn.Upsample(scale_factor=2)
    )


@construction
def shuffled_pixels() -> nn.Module:
    return headed(
        nn.Conv2d(1, 8, 4, 4),
        nn.PixelShuffle(2),
        nn.Conv2d(2, 6, 3),
        nn.PixelUnshuffle(2),
        channels=24,
        side=1,
    )


@construction
def resized_inside() -> nn.Module:
    return plain(
        lambda n, x: scores(
            n, functional.interpolate(functional.avg_pool2d(x, 2), scale_factor=2.0, mode="bilinear")
        )
    )


@construction
def activations_with_weights() -> nn.Module:
    return headed(nn.Conv2d(1, 6, 3), nn.PReLU(6), nn.Conv2d(6, 6, 3), nn.ELU())


@construction
def smooth_activations() -> nn.Module:
    return headed(
        nn.Conv2d(1, 6, 3), nn.Mish(), nn.Conv2d(6, 6, 3), nn.Softplus(), nn.Conv2d(6, 6, 3), nn.SELU()
    )


@construction
def odd_activations() -> nn.Module:
    return plain(
        lambda n, x: n.dense(maps(n, x, lambda y: torch.sin(y) + y.abs().sqrt() + y.square()).flatten(1))
    )


@construction
def other_norms() -> nn.Module:
    return headed(nn.Conv2d(1, 6, 3), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.InstanceNorm2d(6))


@construction
def local_response_norm() -> nn.Module:
    return headed(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.LocalResponseNorm(3))


@construction
def padding_of_other_kinds() -> nn.Module:
    return headed(
        nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(1, 6, 3, padding=1, padding_mode="reflect"), nn.ReLU()
    )


@construction
def even_kernels_of_the_same_size() -> nn.Module:
    return headed(nn.Conv2d(1, 6, 4, padding="same"), nn.ReLU())


@construction
def groups_and_dilation() -> nn.Module:
    return headed(nn.Conv2d(1, 6, 3, dilation=2), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 6, 1))


@construction
def pooling_with_indices() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        found, places = functional.max_pool2d(n.conv1(x), 2, return_indices=True)
        return n.dense(
            functional.max_pool2d(n.conv2(functional.max_unpool2d(found, places, 2)), 4).flatten(1)
        )

    return plain(run)


@construction
def powers_of_pooling() -> nn.Module:
    return headed(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.LPPool2d(2, 2), nn.AvgPool2d(2, ceil_mode=True))


@construction
def sorted_values() -> nn.Module:
    return plain(lambda n, x: n.dense(maps(n, x).flatten(1).sort(dim=1).values))


@construction
def the_largest_cells() -> nn.Module:
    return plain(
        lambda n, x: n.few(maps(n, x).flatten(2).topk(2, dim=2).values.flatten(1)), few=nn.Linear(12, 10)
    )


@construction
def division_with_rounding() -> nn.Module:
    return plain(lambda n, x: scores(n, torch.div(x, 0.25, rounding_mode="floor")))


@construction
def subtraction_with_a_factor() -> nn.Module:
    return plain(lambda n, x: n.dense(torch.sub(maps(n, x), 0.5, alpha=3).flatten(1)))


@construction
def clamped_by_a_tensor() -> nn.Module:
    network = plain(lambda n, x: scores(n, torch.clamp(x, max=n.top)))
    network.register_buffer("top", torch.tensor(0.5))
    return network


@construction
def normalised_features() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        found = maps(n, x).flatten(1)
        return n.dense(found / found.norm(dim=1, keepdim=True).clamp_min(1e-6))

    return plain(run)


@construction
def distances_to_prototypes() -> nn.Module:
    return plain(
        lambda n, x: -torch.cdist(maps(n, x).flatten(1), n.prototypes),
        prototypes=nn.Parameter(torch.rand(10, 96)),
    )


# --- tokens


def tokens(run: Run, *, batch_first: bool = True, **parts: Any) -> nn.Module:
    """4 x 4 tokens of 8 numbers, one block of attention, and a head."""
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, dropout=0.1)
    return Net(run, patches=nn.Conv2d(1, 8, 4, 4), block=block, head=nn.Linear(8, 10), **parts)


def cut(n: Any, x: Tensor) -> Tensor:
    """The patches of a picture as tokens (B, 16, 8)."""
    return n.patches(x).flatten(2).mT


@construction
def a_transformer() -> nn.Module:
    return tokens(lambda n, x: n.head(n.block(cut(n, x)).mean(1)))


@construction
def a_class_token_in_front() -> nn.Module:
    return tokens(
        lambda n, x: n.head(n.block(torch.cat([n.token.expand(len(x), -1, -1), cut(n, x)], 1))[:, 0]),
        token=nn.Parameter(torch.randn(1, 1, 8)),
    )


@construction
def a_class_token_behind() -> nn.Module:
    return tokens(
        lambda n, x: n.head(n.block(torch.cat([cut(n, x), n.token.expand(len(x), -1, -1)], 1))[:, -1]),
        token=nn.Parameter(torch.randn(1, 1, 8)),
    )


@construction
def registers_behind() -> nn.Module:
    return tokens(
        lambda n, x: n.head(
            n.block(torch.cat([cut(n, x), n.registers.expand(len(x), -1, -1)], 1))[:, :16].mean(1)
        ),
        registers=nn.Parameter(torch.randn(1, 4, 8)),
    )


@construction
def tokens_before_pictures() -> nn.Module:
    return tokens(
        lambda n, x: n.head(n.block(n.patches(x).flatten(2).permute(2, 0, 1)).mean(0)), batch_first=False
    )


@construction
def attention_by_itself() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        found = cut(n, x)
        return n.head((found + n.attention(found, found, found)[0]).mean(1))

    return tokens(run, attention=nn.MultiheadAttention(8, 2, batch_first=True))


@construction
def attention_by_hand() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        q, k, v = n.qkv(cut(n, x)).chunk(3, dim=-1)
        return n.head((torch.softmax(q @ k.mT / 8**0.5, dim=-1) @ v).mean(1))

    return tokens(run, qkv=nn.Linear(8, 24))


@construction
def attention_as_a_function() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in n.qkv(cut(n, x)).chunk(3, dim=-1))
        found = functional.scaled_dot_product_attention(q, k, v)
        return n.head(found.transpose(1, 2).flatten(2).mean(1))

    return tokens(run, qkv=nn.Linear(8, 24))


@construction
def tokens_mixed_by_dense_layers() -> nn.Module:
    return tokens(
        lambda n, x: n.head(n.second(functional.gelu(n.first(cut(n, x).mT))).mT.mean(1)),
        first=nn.Linear(16, 24), second=nn.Linear(24, 16),
    )  # fmt: skip


@construction
def routed_to_experts() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        found = maps(n, x).flatten(1)
        shares = n.router(found).softmax(-1)
        answers = torch.stack([expert(found) for expert in n.experts], dim=1)
        return torch.einsum("be,bek->bk", shares, answers)

    return plain(run, router=nn.Linear(96, 3), experts=nn.ModuleList(nn.Linear(96, 10) for _ in range(3)))


@construction
def bumps_on_edges() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        bumps = torch.exp(-((maps(n, x).flatten(1)[..., None] - n.centres) ** 2))
        return n.wide(bumps.flatten(1))

    return plain(run, wide=nn.Linear(480, 10), centres=nn.Parameter(torch.linspace(-1, 1, 5)))


# --- names and containers


@construction
def odd_names() -> nn.Module:
    network = Net(lambda n, x: n.head(getattr(n, "conv#2")(n.network(x)).mean((2, 3))), head=nn.Linear(6, 10))
    network.add_module("network", nn.Conv2d(1, 4, 3))
    network.add_module("conv#2", nn.Conv2d(4, 6, 3))
    return network


@construction
def dictionaries_and_lists() -> nn.Module:
    return Net(
        lambda n, x: n.rest[1](n.rest[0](n.parts["두 번째"](n.parts["a b"](x)) * n.factors[0]).mean((2, 3))),
        parts=nn.ModuleDict({"a b": nn.Conv2d(1, 6, 3), "두 번째": nn.Conv2d(6, 6, 3)}),
        rest=nn.ModuleList([nn.ReLU(), nn.Linear(6, 10)]),
        factors=nn.ParameterList([nn.Parameter(torch.ones(6, 1, 1))]),
    )


@construction
def one_module_alone() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 10, 16), nn.Flatten())


@construction
def deep_containers() -> nn.Module:
    inner = nn.Sequential(nn.Sequential(nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU()), nn.Identity()))
    return headed(inner, nn.Identity())


@construction
def a_list_that_grows() -> nn.Module:
    def run(n: Any, x: Tensor) -> Tensor:
        found = [n.conv1(x)]
        for layer in n.layers:
            found.append(functional.relu(layer(torch.cat(found, 1))))
        return n.few(found[-1].mean((2, 3)))

    layers = nn.ModuleList(nn.Conv2d(count, 4, 3, padding=1) for count in (4, 8, 12))
    return plain(run, layers=layers, few=nn.Linear(4, 10))
