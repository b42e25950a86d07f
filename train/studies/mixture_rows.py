"""Which techniques and objectives the study of mode collapse has: a row of its table each."""

from __future__ import annotations

from typing import Any

OLD: dict[str, Any] = {
    "batch": 64,
    "beta1": 0.5,
    "beta2": 0.999,
    "ema_kimg": 0.0,
    "layers": 2,
    "lr": 0.001,
    "lr_decay": 0.0,
    "scaled": False,
    "ttur": 0.2,
    "width": 64,
}
"""Networks and rates with which the baseline collapses, as that of Metz et al. 2017 does."""

R1_R2 = "r1(gamma=0.1),r2(gamma=0.1)"
"""Penalties that let a critic rest, of a weight that fits data of unit variance in the plane."""

STRONGER = "r1(gamma=0.5),r2(gamma=0.5)"
"""Those for losses whose gradient does not fade as a critic grows."""

# What each row changes of MixtureConfig's defaults. Values are the papers' where they fit networks of this size;
# docs/mixture.md says where they do not.
TECHNIQUES: dict[str, dict[str, Any]] = {
    "small networks, slow D": OLD,
    "baseline": {},
    "feature matching": {"feature_matching": 4},
    "minibatch discrimination": {"minibatch_discrimination": 10},
    "packs of two": {"pack": 2, "penalty": R1_R2},
    "R1 and R2": {"penalty": R1_R2},
    "minimax": {"loss": "minimax", "penalty": R1_R2},
    "f-GAN, KL": {"loss": "f(divergence=kl,trick=true)", "penalty": STRONGER},
    "f-GAN, reverse KL": {"loss": "f(divergence=reverse-kl,trick=true)", "penalty": STRONGER},
    "f-GAN, Pearson": {"loss": "f(divergence=pearson,trick=true)", "penalty": R1_R2},
    "f-GAN, Hellinger": {"loss": "f(divergence=hellinger,trick=true)", "penalty": R1_R2},
    "f-GAN, JS": {"loss": "f(divergence=js,trick=true)", "penalty": R1_R2},
    "boundary seeking": {"loss": "boundary-seeking", "penalty": R1_R2},
    "softmax": {"loss": "softmax"},
    "likelihood ratio": {"loss": "likelihood-ratio(family=exponential)", "penalty": R1_R2},
    "least squares": {"loss": "lsgan", "penalty": R1_R2},
    "hinge": {"loss": "hinge", "penalty": STRONGER},
    "relativistic average": {"loss": "relativistic", "penalty": R1_R2},
    "R3GAN": {"loss": "r3gan(gamma=0.1)"},
    "GAN-QP": {"loss": "qp", "ttur": 2.0},
    "loss-sensitive": {"loss": "loss-sensitive(form=generalized,distance=0.1)", "penalty": R1_R2},
    "DRAGAN": {"loss": "dragan(weight=1)", "lr": 0.001},
    "WGAN": {"loss": "wgan(clip=0.1)", "d_steps": 5, "optimizer": "rmsprop", "lr": 0.0005},
    "WGAN-GP": {"loss": "wgan-gp(weight=0.1)", "d_steps": 5},
    "WGAN-div": {"loss": "wgan-div"},
    "c-transform": {"loss": "c-transform"},
    "Fisher": {"loss": "fisher"},
    "McGAN": {"loss": "mcgan(clip=0.1)", "d_steps": 5, "optimizer": "rmsprop", "lr": 0.0005},
    "MMD": {"loss": "mmd"},
    "GN-GAN": {"d_norm": "gradient"},
    "GraN-GAN": {"d_norm": "gradient-v2"},
}
