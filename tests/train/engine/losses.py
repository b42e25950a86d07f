"""Losses of critics and generators as their papers print them, as directly as can be: for comparison with what games
yield. Each takes what a critic says of real and of generated images, and gives a number with a graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_ops.objectives import Scores


class Losses(NamedTuple):
    """Of a critic, (real, fake) → number, and of a generator, (fake, real) → number."""

    d: Callable[[Scores, Scores], Tensor]
    g: Callable[[Scores, Scores], Tensor]


def cross_entropy(score: Tensor, real: bool) -> Tensor:
    return F.binary_cross_entropy_with_logits(score, torch.full_like(score, float(real)))


def logistic(real: Scores, fake: Scores) -> Tensor:
    return cross_entropy(real.score, True) + cross_entropy(fake.score, False)


def earth_mover(real: Scores, fake: Scores) -> Tensor:
    return fake.score.mean() - real.score.mean()


def minus_score(fake: Scores, real: Scores) -> Tensor:
    return -fake.score.mean()


def f_gan(g: Callable[[Tensor], Tensor], conjugate: Callable[[Tensor], Tensor], trick: bool = False) -> Losses:
    """Nowozin et al. 2016, equation 6 and section 3.2."""
    return Losses(
        lambda real, fake: -g(real.score).mean() + conjugate(g(fake.score)).mean(),
        lambda fake, real: -g(fake.score).mean() if trick else -conjugate(g(fake.score)).mean(),
    )


def softmax_d(real: Scores, fake: Scores) -> Tensor:
    return -real.score.mean() + torch.cat([real.score, fake.score]).exp().sum().log()


def softmax_g(fake: Scores, real: Scores) -> Tensor:
    both = torch.cat([real.score, fake.score])
    return -both.mean() + both.exp().sum().log()


def paired(kind: Callable[[Tensor, bool], Tensor]) -> Losses:
    """Jolicoeur-Martineau 2019: scores of pairs."""
    return Losses(
        lambda real, fake: kind(real.score - fake.score, True),
        lambda fake, real: kind(fake.score - real.score, True),
    )


def averaged(kind: Callable[[Tensor, bool], Tensor]) -> Losses:
    """Jolicoeur-Martineau 2019: scores less the mean of the others."""

    def d(real: Scores, fake: Scores) -> Tensor:
        return kind(real.score - fake.score.mean(), True) + kind(fake.score - real.score.mean(), False)

    return Losses(d, lambda fake, real: d(fake, real))


def to_one(score: Tensor, real: bool) -> Tensor:
    return (score - (1 if real else -1)).square().mean()


def hinge(score: Tensor, real: bool) -> Tensor:
    return (1 - score if real else 1 + score).clamp(min=0).mean()


def quadratic_potential(real: Scores, fake: Scores) -> Tensor:
    """Su 2018, with L1 and λ = 10."""
    delta = real.score - fake.score
    distance = 10 * (real.x - fake.x).abs().flatten(1).mean(1)
    return -(delta - delta**2 / (2 * distance)).mean()


def fisher(real: Scores, fake: Scores) -> Tensor:
    """Mroueh and Sercu 2017, equation 6, while the multiplier is 0 and ρ = 1e-6."""
    omega = (real.score.square().mean() + fake.score.square().mean()) / 2
    return -(real.score.mean() - fake.score.mean() - 1e-6 / 2 * (omega - 1) ** 2)


def of_others(k: Tensor) -> Tensor:
    """The mean of [N, N] without its diagonal."""
    return (k - k.diagonal().diag()).sum() / (len(k) * (len(k) - 1))


def squared_mmd(kernel: Callable[[Tensor], Tensor]) -> Losses:
    """Gretton et al. 2012, equation 3, of a kernel of the squared distance."""

    def of(real: Scores, fake: Scores) -> Tensor:
        x, y = real.score, fake.score
        k = [kernel((a[:, None] - b[None]).square().sum(2)) for a, b in ((x, x), (y, y), (x, y))]
        return of_others(k[0]) + of_others(k[1]) - 2 * k[2].mean()

    return Losses(lambda real, fake: -of(real, fake), lambda fake, real: of(real, fake))


def gaussian(square: Tensor) -> Tensor:
    return sum((-square / (2 * width**2)).exp() for width in (1, 2, 4, 8, 16))


def gaussian_witness(points: Scores, real: Scores, fake: Scores) -> Tensor:
    """E k(t, x) − E k(t, G(z)) at points t: Bińkowski et al. 2018, section 2.1."""
    x, y = ((points.score[:, None] - other.score).square().sum(2) for other in (real, fake))
    return gaussian(x).mean(1) - gaussian(y).mean(1)


def c_transform(real: Scores, fake: Scores) -> Tensor:
    """Mallasto et al. 2019 with the Euclidean distance: minus the dual value."""
    costs = (real.x.flatten(1)[:, None] - fake.x.flatten(1)).square().sum(2).sqrt()
    return -real.score.mean() - (costs - real.score[:, None]).amin(0).mean()


def distance_of_means(real: Scores, fake: Scores) -> Tensor:
    """Mroueh et al. 2017, IPM of means, with the Euclidean norm."""
    return (real.score.mean(0) - fake.score.mean(0)).square().sum().sqrt()


def loss_sensitive(real: Scores, fake: Scores) -> Tensor:
    """Δ + U(x) − U(G(z)) [N] of Qi 2020, equation 5, with the margin of the author's code."""
    return 0.0002 * (real.x - fake.x).abs().flatten(1).sum(1) - real.score + fake.score


LOSSES: dict[str, Losses] = {
    "minimax": Losses(
        lambda real, fake: -real.score.sigmoid().log().mean() - (1 - fake.score.sigmoid()).log().mean(),
        lambda fake, real: (1 - fake.score.sigmoid()).log().mean(),
    ),
    "non-saturating": Losses(logistic, lambda fake, real: cross_entropy(fake.score, True)),
    "dragan": Losses(logistic, lambda fake, real: cross_entropy(fake.score, True)),
    "boundary-seeking": Losses(logistic, lambda fake, real: fake.score.square().mean() / 2),
    "lsgan": Losses(
        lambda real, fake: ((real.score - 1) ** 2).mean() / 2 + (fake.score**2).mean() / 2,
        lambda fake, real: ((fake.score - 1) ** 2).mean() / 2,
    ),
    "lsgan(a=-1,b=1,c=0)": Losses(
        lambda real, fake: ((real.score - 1) ** 2).mean() / 2 + ((fake.score + 1) ** 2).mean() / 2,
        lambda fake, real: (fake.score**2).mean() / 2,
    ),
    "hinge": Losses(lambda real, fake: hinge(real.score, True) + hinge(fake.score, False), minus_score),
    "wgan": Losses(earth_mover, minus_score),
    "wgan-gp": Losses(earth_mover, minus_score),
    "wgan-div": Losses(earth_mover, minus_score),
    "wgan-gp and drift": Losses(
        lambda real, fake: earth_mover(real, fake) + 0.001 * real.score.square().mean(), minus_score
    ),
    "f(divergence=kl)": f_gan(lambda v: v, lambda t: (t - 1).exp()),
    "f(divergence=reverse-kl,trick=true)": f_gan(lambda v: -(-v).exp(), lambda t: -1 - (-t).log(), trick=True),
    "f(divergence=pearson)": f_gan(lambda v: v, lambda t: t**2 / 4 + t),
    "f(divergence=js)": f_gan(lambda v: math.log(2) - (1 + (-v).exp()).log(), lambda t: -(2 - t.exp()).log()),
    "f(divergence=tv)": f_gan(lambda v: v.tanh() / 2, lambda t: t, trick=True),
    "softmax": Losses(softmax_d, softmax_g),
    "relativistic(average=false)": paired(cross_entropy),
    "r3gan(gamma=10)": paired(cross_entropy),
    "relativistic(average=true)": averaged(cross_entropy),
    "relativistic(of=least-squares)": averaged(to_one),
    "relativistic(of=hinge)": averaged(hinge),
    "qp": Losses(quadratic_potential, minus_score),
    "loss-sensitive(form=paper)": Losses(
        lambda real, fake: -real.score.mean() + loss_sensitive(real, fake).clamp(min=0).mean(), minus_score
    ),
    "loss-sensitive(form=generalized,slope=-0.3)": Losses(
        lambda real, fake: torch.maximum(loss_sensitive(real, fake), -0.3 * loss_sensitive(real, fake)).mean(),
        minus_score,
    ),
    "mmd(kernel=gaussian,outputs=3,weight=10)": squared_mmd(gaussian),
    "c-transform": Losses(c_transform, lambda fake, real: -c_transform(real, fake)),
    "mcgan(outputs=3)": Losses(
        lambda real, fake: -distance_of_means(real, fake), lambda fake, real: distance_of_means(real, fake)
    ),
    "fisher": Losses(fisher, minus_score),
}


# ---- of energies U = −score, with codes as the last maps


def margin_loss(margin: float) -> Callable[[Scores, Scores], Tensor]:
    """Zhao et al. 2017, equation 1."""
    return lambda real, fake: -real.score.mean() + (margin + fake.score).clamp(min=0).mean()


def pulled_away(fake: Scores, real: Scores) -> Tensor:
    """Ibid., equations 2 and 5, with the weight 0.1."""
    codes, n = fake.maps[-1], len(fake.score)
    others = [(i, j) for i in range(n) for j in range(n) if i != j]
    term = sum(F.cosine_similarity(codes[i], codes[j], dim=0) ** 2 for i, j in others) / (n * (n - 1))
    return -fake.score.mean() + 0.1 * term


def compared_codes(real: Scores, fake: Scores) -> Tensor:
    """Li et al. 2017: the squared MMD of codes."""
    return squared_mmd(gaussian).g(Scores(fake.maps[-1]), Scores(real.maps[-1]))


ENERGIES: dict[str, Losses] = {
    "began": Losses(lambda real, fake: -real.score.mean() + 0.25 * fake.score.mean(), minus_score),
    "ebgan": Losses(margin_loss(17.0), pulled_away),
    "magan": Losses(margin_loss(17.0), minus_score),
    "mmd": Losses(
        lambda real, fake: -compared_codes(real, fake) - 8 * (real.score.mean() + fake.score.mean()),
        lambda fake, real: compared_codes(real, fake),
    ),
}
"""While BEGAN's k is 0.25 and MAGAN's margin 17."""
