"""Small networks for points in the plane, to watch how GANs lose modes (after Metz et al. 2017, appendix A).

Points are images [N, 2, 1, 1], so that whatever trains on images trains on them as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from gan_ops import nn as gnn
from gan_ops.objectives import Scores
from models.parts.generators import LatentGenerator
from models.parts.norms import norm_layer, reparametrized
from models.parts.precision import widened
from models.parts.scores import scores_in

DNorm = Literal["batch", "layer", "group", "pixel", "spectral", "none"]
GNorm = Literal[DNorm, "virtual"]
D_NORMS, G_NORMS = get_args(DNorm), get_args(GNorm)
"""Of those in :mod:`models.parts.norms`, what says something about [N, width] without pixels."""

SLOPE = 0.2
"""Of D's leaky ReLU, below zero."""


class Generator(LatentGenerator):
    """Latents z [N, latent_dim] → points [N, 2, 1, 1], through hidden layers of ReLUs.

    Args:
        layers: hidden ones, of ``width`` units each.
        norm: of the hidden layers, one of :data:`G_NORMS`. "virtual" keeps ``reference``, latents [R, latent_dim].
        weight_norm: weight normalisation of all layers, beside ``norm`` (Salimans and Kingma 2016).
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        width: int = 128,
        layers: int = 2,
        norm: str = "none",
        weight_norm: bool = False,
        reference: Tensor | None = None,
    ):
        if norm not in G_NORMS:
            raise ValueError(f"norm={norm!r} is not one of {', '.join(G_NORMS)}")
        if norm == "virtual" and reference is None:
            raise ValueError("norm='virtual' needs a reference batch of latents")
        modules = [
            *_hidden(latent_dim, width, layers, norm, weight_norm, nn.ReLU()),
            reparametrized(nn.Linear(width, 2), norm, weight_norm),
            nn.Unflatten(1, (2, 1, 1)),
        ]
        super().__init__(latent_dim, modules, reference if norm == "virtual" else None)


class Discriminator(nn.Module):
    """Points [N, 2, 1, 1] → :class:`Scores`, through hidden layers of leaky ReLUs.

    Args:
        layers: hidden ones, of ``width`` units each.
        norm: of the hidden layers, one of :data:`D_NORMS`.
        minibatch_kernels: those of a minibatch discrimination (Salimans et al. 2016, §3.2) of the last hidden layer, of
            ``minibatch_dim`` values each; 0 for none. They are not to be fitted to real points, as they are to images:
            where the nearest sample lies in the same mode they would become as narrow as that, and see no other.
        pack: points that are judged as one, joined along their channels: x is [N, 2·pack, 1, 1].
        outputs: values of a score: scores are [N], or [N, outputs] of more than one.
    """

    num_classes = 0

    def __init__(
        self,
        *,
        width: int = 128,
        layers: int = 2,
        norm: str = "none",
        weight_norm: bool = False,
        minibatch_kernels: int = 0,
        minibatch_dim: int = 5,
        pack: int = 1,
        outputs: int = 1,
    ):
        super().__init__()
        if norm not in D_NORMS:
            raise ValueError(f"norm={norm!r} is not one of {', '.join(D_NORMS)}")
        self._batch_norm = norm == "batch"
        self.sees_batch = self._batch_norm or minibatch_kernels > 0  # whether samples of a minibatch bear on each other
        self.hidden = nn.Sequential(
            nn.Flatten(),
            *_hidden(2 * pack, width, layers, norm, weight_norm, nn.LeakyReLU(SLOPE)),
        )
        self.channels = 2 * pack
        self.minibatch = None
        if minibatch_kernels:
            self.minibatch = gnn.MinibatchDiscrimination(width, minibatch_kernels, minibatch_dim)
        self.out = reparametrized(nn.Linear(width + minibatch_kernels, outputs), norm, weight_norm)

    def forward(self, x: Tensor, batches: int = 1) -> Scores:
        """Scores of x; ``maps`` is the last hidden layer alone, [N, width].

        With ``batches`` > 1, x interleaves that many minibatches (sample n belongs to minibatch n mod ``batches``), and
        the result is what they would give one by one.
        """
        if x.dim() != 4 or x.shape[1:] != (self.channels, 1, 1):
            raise ValueError(f"x is {list(x.shape)}, not [N, {self.channels}, 1, 1]")
        if batches > 1 and self._batch_norm:  # which must see each minibatch alone
            h = torch.stack([self.hidden(x[i::batches]) for i in range(batches)], 1).flatten(0, 1)
        else:
            h = self.hidden(x)
        out = self.out(h if self.minibatch is None else self.minibatch(h, batches))  # [N, width (+ kernels)] → [N, 1]
        return Scores(scores_in(widened(out)), None, (h,))


def _hidden(
    inputs: int, width: int, layers: int, norm: str, weight_norm: bool, activation: nn.Module
) -> Iterator[nn.Module]:
    """[N, inputs] → [N, width], through so many layers."""
    for before in (inputs, *[width] * (layers - 1)):
        yield reparametrized(nn.Linear(before, width), norm, weight_norm)
        yield from [nn.BatchNorm1d(width)] if norm == "batch" else norm_layer(norm, width)
        yield activation
