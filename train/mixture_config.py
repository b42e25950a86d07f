"""Options of ``python -m train.mixture`` that say what a run is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from models.mixture import DNorm, GNorm
from train.config import check_at_least
from train.errors import UsageError
from train.techniques import Techniques, check_norms, losses_of
from train.values import Range, check_values

Width = Annotated[int, Range(1, 2**14)]


@dataclass(frozen=True)
class MixtureConfig(Techniques):
    """What a run on a mixture of Gaussians can be told; images are points here."""

    data: Literal["ring", "grid"] = "ring"
    """ring: 8 Gaussians on a circle (Metz et al. 2017); grid: 25 in a square (Srivastava et al. 2017)."""
    steps: int = 10000
    """Moves of G."""
    batch: Annotated[int, Range(2, 2**20)] = 64
    """Points of a step."""
    lr: float = 0.001
    """Learning rate of G."""
    ttur: float = 0.2
    """D's learning rate over G's, two time scales (Heusel et al. 2017; Zhang et al. 2019: 4)."""
    beta1: float = 0.5
    """Adam's decay of the mean gradient."""
    latent: Width = 16
    """Length of the latent vector."""
    width: Width = 64
    """Units of each hidden layer (Metz et al. 2017: 128)."""
    feature_matching: int = 0
    """4: G matches means of D's last hidden layer, not the loss (Salimans et al. 2016, 3.1); 0: it does not."""
    g_norm: GNorm = "none"
    """Norm of G; virtual: Salimans et al. 2016, 3.5; pixel: Karras 2018; spectral: Miyato 2018; the others: see D's."""
    d_norm: DNorm = "none"
    """Norm of D; batch: Ioffe 2015; layer: Ba 2016; group: Wu 2018. Not virtual: too dear (Salimans 2016, 3.5)."""
    weight_norm: bool = False
    """Weight normalisation of both networks (Salimans and Kingma 2016), beside those norms."""
    ema_kimg: float = 0.0
    """Half-life of the averaged generator, which is the one judged, in thousands of points (0: no average)."""


def check_config(config: MixtureConfig) -> None:
    """UsageError for an option out of range and for two that exclude each other, with the reason."""
    if config.feature_matching not in (0, 4):
        raise UsageError(
            f"feature_matching={config.feature_matching} is neither 0 nor 4, which stands for D's last hidden layer:"
            " there is no other to match"
        )
    losses_of(config)
    check_norms(config, config.g_norm, config.d_norm, config.weight_norm)
    check_at_least(config, 1, "steps")
    check_values(config)
    for name in ("g_norm", "d_norm"):
        norm = getattr(config, name)
        if (config.width < 2 and norm == "layer") or (config.width % 2 and norm == "group"):
            raise UsageError(f"width={config.width} excludes {name}={norm!r}: a unit that is normed alone is always 0")
    if not 0 < config.lr < math.inf:
        raise UsageError(f"lr={config.lr:g} is not a positive number")
    if not 0 <= config.beta1 < 1:
        raise UsageError(f"beta1={config.beta1} is not from 0 up to below 1")
    if not 0 <= config.ema_kimg < math.inf:
        raise UsageError(f"ema_kimg={config.ema_kimg:g} is not a number from 0 up")
