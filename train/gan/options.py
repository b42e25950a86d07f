"""What the players minimise and how they move: the options that every pair of networks can be trained with.

Each technique is one option, off unless a preset or the user turns it on, and its help line gives the paper with the
value used there. :func:`losses_of` and :func:`new_players` turn the options into the parts that do the work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from torch import nn

from gan_ops.objectives import (
    GradientPenalty,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Objective,
    Wasserstein,
)
from train.base.errors import UsageError
from train.base.values import Range, Size, check_values
from train.engine.player import Player
from train.engine.step import Update
from train.engine.steps import Losses

Loss = Literal["minimax", "non-saturating", "lsgan", "hinge", "wgan", "wgan-gp"]


@dataclass(frozen=True)
class Techniques:
    """Options of any two players."""

    loss: Loss = "non-saturating"
    """minimax, non-saturating (Goodfellow 2014), lsgan (Mao 2017), hinge (Miyato 2018), wgan (clipped), wgan-gp."""
    gp_weight: float = 10.0
    """Weight of the gradient penalty (wgan-gp; Gulrajani et al. 2017: 10)."""
    gp_target: float = 1.0
    """Gradient norm that the penalty aims at (wgan-gp; Gulrajani 2017: 1; Karras 2018 for CIFAR-10: 750)."""
    drift: float = 0.0
    """Weight of the mean squared score of real images (wgan, wgan-gp; Karras et al. 2018: 0.001)."""
    clip: float = 0.01
    """D's weights are clipped to ± this (wgan; Arjovsky 2017: 0.01, with RMSProp; closest: Adam with beta1 0)."""
    label_smoothing: float = 0.0
    """D's target for real images is 1 minus this, one-sided (Salimans et al. 2016, 3.4: 0.1)."""
    feature_matching: int = 0
    """G matches means of D's feature maps of this height (Salimans et al. 2016, 3.1; DCGAN's last: 4; 0: off)."""
    minibatch_discrimination: Annotated[int, Range(0, 2**20)] = 0
    """Number of kernels in D's minibatch discrimination (Salimans et al. 2016, 3.2; authors' code: 100)."""
    minibatch_dim: Size = 5
    """Length of each kernel's output (Salimans et al. 2016, 3.2; authors' code: 5)."""
    historical_averaging: float = 0.0
    """Weight of the squared distance from the mean of past parameters (Salimans et al. 2016, 3.3)."""
    instance_noise: float = 0.0
    """Initial standard deviation of the normal noise on all images that D sees (Sønderby et al. 2017: 0.1)."""
    instance_noise_kimg: float = 0.0
    """Thousands of images over which the noise falls to 0 (Sønderby et al. 2017 anneal it; 0: the whole run)."""
    ttur: float = 1.0
    """D's learning rate divided by G's: two time scales (Heusel et al. 2017; Zhang et al. 2019: 4)."""
    d_steps: Annotated[int, Range(1, 1000)] = 1
    """Updates of D for each update of G, each with new images (Arjovsky et al. 2017: 5)."""
    update: Update = "alternating"
    """alternating: G uses the updated D; joint: both start from the same state; merged: joint, one pass through G."""


def losses_of(options: Techniques, *, class_weight: float = 0.0, class_fakes: bool = True) -> Losses:
    """What the options say to minimise.

    Raises:
        UsageError: if an option is out of range, or two exclude each other.
    """
    check(options)
    if not 0 <= class_weight < math.inf:
        raise UsageError(f"class_weight={class_weight} is not a finite number of at least 0")
    try:
        return Losses(
            _objective(options),
            GradientPenalty(options.gp_weight, options.gp_target) if _penalised(options) else None,
            class_weight,
            class_fakes,
            options.feature_matching,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None


def new_players(
    options: Techniques,
    generator: nn.Module,
    discriminator: nn.Module,
    *,
    betas: tuple[float, float],
    loss_scaling: bool = False,
) -> tuple[Player, Player]:
    """The two networks with their Adams."""
    own = {"betas": betas, "loss_scaling": loss_scaling}
    return (
        Player(generator, **own, **player_options(options, discriminator=False)),
        Player(discriminator, **own, **player_options(options, discriminator=True)),
    )


def player_options(options: Techniques, *, discriminator: bool) -> dict[str, Any]:
    """Arguments of :class:`train.engine.player.Player` for one of the two."""
    clip = options.clip if discriminator and options.loss == "wgan" else 0.0
    return {"historical_averaging": options.historical_averaging, "clip": clip}


def check(options: Techniques) -> None:
    """UsageError for what makes no sense, with the reason."""
    smoothed = ("minimax", "non-saturating", "lsgan")
    if options.label_smoothing and options.loss not in smoothed:
        raise UsageError(
            f"label_smoothing={options.label_smoothing} cannot be combined with loss={options.loss!r}, which has no"
            f" target to smooth: only {', '.join(smoothed)} have one"
        )
    for name in _NUMBERS:
        if not 0 <= getattr(options, name) < math.inf:
            raise UsageError(f"{name}={getattr(options, name)} is not a finite number of at least 0")
    if options.loss == "wgan" and not options.clip > 0:
        raise UsageError(f"clip={options.clip}: loss='wgan' needs a positive bound, or its critic is unbounded")
    if options.loss == "wgan" and options.minibatch_discrimination:
        raise UsageError(
            f"loss='wgan' cannot be combined with minibatch_discrimination={options.minibatch_discrimination}:"
            f" with weights of at most {options.clip} all images look alike to its kernels"
        )
    if options.d_steps > 1 and options.update != "alternating":
        raise UsageError(
            f"d_steps={options.d_steps} cannot be combined with update={options.update!r}, where both players are"
            " updated once from one state"
        )
    if not options.ttur > 0:
        raise UsageError(f"ttur={options.ttur}: D's learning rate must be positive")
    check_values(options)
    if options.minibatch_discrimination * options.minibatch_dim > 2**20:
        raise UsageError(
            f"minibatch_discrimination={options.minibatch_discrimination} with minibatch_dim={options.minibatch_dim}:"
            f" together they may have at most {2**20} values"
        )
    size = options.feature_matching
    if size and (size < 4 or size & (size - 1)):
        raise UsageError(f"feature_matching={size}: D's maps have heights 4, 8, 16, …")


_NUMBERS = (
    "gp_weight",
    "gp_target",
    "drift",
    "clip",
    "historical_averaging",
    "instance_noise",
    "instance_noise_kimg",
    "ttur",
)


def check_norms(options: Techniques, g_norm: str, d_norm: str, weight_norm: bool) -> None:
    """UsageError where the networks' norms exclude each other or the loss."""
    if options.loss == "wgan-gp" and d_norm == "batch":
        raise UsageError(
            "loss='wgan-gp' cannot be combined with d_norm='batch': the penalty is on the gradient of each image's own"
            " score, but with batch norm this score depends on the other images (Gulrajani et al. 2017, 4;"
            " their choice is d_norm='layer')"
        )
    if weight_norm and "spectral" in (g_norm, d_norm):
        raise UsageError(
            "weight_norm cannot be combined with the norm 'spectral': both determine the scale of the weights"
        )
    if options.loss == "wgan" and (weight_norm or d_norm == "spectral"):
        other = "weight_norm" if weight_norm else "d_norm='spectral'"
        raise UsageError(
            f"loss='wgan' cannot be combined with {other}: clipping bounds parameters, which are not the weights there"
        )


def _objective(options: Techniques) -> Objective:
    smoothing = options.label_smoothing
    match options.loss:
        case "minimax":
            return Minimax(smoothing)
        case "non-saturating":
            return NonSaturating(smoothing)
        case "lsgan":
            return LeastSquares(smoothing)
        case "hinge":
            return Hinge()
        case _:
            return Wasserstein(options.drift)


def _penalised(options: Techniques) -> bool:
    return options.loss == "wgan-gp" and options.gp_weight > 0
