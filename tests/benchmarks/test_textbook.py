"""The rival that benchmarks measure computes what our step computes, and the ceiling the same convolutions."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.steps import Ceiling, Ours, textbook_parameters
from benchmarks.textbook import CompiledTextbook, Textbook

SIZES = {"channels": 8, "latent": 6}
BATCH = 8


def snapshot(network: nn.Module, resolution: int) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in textbook_parameters(network, resolution).items()}


@pytest.fixture(params=[4, 16], ids=["4px", "16px"])
def after_three_steps(request: pytest.FixtureRequest) -> Iterator[tuple[Ours, Textbook, list[dict[str, Tensor]]]]:
    """Both after the same steps from the same weights, and the textbook's weights of G, D and EMA at the start.

    Adam with β₁ = 0 and a small eps starts with steps of lr·sign(gradient), which hide the gradient's size and blow up
    rounding where it is near 0. With eps = 1 a step is lr·g/(|g| + 1): smooth in g, and different for every size.
    """
    resolution = request.param
    torch.manual_seed(0)
    rival = Textbook(resolution, **SIZES, dtype=torch.float32, half_life=50.0, eps=1.0)
    own = Ours(resolution, **SIZES, dtype=torch.float32, half_life=50.0, eps=1.0)
    own.load(rival)
    start = [snapshot(network, resolution) for network in (rival.generator, rival.discriminator, rival.ema)]
    for player, optimizer in ((own.g, rival.g_optimizer), (own.d, rival.d_optimizer)):
        player.set_lr(0.1)
        optimizer.param_groups[0]["lr"] = 0.1

    for _ in range(3):
        real = torch.randn(BATCH, 3, resolution, resolution)
        z = [torch.randn(BATCH, SIZES["latent"]) for _ in range(2)]
        weights = torch.rand(BATCH)
        own.step(real, *z, weights)
        rival.step(real, *z, weights.view(-1, 1, 1, 1))
    return own, rival, start


@pytest.mark.parametrize("network", ["generator", "discriminator", "ema"])
def test_the_textbook_and_we_move_every_parameter_alike(after_three_steps, network: str) -> None:
    own, rival, starts = after_three_steps
    resolution = own.generator.resolution
    start = starts[["generator", "discriminator", "ema"].index(network)]
    end = textbook_parameters(getattr(rival, network), resolution)
    for name, expected in end.items():
        moved = (expected - start[name]).abs().max()
        error = (getattr(own, network).get_parameter(name) - expected).abs().max()
        # Weights are of size 1 to 4, hence known to 1e-7 to 2e-7, and move by 2e-3 or more: to 1e-4 of it (biases start
        # at 0 and are known better). Sums of a few hundred products in another order add 1e-5. A wrong term, factor or
        # sample shows in the first digits.
        assert error <= 1e-3 * moved, name


def test_the_textbook_moves_alike_when_it_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))  # traced, and then run by torch
    torch.compiler.reset()
    players = []
    for kind in (Textbook, CompiledTextbook):
        torch.manual_seed(0)
        players.append(kind(8, **SIZES, dtype=torch.float32, half_life=50.0, eps=1.0))
        for optimizer in (players[-1].g_optimizer, players[-1].d_optimizer):
            optimizer.param_groups[0]["lr"] = 0.1
    start = copy.deepcopy(players[0])
    for _ in range(2):
        z = [torch.randn(BATCH, SIZES["latent"]) for _ in range(2)]
        inputs = (torch.randn(BATCH, 3, 8, 8), *z, torch.rand(BATCH, 1, 1, 1))
        for player in players:
            player.step(*inputs)
    for network in ("generator", "discriminator", "ema"):
        triples = zip(*(getattr(player, network).parameters() for player in (*players, start)), strict=True)
        for expected, actual, before in triples:
            assert (actual - expected).abs().max() <= 1e-3 * (expected - before).abs().max()  # as above


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_neither_has_parameters_that_the_other_lacks(network: str) -> None:
    own, rival = (kind(16, **SIZES, dtype=torch.float32) for kind in (Ours, Textbook))
    mine = getattr(own, network)
    active = {id(parameter) for parameter in mine.active_parameters()}
    names = {name for name, parameter in mine.named_parameters() if id(parameter) in active}
    assert names == textbook_parameters(getattr(rival, network), 16).keys()


class HeavyOps(TorchDispatchMode):
    """Counts convolutions and matrix products by their shapes and options."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        if any(part in str(op) for part in ("conv", "mm")):
            described = [list(arg.shape) if isinstance(arg, Tensor) else arg for arg in args]
            self.counts[f"{op}{described}"] += 1
        return op(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_ceiling_runs_our_convolutions_and_all_of_them(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    real = torch.randn(BATCH, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    z = torch.randn(BATCH, SIZES["latent"])
    counts = []
    for kind in (Ours, Ceiling):
        player = kind(16, **SIZES, dtype=dtype)
        with HeavyOps() as ops:
            player.step(real, z, z, torch.rand(BATCH))
        counts.append(ops.counts)
    assert counts[0] == counts[1]
