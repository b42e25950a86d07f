"""Which trainings the study of all objectives has: a row of its table each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

COMMON = (
    *("--data", "glyphs", "--resolution", "16", "--no-tensorboard", "--checkpoint-kimg", "50", "--keep", "1"),
    *("--image-kimg", "0", "--grid", "2x24"),
)
"""Options of every training, before those of its row."""

DEFAULTS = "the preset's"
"""Settings of a row that changes none but what it is named for."""


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        options: of the program, beside COMMON.
        kimg: thousands of images; what a core manages in about two minutes.
        settings: where the options come from.
    """

    name: str
    options: dict[str, Any]
    kimg: float = 150.0
    settings: str = DEFAULTS
    system: str = "dcgan"


LAYER = {"d_norm": "layer"}
"""For penalties, which need scores of single images."""
FIVE_STEPS = {"d_steps": 5, "optimizer": "rmsprop", "lr": "0.00005"}
"""Those of Arjovsky et al. 2017, for critics with clipped weights."""


BOUNDED = {"d_norm": "spectral"}
"""For objectives that train nothing with the preset's batch normalization."""


def _f(divergence: str, settings: str = "trick: the paper's for pictures", kimg: float = 150.0, **options: Any) -> Row:
    loss = f"f(divergence={divergence},trick=true)"
    return Row(f"f-GAN, {divergence}", {"loss": loss, **options}, kimg, settings)


ROWS: tuple[Row, ...] = (
    Row("minimax", {"loss": "minimax", **BOUNDED}, settings="spectral norm: else D's certainty leaves G no gradient"),
    Row("non-saturating", {"loss": "non-saturating"}),
    *map(_f, ("pearson", "js", "weighted-js", "gan", "alpha")),
    *(
        _f(divergence, "trick: the paper's; spectral norm: else exponentials of scores blow up", **BOUNDED)
        for divergence in ("kl", "reverse-kl", "neyman", "hellinger")
    ),
    _f(
        "tv",
        "trick: the paper's; R1 and R2: else both scores end where tanh is flat, with spectral norm too",
        125.0,
        **LAYER,
        penalty="r1(gamma=1),r2(gamma=1)",
    ),
    Row("boundary seeking", {"loss": "boundary-seeking"}),
    Row("softmax", {"loss": "softmax"}),
    Row("likelihood ratio, exponential", {"loss": "likelihood-ratio(family=exponential)"}),
    Row("least squares, (0, 1, 1)", {"loss": "lsgan"}),
    Row("least squares, (-1, 1, 0)", {"loss": "lsgan(a=-1,b=1,c=0)"}),
    Row("hinge, spectral norm", {"loss": "hinge", "d_norm": "spectral"}),
    Row("relativistic, pairs", {"loss": "relativistic(average=false)"}),
    Row("relativistic average", {"loss": "relativistic"}),
    Row("relativistic average, least squares", {"loss": "relativistic(of=least-squares)"}),
    Row("relativistic average, hinge", {"loss": "relativistic(of=hinge)"}),
    Row("R3GAN", {"loss": "r3gan(gamma=1)", **LAYER}, 125.0),
    Row("GAN-QP", {"loss": "qp", **LAYER}),
    Row("loss-sensitive", {"loss": "loss-sensitive(form=generalized)", **LAYER}),
    Row("DRAGAN", {"loss": "dragan", **LAYER}, 140.0),
    Row("WGAN", {"loss": "wgan", **FIVE_STEPS}, 300.0, "the paper's"),
    Row(
        "WGAN-GP",
        {"loss": "wgan-gp", "d_steps": 5, "beta1": 0.0, **LAYER},
        180.0,
        "D's steps and layer norm: the paper's",
    ),
    Row("WGAN-LP", {"loss": "wgan-gp(weight=0)", "penalty": "wgan-lp", "d_steps": 5, "beta1": 0.0, **LAYER}, 180.0),
    Row("WGAN-div", {"loss": "wgan-div", "d_steps": 5, "beta1": 0.0, **LAYER}, 180.0),
    Row(
        "c-transform",
        {"loss": "c-transform", **LAYER},
        settings="the preset's; near to W₁, yet poor for generators (Mallasto et al. 2019, too)",
    ),
    Row("Fisher", {"loss": "fisher", **LAYER}),
    Row("McGAN, means", {"loss": "mcgan", **FIVE_STEPS}, 240.0, "the paper's clipping and rates"),
    Row("McGAN, covariances", {"loss": "mcgan-covariance", **FIVE_STEPS}, 240.0, "the paper's clipping and rates"),
    Row("MMD, rational quadratic", {"loss": "mmd", "d_steps": 5, "beta1": 0.5, **LAYER}, 125.0),
    Row("GN-GAN", {"d_norm": "gradient"}, 125.0),
    Row("GraN-GAN", {"d_norm": "gradient-v2"}, 125.0),
    Row("packs of two", {"pack": 2}, 200.0),
    Row("BEGAN", {}, 50.0, system="began"),
    Row("EBGAN", {}, 140.0, system="ebgan"),
    Row("MAGAN", {"loss": "magan(epoch=300)", "d_norm": "none"}, 140.0, system="ebgan"),
    Row("loss-sensitive autoencoder", {"loss": "loss-sensitive"}, 140.0, system="ebgan"),
    Row("MMD of an autoencoder's codes", {"loss": "mmd", "code": 16, "d_norm": "layer"}, 105.0, system="ebgan"),
    Row("MEG", {}, 120.0, system="meg"),
)
