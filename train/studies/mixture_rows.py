"""Which techniques and objectives the study of mode collapse has: a row of its table each."""

from __future__ import annotations

from typing import Any

OLD: dict[str, Any] = {
    "batch": 64,
    "beta1": 0.5,
    "beta2": 0.999,
    "ema_kimg": 0.0,
    "layers": 2,
    "lr_decay": 0.0,
    "scaled": False,
    "ttur": 0.2,
    "width": 64,
}
"""Networks and rates with which the baseline collapses, as that of Metz et al. 2017 does."""

PENALTIES = "r1(gamma=0.1),r2(gamma=0.1)"
"""Those of R3GAN, with the weight that its authors' mixture of 1000 modes has... (see docs/mixture.md)."""

# What each row changes of MixtureConfig's defaults. Values are the papers' where they fit networks of this size;
# docs/mixture.md says where they do not.
TECHNIQUES: dict[str, dict[str, Any]] = {
    "small networks, slow D": OLD,
    "baseline": {},
    "R1": {"penalty": "r1(gamma=0.1)"},
    "R1 and R2": {"penalty": PENALTIES},
    "feature matching": {"feature_matching": 4},
    "minibatch discrimination": {"minibatch_discrimination": 10},
    "virtual batch norm": {"g_norm": "virtual"},
    "spectral norm": {"d_norm": "spectral"},
    "packs of two": {"pack": 2},
    "optimistic Adam": {"optimizer": "optimistic-adam"},
    "minimax": {"loss": "minimax"},
    "f-GAN, KL": {"loss": "f(divergence=kl,trick=true)"},
    "f-GAN, reverse KL": {"loss": "f(divergence=reverse-kl,trick=true)"},
    "f-GAN, Pearson": {"loss": "f(divergence=pearson,trick=true)"},
    "f-GAN, Hellinger": {"loss": "f(divergence=hellinger,trick=true)"},
    "f-GAN, JS": {"loss": "f(divergence=js,trick=true)"},
    "boundary seeking": {"loss": "boundary-seeking"},
    "softmax": {"loss": "softmax"},
    "likelihood ratio": {"loss": "likelihood-ratio(family=exponential)"},
    "least squares": {"loss": "lsgan"},
    "least squares, R1 and R2": {"loss": "lsgan", "penalty": PENALTIES},
    "hinge": {"loss": "hinge"},
    "hinge, R1 and R2": {"loss": "hinge", "penalty": PENALTIES},
    "relativistic average": {"loss": "relativistic"},
    "R3GAN": {"loss": "r3gan(gamma=0.1)"},
    "GAN-QP": {"loss": "qp"},
    "loss-sensitive": {"loss": "loss-sensitive(form=generalized)"},
    "DRAGAN": {"loss": "dragan"},
    "WGAN": {"loss": "wgan", "d_steps": 5, "optimizer": "rmsprop"},
    "WGAN-GP": {"loss": "wgan-gp", "d_steps": 5},
    "WGAN-div": {"loss": "wgan-div"},
    "c-transform": {"loss": "c-transform"},
    "Fisher": {"loss": "fisher"},
    "McGAN": {"loss": "mcgan", "d_steps": 5, "optimizer": "rmsprop"},
    "MMD": {"loss": "mmd"},
    "GN-GAN": {"d_norm": "gradient"},
    "GraN-GAN": {"d_norm": "gradient-v2"},
}
