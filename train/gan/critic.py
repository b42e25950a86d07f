"""A discriminator as losses see it: of single images or of packs, its scores normalised or as they are."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gan_ops.objectives import GradientNorm, Scores, gradient_normalized
from train.engine.networks import Networks
from train.gan.conditioning import Conditioning


class Critic:
    """D of images [N, C, H, W].

    Args:
        conditioning: how labels enter.
        pack: images m that are judged as one, joined along their channels: scores are [N/m] (Lin et al. 2018, arXiv
            1712.04086, section 3). D takes m·C channels.
        gradient_norm: normalise scores by their gradients with respect to the images, in the losses of both players;
            "" for not at all.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        conditioning: Conditioning,
        pack: int = 1,
        gradient_norm: GradientNorm | Literal[""] = "",
    ) -> None:
        self._takes_batches = getattr(discriminator, "sees_batch", False)
        self._conditioning, self.pack, self._norm = conditioning, pack, gradient_norm

    def __call__(self, nets: Networks, x: Tensor, labels: Tensor | None, batches: int = 1) -> Scores:
        """What D says of the images x, which come with its answer; of ``batches`` interleaved minibatches."""
        if not self._norm:
            return self._judged(nets, x, labels, batches)
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():
            points = x if x.requires_grad else nets.point(x)
            scores = self._judged(nets, points, labels, batches)
            gradient = self.packed(nets.gradient(scores, points), batches)
            scores = scores._replace(score=gradient_normalized(scores.score, gradient, self._norm))
        return scores if wanted else scores.detached()

    def _judged(self, nets: Networks, x: Tensor, labels: Tensor | None, batches: int) -> Scores:
        x = self.packed(x, batches)
        minibatches = {"batches": batches} if self._takes_batches else {}
        return self._conditioning.judge(nets.D, x, labels, **minibatches)._replace(x=x)

    def packed(self, x: Tensor, batches: int = 1) -> Tensor:
        """[N, C, H, W] → [N/m, m·C, H, W]: m images that follow each other in their minibatch, of ``batches``
        interleaved ones."""
        if self.pack == 1:
            return x
        packs = x.unflatten(0, (-1, self.pack, batches)).movedim(2, 1)  # → [N/(m·k), k, m, C, H, W]
        return packs.flatten(2, 3).flatten(0, 1).contiguous(memory_format=torch.channels_last)

    def alike(self, places: Tensor) -> Tensor:
        """[N]: one value for all images of a pack, that of the first."""
        return places if self.pack == 1 else places[:: self.pack].repeat_interleave(self.pack)
