"""VAE-GAN: an autoencoder that compares images in features of its critic (Larsen et al. 2016, arXiv 1512.09300)."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch

from gan_ops.objectives import Objective
from models.autoencoder import Encoder, Encoding, Reconstruction
from models.dcgan import Discriminator, Generator
from models.parts.norms import DNorm
from train.base.capacity import check_fits, check_networks
from train.base.errors import UsageError, run_program
from train.base.seeds import stream_seed
from train.base.specs import parse_spec
from train.base.values import Decay, Size
from train.data import ImageSet
from train.data.sources import Images
from train.engine.game import Role
from train.engine.schedule import Schedule
from train.engine.trainer import Trainer
from train.gan.autoencoding import VaeGan
from train.gan.build import trainer_of
from train.gan.losses import SCORES_ALONE, loss_option
from train.run.options import ImagesConfig, Table
from train.run.session import train_as_told
from train.run.system import System, View

RESOLUTIONS = (16, 32, 64, 128)


@dataclass(frozen=True)
class VaeGanConfig(ImagesConfig):
    """Options of VAE-GAN."""

    kimg: float = 1000.0
    """Thousands of images to train on."""
    batch: Table = "64"
    """Images in a step (the paper's: 64)."""
    lr: Table = "0.0003"
    """Learning rate of all networks (the paper's, for RMSProp; here all have Adam)."""
    beta1: Decay = 0.5
    """Adam's beta1, the decay rate of the mean gradient (RMSProp has no such mean: 0)."""
    latent: Size = 128
    """Length of the latent vector (authors' code: 128)."""
    e_width: Size = 64
    """Feature maps of E's first layer; each next layer has twice as many (the paper's: 64)."""
    g_width: Size = 64
    """Feature maps of G's last hidden layer; each layer before it has twice as many."""
    d_width: Size = 64
    """Feature maps of D's first layer; each next layer has twice as many."""
    kernel_size: Literal[4, 5] = 5
    """Height and width of the kernels (the paper's: 5)."""
    e_norm: DNorm = "batch"
    """Norm of E; batch: Ioffe 2015 (the paper's); instance: Ulyanov 2016; layer: Ba 2016; group: Wu 2018."""
    g_norm: DNorm = "batch"
    """Norm of G; its batches are latents of the posterior and of the prior together; see e-norm."""
    d_norm: DNorm = "batch"
    """Norm of D; its batches are images, reconstructions and samples together; see e-norm."""
    loss: loss_option(SCORES_ALONE) = "non-saturating"
    feature_height: int = 8
    """Height of D's maps that reconstructions are compared in: half the resolution to 4 (authors' code at 64: 8)."""
    gamma: float = 1e-5
    """Weight of the reconstructions for G, beside D's judgement (the paper's gamma; authors' code: 1e-5)."""
    prior_weight: float = 1.0
    """Weight of the posterior's divergence from the prior, beside the reconstruction's features (the paper's: 1)."""
    pixel_weight: float = 0.0
    """Weight of the squared distance of pixels, beside that of features (the paper's: 0)."""
    update: Literal["merged", "joint"] = "merged"
    """All networks start from the same state; merged: one pass through all for the three losses."""

    FIXED = ("e_norm", "g_norm", "d_norm")  # some norms have states of one shape
    SIZES = ("latent", "e_width", "g_width", "d_width", "kernel_size", *FIXED)

    def objective(self) -> Objective:
        """What G and D minimise; UsageError if ``loss`` says it wrongly."""
        return parse_spec(self.loss, SCORES_ALONE, "loss")

    def check(self) -> None:
        super().check()
        self.objective()
        if self.resolution not in RESOLUTIONS:
            raise UsageError(f"resolution={self.resolution} is not one of {', '.join(map(str, RESOLUTIONS))}")
        heights = [4 << i for i in range((self.resolution // 4).bit_length() - 1)]
        if self.feature_height not in heights:
            there = ", ".join(map(str, heights))
            raise UsageError(f"feature_height={self.feature_height}: D's maps have heights {there}")
        for name in ("gamma", "prior_weight", "pixel_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name}={getattr(self, name)} is not a finite number of at least 0")

    def schedule(self) -> Schedule:
        """One phase at the full resolution."""
        self.check()
        return self.one_phase()


PRESETS: dict[str, VaeGanConfig] = {
    # Sized for two CPU cores: eight minutes. Longer runs draw sharper glyphs, but more and more of them light on dark.
    # With layer norm D sees each image alone. Its features say little about colours, so pixels count too, and the prior
    # the more.
    "glyphs": VaeGanConfig(
        precision="auto",
        kimg=250.0,
        batch="32",
        lr="0.0005",
        latent=64,
        kernel_size=4,
        e_width=32,
        g_width=32,
        d_width=32,
        d_norm="layer",
        gamma=5e-3,
        prior_weight=8.0,
        pixel_weight=1.0,
        ema_kimg="5",
    ),
    # The paper's values, as far as these networks and Adam have them; gamma, the height and the length (150 epochs of
    # 250 batches of 64) are those of its authors' code.
    "celeba-64": VaeGanConfig(
        preset="celeba-64",
        data="celeba",
        resolution=64,
        kimg=2400.0,
        ema_kimg="10",
        log_kimg="20",
        image_kimg="200",
        checkpoint_kimg="200",
    ),
}


def encoder(encoder: dict[str, Any], decoder: dict[str, Any], **shape: Any) -> Encoder:
    """Of what :func:`build_trainer` returned."""
    return Encoder(**shape, **encoder)


def decoder(encoder: dict[str, Any], decoder: dict[str, Any], **shape: Any) -> Generator:
    """The same."""
    return Generator(**shape, **decoder)


def build_trainer(
    config: VaeGanConfig, lists: Mapping[str, ImageSet], device: torch.device
) -> tuple[Trainer, dict[str, Any]]:
    """What trains, and the averaged networks' arguments, for checkpoints; UsageError for what is larger than memory."""
    schedule, images = config.schedule(), lists["images"]
    shape = {"resolution": config.resolution, "image_channels": images.channels, "kernel_size": config.kernel_size}
    options = {
        **shape,
        "latent_dim": config.latent,
        "encoder": {"width": config.e_width, "norm": config.e_norm},
        "decoder": {"width": config.g_width, "norm": config.g_norm},
    }

    def networks() -> tuple[Encoder, Generator, Discriminator]:
        return encoder(**options), decoder(**options), Discriminator(**shape, width=config.d_width, norm=config.d_norm)

    sizes = ("latent", "e_width", "g_width", "d_width")
    check_networks(networks, device, ", ".join(f"{name}={getattr(config, name)}" for name in sizes))
    values = images.channels * config.resolution**2 + 2 * config.latent  # of an image and its random numbers, float32
    batch = schedule.phases[0].batch
    check_fits(4 * batch * values, device, f"batch={batch} at {config.resolution}x{config.resolution}")
    torch.manual_seed(stream_seed(config.seed, "weights"))
    made = {n: net.to(device, memory_format=torch.channels_last) for n, net in zip("EGD", networks(), strict=True)}
    game = VaeGan(
        made,
        {name: Role((name,), betas=(config.beta1, 0.999)) for name in made},
        config.objective(),
        height=config.feature_height,
        gamma=config.gamma,
        prior_weight=config.prior_weight,
        pixel_weight=config.pixel_weight,
    )
    source = Images(images, device, mirror=config.mirror, seed=config.seed)
    return trainer_of(game, config, schedule, source, device, update=config.update), options


SYSTEM = System(
    name="vae_gan",
    about="Trains a VAE-GAN: an encoder, a decoder and a discriminator, which reconstruct images, draw new ones, and"
    " interpolate between pictures.",
    presets=PRESETS,
    build=build_trainer,
    networks={"E": encoder, "G": decoder},
    views={
        "reconstruct": View(
            takes="images",
            like="images",
            make=lambda networks: Reconstruction(networks["E"], networks["G"]),
            encode=lambda networks: Encoding(networks["E"]),
        )
    },
)

main = partial(train_as_told, SYSTEM)

if __name__ == "__main__":
    sys.exit(run_program(main))
