"""Closed walks through latents or styles."""

from __future__ import annotations

import torch
from torch import Tensor


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points on the great arc from a to b, both [L], at the fractions t [N] → [N, L]; lengths go linearly.

    Normal latents lie near a sphere, whose inside a straight line would cross (White 2016, arXiv 1609.04468).
    """
    length_a, length_b = a.norm(), b.norm()
    unit_a, unit_b = a / length_a, b / length_b
    angle = torch.acos((unit_a @ unit_b).clamp(-1, 1))
    t = t[:, None]
    if angle.sin() < 1e-6:  # the same direction or the opposite one: every arc is as good
        return torch.lerp(a, b, t)
    direction = (torch.sin((1 - t) * angle) * unit_a + torch.sin(t * angle) * unit_b) / angle.sin()
    return direction * torch.lerp(length_a, length_b, t)


def closed_walk(keys: Tensor, steps: int) -> Tensor:
    """From each key [K, L] in ``steps`` steps to the next, from the last to the first → [K · steps, L]."""
    t = torch.arange(steps) / steps
    return torch.cat([slerp(key, following, t) for key, following in zip(keys, keys.roll(-1, 0), strict=True)])


def straight_walk(keys: Tensor, steps: int) -> Tensor:
    """The same in straight lines, of keys [K, *], such as styles: [K · steps, *]."""
    t = (torch.arange(steps, device=keys.device) / steps).view(1, -1, *[1] * (keys.dim() - 1))
    return torch.lerp(keys[:, None], keys.roll(-1, 0)[:, None], t).flatten(0, 1)
