"""CycleGAN's step: ours, and the loop as most have it in plain torch, on the same networks."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from benchmarks.machine import DEVICE
from benchmarks.race import race
from models.translation import PatchCritic, Translator
from train.base.device import has_bf16
from train.cyclegan import PRESETS, CycleGan
from train.engine.player import Player
from train.engine.precision import DTYPES, Autocast
from train.engine.schedule import Position
from train.engine.step import Step

LR = 2e-4
ON_GPU = DEVICE.type == "cuda"
# With the paper's weights, of which the identity's makes two passes more.
PRESET = replace(PRESETS["photos-256" if ON_GPU else "glyphs"], cycle_weight=10.0, identity_weight=5.0)


class Untracked(CycleGan):
    """Nothing is averaged: the authors' loop does not."""

    averaged = ()


class Past:
    """The pool as a list of images and Python's random numbers, as in most implementations."""

    def __init__(self, size: int) -> None:
        self.size, self.images = size, []

    def query(self, images: Tensor) -> Tensor:
        shown = []
        for image in images.detach():
            if len(self.images) < self.size:
                self.images.append(image.clone())
            elif self.size and random.random() < 0.5:
                place = random.randrange(self.size)
                image, self.images[place] = self.images[place], image.clone()
            shown.append(image)
        return torch.stack(shown)


class Plain:
    """One step of the usual loop: each pass by itself, ``backward()``, Adam as its defaults are."""

    def __init__(self, nets: Mapping[str, nn.Module], dtype: torch.dtype) -> None:
        self.nets, self.dtype = nets, dtype
        self.past = {"a": Past(PRESET.pool), "b": Past(PRESET.pool)}
        self.optimizers = [
            torch.optim.Adam([p for name in names for p in nets[name].parameters()], lr=LR, betas=(0.5, 0.999))
            for names in (("AB", "BA"), ("DA", "DB"))
        ]

    def step(self, a: Tensor, b: Tensor) -> None:
        ab, ba, da, db = (self.nets[name] for name in ("AB", "BA", "DA", "DB"))
        translators, critics = self.optimizers
        for p in (*da.parameters(), *db.parameters()):
            p.requires_grad_(False)
        translators.zero_grad()
        with torch.autocast(DEVICE.type, self.dtype, enabled=self.dtype != torch.float32):
            fake_b, fake_a = ab(a), ba(b)
            again_a, again_b, same_a, same_b = ba(fake_b), ab(fake_a), ba(a), ab(b)
            scores = db(fake_b).score, da(fake_a).score
        loss = sum(F.mse_loss(score, torch.ones_like(score)) for score in scores)
        loss = loss + PRESET.cycle_weight * (F.l1_loss(again_a, a) + F.l1_loss(again_b, b))
        loss = loss + PRESET.identity_weight * (F.l1_loss(same_a, a) + F.l1_loss(same_b, b))
        loss.backward()
        translators.step()
        for p in (*da.parameters(), *db.parameters()):
            p.requires_grad_(True)
        critics.zero_grad()
        for critic, real, fake, kind in ((da, a, fake_a, "a"), (db, b, fake_b, "b")):
            shown = self.past[kind].query(fake)
            with torch.autocast(DEVICE.type, self.dtype, enabled=self.dtype != torch.float32):
                true, false = critic(real).score, critic(shown).score
            d = F.mse_loss(true, torch.ones_like(true)) + F.mse_loss(false, torch.zeros_like(false))
            (d / 2).backward()
        critics.step()


def networks(channels_last: bool) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    translator = {"width": PRESET.g_width, "blocks": PRESET.g_blocks, "norm": PRESET.g_norm}
    critic = {"width": PRESET.d_width, "layers": PRESET.d_layers, "norm": PRESET.d_norm}
    made = {name: Translator(PRESET.resolution, **translator) for name in ("AB", "BA")}
    made |= {name: PatchCritic(PRESET.resolution, **critic) for name in ("DA", "DB")}
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return {name: network.to(DEVICE, memory_format=layout) for name, network in made.items()}


def images(batch: int) -> dict[str, Tensor]:
    shape = (batch, 3, PRESET.resolution, PRESET.resolution)
    return {kind: torch.rand(shape, device=DEVICE) * 2 - 1 for kind in ("a", "b")}


def plain(nets: Mapping[str, nn.Module], batch: int, dtype: torch.dtype) -> Callable[[], None]:
    player, seen = Plain(nets, dtype), images(batch)
    return lambda: player.step(**seen)


def ours(nets: Mapping[str, nn.Module], batch: int, dtype: torch.dtype) -> Callable[[], None]:
    game = Untracked(nets, PRESET)
    players = {name: Player({n: game.networks[n] for n in role.networks}, role) for name, role in game.roles.items()}
    for player in players.values():
        player.set_lr(LR)
    at = Position(0, 0, PRESET.resolution, 0.0, batch, batch, LR)
    step = Step(game, game.moves(at), players, {}, Autocast(DEVICE, dtype), batch=batch, weight=1.0)
    drawn = torch.Generator(DEVICE).manual_seed(0)
    seen = {kind: x.contiguous(memory_format=torch.channels_last) for kind, x in images(batch).items()}
    return lambda: step(game.draw(seen, batch, at, drawn))


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_translation_step(benchmark: BenchmarkFixture, precision: str) -> None:
    if precision == "bf16" and not has_bf16(DEVICE):
        pytest.skip("this processor computes bf16 by way of float32")
    batch, dtype = int(PRESET.batch), DTYPES[precision]
    race(
        benchmark,
        "ours",
        {
            "ours": ours(networks(channels_last=True), batch, dtype),
            "plain": plain(networks(channels_last=False), batch, dtype),
        },
        params={
            "resolution": PRESET.resolution,
            "batch": batch,
            "precision": precision,
            "width": PRESET.g_width,
            "blocks": PRESET.g_blocks,
        },
        units={"images": batch},
    )
