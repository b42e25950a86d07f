"""Whole steps of two players with gradient penalties: ours, the loop in plain torch, and what convolutions allow.

All play with the same networks, batches, losses and optimizers. The plain loop makes each pass by itself; op by op, or
compiled with the gradients that it takes inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks.machine import DEVICE
from train.engine.ema import averaged_copy, weight_of
from train.engine.game import Batch
from train.engine.networks import Networks
from train.engine.player import Player
from train.engine.precision import Autocast
from train.engine.schedule import Position
from train.engine.step import Step, frozen
from train.gan.game import Gan

HALF_LIFE = 1e6
"""Of the average, in images."""
Replaced = Mapping[tuple[Any, str], Callable[..., Any]]
"""Functions that networks call, by module and name, and what takes their places."""


@dataclass(frozen=True)
class Setting:
    """A system at a size.

    Attributes:
        game: of new networks, the same each time; in the layout that ours has.
        columns: what a step is given, in a memory layout.
        plain: the networks' functions as torch has them.
        ceiling: those that are left out where convolutions alone are to run.
        d_loss, g_loss: of the plain loop, by itself and its batch.
        betas: of Adam.
    """

    game: Callable[[], Gan]
    columns: Callable[[torch.memory_format], Batch]
    plain: Replaced
    ceiling: Replaced
    d_loss: Callable[[Plain, Batch], Tensor]
    g_loss: Callable[[Plain, Batch], Tensor]
    betas: tuple[float, float]
    batch: int
    resolution: int
    lr: float = 2e-4

    @property
    def position(self) -> Position:
        return Position(0, 0, self.resolution, 0.0, self.batch, self.batch, self.lr)


@contextmanager
def replaced(functions: Replaced) -> Iterator[None]:
    """Within, networks call these."""
    with ExitStack() as stack:
        for (module, name), function in functions.items():
            stack.enter_context(patch.object(module, name, function))
        yield


class Ours:
    """The parts of a trainer that a step is made of."""

    def __init__(self, setting: Setting, dtype: torch.dtype, compile: bool = False) -> None:
        self.setting, self.game = setting, setting.game()
        roles = self.game.roles
        self.players = {name: Player({name: self.game.networks[name]}, role) for name, role in roles.items()}
        for player in self.players.values():
            player.set_lr(setting.lr)
        self.autocast = Autocast(DEVICE, dtype)
        self.step = Step(
            self.game,
            self.game.moves(setting.position),
            self.players,
            {"G": averaged_copy(self.game.networks["G"])},
            self.autocast,
            batch=setting.batch,
            weight=torch.tensor(weight_of(setting.batch, HALF_LIFE), device=DEVICE),
            compile=compile,
            say=must_compile,
        )

    def __call__(self) -> None:
        self.step(self.setting.columns(torch.channels_last))


def must_compile(line: str) -> None:
    if not line.startswith("compiled"):
        raise RuntimeError(line)


class Ceiling(Ours):
    """The gradients of the same step with nothing but convolutions, matrix products, changes of size, and sums."""

    def __init__(self, setting: Setting, dtype: torch.dtype) -> None:
        super().__init__(setting, torch.float32)
        self.dtype = dtype
        for network in self.game.networks.values():
            network.to(dtype)
        self._zero = torch.zeros((), dtype=dtype, device=DEVICE, requires_grad=True)

    def __call__(self) -> None:
        batch = {name: column.to(self.dtype) for name, column in self.setting.columns(torch.channels_last).items()}
        other = {"D": "G", "G": "D"}
        with replaced(self.setting.ceiling):
            for move in self.game.moves(self.setting.position):
                player = self.players[move.role]
                with frozen(self.players[other[move.role]].active):
                    nets = Networks(self.game.networks, self.autocast, None, self._zero, {})
                    for term in move.loss(nets, batch, {}):
                        torch.autograd.grad(term, player.active, allow_unused=True)  # some parts are not in use


class Plain:
    """The usual loop: ``backward()``, torch's fused Adam, each pass by itself.

    Attributes:
        g, d: the networks.
    """

    def __init__(self, setting: Setting, dtype: torch.dtype, layout: torch.memory_format = torch.channels_last) -> None:
        self.setting, self.dtype, self.layout = setting, dtype, layout
        self.g, self.d = (setting.game().networks[name].to(memory_format=layout) for name in ("G", "D"))
        self.ema = averaged_copy(self.g)
        self.optimizers = {
            network: torch.optim.Adam(network.parameters(), setting.lr, setting.betas, fused=True)
            for network in (self.d, self.g)
        }

    def __call__(self) -> None:
        self.step(self.setting.columns(self.layout))

    def step(self, batch: Batch) -> None:
        with replaced(self.setting.plain):
            for network, still, loss in ((self.d, self.g, self.d_loss), (self.g, self.d, self.g_loss)):
                self.optimizers[network].zero_grad()
                with frozen(list(still.parameters())):
                    loss(batch).backward()
                self.optimizers[network].step()
        self.average()

    def d_loss(self, batch: Batch) -> Tensor:
        return self.setting.d_loss(self, batch)

    def g_loss(self, batch: Batch) -> Tensor:
        return self.setting.g_loss(self, batch)

    def average(self) -> None:
        weight = weight_of(self.setting.batch, HALF_LIFE)
        with torch.no_grad():
            for mine, theirs in zip(self.ema.parameters(), self.g.parameters(), strict=True):
                mine.lerp_(theirs, weight)

    def generate(self, z: Tensor) -> Tensor:
        with self._autocast():
            return self.g(z).float()

    def judge(self, x: Tensor) -> Tensor:
        with self._autocast():
            return self.d(x).score

    def point(self, x: Tensor) -> Tensor:
        """x as a constant to take a gradient at."""
        return x.detach().requires_grad_()

    def gradient(self, score: Tensor, x: Tensor) -> Tensor:
        return torch.autograd.grad(score.sum(), x, create_graph=True)[0]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(DEVICE.type, self.dtype, enabled=self.dtype != torch.float32)


class PlainCompiled(Plain):
    """The same, compiled whole: each player's gradients are taken inside one graph."""

    def __init__(self, setting: Setting, dtype: torch.dtype) -> None:
        super().__init__(setting, dtype)
        options = {"fullgraph": True, "dynamic": False}
        self._d_gradients = torch.compile(lambda batch: self._gradients(self.d, self.d_loss(batch)), **options)
        self._g_gradients = torch.compile(lambda batch: self._gradients(self.g, self.g_loss(batch)), **options)
        self._average = torch.compile(self.average, **options)
        self._zero = torch.zeros((), device=DEVICE, requires_grad=True)

    def step(self, batch: Batch) -> None:
        with torch._dynamo.config.patch(trace_autograd_ops=True), replaced(self.setting.plain):
            moves = ((self.d, self.g, self._d_gradients), (self.g, self.d, self._g_gradients))
            for network, still, gradients in moves:
                with frozen(list(still.parameters())):
                    for parameter, gradient in zip(network.parameters(), gradients(batch), strict=True):
                        parameter.grad = torch.empty_like(parameter).copy_(gradient)
                self.optimizers[network].step()
            self._average()

    def point(self, x: Tensor) -> Tensor:
        return x.detach() + self._zero  # in a graph torch 2.11 lets no tensor begin to require a gradient

    def _gradients(self, network: nn.Module, loss: Tensor) -> list[Tensor]:
        return [g.detach() for g in torch.autograd.grad(loss, list(network.parameters()))]


def alternatives(setting: Setting, dtype: torch.dtype) -> dict[str, Callable[[], None]]:
    """A step of each."""
    return {
        "ours": Ours(setting, dtype),
        "ours compiled": Ours(setting, dtype, compile=True),
        "plain": Plain(setting, dtype, torch.contiguous_format),
        "plain, channels_last": Plain(setting, dtype),
        "plain compiled": PlainCompiled(setting, dtype),
        "ceiling": Ceiling(setting, dtype),
    }
