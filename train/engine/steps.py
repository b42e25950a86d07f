"""The gradients of D and the gradients of G for a batch.

D's half draws fakes without a graph through G, and scores reals and fakes in one pass. G's half differentiates
through D without gradients for D's weights. Both add up the gradients of microbatches so that they are the mean over
the whole batch; what is computed from a whole minibatch (deviations, batch norm, minibatch discrimination, the means
that feature matching compares) sees a microbatch.

Each half is a function of the networks' parameters and of its arguments alone, but for the vectors of a spectral norm,
which a pass turns: random numbers are drawn by the caller, nothing is read from the device, and gradients are returned
and not accumulated. So a half can be compiled with its gradients inside, or captured as a CUDA graph. What is compiled
is one microbatch (:class:`Parts`).

Neither knows a network family: a generator is called as ``generator(z, labels)``, a discriminator as
``discriminator(x, labels, batches=n, features=size)`` (see :class:`gan_ops.objectives.Scores`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gan_ops.objectives import (
    GradientPenalty,
    Objective,
    Scores,
    classification_loss,
    feature_matching,
    gradient_at,
    semi_supervised,
)
from train.engine.player import Player
from train.engine.precision import Autocast


@dataclass(frozen=True)
class Losses:
    """What the players minimise."""

    objective: Objective
    penalty: GradientPenalty | None = None
    class_weight: float = 0.0
    """Weight of the classification loss where D gives class logits."""
    class_fakes: bool = True
    """Whether generated images have classes (AC-GAN, Odena et al. 2017), or D learns those of real images alone
    (K + 1 classes, Salimans et al. 2016, section 5)."""
    feature_matching: int = 0
    """Height of the maps of D whose means G matches, instead of minimising the objective's loss (0: none)."""


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
    noise: Tensor | None,
) -> tuple[list[Tensor], DiscriminatorValues]:
    """D's gradients for one microbatch, to its active parameters in their order; ``weights`` require a gradient."""
    with torch.no_grad():
        fake = _wide(_generate(generator, losses, autocast, z, labels, noise))
    loss, real_score, fake_score = _discriminator_loss(discriminator, losses, autocast, real, fake, labels)
    gradients = list(torch.autograd.grad(discriminator.scaled(loss), discriminator.active))
    penalty, more = _penalty(discriminator, losses, autocast, real, fake, weights, labels)
    return _detached(_added(gradients, more)), _values(loss, penalty, real_score, fake_score)


def generator_part(
    generator: Player,
    discriminator: Player,
    losses: Losses,
    autocast: Autocast,
    z: Tensor,
    labels: Tensor | None,
    noise: Tensor | None,
    real: Tensor | None,
) -> tuple[list[Tensor], Tensor]:
    """G's gradients for one microbatch, to its active parameters in their order, and its loss."""
    fake = _generate(generator, losses, autocast, z, labels, noise)
    loss = _generator_loss(discriminator.network, losses, autocast, fake, labels, real)
    gradients = torch.autograd.grad(generator.scaled(loss), generator.active)
    return _detached(gradients), loss.detach()


def merged_part(
    discriminator: Player,
    generator: Player,
    losses: Losses,
    autocast: Autocast,
    real: Tensor,
    z: Tensor,
    weights: Tensor,
    labels: Tensor | None,
    noise: Tensor | None,
) -> tuple[list[Tensor], DiscriminatorValues, list[Tensor], Tensor]:
    """What the other two parts give for the same latents, with one pass through G and one backward pass.

    The sum L_D(x, sg[G(z)]; θ_D) + L_G(G(z); sg[θ_D]) has the gradients of both players: the operator sg stops those of
    D's loss on their way to G, and those of G's loss on their way to D's parameters.
    """
    fake = _generate(generator, losses, autocast, z, labels, noise)
    still = _wide(fake.detach())
    loss, real_score, fake_score = _discriminator_loss(discriminator, losses, autocast, real, still, labels)
    # Before G's loss, as in the separate parts: each pass through D turns the vectors of a spectral norm.
    penalty, more = _penalty(discriminator, losses, autocast, real, still, weights, labels)
    g_loss = _generator_loss(_with_constants(discriminator.network), losses, autocast, fake, labels, real)
    total = discriminator.scaled(loss) + generator.scaled(g_loss)
    both = torch.autograd.grad(total, [*discriminator.active, *generator.active])
    gradients, of_generator = list(both[: len(discriminator.active)]), both[len(discriminator.active) :]
    values = _values(loss, penalty, real_score, fake_score)
    return _detached(_added(gradients, more)), values, _detached(of_generator), g_loss.detach()


def _generate(
    generator: Player, losses: Losses, autocast: Autocast, z: Tensor, labels: Tensor | None, noise: Tensor | None
) -> Tensor:
    """What D is shown of G: images [n, C, H, W], with the instance noise."""
    with autocast():
        fake = generator.network(z, labels if losses.class_fakes else None)
    return fake if noise is None else _wide(fake) + noise


def _discriminator_loss(
    discriminator: Player, losses: Losses, autocast: Autocast, real: Tensor, fake: Tensor, labels: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """D's loss but for the penalty, and its scores of reals and fakes, [n] each."""
    both = _interleave(real, fake)
    both_labels = None
    if labels is not None and losses.class_fakes:
        both_labels = labels[:, None].expand(-1, 2).flatten()  # [n] → [2n]
    with autocast():
        scores = discriminator.network(both, both_labels, batches=2)
    real_score, fake_score = _wide(scores.score).view(-1, 2).unbind(1)  # [2n] → 2 × [n]
    loss = losses.objective.discriminator_loss(real_score, fake_score)
    if scores.class_logits is not None:
        real_logits, fake_logits = _wide(scores.class_logits).unflatten(0, (-1, 2)).unbind(1)  # 2 × [n, K]
        if losses.class_fakes:
            classes = classification_loss(fake_logits, labels, real_logits, labels)
        else:
            classes = semi_supervised.labelled_loss(real_logits, labels)
        loss = loss + losses.class_weight * classes
    return loss, real_score, fake_score


def _penalty(
    discriminator: Player,
    losses: Losses,
    autocast: Autocast,
    real: Tensor,
    fake: Tensor,
    weights: Tensor,
    labels: Tensor | None,
) -> tuple[Tensor | None, Sequence[Tensor | None]]:
    """The penalty on D's gradient and its own gradients; some parameters have no part in it: the last bias."""
    if losses.penalty is None:
        return None, ()

    def critic(x: Tensor) -> Tensor:
        with autocast():
            return discriminator.network(x, labels if losses.class_fakes else None).score

    # The weights make the points require a gradient.
    points = losses.penalty.points(real, fake, weights=weights).contiguous(memory_format=torch.channels_last)
    penalty = losses.penalty.loss(gradient_at(critic, points, discriminator.scale))
    return penalty, torch.autograd.grad(discriminator.scaled(penalty), discriminator.active, allow_unused=True)


def _generator_loss(
    discriminator: Callable[..., Scores],
    losses: Losses,
    autocast: Autocast,
    fake: Tensor,
    labels: Tensor | None,
    real: Tensor | None,
) -> Tensor:
    fake_labels = labels if losses.class_fakes else None
    with autocast():
        scores = discriminator(fake, fake_labels, features=losses.feature_matching)
    if losses.feature_matching:
        with torch.no_grad(), autocast():
            real_features = discriminator(real, fake_labels, features=losses.feature_matching).features
        loss = feature_matching(_wide(real_features), _wide(scores.features))
    else:
        loss = losses.objective.generator_loss(_wide(scores.score))
    if scores.class_logits is not None and losses.class_fakes:
        loss = loss + losses.class_weight * classification_loss(_wide(scores.class_logits), labels)
    return loss


def _with_constants(network: nn.Module) -> Callable[..., Any]:
    """The network with its parameters as constants: gradients pass through to its input alone."""
    constants = {name: parameter.detach() for name, parameter in network.named_parameters()}
    return lambda *args, **options: torch.func.functional_call(network, constants, args, options)


def _values(loss: Tensor, penalty: Tensor | None, real_score: Tensor, fake_score: Tensor) -> DiscriminatorValues:
    penalty = torch.zeros_like(loss) if penalty is None else penalty
    values = (loss + penalty, penalty, real_score.mean(), fake_score.mean())
    return DiscriminatorValues(*(value.detach() for value in values))


def _added(gradients: list[Tensor], more: Sequence[Tensor | None]) -> list[Tensor]:
    """The sums of two lists of gradients, of which the second may lack some, or all."""
    if not more:
        return gradients
    # On a GPU one kernel for all that are laid out alike; a single pair that is not would make it one for each.
    alike = [i for i, other in enumerate(more) if other is not None and other.stride() == gradients[i].stride()]
    sums = torch._foreach_add([gradients[i] for i in alike], [more[i] for i in alike]) if alike else []
    by_place = dict(zip(alike, sums, strict=True))
    pairs = enumerate(zip(gradients, more, strict=True))
    return [by_place[i] if i in by_place else one if other is None else one + other for i, (one, other) in pairs]


def _detached(tensors: Iterable[Tensor]) -> list[Tensor]:
    return [tensor.detach() for tensor in tensors]


class Parts(NamedTuple):
    """What computes one microbatch."""

    discriminator: Callable[..., tuple[list[Tensor], DiscriminatorValues]] = discriminator_part
    generator: Callable[..., tuple[list[Tensor], Tensor]] = generator_part
    merged: Callable[..., tuple[list[Tensor], DiscriminatorValues, list[Tensor], Tensor]] = merged_part


EAGER = Parts()


def discriminator_gradients(
    discriminator: Player,
    generator: Player,
    real: Tensor,
    z: Tensor,
    labels: Tensor | None = None,
    *,
    weights: Tensor,
    noise: Tensor | None = None,
    losses: Losses,
    autocast: Autocast,
    microbatch: int | None = None,
    parts: Parts = EAGER,
) -> tuple[list[Tensor], DiscriminatorValues]:
    """D's gradients for one batch.

    Args:
        real: images [N, C, H, W], float32, channels last.
        z: latents of as many fakes [N, latent].
        labels: classes of the reals [N], int64, which the fakes get too if they have any.
        weights: the penalty's interpolation weights [N].
        noise: what is added to the fakes [N, C, H, W].
        microbatch: images to handle at once; divides N.

    Returns:
        A gradient for each of D's active parameters, times its loss scale, and values for the log.
    """
    total = _Mean()
    for shown, share in _shown(real, z, weights, labels, noise, microbatch):
        gradients, values = parts.discriminator(discriminator, generator, losses, autocast, *shown)
        total.add([*gradients, *values], share)
    count = len(DiscriminatorValues._fields)
    return total.tensors[:-count], DiscriminatorValues(*total.tensors[-count:])


def generator_gradients(
    generator: Player,
    discriminator: Player,
    z: Tensor,
    labels: Tensor | None = None,
    *,
    noise: Tensor | None = None,
    real: Tensor | None = None,
    losses: Losses,
    autocast: Autocast,
    microbatch: int | None = None,
    parts: Parts = EAGER,
) -> tuple[list[Tensor], Tensor]:
    """G's gradients for one batch; D's weights get none.

    Args:
        z: latents [N, latent].
        labels: classes to generate [N], int64.
        noise: what is added to the fakes [N, C, H, W].
        real: images whose features are matched [N, C, H, W].
        microbatch: images to handle at once; divides N.

    Returns:
        A gradient for each of G's active parameters, times its loss scale, and the loss, a 0-d tensor without a graph.
    """
    total = _Mean()
    with frozen(discriminator.active):
        for part, share in _microbatches(len(z), microbatch):
            gradients, loss = parts.generator(
                generator,
                discriminator,
                losses,
                autocast,
                z[part],
                _of(labels, part),
                _of(noise, part),
                _of(real, part),
            )
            total.add([*gradients, loss], share)
    *gradients, loss = total.tensors
    return gradients, loss


def merged_gradients(
    discriminator: Player,
    generator: Player,
    real: Tensor,
    z: Tensor,
    labels: Tensor | None = None,
    *,
    weights: Tensor,
    noise: Tensor | None = None,
    losses: Losses,
    autocast: Autocast,
    microbatch: int | None = None,
    parts: Parts = EAGER,
) -> tuple[list[Tensor], DiscriminatorValues, list[Tensor], Tensor]:
    """Both players' gradients at the same parameters and latents: what :func:`discriminator_gradients` and
    :func:`generator_gradients` would give for these arguments, which are those of the former.

    With spectral norm each pass through a network takes its power iteration a step further, so there the two agree as
    far as it has converged, where the passes come in another order or number: with microbatches, or in G.
    """
    total = _Mean()
    for shown, share in _shown(real, z, weights, labels, noise, microbatch):
        gradients, values, of_generator, loss = parts.merged(discriminator, generator, losses, autocast, *shown)
        total.add([*gradients, *values, *of_generator, loss], share)
    d, v = len(discriminator.active), len(DiscriminatorValues._fields)
    *of_generator, loss = total.tensors[d + v :]
    return total.tensors[:d], DiscriminatorValues(*total.tensors[d : d + v]), of_generator, loss


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


def _shown(
    real: Tensor, z: Tensor, weights: Tensor, labels: Tensor | None, noise: Tensor | None, microbatch: int | None
) -> Iterator[tuple[tuple[Tensor | None, ...], float]]:
    """What D is shown, in microbatches as its parts take them, each with its share of the whole."""
    for part, share in _microbatches(len(z), microbatch):
        own_weights = weights[part].detach().requires_grad_()
        yield (real[part], z[part], own_weights, _of(labels, part), _of(noise, part)), share


def _of(tensor: Tensor | None, part: slice) -> Tensor | None:
    return None if tensor is None else tensor[part]


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
