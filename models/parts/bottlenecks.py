"""Residual bottlenecks that double or halve images: those of BigGAN-deep (Brock et al. 2019, appendix B, figure 16).

Shortcuts have no weights where channels become fewer: the last ones are left out. Where they become more, the new ones
are made by a 1×1 convolution.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.parts.residual import Conv2d, Finish, upsampled

RATIO = 4
"""Channels of a block for each channel of its 3×3 convolutions."""


class UpBottleneck(nn.Module):
    """x [N, inputs, H, W] → [N, outputs, 2H, 2W], or H and W where it does not double; outputs ≤ inputs.

    Args:
        norm: makes a norm of so many channels, which takes the conditions y [N, F] too.
    """

    def __init__(self, inputs: int, outputs: int, norm: Callable[[int], nn.Module], finish: Finish, *, up: bool):
        super().__init__()
        hidden = inputs // RATIO
        self.norm1, self.norm2, self.norm3, self.norm4 = norm(inputs), *(norm(hidden) for _ in range(3))
        self.conv1, self.conv4 = finish(Conv2d(inputs, hidden, 1)), finish(Conv2d(hidden, outputs, 1))
        self.conv2, self.conv3 = (finish(Conv2d(hidden, hidden, 3)) for _ in range(2))
        self.up, self.outputs = up, outputs

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = self.conv1(F.relu(self.norm1(x, y), inplace=True))
        h = F.relu(self.norm2(h, y), inplace=True)
        x = x[:, : self.outputs]
        if self.up:
            h, x = upsampled(h, "nearest"), upsampled(x, "nearest")
        h = F.relu(self.norm3(self.conv2(h), y), inplace=True)
        return x + self.conv4(F.relu(self.norm4(self.conv3(h), y), inplace=True))


class DownBottleneck(nn.Module):
    """x [N, inputs, H, W] → [N, outputs, H/2, W/2], or H and W where it does not halve; outputs ≥ inputs."""

    def __init__(self, inputs: int, outputs: int, finish: Finish, *, down: bool):
        super().__init__()
        hidden = outputs // RATIO
        self.conv1, self.conv4 = finish(Conv2d(inputs, hidden, 1)), finish(Conv2d(hidden, outputs, 1))
        self.conv2, self.conv3 = (finish(Conv2d(hidden, hidden, 3)) for _ in range(2))
        self.more = finish(Conv2d(inputs, outputs - inputs, 1)) if outputs > inputs else None
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(self.conv1(F.relu(x), relu=True), relu=True)
        h = self.conv3(h, relu=True)
        if self.down:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        if self.more is not None:
            x = torch.cat((x, self.more(x)), 1)
        return x + self.conv4(h)
