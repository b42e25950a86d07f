"""Options and presets of ``python -m train.dcgan``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from models.parts.norms import DNorm, GNorm
from train.base.errors import UsageError
from train.base.tables import parse_table
from train.base.values import Size, check_values
from train.engine.schedule import Schedule, growing_schedule
from train.gan.config import GanConfig
from train.gan.options import check_norms
from train.run.options import Table

RESOLUTIONS = (16, 32, 64, 128)


@dataclass(frozen=True)
class DcganConfig(GanConfig):
    """Options of DCGAN; the defaults are the paper's (Radford et al. 2016, section 4)."""

    kimg: float = 1000.0
    """Thousands of images to train on."""
    batch: Table = "128"
    """Images in a step."""
    lr: Table = "0.0002"
    """Learning rate of both networks."""
    beta1: float = 0.5
    """Adam's beta1, the decay rate of the mean gradient."""
    latent: Size = 100
    """Length of the latent vector."""
    g_width: Size = 128
    """Feature maps of G's last hidden layer; each layer before it has twice as many."""
    d_width: Size = 64
    """Feature maps of D's first layer; each next layer has twice as many."""
    kernel_size: Literal[4, 5] = 5
    """Height and width of the kernels (the paper's: 5)."""
    g_norm: GNorm = "batch"
    """Norm of G; virtual: Salimans et al. 2016, 3.5; pixel: Karras 2018; spectral: Miyato 2018; others: see d-norm."""
    d_norm: DNorm = "batch"
    """Norm of D; batch: Ioffe 2015; instance: Ulyanov 2016; layer: Ba 2016; group: Wu 2018. Not virtual: too costly."""
    weight_norm: bool = False
    """Also normalise the weights of both networks (Salimans and Kingma 2016)."""
    reference_batch: Size = 64
    """Number of latents in the reference batch (g-norm virtual; Salimans et al. 2016, 3.5)."""
    labels: bool = False
    """D also classifies real images: K + 1 classes (Salimans et al. 2016, 5)."""
    class_weight: float = 2.0
    """Weight of the classification loss (labels; Salimans et al. 2016, 5: 1; their code: 2)."""

    SIZES = (*GanConfig.SIZES, "g_width", "d_width", "kernel_size", "g_norm", "d_norm", "weight_norm")


PRESETS: dict[str, DcganConfig] = {
    # Sized for two CPU cores: five minutes. So few images ask for small batches and a higher learning rate: with
    # the paper's there are no letters yet where these have them.
    "glyphs": DcganConfig(
        precision="auto",
        kimg=400.0,
        batch="32",
        lr="0.0005",
        kernel_size=4,
        g_width=32,
        d_width=32,
        ema_kimg="5",
    ),
    "lsun-64": DcganConfig(
        preset="lsun-64",
        data="lsun",
        resolution=64,
        kimg=15000.0,
        mirror=False,
        ema_kimg="10",
        log_kimg="20",
        image_kimg="200",
        checkpoint_kimg="200",
    ),
    "celeba-64": DcganConfig(
        preset="celeba-64",
        data="celeba",
        resolution=64,
        kimg=5000.0,
        ema_kimg="10",
        log_kimg="20",
        image_kimg="200",
        checkpoint_kimg="200",
    ),
}


def schedule_of(config: DcganConfig) -> Schedule:
    """One phase at the full resolution, with the options checked against each other.

    Raises:
        UsageError: for an option out of range, and for two that exclude each other, with the reason.
    """
    r = config.resolution
    if r not in RESOLUTIONS:
        raise UsageError(f"resolution={r} is not one of {', '.join(map(str, RESOLUTIONS))}")
    check_norms(config, config.g_norm, config.d_norm, config.weight_norm)
    if config.feature_matching >= r:
        raise UsageError(f"feature_matching={config.feature_matching}: D's maps have heights 4 to {r // 2}")
    if not 0 <= config.beta1 < 1:
        raise UsageError(f"beta1={config.beta1} must be at least 0 and below 1")
    check_values(config)
    if not 0 < config.kimg < math.inf:
        raise UsageError(f"kimg={config.kimg:g} is not a positive number")
    return growing_schedule(
        r,
        r,
        fade={4: 0.0},
        stable={4: config.kimg},
        batch=parse_table(config.batch, int, "batch"),
        microbatch=parse_table(config.microbatch, int, "microbatch"),
        lr=parse_table(config.lr, float, "lr"),
    )
