"""EBGAN and MAGAN: energies of an autoencoder, raised up to a margin (Zhao et al. 2017, arXiv 1609.03126)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch

from gan_ops.objectives import EnergyMargin, LossSensitive, Magan, Mmd, Objective
from models.dcgan import Generator
from models.energy import AutoencoderCritic, Energy, convolutional_critic
from models.parts.norms import DNorm
from train.base.errors import UsageError, run_program
from train.base.values import Range, Size
from train.data import ImageSet
from train.engine.trainer import Trainer
from train.gan.build import build_gan
from train.gan.conditioning import Conditioning
from train.gan.energies import EnergyConfig
from train.gan.game import Gan
from train.gan.losses import loss_option
from train.run.session import train_as_told
from train.run.system import System

LOSSES: Mapping[str, Objective] = {
    "ebgan": EnergyMargin(),
    "magan": Magan(),
    "loss-sensitive": LossSensitive(),
    # Codes are compared, as in the first MMD GAN (Li et al. 2017); it clips the encoder's weights, not the decoder's.
    "mmd": Mmd(kernel="gaussian", outputs=1, weight=0.0, reconstruction=8.0),
}


@dataclass(frozen=True)
class EbganConfig(EnergyConfig):
    """Options of EBGAN."""

    latent: Size = 100
    """Length of the latent vector (MAGAN's for CelebA: 350)."""
    g_width: Size = 64
    """Feature maps of G's last hidden layer; each layer before it has twice as many."""
    d_width: Size = 64
    """Feature maps of the critic's outermost layers; those within have up to resolution/8 times as many."""
    code: Annotated[int, Range(0, 2**20)] = 0
    """Length of the critic's code, by dense layers (0: its maps at 4x4, as in the papers)."""
    kernel_size: Literal[4, 5] = 4
    """Height and width of the kernels."""
    g_norm: DNorm = "batch"
    """Norm of G; batch: Ioffe 2015; instance: Ulyanov 2016; layer: Ba 2016; group: Wu 2018."""
    d_norm: DNorm = "batch"
    """Norm of the critic's layers (EBGAN's: batch; MAGAN's: none); see g-norm."""
    loss: loss_option(LOSSES) = "ebgan"
    energy: Energy = "l2"
    """Of the error x - D(x); l2: length (EBGAN's); sse: its square (MAGAN's); mse, l1: means of squares, of sizes."""

    SIZES = (*EnergyConfig.SIZES, "g_width", "d_width", "code", "kernel_size", "g_norm", "d_norm")
    FIXED = ("g_norm", "d_norm")  # some norms have states of one shape
    LOSSES = LOSSES
    AUTOENCODES = True

    def check(self) -> None:
        super().check()
        loss = self.objective()
        if isinstance(loss, Mmd):
            self._check_mmd(loss)
        self.check_norms(self.g_norm, self.d_norm, weight_norm=False)

    def _check_mmd(self, loss: Mmd) -> None:
        for wrong, why in (
            (not loss.reconstruction, "D is an autoencoder: reconstruction must be above 0"),
            (loss.clip, "no decoder reconstructs with clipped weights: clip must be 0"),
            (loss.weight, "its penalty would be on energies, and codes are compared: weight must be 0"),
        ):
            if wrong:
                raise UsageError(f"loss={self.loss!r}: {why}")


_PHOTOS = {"resolution": 64, "ema_kimg": "10", "log_kimg": "20", "image_kimg": "200", "checkpoint_kimg": "200"}
PRESETS: dict[str, EbganConfig] = {
    # Sized for two CPU cores. Of mean squares the same margin serves at all resolutions, and the pulling-away term is
    # felt; beside lengths the weight of 0.1 hardly is.
    "glyphs": EbganConfig(
        precision="auto",
        kimg=300.0,
        batch="32",
        lr="0.0005",
        g_width=32,
        d_width=32,
        loss="ebgan(margin=0.15,pulling_away=0.02)",
        energy="mse",
        ema_kimg="5",
    ),
    "celeba-64": EbganConfig(preset="celeba-64", data="celeba", kimg=5000.0, loss="ebgan(margin=20)", **_PHOTOS),
    "lsun-64": EbganConfig(
        preset="lsun-64", data="lsun", kimg=15000.0, mirror=False, loss="ebgan(margin=80)", **_PHOTOS
    ),
    # The authors' code, but for AdaMax: 50 epochs of 3166 steps.
    "celeba-64-magan": EbganConfig(
        preset="celeba-64-magan",
        data="celeba",
        kimg=10131.0,
        lr="0.0005",
        latent=350,
        d_norm="none",
        loss="magan(epoch=3166)",
        energy="sse",
        **_PHOTOS,
    ),
}


def build_trainer(
    config: EbganConfig, lists: Mapping[str, ImageSet], device: torch.device
) -> tuple[Trainer, dict[str, Any]]:
    """What trains, and the generator's arguments, for checkpoints; UsageError for what is larger than the memory."""
    images = lists["images"]
    shape = {"resolution": config.resolution, "image_channels": images.channels, "kernel_size": config.kernel_size}
    options = {**shape, "latent_dim": config.latent, "width": config.g_width, "norm": config.g_norm}

    def networks() -> tuple[Generator, AutoencoderCritic]:
        critic = {"width": config.d_width, "norm": config.d_norm, "code": config.code, "energy": config.energy}
        return Generator(**options), convolutional_critic(**shape, **critic)

    trainer = build_gan(
        Gan,
        config,
        config.schedule(),
        images,
        device,
        networks,
        sizes=f"latent={config.latent}, g_width={config.g_width}, d_width={config.d_width}, code={config.code}",
        betas=(config.beta1, config.beta2),
        conditioning=Conditioning(),
        reset_optimizer=True,  # when MAGAN's pretraining ends: there are no other phases
    )
    return trainer, options


SYSTEM = System(
    name="ebgan",
    about="Trains an EBGAN: D is an autoencoder, whose failures on samples are raised up to a margin. --loss also has"
    " the falling margin of MAGAN, and the margins between images and samples of loss-sensitive GANs.",
    presets=PRESETS,
    build=build_trainer,
    networks={"G": Generator},
)

main = partial(train_as_told, SYSTEM)

if __name__ == "__main__":
    sys.exit(run_program(main))
