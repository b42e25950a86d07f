"""VGG-16 (Simonyan and Zisserman 2015, arXiv 1409.1556, configuration D) as a judge of how alike images are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops.metrics.perceptual import unit_features

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the 3×3 convolutions; a maximum of 2×2 pixels follows each stage."""
SMALLEST = 16
"""Pixels of the last stage's sides at the least: one."""
LARGEST = 256
"""Larger images are averaged to this height and width, as in the code of StyleGAN."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the pictures that torchvision's weights are for, red, green and blue in [0, 1]."""


class Vgg16(nn.Module):
    """Images [N, 1 or 3, H, W] in [−1, 1] → features [N, D], differentiable, whose squared distances say how different
    images look: see :func:`gan_ops.metrics.perceptual.unit_features`, of the last maps of each stage, after the ReLU.

    Without the weights that LPIPS has learnt for each channel, distances are not those of LPIPS.

    Args:
        state: torchvision's ``vgg16().state_dict()``; its classifier is not needed.

    Raises:
        ValueError: a tensor is missing or has another shape.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        place, inputs = 0, 3
        for widths in STAGES:
            stage = nn.ModuleList()
            for width in widths:
                layer = nn.Conv2d(inputs, width, 3, padding=1, device="meta")
                layer.load_state_dict(_layer(state, place, layer), assign=True)
                stage.append(layer)
                place, inputs = place + 2, width
            self.stages.append(stage)
            place += 1
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        if images.dim() != 4 or images.shape[1] not in (1, 3) or min(images.shape[2:]) < SMALLEST:
            raise ValueError(f"images are {list(images.shape)}, not [N, 1 or 3, H, W] of at least {SMALLEST} pixels")
        if max(images.shape[2:]) > LARGEST:
            images = F.interpolate(images, (LARGEST, LARGEST), mode="area")
        x = ((images.expand(-1, 3, -1, -1) + 1) / 2 - self.mean) / self.deviation
        maps = []
        for number, stage in enumerate(self.stages):
            x = F.max_pool2d(x, 2) if number else x
            for layer in stage:
                x = F.relu(layer(x))
            maps.append(x)
        return unit_features(maps)


def _layer(state: Mapping[str, Tensor], place: int, layer: nn.Conv2d) -> dict[str, Tensor]:
    """The tensors of the convolution at a place in torchvision's list of layers."""
    found = {}
    for name, parameter in layer.named_parameters():
        theirs = f"features.{place}.{name}"
        if theirs not in state:
            raise ValueError(f"there is no {theirs}: these are not the weights of torchvision's vgg16")
        if state[theirs].shape != parameter.shape:
            raise ValueError(f"{theirs} is {list(state[theirs].shape)}, and of vgg16 {list(parameter.shape)}")
        found[name] = state[theirs].float()
    return found
