"""gan_ops' own D and G step, set up as the textbook's, and the ceiling that convolutions alone allow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn
from train.engine.steps import Losses, discriminator_gradients, generator_gradients

import gan_ops.nn
import models.pggan
from benchmarks import textbook
from benchmarks.textbook import Textbook
from gan_ops.objectives import GradientPenalty, Wasserstein
from models.pggan import Discriminator, Generator
from train.engine.cuda_graphs import Cuda
from train.engine.ema import averaged_copy
from train.engine.player import Player
from train.engine.precision import Autocast
from train.engine.step import Batch, WholeStep


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
        self.g, self.d = Player(self.generator, eps=eps), Player(self.discriminator, eps=eps)
        for player in (self.g, self.d):
            player.set_lr(0.001)
        self.losses = Losses(Wasserstein(drift=0.001), GradientPenalty())
        device = next(self.generator.parameters()).device
        self.autocast = Autocast(device, dtype)
        self.whole_step = WholeStep(
            self.d,
            self.g,
            self.ema,
            self.losses,
            self.autocast,
            half_life=half_life,
            compile=compile,
            cuda=Cuda(device) if cuda_graphs else None,
        )

    @property
    def captured(self) -> bool:
        """Whether steps are replays of CUDA graphs by now."""
        graphs = self.whole_step._graphs
        return graphs is not None and bool(graphs._graphs)

    def step(self, real: Tensor, z_for_d: Tensor, z_for_g: Tensor, weights: Tensor) -> None:
        """One D update and one G update, as train.engine.trainer.Trainer.step.

        Args:
            real: images [N, 3, r, r].
            z_for_d, z_for_g: latents [N, latent].
            weights: place the interpolates [N].
        """
        self.whole_step(Batch(real, None, z_for_d, weights, z_for_g, None))

    @torch.no_grad()
    def load(self, rival: Textbook) -> None:
        """Takes over the textbook networks' weights; the average starts at them too."""
        both = zip((self.generator, self.discriminator), (rival.generator, rival.discriminator), strict=True)
        for mine, theirs in both:
            for name, parameter in textbook_parameters(theirs, mine.resolution).items():
                mine.get_parameter(name).copy_(parameter)
        self.ema.load_state_dict(self.generator.state_dict())


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
        found |= of("out", network.out) | of(f"from_rgb.{resolution}", network.from_rgb)
        blocks, convs = [2**r for r in reversed(range(3, resolution.bit_length()))], network.convs
    for i, block in enumerate(blocks):
        found |= of(f"blocks.{block}.conv0", convs[2 * i]) | of(f"blocks.{block}.conv1", convs[2 * i + 1])
    return found


class Ceiling(Ours):
    """The same step with nothing but its convolutions, its matrix products and its changes of size.

    Narrow types are the networks' own, not autocast's, whose casts are passes over memory too.
    """

    def __init__(self, resolution: int, channels: int, latent: int, dtype: torch.dtype) -> None:
        super().__init__(resolution, channels, latent, torch.float32)
        self.dtype = dtype
        for network in (self.generator, self.discriminator):
            for layer in network.modules():
                if hasattr(layer, "scale"):
                    layer.weight.data *= layer.scale  # at run time nothing is scaled: values would overflow
            network.to(dtype)
        for player in (self.g, self.d):
            # Without the activations, their biases go unused.
            named = {id(parameter): name for name, parameter in player.network.named_parameters()}
            unused = [id(p) for p in player.active if p.dim() == 1 and not named[id(p)].startswith(("to_rgb", "out"))]
            player.active = [p for p in player.active if id(p) not in unused]

    def step(self, real: Tensor, z_for_d: Tensor, z_for_g: Tensor, weights: Tensor) -> None:
        real, z_for_d, z_for_g = (tensor.to(self.dtype) for tensor in (real, z_for_d, z_for_g))
        settings = {"losses": self.losses, "autocast": self.autocast}
        with convolutions_alone():
            discriminator_gradients(self.d, self.g, real, z_for_d, weights=weights, **settings)
            generator_gradients(self.g, self.d, z_for_g, **settings)


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
