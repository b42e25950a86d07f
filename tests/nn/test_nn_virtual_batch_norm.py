"""Virtual batch norm as a layer, and the network that sends its reference batch through it."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops import nn as gnn
from gan_ops import reference

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Counter(nn.Module):
    """The identity, and how often it was called."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x


def make_network(latents: int | None = 6) -> gnn.ReferenceSequential:
    """A small generator: latents [N, 4] → [N, 3, 8, 8], with a norm on its way and one in an nn.Sequential within."""
    network = gnn.ReferenceSequential(
        nn.Linear(4, 5 * 16),
        nn.Unflatten(1, (5, 4, 4)),
        gnn.VirtualBatchNorm(5),
        Counter(),
        nn.Sequential(nn.ConvTranspose2d(5, 4, 4, 2, 1), gnn.VirtualBatchNorm(4), nn.ReLU()),
        nn.Conv2d(4, 3, 3, padding=1),
    )
    if latents is not None:
        network.set_reference(torch.randn(latents, 4))
    return network


def calls(network: gnn.ReferenceSequential) -> int:
    """How many batches passed the middle of the network."""
    return network[3].calls


def frozen(network: gnn.ReferenceSequential) -> gnn.ReferenceSequential:
    return copy.deepcopy(network).eval().requires_grad_(False)


# ---- VirtualBatchNorm ----


def test_weight_starts_near_one_and_bias_at_zero() -> None:
    norm = gnn.VirtualBatchNorm(10_000)
    assert norm.weight.mean().item() == pytest.approx(1, abs=1e-3)
    assert norm.weight.std().item() == pytest.approx(0.02, abs=1e-3)
    assert not norm.bias.any()


def test_affine_can_be_left_out() -> None:
    assert list(gnn.VirtualBatchNorm(5, affine=False).parameters()) == []


@pytest.mark.parametrize("spatial", [(), (4, 3)], ids=str)
@pytest.mark.parametrize("affine", [True, False])
@EVERYWHERE
def test_norm_joins_an_example_to_the_reference_and_takes_the_reference_by_itself(spatial, affine) -> None:
    norm = gnn.VirtualBatchNorm(5, eps=1e-3, affine=affine).double()
    x, batch = torch.randn(2, 5, *spatial).double(), 2 * torch.randn(7, 5, *spatial).double() + 1
    dims = (0, *range(2, x.dim()))
    expected = reference.virtual_batch_norm(
        x, batch.mean(dims), batch.var(dims, correction=0), 7, norm.weight, norm.bias, 1e-3
    )
    y, of_batch = norm(x, batch)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(of_batch, F.batch_norm(batch, None, None, norm.weight, norm.bias, True, eps=1e-3))


@EVERYWHERE
def test_gradients_of_both_results_reach_both_inputs_to_the_second_order() -> None:
    norm = gnn.VirtualBatchNorm(3).double()
    x, batch = torch.randn(2, 3, 2, 2).double().requires_grad_(), torch.randn(4, 3, 2, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(norm, (x, batch)) and torch.autograd.gradgradcheck(norm, (x, batch))


def test_an_empty_reference_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"the reference batch must not be empty, but is \[0, 3\]"):
        gnn.VirtualBatchNorm(3)(torch.randn(2, 3), torch.randn(0, 3))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@EVERYWHERE
def test_norm_keeps_the_memory_format(memory_format) -> None:
    x, batch = (torch.randn(4, 6, 3, 5).to(memory_format=memory_format) for _ in range(2))
    for y in gnn.VirtualBatchNorm(6)(x, batch):
        assert y.is_contiguous(memory_format=memory_format)


# ---- ReferenceSequential ----


def test_without_a_reference_batch_the_call_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"was never given a reference batch; call set_reference\(latents\)"):
        make_network(None)(torch.randn(2, 4))


def test_latents_must_hold_an_example() -> None:
    with pytest.raises(ValueError, match=r"latents must hold at least one example, but are \[0, 4\]"):
        make_network(None).set_reference(torch.randn(0, 4))


def test_reference_is_a_copy_of_the_latents() -> None:
    latents = torch.randn(6, 4)
    network = make_network(None)
    network.set_reference(latents)
    latents.zero_()
    assert network.reference.any()


@pytest.mark.parametrize("grad", [True, False])
@EVERYWHERE
def test_every_norm_sees_the_reference_batch_at_its_place(grad: bool) -> None:
    network, z = make_network(), torch.randn(3, 4)
    linear, unflatten, first, _, (up, second, relu), last = network
    x, batch = first(*(unflatten(linear(t)) for t in (z, network.reference)))
    x, _ = second(up(x), up(batch))
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(network(z), last(relu(x)))


@pytest.mark.parametrize("grad", [True, False])
@EVERYWHERE
def test_an_example_does_not_depend_on_its_companions(grad: bool) -> None:
    network, z = make_network().double(), torch.randn(5, 4).double()
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(network(z[:1]), network(z)[:1])


@EVERYWHERE
def test_gradients_flow_through_the_reference_batch() -> None:
    """Seen in a bias before a norm: without the reference's share it would shift x and its statistics alike."""
    network = make_network().double()
    z, step = torch.randn(2, 4).double(), 1e-6
    loss = network(z).square().sum()
    (gradient,) = torch.autograd.grad(loss, network[0].weight)
    with torch.no_grad():
        network[0].weight[0, 0] += step
        above = network(z).square().sum()
    assert gradient[0, 0].item() == pytest.approx(((above - loss) / step).item(), rel=1e-4)


def test_the_reference_batch_goes_no_further_than_the_last_norm() -> None:
    network = gnn.ReferenceSequential(nn.Linear(4, 5), gnn.VirtualBatchNorm(5), Counter())
    network.set_reference(torch.randn(6, 4))
    network(torch.randn(2, 4))
    assert network[2].calls == 1


def test_in_training_each_call_takes_the_reference_batch_along() -> None:
    network = make_network()
    for _ in range(3):
        network(torch.randn(2, 4))
    assert calls(network) == 6


def test_in_a_frozen_network_the_reference_batch_passes_once() -> None:
    network = frozen(make_network())
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(2, 4))
    assert calls(network) == 4


def test_a_frozen_copy_keeps_the_statistics_while_gradients_reach_the_latents() -> None:
    network = frozen(make_network())
    z = torch.randn(2, 4, requires_grad=True)
    for _ in range(3):
        network(z).sum().backward()
    assert calls(network) == 4 and z.grad.any()


@pytest.mark.parametrize("options", [{"foreach": False}, {"foreach": True}, {"fused": True}], ids=str)
def test_an_optimizers_step_shows_in_calls_without_gradients(options) -> None:
    network, z = make_network(), torch.randn(2, 4)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1, **options)
    with torch.no_grad():
        before = network(z)
    network(torch.randn(2, 4)).square().sum().backward()
    optimizer.step()
    with torch.no_grad():
        after, computed = network(z), frozen(network)(z)
    assert not torch.equal(before, after) and torch.equal(after, computed)


def test_a_network_frozen_in_turns_shows_every_step() -> None:
    network, z = make_network(), torch.randn(2, 4)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1, fused=True)
    for _ in range(3):
        network.requires_grad_(False)
        torch.testing.assert_close(network(z), frozen(network)(z), rtol=0, atol=0)
        network.requires_grad_(True)
        network(torch.randn(2, 4)).square().sum().backward()
        optimizer.step()


def average(network: gnn.ReferenceSequential) -> None:
    with torch.no_grad():
        torch._foreach_lerp_(list(network.parameters()), list(make_network().parameters()), 0.1)


def replace_a_parameter(network: gnn.ReferenceSequential) -> None:
    network[0].weight = nn.Parameter(torch.randn(80, 4))


def replace_the_data(network: gnn.ReferenceSequential) -> None:
    network[0].weight.data = torch.randn(80, 4)


CHANGES = {
    "averaging in place": average,
    "load_state_dict": lambda network: network.load_state_dict(make_network().state_dict()),
    "load_state_dict(assign)": lambda network: network.load_state_dict(make_network().state_dict(), assign=True),
    "another reference batch": lambda network: network.set_reference(torch.randn(6, 4)),
    "one parameter replaced": replace_a_parameter,
    "one parameter's data replaced": replace_the_data,
    "another type and back": lambda network: network.half().float(),
    "a change through .data that is reported": lambda network: (
        network[0].weight.data.mul_(2),
        network.forget_statistics(),
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_statistics_are_computed_anew_after(change) -> None:
    network, z = frozen(make_network()), torch.randn(2, 4)
    with torch.no_grad():
        before = network(z)
    change(network)
    network.requires_grad_(False)
    with torch.no_grad():
        kept, computed = network(z), frozen(network)(z)
    assert not torch.equal(before, kept) and torch.equal(kept, computed)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
@pytest.mark.parametrize("grad", [True, False], ids=["after training", "after generating"])
@EVERYWHERE
def test_copies_keep_the_reference_batch_but_not_its_statistics(copied, grad: bool) -> None:
    network, z = make_network(), torch.randn(2, 4)
    with torch.set_grad_enabled(grad):
        expected = network(z)
    other = copied(network)
    other[3].calls = 0
    with torch.no_grad():
        assert torch.equal(other(z), expected.detach())
    assert calls(other) == 2


@pytest.mark.parametrize("latents", [None, 6, 9], ids=["none", "as many", "more"])
@EVERYWHERE
def test_a_checkpoint_brings_its_reference_batch(latents: int | None) -> None:
    network, z = make_network(), torch.randn(2, 4)
    other = make_network(latents)
    other.load_state_dict(network.state_dict())
    assert torch.equal(other.reference, network.reference)
    assert torch.equal(other(z), network(z))


def test_a_checkpoint_without_a_reference_batch_does_not_fit_a_network_that_has_one() -> None:
    with pytest.raises(RuntimeError, match=r'Missing key.*"reference"'):
        make_network().load_state_dict(make_network(None).state_dict())


def test_statistics_of_inference_mode_serve_outside_of_it() -> None:
    network = frozen(make_network())
    with torch.inference_mode():
        network(torch.randn(2, 4))
    z = torch.randn(2, 4, requires_grad=True)
    network(z).sum().backward()
    assert calls(network) == 3 and z.grad.any()


@EVERYWHERE
def test_half_precision_has_statistics_of_its_own() -> None:
    network, z = frozen(make_network()), torch.randn(2, 4)
    with torch.no_grad():
        full = network(z)
        with torch.autocast(torch.get_default_device().type, torch.bfloat16):
            half = network(z)
        assert calls(network) == 4 and half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), full, rtol=0.05, atol=0.05)
        assert torch.equal(network(z), full)


@EVERYWHERE
def test_training_in_half_precision_gives_wide_gradients_to_the_norms() -> None:
    network = make_network()
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        y = network(torch.randn(2, 4))
    y.float().square().sum().backward()
    assert y.dtype == torch.bfloat16 and network[2].weight.grad.dtype == torch.float32


@pytest.mark.parametrize("grad", [True, False])
@EVERYWHERE
def test_compiles_as_one_graph(grad: bool) -> None:
    network, z = make_network(), torch.randn(2, 4)
    torch._dynamo.reset()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    results = []
    for function in (network, compiled):
        with torch.set_grad_enabled(grad):
            y = function(z)
        gradients = torch.autograd.grad(y.square().sum(), list(network.parameters())) if grad else ()
        results.append([y, *gradients])
    torch.testing.assert_close(*results)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = gnn.VirtualBatchNorm(4)


class Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


@pytest.mark.parametrize("layer", [Block(), Residual(gnn.VirtualBatchNorm(4))], ids=["module", "residual"])
def test_a_hidden_norm_is_refused(layer: nn.Module) -> None:
    network = gnn.ReferenceSequential(nn.Linear(4, 4), layer)
    with pytest.raises(
        TypeError, match=f"a VirtualBatchNorm is inside a {type(layer).__name__}, which gets no reference"
    ):
        network.set_reference(torch.randn(6, 4))


def test_a_subclass_of_sequential_keeps_its_own_forward() -> None:
    linear = nn.Linear(4, 4)
    network = gnn.ReferenceSequential(Residual(linear))
    network.set_reference(torch.randn(6, 4))
    x = torch.randn(2, 4)
    assert torch.equal(network(x), x + linear(x))


def test_a_transform_leaves_no_statistics_behind() -> None:
    network, z = frozen(make_network()), torch.randn(2, 4)
    expected = network(z)
    network.forget_statistics()
    torch.func.jvp(network, (z,), (torch.ones_like(z),))
    torch.testing.assert_close(network(z), expected)


def test_a_frozen_network_gives_the_same_and_sends_no_reference_batch_along() -> None:
    network = make_network().eval()
    x = torch.randn(3, 4)
    constant = network.frozen()
    before = calls(network)
    actual = constant(x)
    assert calls(network) == before + 1
    assert "reference" not in constant.state_dict()
    torch.testing.assert_close(actual, network(x))


def test_a_network_without_a_reference_batch_cannot_be_frozen() -> None:
    with pytest.raises(RuntimeError, match="never given a reference batch"):
        make_network(None).frozen()
