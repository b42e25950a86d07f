"""DiffAugment (Zhao et al. 2020, arXiv 2006.10738, section 3.2): colours, moves and holes, each drawn uniformly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gan_ops.augmentation.affine import moving
from gan_ops.augmentation.blit import copied
from gan_ops.augmentation.transformation import Dice, Probability, Transformation


class DiffColor(Transformation):
    """Brightness, saturation and contrast, in this order, together with the probability p.

    A number from −0.5 to 0.5 is added; the distance of each channel from the pixel's mean is multiplied by a number
    from 0 to 2; and the distance of each value from the image's mean by one from 0.5 to 1.5.
    """

    name = "diffcolor"

    def draw(self, shape: Sequence[int], p: Probability, random: torch.Generator) -> Tensor:
        """[N, 3]: what is added, the factors of saturation and contrast."""
        dice = Dice(shape[0], p * self.share, random)
        # How far each is from where it changes nothing.
        drawn = torch.cat([dice.uniform(-reach, reach, 1) for reach in (0.5, 1, 0.5)], 1)
        added, *factors = dice.or_else(drawn, 0).unbind(1)
        return torch.stack((added, *(factor + 1 for factor in factors)), 1)

    def forward(self, images: Tensor, drawn: Tensor) -> Tensor:
        added, saturation, contrast = drawn.to(images.dtype)[:, :, None, None, None].unbind(1)  # [N, 1, 1, 1] each
        # The image's mean is left by saturation, and what is added by both.
        pixel, image = images.mean(1, keepdim=True), images.mean((1, 2, 3), keepdim=True)
        return contrast * (saturation * (images - pixel) + pixel) + ((1 - contrast) * image + added)


class Translation(Transformation):
    """A move by whole pixels along both axes, with the probability p; what comes in is grey (0).

    Args:
        step: the farthest move, as a part of the size (the paper: 0.125).
    """

    name = "translation"

    def __init__(self, share: float = 1.0, *, step: float = 0.125) -> None:
        super().__init__(share)
        self.step = step

    def draw(self, shape: Sequence[int], p: Probability, random: torch.Generator) -> Tensor:
        """[N, 2]: to the right and down, in pixels."""
        dice = Dice(shape[0], p * self.share, random)
        steps = [dice.integer(2 * self._farthest(size) + 1) - self._farthest(size) for size in reversed(shape[2:])]
        return dice.or_else(torch.stack(steps, 1), 0)

    def forward(self, images: Tensor, drawn: Tensor) -> Tensor:
        x, y = drawn.unbind(1)
        return copied(images, moving(-x, -y), "zeros")

    def _farthest(self, size: int) -> int:
        return int(self.step * size + 0.5)


class DiffCutout(Transformation):
    """A square made grey (0), with the probability p; its centre is any pixel of the image.

    Args:
        size: of the square, as a part of the image's (the paper: 0.5).
    """

    name = "diffcutout"

    def __init__(self, share: float = 1.0, *, size: float = 0.5) -> None:
        super().__init__(share)
        self.size = size

    def draw(self, shape: Sequence[int], p: Probability, random: torch.Generator) -> Tensor:
        """[N, 4]: the first column and row of the square, and those behind its last."""
        dice = Dice(shape[0], p * self.share, random)
        first, behind = [], []
        for length in reversed(shape[2:]):
            size = int(self.size * length + 0.5)
            # The authors' centres are 0 … length; of a square of an odd size 0 … length − 1.
            start = dice.integer(length + 1 - size % 2) - size // 2
            first.append(start)
            behind.append(start + size)
        square = torch.stack((*first, *behind), 1)
        return dice.or_else(square, 0)

    def forward(self, images: Tensor, drawn: Tensor) -> Tensor:
        left, top, right, bottom = drawn[:, :, None].unbind(1)  # [N, 1] each
        columns, rows = (torch.arange(size, device=images.device) for size in (images.shape[3], images.shape[2]))
        across, down = (columns >= left) & (columns < right), (rows >= top) & (rows < bottom)
        return images * ~(across[:, None, None] & down[:, None, :, None])
