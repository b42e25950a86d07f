"""Tiny runs of the trainers, and what tests ask of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from train import pggan
from train.base.errors import run_program
from train.engine.game import Batch, Move, Networks, Stats
from train.engine.trainer import Trainer
from train.run import checkpoint

OUTPUT = {"grid": "2x3", "tensorboard": False, "device": "cpu", "data_size": 40, "log_kimg": "0.008"}
# 4x4, a fade to 8x8 and 8x8: 48 images, 12 steps.
TINY = {
    "resolution": 8,
    "fade_kimg": "0.016",
    "stable_kimg": "0.016",
    "batch": "4",
    "latent": 6,
    "fmap_base": 16,
    "fmap_max": 6,
    "ema_kimg": "0.02",
    "image_kimg": "0.016",
    "checkpoint_kimg": "0.016",
    **OUTPUT,
}
# 16x16: 24 images, 6 steps.
TINY_DCGAN = {
    "resolution": 16,
    "kimg": 0.024,
    "batch": "4",
    "latent": 6,
    "g_width": 4,
    "d_width": 4,
    "kernel_size": 4,
    "reference_batch": 5,
    "ema_kimg": "0.02",
    "image_kimg": "0.012",
    "checkpoint_kimg": "0.012",
    **OUTPUT,
}
# 8x8: 24 images, 6 steps.
TINY_R3GAN = {
    "resolution": 8,
    "kimg": 0.024,
    "batch": "4",
    "latent": 6,
    "width": "8,8:4",
    "group_width": 4,
    "blocks": 1,
    "ema_kimg": "0.02",
    "image_kimg": "0.012",
    "checkpoint_kimg": "0.012",
    "precision": "float32",
    **OUTPUT,
}
# 16x16: 24 images, 6 steps.
TINY_VAE_GAN = {
    "resolution": 16,
    "kimg": 0.024,
    "batch": "4",
    "latent": 6,
    "e_width": 4,
    "g_width": 4,
    "d_width": 4,
    "kernel_size": 4,
    "ema_kimg": "0.02",
    "image_kimg": "0.012",
    "checkpoint_kimg": "0.012",
    **OUTPUT,
}
# 16x16: 24 images, 6 steps.
_TINY_ENERGIES = {"resolution": 16, "kimg": 0.024, "batch": "4", "latent": 6, "ema_kimg": "0.02", **OUTPUT}
_TINY_ENERGIES |= {"image_kimg": "0.012", "checkpoint_kimg": "0.012", "precision": "float32"}
TINY_BEGAN = {**_TINY_ENERGIES, "width": 4}
TINY_EBGAN = {**_TINY_ENERGIES, "g_width": 4, "d_width": 4}
TINY_MEG = {**_TINY_ENERGIES, "g_width": 4, "d_width": 4, "t_width": 4, "t_hidden": 5, "d_steps": 2}
# 16x16: 24 images, 6 steps.
TINY_TRANSGAN = {**_TINY_ENERGIES, "g_width": 32, "g_blocks": "1,1", "d_width": 16, "d_blocks": 1, "heads": 2}
TINY_TRANSGAN |= {"patch": 2, "window": 4, "upsampling": "shuffle", "d_steps": 1, "g_batches": 1}

# 8x8: 24 images, 6 steps.
_TINY_RESIDUAL = {**_TINY_ENERGIES, "resolution": 8, "g_width": 2, "d_width": 2, "d_steps": 1}
TINY_SNGAN = {**_TINY_RESIDUAL, "g_batches": 1}
TINY_BIGGAN = {**_TINY_RESIDUAL, "attention": 0, "embedding": 3, "microbatch": "0"}
# 4x4, a fade to 8x8 and 8x8: 48 images, 12 steps.
TINY_STYLEGAN = {**TINY, "start_resolution": 4, "kimg": 0.0, "w_dim": 5, "mapping_layers": 2}
TINY_STYLEGAN |= {"lr": "0.002", "group_size": 2, "reset_optimizer": False}
# 8x8: 24 images, 6 steps.
TINY_STYLEGAN2 = {**_TINY_ENERGIES, "resolution": 8, "w_dim": 5, "mapping_layers": 2}
TINY_STYLEGAN2 |= {"channel_base": "32", "channel_max": 6, "group_size": 2}


def flags(options: Mapping[str, Any]) -> list[str]:
    """A command line; None leaves an option out."""

    def flag(name: str, value: Any) -> str:
        dashed = name.replace("_", "-")
        if isinstance(value, bool):
            return f"--{dashed}" if value else f"--no-{dashed}"
        return f"--{dashed}={value}"

    return [flag(name, value) for name, value in options.items() if value is not None]


def train(*args: str) -> int:
    """What a start of ``python -m train.pggan`` ends with."""
    return run_program(lambda: pggan.main(args))


def error_of(main: Callable[[Sequence[str]], int], args: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line by which a program refuses its options, with exit code 2."""
    capsys.readouterr()
    assert run_program(lambda: main(list(args))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def steps(trainer: Trainer, count: int) -> Trainer:
    for _ in range(count):
        trainer.step()
    return trainer


def to_the_end(trainer: Trainer) -> Trainer:
    while not trainer.done:
        trainer.step()
    return trainer


def newest(folder: Path) -> dict[str, Any]:
    """What a run's newest checkpoint holds."""
    return checkpoint.load_newest(folder)[1]


def assert_same(a: Any, b: Any, where: str = "state") -> None:
    """Bitwise equality of nested states."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            assert_same(one, other, f"{where}[{i}]")
    elif isinstance(a, Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def weights(network: torch.nn.Module) -> Tensor:
    """A copy of all parameters as one vector."""
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def of_an_older_version(run: Path) -> None:
    """Makes a run's checkpoints those that the version before this one wrote, as far as others look at them."""
    for path in checkpoint.checkpoints(run):
        state = checkpoint.load(path)
        networks, averages = (state["trainer"][part] for part in ("networks", "averages"))
        trainer = {"generator": {"network": networks["G"]}, "ema": averages["G"]}
        torch.save({"format": 1, "family": state["system"], "trainer": trainer, "config": state["config"]}, path)


def batch_of(trainer: Trainer) -> Batch:
    """What the losses of the step to come would be given."""
    at, game, random = trainer.position, trainer.game, trainer._random
    seen = trainer.source.columns(game.takes(at.batch, at), at, random)
    return game.draw(seen, at.batch, at, random)


def watch(trainer: Trainer, role: str, look: Callable[[Batch], None]) -> None:
    """Calls ``look`` with the columns that the losses of a role's moves are given, before each."""
    moves = trainer.game.moves

    def watched(move: Move) -> Move:
        def loss(nets: Networks, batch: Batch, stats: Stats) -> Iterator[Tensor]:
            look(batch)
            yield from move.loss(nets, batch, stats)

        return replace(move, loss=loss) if move.role == role else move

    trainer.game.moves = lambda at: [watched(move) for move in moves(at)]
