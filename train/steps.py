"""The gradients of D and the gradients of G for a batch, with nothing computed that is thrown away.

D's half draws fakes without a graph through G, and scores reals and fakes in one pass. G's half differentiates
through D without gradients for D's weights. Both add up the gradients of microbatches so that they are the mean over
the whole batch; what D computes from a whole minibatch, its deviation channel, sees a microbatch.

Each half is a function of the networks' parameters and of its arguments alone: random numbers are drawn by the caller,
nothing is read from the device, and gradients are returned and not accumulated. So a half can be compiled with its
gradients inside, or captured as a CUDA graph. What is compiled is one microbatch (:class:`Parts`).

Neither knows a network family: a generator is called as ``generator(z, labels)``, a discriminator as
``discriminator(x, labels, batches=n)`` (see :mod:`models.pggan`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan_ops.objectives import GradientPenalty, Objective, classification_loss, gradient_at
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
    """Means over the batch, 0-d tensors without a graph."""

    loss: Tensor
    penalty: Tensor
    real_score: Tensor
    fake_score: Tensor


def discriminator_part(
    discriminator: Player,
    generator: Player,
    losses: Losses,
    autocast: Autocast,
    real: Tensor,
    z: Tensor,
    weights: Tensor,
    labels: Tensor | None,
) -> tuple[list[Tensor], DiscriminatorValues]:
    """D's gradients for one microbatch, to its active parameters in their order; ``weights`` require a gradient."""
    active = discriminator.active
    with torch.no_grad(), autocast():
        fake = generator.network(z, labels)
    fake = _wide(fake)
    both = _interleave(real, fake)
    both_labels = None if labels is None else labels[:, None].expand(-1, 2).flatten()  # [n] → [2n]
    with autocast():
        scores = discriminator.network(both, both_labels, batches=2)
    real_score, fake_score = _wide(scores.score).view(-1, 2).unbind(1)  # [2n] → 2 × [n]
    loss = losses.objective.discriminator_loss(real_score, fake_score)
    if scores.class_logits is not None:
        real_logits, fake_logits = _wide(scores.class_logits).unflatten(0, (-1, 2)).unbind(1)  # 2 × [n, K]
        classes = classification_loss(fake_logits, labels, real_logits, labels)
        loss = loss + losses.class_weight * classes
    gradients = torch.autograd.grad(discriminator.scaled(loss), active)
    penalty = torch.zeros_like(loss)

    if losses.penalty is not None:

        def critic(x: Tensor) -> Tensor:
            with autocast():
                return discriminator.network(x, labels).score

        # The weights make the points require a gradient.
        points = losses.penalty.points(real, fake, weights=weights).contiguous(memory_format=torch.channels_last)
        penalty = losses.penalty.loss(gradient_at(critic, points, discriminator.scale))
        # Some parameters have no part in the scores' gradient: the last bias.
        more = torch.autograd.grad(discriminator.scaled(penalty), active, allow_unused=True)
        gradients = [one if other is None else one + other for one, other in zip(gradients, more, strict=True)]
        loss = loss + penalty

    values = DiscriminatorValues(
        loss.detach(), penalty.detach(), real_score.detach().mean(), fake_score.detach().mean()
    )
    return [gradient.detach() for gradient in gradients], values


def generator_part(
    generator: Player,
    discriminator: Player,
    losses: Losses,
    autocast: Autocast,
    z: Tensor,
    labels: Tensor | None,
) -> tuple[list[Tensor], Tensor]:
    """G's gradients for one microbatch, to its active parameters in their order, and its loss."""
    with autocast():
        fake = generator.network(z, labels)
        scores = discriminator.network(fake, labels)
    loss = losses.objective.generator_loss(_wide(scores.score))
    if scores.class_logits is not None:
        loss = loss + losses.class_weight * classification_loss(_wide(scores.class_logits), labels)
    gradients = torch.autograd.grad(generator.scaled(loss), generator.active)
    return [gradient.detach() for gradient in gradients], loss.detach()


class Parts(NamedTuple):
    """What computes one microbatch."""

    discriminator: Callable[..., tuple[list[Tensor], DiscriminatorValues]] = discriminator_part
    generator: Callable[..., tuple[list[Tensor], Tensor]] = generator_part


EAGER = Parts()


def discriminator_gradients(
    discriminator: Player,
    generator: Player,
    real: Tensor,
    z: Tensor,
    labels: Tensor | None = None,
    *,
    weights: Tensor,
    losses: Losses,
    autocast: Autocast,
    microbatch: int | None = None,
    parts: Parts = EAGER,
) -> tuple[list[Tensor], DiscriminatorValues]:
    """D's gradients for one batch.

    Args:
        real: images [N, C, H, W], float32, channels last.
        z: latents of as many fakes [N, latent].
        labels: classes of the reals, which the fakes get too [N], int64.
        weights: the penalty's interpolation weights [N].
        microbatch: images to handle at once; divides N.

    Returns:
        A gradient for each of D's active parameters, times its loss scale, and values for the log.
    """
    total = _Mean()
    for part, share in _microbatches(len(z), microbatch):
        gradients, values = parts.discriminator(
            discriminator,
            generator,
            losses,
            autocast,
            real[part],
            z[part],
            weights[part].detach().requires_grad_(),
            None if labels is None else labels[part],
        )
        total.add([*gradients, *values], share)
    count = len(DiscriminatorValues._fields)
    return total.tensors[:-count], DiscriminatorValues(*total.tensors[-count:])


def generator_gradients(
    generator: Player,
    discriminator: Player,
    z: Tensor,
    labels: Tensor | None = None,
    *,
    losses: Losses,
    autocast: Autocast,
    microbatch: int | None = None,
    parts: Parts = EAGER,
) -> tuple[list[Tensor], Tensor]:
    """G's gradients for one batch; D's weights get none.

    Args:
        z: latents [N, latent].
        labels: classes to generate [N], int64.
        microbatch: images to handle at once; divides N.

    Returns:
        A gradient for each of G's active parameters, times its loss scale, and the loss, a 0-d tensor without a graph.
    """
    total = _Mean()
    with frozen(discriminator.active):
        for part, share in _microbatches(len(z), microbatch):
            part_labels = None if labels is None else labels[part]
            gradients, loss = parts.generator(generator, discriminator, losses, autocast, z[part], part_labels)
            total.add([*gradients, loss], share)
    *gradients, loss = total.tensors
    return gradients, loss


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


def _microbatches(n: int, microbatch: int | None) -> Iterator[tuple[slice, float]]:
    """Equal parts of a batch of n, each with its share of the whole."""
    size = microbatch or n
    if n % size:
        raise ValueError(f"microbatch={size} does not divide the batch of {n}")
    for start in range(0, n, size):
        yield slice(start, start + size), size / n


class _Mean:
    """The mean of lists of tensors that come one after another, without keeping them all."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []

    def add(self, tensors: list[Tensor], share: float) -> None:
        if share == 1:
            self.tensors = tensors
        elif not self.tensors:
            self.tensors = list(torch._foreach_mul(tensors, share))
        else:
            torch._foreach_add_(self.tensors, tensors, alpha=share)


def _interleave(real: Tensor, fake: Tensor) -> Tensor:
    """2 × [n, C, H, W] → [2n, C, H, W]: real, fake, real, fake, …; channels last."""
    n, c, h, w = real.shape
    both = torch.empty(2 * n, c, h, w, dtype=real.dtype, device=real.device, memory_format=torch.channels_last)
    both[0::2] = real
    both[1::2] = fake
    return both


def _wide(x: Tensor) -> Tensor:
    """float32, or float64 of float64."""
    return x if x.dtype == torch.float64 else x.float()
