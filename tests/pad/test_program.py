"""A lowered network is the network: torch, running the list of operations, says the same."""

import pytest
import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.explanation.activations import record
from pellucid.models.outputs import output_of
from pellucid.pad.program import lower
from tests.networks import SHAPES, Sorting, network, pictures


@pytest.fixture(scope="module", params=SHAPES)
def lowered(request):
    made = network(request.param)
    return made, lower(made, SHAPES[request.param]), pictures(request.param, 6)


def test_the_list_of_operations_says_what_the_network_says(lowered) -> None:
    made, program, images = lowered
    with torch.no_grad():
        found = program.run(images, program.weights(made.state_dict()))
        assert torch.allclose(found[-1], output_of(made, images).scores(made, images), atol=1e-5)


def test_every_layer_is_there_under_its_name_with_its_numbers(lowered) -> None:
    made, program, images = lowered
    heard = record(made, images)
    values = program.run(images, program.weights(made.state_dict()))
    same = [name for name in heard if name in program.layers]
    assert len(same) >= 6
    for name in same:
        found = values[program.layers[name]].detach()
        assert torch.allclose(found, heard[name].reshape(found.shape), atol=1e-6), name


def test_the_rest_of_the_way_can_be_run_from_the_middle(lowered) -> None:
    made, program, images = lowered
    weights = program.weights(made.state_dict())
    whole = program.run(images, weights)
    rest = program.run_on(whole[: len(whole) // 2], weights)
    assert all(torch.equal(one, other) for one, other in zip(whole, rest, strict=True))


def test_other_weights_of_the_same_network_run_too() -> None:
    made = network("residual")
    program = lower(made, SHAPES["residual"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        other = type(made)().eval()
    images = pictures("residual", 3)
    with torch.no_grad():
        found = program.run(images, program.weights(other.state_dict()))[-1]
        assert torch.allclose(found, other(images), atol=1e-6)


def test_an_in_place_change_reaches_who_reads_it_later() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 3)

        def forward(self, images: Tensor) -> Tensor:
            flat = images.flatten(1) - 0.5
            flat.relu_()
            return self.fc(flat)

    made = Reads().eval()
    images = torch.rand(2, 2, 2, 2)
    program = lower(made, (2, 2, 2))
    assert torch.allclose(program.run(images, program.weights(made.state_dict()))[-1], made(images))


@pytest.mark.parametrize("end", [nn.Identity(), nn.Softmax(dim=1), nn.LogSoftmax(dim=1), nn.Sigmoid()])
def test_the_last_value_is_the_scores_before_any_softmax_or_sigmoid(end: nn.Module) -> None:
    body = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    made, images = nn.Sequential(body, end, nn.Flatten()).eval(), torch.rand(2, 1, 2, 2)
    program = lower(made, (1, 2, 2))
    found = program.run(images, program.weights(made.state_dict()))[-1]
    torch.testing.assert_close(found, body(images).detach())


def test_the_tutorial_needs_so_many_multiply_adds() -> None:
    program = lower(network("tutorial"), (1, 28, 28))
    assert program.multiply_adds == 28 * 28 * 16 * 9 + 14 * 14 * 32 * 16 * 9 + 1568 * 80 + 80 * 10


def test_what_the_page_cannot_run_is_named_with_its_place() -> None:
    with pytest.raises(UsageError) as refusal:
        lower(Sorting(), (1, 6, 6))
    said = str(refusal.value)
    assert "cannot run 'sort'" in said
    assert "networks.py: return self.conv(images).flatten(1).sort(dim=1)" in said


def test_a_network_torch_cannot_follow_is_refused_in_words() -> None:
    class Branches(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1) if images.sum() > 1 else images.flatten(1) * 2

    with pytest.raises(UsageError, match=r"torch\.export cannot follow this network: "):
        lower(Branches(), (1, 2, 2))


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(fails: bool) -> None:
    made = Sorting() if fails else network("residual")
    made.train()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    state = torch.random.get_rng_state()
    try:
        lower(made, (1, 6, 6) if fails else SHAPES["residual"])
    except UsageError:
        assert fails
    assert all(module.training for module in made.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in made.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
