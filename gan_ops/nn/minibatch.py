"""Layers that compare the samples of a minibatch: what a discriminator needs to see that a generator repeats itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gan_ops.ops import minibatch_discrimination, minibatch_stddev

__all__ = ["MinibatchDiscrimination", "MinibatchStddev"]


class MinibatchStddev(nn.Module):
    """Appends each group's mean standard deviation to x as ``num_channels`` constant maps (Karras et al. 2018, §3).

    ``group_size=None`` takes the whole minibatch as one group; a group larger than the minibatch shrinks to it.
    """

    def __init__(self, group_size: int | None = 4, num_channels: int = 1, eps: float = 1e-8):
        super().__init__()
        if group_size is not None and group_size < 1:
            raise ValueError(f"group_size={group_size} must be at least 1, or None for the whole minibatch")
        self.group_size = group_size
        self.num_channels = num_channels
        self.eps = eps

    def group(self, batch: int) -> int:
        """Samples in one group of a minibatch of ``batch`` samples; ValueError if they do not divide it."""
        group = batch if self.group_size is None else min(self.group_size, batch)
        if batch and batch % group:
            raise ValueError(f"group_size={self.group_size} does not divide the batch of {batch}")
        return group

    def forward(self, x: Tensor, batches: int = 1) -> Tensor:
        """x [N, C, *] → [N, C + num_channels, *].

        x may interleave several minibatches (sample n belongs to minibatch n mod ``batches``). Their statistics stay
        apart: groups are strided, so the groups of the whole with a group size that divides one minibatch are just
        the groups of the minibatches.
        """
        if batches == 1:
            return minibatch_stddev(x, self.group_size, self.num_channels, self.eps)
        n = x.shape[0]
        if batches < 1 or n % batches:
            raise ValueError(f"batches={batches} does not divide x, which has {n} samples")
        group = max(1, self.group(n // batches))  # an empty batch has no groups, whatever their size
        return minibatch_stddev(x, group, self.num_channels, self.eps)

    def extra_repr(self) -> str:
        return f"group_size={self.group_size}, num_channels={self.num_channels}, eps={self.eps}"


class MinibatchDiscrimination(nn.Module):
    """Appends to features how close each sample is to the others of its minibatch (Salimans et al. 2016, §3.2).

    x [N, A] → concat(x, o) [N, A + num_kernels], with M = x·T, T [A, B, C] = [in_features, num_kernels, kernel_dim] and
    o_ib = Σ_j exp(−‖M_ib − M_jb‖₁). T starts normal, so that for independent inputs of unit variance two samples are
    about 1 apart. The minibatch is what this process passes in: under DDP its own share, not all processes'.

    The three options together are the authors' code, which differs from the paper.

    Args:
        include_self: whether the sum counts j = i, which adds 1 to every feature.
        weight_norm: T's columns (over A) are divided by their L2 norms and multiplied by the exponential of
            ``log_scale`` [B, C], which is learnt and starts at 0.
        bias: learnt [B], added to o; starts at −1.
    """

    def __init__(
        self,
        in_features: int,
        num_kernels: int = 100,
        kernel_dim: int = 5,
        *,
        include_self: bool = True,
        weight_norm: bool = False,
        bias: bool = False,
    ):
        super().__init__()
        deviation = 1 / (kernel_dim * math.sqrt(in_features))
        self.weight = nn.Parameter(torch.randn(in_features, num_kernels, kernel_dim) * deviation)
        self.log_scale = nn.Parameter(torch.zeros(num_kernels, kernel_dim)) if weight_norm else None
        self.bias = nn.Parameter(-torch.ones(num_kernels)) if bias else None
        self.include_self = include_self

    def forward(self, x: Tensor, batches: int = 1) -> Tensor:
        """x [N, A] → [N, A + B].

        x may interleave several minibatches (sample n belongs to minibatch n mod ``batches``): each sample is compared
        with its own.
        """
        o = minibatch_discrimination(self._features(x, batches), self.include_self)  # [N/batches, batches·B]
        o = o.view(x.shape[0], self.weight.shape[1])  # → [N, B]
        return torch.cat([x, o if self.bias is None else o + self.bias], dim=1)

    @torch.no_grad()
    def fit_scale(self, x: Tensor, batches: int = 1) -> None:
        """Scales each kernel so that on x [N, A] the mean distance to the nearest other sample is 2; centres the bias.

        The authors' data-dependent start: a forward pass then sees neighbours, neither all samples as equal nor all as
        infinitely far, and where there is a bias the new features' mean over x is 0. With several processes, call it
        before DDP wraps the network, which hands out one process's parameters. ValueError where a minibatch has one
        sample or all have an equal one.
        """
        m = self._features(x, batches).float()  # [N/batches, batches·B, C]
        if m.shape[0] < 2:
            raise ValueError(f"x must have two samples in a minibatch at least, but has {x.shape[0]} in {batches}")
        nearest = []  # for each sample: [batches·B]; all pairs at once would be N times the memory of m
        for i, sample in enumerate(m):
            distances = (m - sample).abs().sum(dim=2)  # [N/batches, batches·B, C] → [N/batches, batches·B]
            distances[i] = math.inf
            nearest.append(distances.amin(dim=0))
        half = torch.stack(nearest).view(x.shape[0], self.weight.shape[1]).mean(dim=0) / 2  # → [N, B] → [B]
        if not half.all():
            raise ValueError(
                f"kernel {half.argmin().item()} gives the same result for every sample of x: no scale can separate them"
            )
        if self.log_scale is None:
            self.weight /= half[:, None]
        else:
            self.log_scale -= half.log()[:, None]
        if self.bias is not None:
            self.bias -= self(x, batches)[:, x.shape[1] :].mean(dim=0)  # [N, B] → [B]

    def _features(self, x: Tensor, batches: int) -> Tensor:
        """M, with minibatches as kernels of their own: [N/batches, batches·B, C]."""
        in_features, num_kernels, kernel_dim = self.weight.shape
        if x.dim() != 2 or x.shape[1] != in_features:
            raise ValueError(f"x must be [N, {in_features}], but its shape is {list(x.shape)}")
        if batches < 1 or x.shape[0] % batches:
            raise ValueError(f"batches={batches} does not divide x, which has {x.shape[0]} samples")
        weight = self.weight
        if self.log_scale is not None:
            weight = weight * (self.log_scale.exp() / weight.norm(dim=0))  # norm over A: [A, B, C] → [B, C]
        return (x @ weight.flatten(1)).view(x.shape[0] // batches, batches * num_kernels, kernel_dim)

    def extra_repr(self) -> str:
        in_features, num_kernels, kernel_dim = self.weight.shape
        return (
            f"{in_features}, num_kernels={num_kernels}, kernel_dim={kernel_dim}, include_self={self.include_self}, "
            f"weight_norm={self.log_scale is not None}, bias={self.bias is not None}"
        )
