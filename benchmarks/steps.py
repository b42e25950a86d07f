"""gan_ops' own D and G step, set up as the textbook's, and the ceiling that convolutions alone allow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn

import gan_ops.nn
import models.pggan
from benchmarks import textbook
from benchmarks.textbook import Textbook
from gan_ops.objectives import Wasserstein, WganGP
from models.pggan import Discriminator, Generator
from train.engine.cuda_graphs import Cuda
from train.engine.ema import averaged_copy, weight_of
from train.engine.game import Batch, Networks, Role
from train.engine.gradients import gradients_of
from train.engine.player import Player
from train.engine.precision import Autocast
from train.engine.schedule import Position
from train.engine.step import Step, frozen
from train.gan.game import Gan


class Ours:
    """The parts of train.engine.trainer that a step is made of, without data and logging, which the textbook lacks too.

    Args:
        resolution: of the images; the networks are as in a stabilising phase at it.
        channels: feature maps of every layer.
        latent: length of the latent vector.
        dtype: what the networks compute in.
        half_life: of the averaged generator, in images.
        eps: Adam's.
        compile, cuda_graphs: run the step so.
    """

    game_of: type[Gan] = Gan

    def __init__(
        self,
        resolution: int,
        channels: int,
        latent: int,
        dtype: torch.dtype,
        half_life: float = 1000.0,
        eps: float = 1e-8,
        compile: bool = False,
        cuda_graphs: bool = False,
    ) -> None:
        maps = {"fmap_base": channels * resolution, "fmap_max": channels}
        self.generator = Generator(resolution, latent_dim=latent, **maps).to(memory_format=torch.channels_last)
        self.discriminator = Discriminator(resolution, **maps).to(memory_format=torch.channels_last)
        self.ema = averaged_copy(self.generator)
        for network in (self.generator, self.discriminator, self.ema):
            network.grow(resolution)
        self.game = self.game_of(
            self.generator,
            self.discriminator,
            {name: Role((name,), eps=eps) for name in ("D", "G")},
            Wasserstein(drift=0.001),
            latent=latent,
            penalties=[WganGP()],
        )
        self.g, self.d = (Player({name: self.game.networks[name]}, self.game.roles[name]) for name in ("G", "D"))
        for player in (self.g, self.d):
            player.set_lr(0.001)
        device = next(self.generator.parameters()).device
        self.autocast = Autocast(device, dtype)
        self._half_life, self._compile = half_life, compile
        self._cuda = Cuda(device) if cuda_graphs else None
        self._step: Step | None = None

    @property
    def captured(self) -> bool:
        """Whether steps are replays of CUDA graphs by now."""
        return self._step is not None and self._step.is_captured

    @property
    def players(self) -> dict[str, Player]:
        return {"D": self.d, "G": self.g}

    def step(self, real: Tensor, z_for_d: Tensor, z_for_g: Tensor, weights: Tensor) -> None:
        """One D update and one G update, as train.engine.trainer.Trainer.step; the first decides on the batch.

        Args:
            real: images [N, 3, r, r].
            z_for_d, z_for_g: latents [N, latent].
            weights: place the interpolates [N].
        """
        if self._step is None:
            self._step = self._step_for(len(real))
        self._step(columns(real, z_for_d, z_for_g, weights))

    def _step_for(self, batch: int) -> Step:
        return Step(
            self.game,
            self.game.moves(self._at(batch)),
            self.players,
            {"G": self.ema},
            self.autocast,
            batch=batch,
            weight=weight_of(batch, self._half_life),
            compile=self._compile,
            cuda=self._cuda,
        )

    def _at(self, batch: int) -> Position:
        """In a stabilising phase."""
        return Position(0, 0, self.generator.resolution, 0.0, batch, batch, 0.001)

    @torch.no_grad()
    def load(self, rival: Textbook) -> None:
        """Takes over the textbook networks' weights; the average starts at them too."""
        both = zip((self.generator, self.discriminator), (rival.generator, rival.discriminator), strict=True)
        for mine, theirs in both:
            for name, parameter in textbook_parameters(theirs, mine.resolution).items():
                mine.get_parameter(name).copy_(parameter)
        self.ema.load_state_dict(self.generator.state_dict())


def columns(real: Tensor, z_for_d: Tensor, z_for_g: Tensor, weights: Tensor) -> Batch:
    """What the losses of a step are given."""
    return {"D/real": real, "D/z": z_for_d, "D/between": weights, "G/z": z_for_g}


def textbook_parameters(network: textbook.Generator | textbook.Discriminator, resolution: int) -> dict[str, Tensor]:
    """The textbook network's parameters under the names and in the shapes that models.pggan gives them."""

    def of(name: str, layer: nn.Module) -> dict[str, Tensor]:
        return {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}

    # Ours order a 4×4 image's values by row, column, channel, the textbook's by channel, row, column.
    if isinstance(network, textbook.Generator):
        to_4x4 = network.dense_weight.unflatten(1, (-1, 4, 4)).permute(0, 2, 3, 1).flatten(1)
        found = {"dense.weight": to_4x4, "dense.bias": network.dense_bias} | of("conv", network.convs[0])
        found |= of(f"to_rgb.{resolution}", network.to_rgb)
        blocks, convs = [2**r for r in range(3, resolution.bit_length())], network.convs[1:]
    else:
        from_4x4 = network.dense.weight.unflatten(1, (-1, 4, 4)).permute(2, 3, 1, 0).flatten(0, 2)
        found = {"dense.weight": from_4x4, "dense.bias": network.dense.bias} | of("conv", network.conv)
        found |= of("head.score", network.out) | of(f"from_rgb.{resolution}", network.from_rgb)
        blocks, convs = [2**r for r in reversed(range(3, resolution.bit_length()))], network.convs
    for i, block in enumerate(blocks):
        found |= of(f"blocks.{block}.conv0", convs[2 * i]) | of(f"blocks.{block}.conv1", convs[2 * i + 1])
    return found


class Narrow(Gan):
    """A game whose images stay in the type that G computes in, which is D's too."""

    def generate(self, nets: Networks, b: Batch, role: str) -> Tensor:
        return nets.once("fake", lambda: nets.G(b[f"{role}/z"]))


class Ceiling(Ours):
    """The same step with nothing but its convolutions, its matrix products and its changes of size.

    Narrow types are the networks' own, not autocast's, whose casts are passes over memory too.
    """

    game_of = Narrow

    def __init__(self, resolution: int, channels: int, latent: int, dtype: torch.dtype) -> None:
        super().__init__(resolution, channels, latent, torch.float32)
        self.dtype = dtype
        self._zero = torch.zeros((), dtype=dtype, device=self.autocast.device, requires_grad=True)
        for network in (self.generator, self.discriminator):
            for layer in network.modules():
                if hasattr(layer, "scale"):
                    layer.weight.data *= layer.scale  # at run time nothing is scaled: values would overflow
            network.to(dtype)
        for player in (self.g, self.d):
            # Without the activations, their biases go unused.
            names = [player.name_of(i).split(".")[1] for i in range(len(player.active))]
            named = zip(player.active, names, strict=True)
            player.active = [p for p, name in named if p.dim() > 1 or name in ("to_rgb", "out")]

    def step(self, real: Tensor, z_for_d: Tensor, z_for_g: Tensor, weights: Tensor) -> None:
        batch = columns(*(tensor.to(self.dtype) for tensor in (real, z_for_d, z_for_g)), weights)
        with convolutions_alone():
            for move, other in zip(self.game.moves(self._at(len(real))), (self.g, self.d), strict=True):
                with frozen(other.active):
                    gradients_of((move,), self.players, self.game.networks, self.autocast, self._zero, batch)


@contextmanager
def convolutions_alone() -> Iterator[None]:
    """Within, activations, norms, scales and most biases of the networks are the identity.

    What a step then takes is the least that faster kernels beside the convolutions can reach.
    """

    def with_a_map(x: Tensor, *_: object) -> Tensor:
        # Like the deviation it has a second derivative, or convolutions would fall away.
        return torch.cat((x, x[:, :1].square()), dim=1)

    with ExitStack() as stack:
        for target, name, replacement in (
            (models.pggan, "widened", lambda x: x),
            (models.pggan, "bias_act", lambda x, *_, **__: x),
            (models.pggan, "bias_act_pixel_norm", lambda x, *_, **__: x),
            (gan_ops.nn.equalized, "scale_smaller", lambda x, weight, _: (x, weight)),
            (gan_ops.nn.equalized, "bias_act", lambda x, *_, **__: x),
            (gan_ops.nn.equalized, "bias_act_pixel_norm", lambda x, *_, **__: x),
            (gan_ops.nn.pixel_norm, "pixel_norm", lambda x, *_: x),
            (gan_ops.nn.minibatch, "minibatch_stddev", with_a_map),
        ):
            stack.enter_context(patch.object(target, name, replacement))
        yield
