"""Options of ``python -m train.mixture`` that say what a run is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from models.mixture import DNorm, GNorm
from train.base.errors import UsageError
from train.base.values import Range, check_values
from train.gan.options import Techniques, check_norms, losses_of
from train.run.options import check_at_least

Width = Annotated[int, Range(1, 2**14)]


@dataclass(frozen=True)
class MixtureConfig(Techniques):
    """Options of a run on a mixture of Gaussians; images are points here."""

    data: Literal["ring", "grid"] = "ring"
    """ring: 8 Gaussians on a circle (Metz et al. 2017); grid: 25 in a square (Srivastava et al. 2017)."""
    steps: int = 10000
    """Updates of G."""
    batch: Annotated[int, Range(2, 2**20)] = 64
    """Points in a step."""
    lr: float = 0.001
    """Learning rate of G."""
    ttur: float = 0.2
    """D's learning rate divided by G's: two time scales (Heusel et al. 2017; Zhang et al. 2019: 4)."""
    beta1: float = 0.5
    """Adam's beta1, the decay rate of the mean gradient."""
    latent: Width = 16
    """Length of the latent vector."""
    width: Width = 64
    """Units of each hidden layer (Metz et al. 2017: 128)."""
    feature_matching: int = 0
    """4: G matches means of D's last hidden layer instead of its loss (Salimans et al. 2016, 3.1); 0: off."""
    g_norm: GNorm = "none"
    """Norm of G; virtual: Salimans et al. 2016, 3.5; pixel: Karras 2018; spectral: Miyato 2018; others: see d-norm."""
    d_norm: DNorm = "none"
    """Norm of D; batch: Ioffe 2015; layer: Ba 2016; group: Wu 2018. Not virtual: too costly (Salimans 2016, 3.5)."""
    weight_norm: bool = False
    """Also normalise the weights of both networks (Salimans and Kingma 2016)."""
    ema_kimg: float = 0.0
    """Half-life of the averaged generator, which is evaluated, in thousands of points (0: no average)."""


def check_config(config: MixtureConfig) -> None:
    """UsageError for an option out of range and for two that exclude each other, with the reason."""
    if config.feature_matching not in (0, 4):
        raise UsageError(
            f"feature_matching={config.feature_matching} is neither 0 nor 4: 4 stands for D's last hidden layer,"
            " and there is no other to match"
        )
    losses_of(config)
    check_norms(config, config.g_norm, config.d_norm, config.weight_norm)
    check_at_least(config, 1, "steps")
    check_values(config)
    for name in ("g_norm", "d_norm"):
        norm = getattr(config, name)
        if (config.width < 2 and norm == "layer") or (config.width % 2 and norm == "group"):
            raise UsageError(
                f"width={config.width} cannot be combined with {name}={norm!r}: a unit that is normalised"
                " alone is always 0"
            )
    if not 0 < config.lr < math.inf:
        raise UsageError(f"lr={config.lr:g} is not a positive number")
    if not 0 <= config.beta1 < 1:
        raise UsageError(f"beta1={config.beta1} must be at least 0 and below 1")
    if not 0 <= config.ema_kimg < math.inf:
        raise UsageError(f"ema_kimg={config.ema_kimg:g} is not a finite number of at least 0")
