"""Transformer blocks on square maps of tokens, for networks through which gradients are penalised.

Attention with its second derivative is :func:`gan_ops.attention`, which keeps no matrix of all pairs of tokens.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops import attention, pixel_norm

TokenNorm = Literal["pixel", "layer", "none"]
TOKEN_NORMS = get_args(TokenNorm)

STD = 0.02
"""Of the truncated normal distribution that positions begin with."""


class TokenPixelNorm(nn.Module):
    """x / √(mean of x² over the channels + 10⁻⁸), token by token (TransGAN, Jiang et al. 2021, arXiv 2102.07074, its
    modified normalization)."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] → [..., C]."""
        return pixel_norm(x.flatten(0, -2)).view(x.shape)


def token_norm(norm: str, channels: int) -> nn.Module:
    """The layer for tokens [..., channels] of a name of :data:`TOKEN_NORMS`."""
    match norm:
        case "pixel":
            return TokenPixelNorm()
        case "layer":
            return nn.LayerNorm(channels)
        case "none":
            return nn.Identity()
        case _:
            raise ValueError(f"norm={norm!r} is not one of {', '.join(TOKEN_NORMS)}")


class Attention(nn.Module):
    """softmax(q·kᵀ/√(C/heads) + E)·v of each head (TransGAN, relative position encoding), then a dense layer.

    Args:
        channels: C, a multiple of ``heads``.
        height: of the square map whose tokens are given row by row, for E: what a head adds for a pair of tokens
            depends on how far one lies from the other, by row and by column. 0: the tokens form no map, and E is 0.
    """

    def __init__(self, channels: int, heads: int, height: int):
        super().__init__()
        if channels % heads:
            raise ValueError(f"heads={heads} does not divide the {channels} channels")
        self.heads, self.height = heads, height
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.output = nn.Linear(channels, channels)
        if height:
            # [heads, row of the key − row of the query + height − 1, the same of columns]
            self.positions = position_parameter(heads, 2 * height - 1, 2 * height - 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, L, C] → [N, L, C], with L = height² where tokens form a map."""
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1))  # [N, L, 3C] → [N, L, 3, heads, E]
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = attention(query, key, value, self.bias() if self.height else None)
        return self.output(attended.transpose(1, 2).flatten(2))  # [N, heads, L, E] → [N, L, C]

    def bias(self) -> Tensor:
        """E [heads, L, L]."""
        h, places = self.height, torch.arange(self.height, device=self.positions.device)
        apart = (places - places[:, None] + h - 1).flatten()  # of each two rows, or columns: [h²]
        pairs = self.positions.index_select(2, apart).index_select(1, apart)  # [heads, h², h²], of rows and of columns
        return pairs.unflatten(2, (h, h)).unflatten(1, (h, h)).transpose(2, 3).flatten(3, 4).flatten(1, 2)


class Block(nn.Module):
    """x + attention(norm(x)), then x + dense(norm(x)) with one hidden layer of four times the width."""

    def __init__(self, channels: int, heads: int, height: int, norm: str):
        super().__init__()
        self.norm1, self.norm2 = token_norm(norm, channels), token_norm(norm, channels)
        self.attention = Attention(channels, heads, height)
        self.hidden = nn.Linear(channels, 4 * channels)
        self.output = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, L, C] → [N, L, C]."""
        x = x + self.attention(self.norm1(x))
        return x + self.output(F.gelu(self.hidden(self.norm2(x))))


class Stage(nn.Module):
    """Blocks on maps of one height, with learnt positions added first.

    Args:
        height: of the square maps.
        window: maps more than twice as high are divided into cells of this height, and tokens attend to those of their
            own cell alone: grid self-attention (TransGAN, where cells of 16×16 serve from 64×64 on).
    """

    def __init__(self, channels: int, blocks: int, *, heads: int, height: int, window: int, norm: str):
        super().__init__()
        self.height, self.cell = height, cell_height(height, window)
        self.positions = position_parameter(1, height * height, channels)
        self.blocks = nn.ModuleList(Block(channels, heads, self.cell, norm) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """[N, height², C] → [N, height², C]."""
        x = cells(x + self.positions, self.height, self.cell)
        for block in self.blocks:
            x = block(x)
        return joined(x, self.height, self.cell)


def position_parameter(*shape: int) -> nn.Parameter:
    """What positions begin with: numbers of N(0, 0.02²), none beyond two."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=STD))


def cell_height(height: int, window: int) -> int:
    """The height of a map's cells, as :class:`Stage` has them; ValueError where they would not fill it."""
    if height <= 2 * window:
        return height
    if height % window:
        raise ValueError(f"window={window} does not divide the {height} rows of a map")
    return window


def cells(x: Tensor, height: int, cell: int) -> Tensor:
    """[N, height², C] → [N·(height/cell)², cell², C]: the tokens of each cell of a map, row by row."""
    if cell == height:
        return x
    grid = x.unflatten(1, (height // cell, cell, height // cell, cell))  # [N, row, y, column, x, C]
    return grid.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def joined(x: Tensor, height: int, cell: int) -> Tensor:
    """The inverse of :func:`cells`."""
    if cell == height:
        return x
    grid = x.unflatten(1, (cell, cell)).unflatten(0, (-1, height // cell, height // cell))
    return grid.transpose(2, 3).flatten(1, 4)


def shuffled(x: Tensor, height: int) -> Tensor:
    """[N, height², C] → [N, (2·height)², C/4]: channels become pixels, as torch shuffles those of maps."""
    grid = x.unflatten(2, (-1, 2, 2)).unflatten(1, (height, height))  # [N, row, column, C/4, y, x]
    return grid.permute(0, 1, 4, 2, 5, 3).flatten(1, 4)


def as_maps(x: Tensor, height: int) -> Tensor:
    """[N, height², C] → [N, C, height, height], channels last."""
    return x.transpose(1, 2).unflatten(2, (height, height))


def as_tokens(x: Tensor) -> Tensor:
    """[N, C, H, W] → [N, H·W, C]."""
    return x.flatten(2).transpose(1, 2)
