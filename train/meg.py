"""MEG: an energy and a generator of maximum entropy, with refined samples (Kumar et al. 2019, arXiv 1901.08508)."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import nn

from gan_ops.objectives import Wasserstein
from models.dcgan import Discriminator, Generator
from models.maximum_entropy import LatentLangevin, Statistics
from models.parts.norms import DNorm
from train.base.errors import UsageError, run_program
from train.base.values import Decay, Range, Size
from train.data import ImageSet
from train.engine.trainer import Trainer
from train.gan.build import build_gan
from train.gan.conditioning import Conditioning
from train.gan.energies import EnergyConfig
from train.gan.losses import Penalties, loss_option
from train.gan.maximum_entropy import MaximumEntropy
from train.run.options import Table
from train.run.session import train_as_told
from train.run.system import System, View

LOSSES = {"energy": Wasserstein()}
"""L_D = E[U(x)] − E[U(G(z))] and L_G = E[U(G(z))] of U = −D are the losses of Wasserstein GANs."""


@dataclass(frozen=True)
class MegConfig(EnergyConfig):
    """Options of MEG; the defaults are those of the authors' code."""

    lr: Table = "0.0001"
    """Learning rate of all networks."""
    beta2: Decay = 0.9
    """Adam's beta2, the decay rate of the mean squared gradient."""
    latent: Size = 128
    """Length of the latent vector."""
    g_width: Size = 64
    """Feature maps of G's last hidden layer; each layer before it has twice as many."""
    d_width: Size = 64
    """Feature maps of D's first layer, whose score is minus the energy; each next layer has twice as many."""
    t_width: Size = 64
    """Feature maps of T's first layer, which tells how much latents and samples have to do with each other."""
    t_hidden: Size = 512
    """Units of T's dense layer."""
    kernel_size: Literal[4, 5] = 4
    """Height and width of the kernels."""
    g_norm: DNorm = "batch"
    """Norm of G; batch: Ioffe 2015; instance: Ulyanov 2016; layer: Ba 2016; group: Wu 2018."""
    d_norm: DNorm = "none"
    """Norm of D; see g-norm."""
    d_steps: Annotated[int, Range(1, 1000)] = 5
    """Updates of D for each update of G and T, each with new images."""
    loss: loss_option(LOSSES) = "energy"
    penalty: Penalties = "r1(gamma=0.02)"
    entropy_weight: float = 1.0
    """Weight of the information about latents in samples, which bounds the entropy of these."""

    SIZES = (*EnergyConfig.SIZES, "g_width", "d_width", "t_width", "t_hidden", "kernel_size", "g_norm", "d_norm")
    FIXED = ("g_norm", "d_norm")  # some norms have states of one shape
    LOSSES = LOSSES

    def check(self) -> None:
        super().check()
        self.check_norms(self.g_norm, self.d_norm, weight_norm=False)
        if not 0 <= self.entropy_weight < math.inf:
            raise UsageError(f"entropy_weight={self.entropy_weight} is not a finite number of at least 0")


PRESETS: dict[str, MegConfig] = {
    # Sized for two CPU cores.
    "glyphs": MegConfig(
        precision="auto",
        kimg=300.0,
        batch="32",
        lr="0.0005",
        beta2=0.99,
        latent=64,
        g_width=32,
        d_width=32,
        t_width=32,
        t_hidden=256,
        d_steps=2,
        penalty="r1(gamma=10)",
        ema_kimg="5",
    ),
    # 100 000 steps.
    "celeba-64": MegConfig(
        preset="celeba-64",
        data="celeba",
        resolution=64,
        kimg=6400.0,
        ema_kimg="10",
        log_kimg="20",
        image_kimg="200",
        checkpoint_kimg="200",
    ),
}


def generator(g: dict[str, Any], d: dict[str, Any], **shape: Any) -> Generator:
    """Of what :func:`build_trainer` returned."""
    return Generator(**shape, **g)


def energy(g: dict[str, Any], d: dict[str, Any], **shape: Any) -> Discriminator:
    """The same."""
    return Discriminator(**shape, **d)


def build_trainer(
    config: MegConfig, lists: Mapping[str, ImageSet], device: torch.device
) -> tuple[Trainer, dict[str, Any]]:
    """What trains, and the averaged networks' arguments, for checkpoints; UsageError for what is larger than memory."""
    images = lists["images"]
    shape = {"resolution": config.resolution, "image_channels": images.channels, "kernel_size": config.kernel_size}
    options = {
        **shape,
        "g": {"latent_dim": config.latent, "width": config.g_width, "norm": config.g_norm},
        "d": {"width": config.d_width, "norm": config.d_norm},
    }

    def networks() -> tuple[nn.Module, ...]:
        statistics = Statistics(**shape, latent_dim=config.latent, width=config.t_width, hidden=config.t_hidden)
        return generator(**options), energy(**options), statistics

    trainer = build_gan(
        partial(MaximumEntropy, entropy_weight=config.entropy_weight),
        config,
        config.schedule(),
        images,
        device,
        networks,
        sizes=", ".join(f"{n}={getattr(config, n)}" for n in ("latent", "g_width", "d_width", "t_width", "t_hidden")),
        betas=(config.beta1, config.beta2),
        conditioning=Conditioning(),
    )
    return trainer, options


SYSTEM = System(
    name="meg",
    about="Trains an energy D and a generator G whose samples have low energies and high entropy; a third network T"
    " tells the entropy. A Markov chain among latents refines samples: train.generate RUN --view refine.",
    presets=PRESETS,
    build=build_trainer,
    networks={"G": generator, "D": energy},
    views={
        "refine": View(
            takes="", like="images", make=lambda networks: LatentLangevin(networks["G"], networks["D"]), is_graph=False
        )
    },
)

main = partial(train_as_told, SYSTEM)

if __name__ == "__main__":
    sys.exit(run_program(main))
