"""A small game, a batch for it, and its gradients or whole steps: what the tests of steps share.

It needs no data, no trainer and no command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gan_ops.objectives import NonSaturating, Objective
from models import dcgan, pggan
from train.engine.ema import averaged_copy, weight_of
from train.engine.game import Batch, Game, Role
from train.engine.player import Player
from train.engine.precision import DTYPES, Autocast
from train.engine.schedule import Position
from train.engine.step import Step
from train.gan.augmentation import InstanceNoise
from train.gan.conditioning import AuxiliaryClassifier, Concat, Conditioning, KPlusOne, Projection
from train.gan.game import Gan

N = 8
LATENT = 6
CLASSES = 3
CHANNELS = 2
AT = Position(images=0, phase=0, resolution=8, fade=0.4, batch=N, microbatch=N, lr=0.1)
CLASS_WEIGHT = 0.7
# Adam with β₁ = 0 and a small eps starts with steps of lr·sign(gradient), which blow up rounding where a gradient is
# near 0. With eps = 1 a step is lr·g/(|g| + 1): smooth in g.
ROLES = {name: Role((name,), eps=1.0) for name in ("D", "G")}


def pggan_game(
    condition: str = "none",
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    fade: float | Tensor = AT.fade,
    group_size: int | None = 4,
    kernels: int = 0,
    objective: Objective | None = None,
    **parts: Any,
) -> Gan:
    """A growing pair in mid-fade at 8x8; ``parts`` are those of :class:`train.gan.game.Gan`."""
    torch.manual_seed(1)
    classes = 0 if condition == "none" else CLASSES
    sizes = {"image_channels": CHANNELS, "fmap_base": 32, "fmap_max": 8, "num_classes": classes}
    both = (
        pggan.Generator(8, latent_dim=LATENT, **sizes),
        pggan.Discriminator(8, condition=condition, group_size=group_size, minibatch_kernels=kernels, **sizes),
    )
    for network in both:
        network.grow(8, fade)
    kinds = {
        "none": Conditioning(),
        "cgan": Concat(),
        "acgan": AuxiliaryClassifier(CLASS_WEIGHT),
        "projection": Projection(),
    }
    how = kinds[condition]
    return _game(both, how, objective, dtype, device, **parts)


def dcgan_game(
    *,
    g_norm: str = "batch",
    d_norm: str = "batch",
    classes: int = 0,
    class_weight: float = CLASS_WEIGHT,
    kernels: int = 0,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    objective: Objective | None = None,
    **parts: Any,
) -> Gan:
    """A pair at 8x8 of any norms; with ``classes`` D learns K + 1 of them."""
    torch.manual_seed(1)
    sizes = {"image_channels": CHANNELS, "width": 4}
    both = (
        dcgan.Generator(8, latent_dim=LATENT, norm=g_norm, reference_batch=5, **sizes),
        dcgan.Discriminator(
            8,
            norm=d_norm,
            num_classes=classes,
            condition="k+1" if classes else "none",
            minibatch_kernels=kernels,
            **sizes,
        ),
    )
    how = KPlusOne(class_weight) if classes else Conditioning()
    return _game(both, how, objective, dtype, device, **parts)


def _game(
    both: tuple[nn.Module, nn.Module],
    conditioning: Conditioning,
    objective: Objective | None,
    dtype: torch.dtype,
    device: str,
    *,
    noise: float = 0.0,
    **parts: Any,
) -> Gan:
    generator, discriminator = (network.to(device, dtype, memory_format=torch.channels_last) for network in both)
    return Gan(
        generator,
        discriminator,
        ROLES,
        objective or NonSaturating(),
        latent=LATENT,
        conditioning=conditioning,
        augmentation=InstanceNoise(noise, 1000),
        labels=torch.arange(CLASSES, device=device),
        **parts,
    )


def batch_for(game: Game, seed: int = 2, *, dtype: torch.dtype | None = None) -> Batch:
    """What the game's losses are given for random images with labels, in its networks' type and on their device."""
    like = next(game.networks["G"].parameters())
    random = torch.Generator().manual_seed(seed)
    shown = game.takes(N, AT)["images"]
    images = torch.randn(shown, CHANNELS, 8, 8, generator=random).contiguous(memory_format=torch.channels_last)
    labels = game._labels
    game._labels = labels.cpu()
    batch = game.draw({"images": images, "labels": torch.arange(shown) % CLASSES}, N, AT, random)
    game._labels = labels
    return {
        name: column.to(like.device, dtype or like.dtype) if column.is_floating_point() else column.to(like.device)
        for name, column in batch.items()
    }


class Still(Player):
    """Takes note of gradients, the loss scale taken out, and moves nothing."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.seen: list[list[Tensor]] = []

    def update(self, gradients: Sequence[Tensor], *, averaging: bool = True) -> tuple[Tensor, Tensor]:
        self.seen.append([gradient if self.scale is None else gradient / self.scale for gradient in gradients])
        return torch.zeros(()), torch.zeros(())


class Playing:
    """Players of a game and its step; ``options`` are the step's.

    Attributes:
        reported: all that losses reported, by name, the last values.
        said: lines for people.
    """

    def __init__(self, game: Game, *, precision: str = "float32", still: bool = False, **options: Any) -> None:
        self.game = game
        first = next(game.networks["G"].parameters())
        kind = Still if still else Player
        self.players = {
            name: kind({n: game.networks[n] for n in role.networks}, role, loss_scaling=precision == "fp16")
            for name, role in game.roles.items()
        }
        for player in self.players.values():
            player.set_lr(AT.lr)
            if player.loss_scale is not None:
                player.loss_scale.scale.fill_(1024)  # as low as it soon falls with weights as few as these
        self.averages = {name: averaged_copy(game.networks[name]) for name in game.averaged}
        self.reported: dict[str, Tensor] = {}
        self.said: list[str] = []
        self.step = Step(
            game,
            game.moves(AT),
            self.players,
            self.averages,
            Autocast(first.device, DTYPES[precision]),
            batch=N,
            weight=weight_of(N, 20.0),
            report=self.reported.update,
            say=self.said.append,
            **options,
        )

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        return self.game.networks

    def weights(self) -> list[Tensor]:
        """Copies of all parameters, the averaged ones included."""
        networks = [*self.game.networks.values(), *self.averages.values()]
        return [p.detach().clone() for network in networks for p in network.parameters()]


def gradients(game: Game, batch: Batch, **options: Any) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
    """The gradients of each role's move, all from the state the networks are in, and what was reported."""
    playing = Playing(game, still=True, **options)
    playing.step(batch)
    found = {}
    for name, player in playing.players.items():
        (found[name],) = player.seen
    return found, playing.reported


def vector(tensors: Iterable[Tensor]) -> Tensor:
    """All values, one after another."""
    return torch.cat([tensor.flatten() for tensor in tensors])
