"""Which objectives and penalties there are by name, and the options that choose among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import tyro
from torch import nn

from gan_ops import objectives
from gan_ops.objectives import Objective, Penalty
from train.base.specs import listing

LOSSES: Mapping[str, Objective] = {
    "minimax": objectives.Minimax(),
    "non-saturating": objectives.NonSaturating(),
    "boundary-seeking": objectives.BoundarySeeking(),
    "softmax": objectives.Softmax(),
    "f": objectives.FGan(),
    "likelihood-ratio": objectives.LikelihoodRatio(),
    "lsgan": objectives.LeastSquares(),
    "hinge": objectives.Hinge(),
    "relativistic": objectives.Relativistic(),
    "r3gan": objectives.R3Gan(),
    "qp": objectives.QuadraticPotential(),
    # Of the paper's form, scores without a bound would grow for ever.
    "loss-sensitive": objectives.LossSensitive("generalized"),
    "dragan": objectives.NonSaturatingDragan(),
    "wgan": objectives.ClippedWasserstein(),
    "wgan-gp": objectives.WassersteinGP(),
    "wgan-div": objectives.WassersteinDiv(),
    "c-transform": objectives.CTransform(),
    "fisher": objectives.Fisher(),
    "mcgan": objectives.McGanMean(),
    "mcgan-covariance": objectives.McGanCovariance(),
    "mmd": objectives.Mmd(),
}
SCORES_ALONE: Mapping[str, Objective] = {
    name: loss
    for name, loss in LOSSES.items()
    if not (loss.compares or loss.shown or loss.penalties or loss.clip or loss.outputs > 1)
    and not isinstance(loss, nn.Module)
}
"""Those that need nothing but the scores of each batch: no penalty, no bound, no samples, no memory."""
PENALTIES: Mapping[str, Penalty] = {
    "r1": objectives.R1(),
    "r2": objectives.R2(),
    "wgan-gp": objectives.WganGP(),
    "wgan-lp": objectives.WganLP(),
    "wgan-div": objectives.WganDiv(),
    "dragan": objectives.Dragan(),
}
PAPERS: Mapping[str, str] = {
    "minimax": "Goodfellow 2014",
    "non-saturating": "Goodfellow 2014; label_smoothing: Salimans et al. 2016, 3.4",
    "boundary-seeking": "Hjelm 2018",
    "softmax": "Lin 2017",
    "f": "Nowozin 2016",
    "likelihood-ratio": "Basioti 2020",
    "lsgan": "Mao 2017",
    "hinge": "Miyato 2018",
    "relativistic": "Jolicoeur-Martineau 2019",
    "r3gan": "Huang 2024",
    "qp": "Su 2018",
    "loss-sensitive": "Qi 2020",
    "dragan": "Kodali 2017",
    "wgan": "Arjovsky 2017",
    "wgan-gp": "Gulrajani 2017",
    "wgan-div": "Wu 2018",
    "c-transform": "Mallasto 2019",
    "fisher": "Mroueh and Sercu 2017",
    "mcgan": "Mroueh 2017",
    "mcgan-covariance": "Mroueh 2017",
    "mmd": "Li 2017, Binkowski 2018",
    "began": "Berthelot 2017",
    "ebgan": "Zhao 2017",
    "magan": "Wang 2017",
    "energy": "Kumar 2019",
}
"""Where losses are from, of systems with energies too."""


def loss_option(losses: Mapping[str, Objective]) -> Any:
    """The type of the option ``loss`` for these choices."""
    choices = "; ".join(f"{listing({name: loss})} ({PAPERS[name]})" for name, loss in losses.items())
    return Annotated[
        str, tyro.conf.arg(metavar="LOSS", help=f"What G and D minimise, a name or name(value=…): {choices}.")
    ]


Loss = loss_option(LOSSES)
Penalties = Annotated[
    str,
    tyro.conf.arg(
        metavar="PENALTIES",
        help=f"Penalties on D's gradient, separated by commas; every=n: at each n-th step: {listing(PENALTIES)}"
        " (r1, r2: Mescheder 2018, wgan-gp: Gulrajani 2017, wgan-lp: Petzka 2018, wgan-div: Wu 2018, dragan: Kodali"
        " 2017).",
    ),
]
