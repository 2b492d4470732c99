"""What is shown of any network is right, or refused in words: tried on every construction."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pellucid.errors import UsageError
from pellucid.explanation.activations import record, silent_layers
from pellucid.explanation.explanation import explain
from pellucid.pad.program import lower
from tests.constructions import CONSTRUCTIONS, made

NEAR = 1e-4  # of a score, where the largest is 1; in proportion where it is larger
NAMES = sorted(CONSTRUCTIONS)

# What cannot be recorded, and what is said of it.
UNRECORDED = {
    "takes_flat_pictures_only": "The network itself fails: RuntimeError: mat1 and mat2",
    "lazy_layers": "weights that its first run will make: 0.weight, 0.bias",
    "two_pictures": "The network itself fails: TypeError",
    "an_error_of_its_own": "The network itself fails: RuntimeError: mat1 and mat2",
    "refuses_pictures_of_this_size": "The network itself fails: AssertionError: expected 17 rows",
}
RANDOM = {"noise_of_torch", "noise_of_numpy", "dropout_that_never_rests"}  # no two runs are the same
# TorchScript runs what is inside it without calling modules: it is one layer.
OPAQUE = {"scripted": ["network"], "traced": ["network"], "a_scripted_part": ["0", "1", "2", "3", "4"]}


def pictures(name: str, count: int) -> Tensor:
    """Random pictures 0..1 (count, C, H, W) that the construction takes."""
    generator = torch.Generator().manual_seed(11)
    return torch.rand(count, *CONSTRUCTIONS[name].shape, generator=generator)


@contextmanager
def left_alone(network: nn.Module) -> Iterator[None]:
    """After the block, modes, hooks, gradients, weights and torch's random state are what they were."""

    def state() -> list[object]:
        found: list[object] = [torch.get_rng_state().tolist()]
        for name, module in network.named_modules():
            hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
            found += [name, module.training, *map(len, hooks)]
        for weight in network.parameters():
            if is_lazy(weight):
                continue
            found += [
                weight.requires_grad,
                weight.grad is None,
                weight.detach().double().nan_to_num().tolist(),
            ]
        return found

    before = state()
    yield
    assert state() == before


def tensors_in(output: Any) -> list[Tensor]:
    """Every tensor of an output, in order."""
    if isinstance(output, Tensor):
        return [output]
    parts: Any = output
    if isinstance(output, Mapping):
        parts = output.values()
    elif is_dataclass(output) and not isinstance(output, type):
        parts = [getattr(output, each.name) for each in fields(output)]
    elif not isinstance(output, list | tuple):
        return []
    return [tensor for part in parts for tensor in tensors_in(part)]


def as_floats(tensor: Tensor) -> Tensor:
    """What `record` promises of an output."""
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    return (tensor.abs() if tensor.is_complex() else tensor).detach().float()


def layers(network: nn.Module) -> dict[str, nn.Module]:
    """Modules without others inside, and those with weights of their own."""
    return {
        name or "network": module
        for name, module in network.named_modules()
        if not list(module.children()) or list(module.parameters(recurse=False))
    }


def as_taken(network: nn.Module, images: Tensor) -> Tensor:
    """Pictures in the precision of the first weight that is more than one number."""
    weight = next((weight for weight in network.parameters() if weight.dim() > 0), images)
    return images.to(weight.dtype if weight.is_floating_point() else images.dtype)


def hooked(network: nn.Module, images: Tensor) -> tuple[dict[str, Tensor], list[str]]:
    """What plain hooks of torch see of every layer, and the layers with weights that were not seen to run."""
    seen: dict[str, Tensor] = {}
    runs: Counter[str] = Counter()
    handles = []

    def hook_for(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            runs[name] += 1
            key = name if runs[name] == 1 else f"{name}#{runs[name]}"
            if found := tensors_in(output):
                seen[key] = as_floats(found[0]).clone()

        return hook

    for name, module in layers(network).items():
        if not isinstance(module, torch.jit.ScriptModule):  # which takes no hooks
            handles.append(module.register_forward_hook(hook_for(name)))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        output = network(as_taken(network, images))
    for handle in handles:
        handle.remove()
    silent = [
        name
        for name, module in layers(network).items()
        if list(module.parameters(recurse=False)) and name not in runs
    ]
    return seen or {"network": as_floats(tensors_in(output)[0])}, silent


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """torch's own warnings are not at issue here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", NAMES)
def test_what_is_recorded_is_what_hooks_see_or_the_reason_is_said(name: str) -> None:
    network, images = made(name), pictures(name, 2)
    if name in UNRECORDED:
        with left_alone(network), pytest.raises(UsageError, match=UNRECORDED[name]):
            record(network, images)
        return
    with left_alone(network):
        recorded = record(network, images)
    assert all(output.dtype == torch.float32 for output in recorded.values())
    if name in OPAQUE:
        assert list(recorded) == OPAQUE[name]
        return
    original = getattr(network, "_orig_mod", network)
    stance = torch.compiler.set_stance("force_eager") if "compiled" in name else nullcontext()
    with stance:
        expected, silent = hooked(original, images)
    assert silent_layers(network, recorded) == silent
    assert list(recorded) == list(expected)
    for key, output in expected.items() if name != "noise_of_numpy" else ():  # which no seed of torch repeats
        torch.testing.assert_close(recorded[key], output, equal_nan=True, atol=1e-5, rtol=1e-4)


# Constructions that no evidence can be shown of, and what is said of them.
UNEXPLAINED = {
    **UNRECORDED,
    "a_map_of_classes": "Expected a network that gives scores",
    "whole_numbers_as_answer": "Expected a network that gives scores",
    "two_rows_of_scores": "Several parts of this network's output could be its scores",
}


ENDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax_inside": lambda scores: scores.softmax(1),
    "softmax_with_a_temperature": lambda scores: scores.softmax(1),
    "softmax_by_hand": lambda scores: scores.softmax(1),
    "log_softmax_inside": lambda scores: scores.log_softmax(1),
    "one_sigmoid": Tensor.sigmoid,
    "sigmoids": Tensor.sigmoid,
}


def output_scores(output: Any) -> Tensor:
    """The scores in an output: its only tensor, that called logits, or the only one of ten columns."""
    if isinstance(output, Mapping) and "logits" in output:
        return output["logits"]
    if hasattr(output, "logits"):
        return output.logits
    rows = [tensor for tensor in tensors_in(output) if tensor.dim() <= 2 or tensor[0, 0].numel() == 1]
    return rows[0].reshape(len(rows[0]), -1)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "a_compiled_part" else name for name in NAMES],
)
def test_what_is_explained_is_the_answer_of_the_network_or_the_reason_is_said(name: str) -> None:
    network, image = made(name), pictures(name, 1)[0]
    with left_alone(network):
        try:
            explanation = explain(network, image, methods=["smoothgrad"])
        except UsageError as error:
            reason = str(error)
        else:
            reason = ""
    assert UNEXPLAINED.get(name, "") in reason
    if reason or name in RANDOM:
        return
    assert name not in UNEXPLAINED
    silent = [note for note in map(str, explanation.notes) if note.startswith("Layers without an output")]
    assert len(silent) == bool(silent_layers(network, explanation.feature_maps))
    heat = explanation.heatmaps["smoothgrad"]
    assert heat.shape == image.shape[1:]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        answer = output_scores(network(as_taken(network, image[None]))).float()[0]
    if explanation.scores.numel() > 1 and bool(answer.isfinite().all()):
        assert bool(heat.isfinite().all())
        assert int(explanation.scores.argmax()) == int(answer.argmax()) == explanation.target


# torch.export takes half a second for each: one in six is tried always.
@pytest.mark.parametrize(
    "name",
    [name if at % 6 == 0 else pytest.param(name, marks=pytest.mark.slow) for at, name in enumerate(NAMES)],
)
def test_a_program_gives_the_scores_of_torch_or_the_operation_is_said(name: str) -> None:
    network, images = made(name), pictures(name, 3)
    with left_alone(network):
        try:
            program = lower(network, images.shape[1:])
        except UsageError:
            return
        found = program.run(images, program.weights(network.state_dict()))[-1]
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            expected = output_scores(network(as_taken(network, images))).float()
    if name in ENDINGS:  # a program stops at the scores before them
        found = ENDINGS[name](found)
    assert name not in RANDOM
    near = NEAR * max(1.0, float(expected.nan_to_num().abs().max()))
    torch.testing.assert_close(found.reshape(expected.shape), expected, atol=near, rtol=0, equal_nan=True)
