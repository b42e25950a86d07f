"""The two halves of a training step: the gradients of D and the gradients of G, and nothing that is thrown away.

D's half draws fakes without a graph through G, and scores reals and fakes in one pass. G's half differentiates
through D without gradients for D's weights. Both add up the gradients of microbatches so that they are the mean over
the whole batch; what D computes from a whole minibatch, its deviation channel, sees a microbatch.

Neither knows a network family: a generator is called as ``generator(z, labels)``, a discriminator as
``discriminator(x, labels, batches=n)`` (see :mod:`models.pggan`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan_ops.objectives import GradientPenalty, Objective, classification_loss, score_gradient
from train.player import Player
from train.precision import Autocast


@dataclass(frozen=True)
class Losses:
    """What the players minimise."""

    objective: Objective
    penalty: GradientPenalty | None = None
    class_weight: float = 0.0
    """Weight of the classification loss where D gives class logits (AC-GAN, Odena et al. 2017)."""


class DiscriminatorValues(NamedTuple):
    """Means over the batch, 0-d float32 tensors without a graph."""

    loss: Tensor
    penalty: Tensor
    real_score: Tensor
    fake_score: Tensor


def discriminator_gradients(
    discriminator: Player,
    generator: Player,
    real: Tensor,
    z: Tensor,
    labels: Tensor | None = None,
    *,
    losses: Losses,
    autocast: Autocast,
    random: torch.Generator | None = None,
    microbatch: int | None = None,
) -> DiscriminatorValues:
    """Adds D's gradients for one batch to its active parameters' ``grad``.

    Args:
        real: images [N, C, H, W], float32.
        z: latents of as many fakes [N, latent].
        labels: classes of the reals, which the fakes get too [N], int64.
        random: source of the penalty's interpolation weights.
        microbatch: images to handle at once; divides N.
    """
    network, active = discriminator.network, discriminator.active
    sums = [torch.zeros((), device=real.device) for _ in range(4)]
    for real_part, z_part, labels_part, share in _microbatches(real, z, labels, microbatch):
        with torch.no_grad(), autocast():
            fake = generator.network(z_part, labels_part)
        fake = fake.float()
        both = _interleave(real_part, fake)
        both_labels = None if labels_part is None else labels_part.repeat_interleave(2)
        with autocast():
            scores = network(both, both_labels, batches=2)
        real_score, fake_score = scores.score.float().view(-1, 2).unbind(1)  # [2n] → 2 × [n]
        loss = losses.objective.discriminator_loss(real_score, fake_score)
        if scores.class_logits is not None:
            real_logits, fake_logits = scores.class_logits.float().unflatten(0, (-1, 2)).unbind(1)  # 2 × [n, K]
            classes = classification_loss(fake_logits, labels_part, real_logits, labels_part)
            loss = loss + losses.class_weight * classes
        torch.autograd.backward(discriminator.scaled(loss * share), inputs=active)
        _add(sums, share, loss, None, real_score.mean(), fake_score.mean())

        if losses.penalty is not None:
            points = losses.penalty.points(real_part, fake, random)
            penalty = _penalty(discriminator, points, labels_part, losses.penalty, autocast)
            # Only the weights' gradients: those of the points would be thrown away.
            torch.autograd.backward(discriminator.scaled(penalty * share), inputs=active)
            _add(sums, share, penalty, penalty, None, None)
    return DiscriminatorValues(*sums)


def _penalty(
    discriminator: Player, points: Tensor, labels: Tensor | None, penalty: GradientPenalty, autocast: Autocast
) -> Tensor:
    """The penalty on D's gradient at ``points`` [n, C, H, W] → 0-d float32, with a graph to D's weights."""

    def critic(x: Tensor) -> Tensor:
        with autocast():
            return discriminator.network(x, labels).score

    points = points.contiguous(memory_format=torch.channels_last)
    return penalty.loss(score_gradient(critic, points, discriminator.scale))


def generator_gradients(
    generator: Player,
    discriminator: Player,
    z: Tensor,
    labels: Tensor | None = None,
    *,
    losses: Losses,
    autocast: Autocast,
    microbatch: int | None = None,
) -> Tensor:
    """Adds G's gradients for one batch to its active parameters' ``grad``; D's weights get none.

    Args:
        z: latents [N, latent].
        labels: classes to generate [N], int64.
        microbatch: images to handle at once; divides N.

    Returns:
        The loss, a 0-d float32 tensor without a graph.
    """
    total = torch.zeros((), device=z.device)
    with frozen(discriminator.active):
        for _, z_part, labels_part, share in _microbatches(None, z, labels, microbatch):
            with autocast():
                fake = generator.network(z_part, labels_part)
                scores = discriminator.network(fake, labels_part)
            loss = losses.objective.generator_loss(scores.score.float())
            if scores.class_logits is not None:
                loss = loss + losses.class_weight * classification_loss(scores.class_logits.float(), labels_part)
            torch.autograd.backward(generator.scaled(loss * share), inputs=generator.active)
            total.add_(loss.detach(), alpha=share)
    return total


@contextlib.contextmanager
def frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Within, the parameters are constants."""
    parameters = list(parameters)
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _microbatches(
    real: Tensor | None, z: Tensor, labels: Tensor | None, microbatch: int | None
) -> Iterator[tuple[Tensor | None, Tensor, Tensor | None, float]]:
    """Equal parts of a batch, each with its share of the whole."""
    n = len(z)
    size = microbatch or n
    if n % size:
        raise ValueError(f"microbatch={size} does not divide the batch of {n}")
    for start in range(0, n, size):
        part = slice(start, start + size)
        yield (
            None if real is None else real[part],
            z[part],
            None if labels is None else labels[part],
            size / n,
        )


def _interleave(real: Tensor, fake: Tensor) -> Tensor:
    """2 × [n, C, H, W] → [2n, C, H, W]: real, fake, real, fake, …; channels last."""
    n, c, h, w = real.shape
    both = torch.empty(2 * n, c, h, w, dtype=real.dtype, device=real.device, memory_format=torch.channels_last)
    both[0::2] = real
    both[1::2] = fake
    return both


def _add(sums: list[Tensor], share: float, *values: Tensor | None) -> None:
    for total, value in zip(sums, values, strict=True):
        if value is not None:
            total.add_(value.detach(), alpha=share)
