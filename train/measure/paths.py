"""Perceptual path lengths of a generator (Karras et al. 2019, section 4.1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gan_ops.metrics import PerceptualPathLength
from gan_ops.metrics.perceptual_path_length import EPSILON
from models.parts.styles import style_count
from train.base.errors import UsageError
from train.base.seeds import stream_seed
from train.measure.metric_names import PATHS, qualified
from train.measure.perceptual import Perceptual
from train.measure.pictures import latents

PIXELS = 2**20
"""Of the images that are drawn at once."""

Draw = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""Images [N, C, R, R] of places t [N] between latents z0 and z1 [N, L], and of labels [N]."""


def draw_along(generator: nn.Module, space: str, name: str) -> Draw:
    """Draws images of places on paths through a space of latents.

    Args:
        space: "z": along arcs, as normal latents lie near a sphere. "w": along lines from f(z0) to f(z1), f being the
            mapping network.
        name: of the generator, for errors.

    Raises:
        UsageError: the space is w, and the generator has no mapping network.
    """
    if space == "z":
        return lambda z0, z1, t, labels: generator(arc(z0, z1, t), *(() if labels is None else (labels,)))
    mapping, count = getattr(generator, "mapping", None), style_count(generator)
    if mapping is None or not count:
        raise UsageError(f"ppl-w is of the styles of a mapping network, and the generator of {name} has none")

    def draw(z0: Tensor, z1: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        w = torch.lerp(mapping(z0, labels), mapping(z1, labels), t[:, None])
        return generator.synthesis(w[:, None].expand(-1, count, -1))

    return draw


def arc(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points on the great arcs from a to b, both [N, L], at the fractions t [N] → [N, L]; lengths go linearly."""
    length_a, length_b = (each.norm(dim=1, keepdim=True) for each in (a, b))  # [N, L] → [N, 1]
    unit_a, unit_b = a / length_a, b / length_b
    cosine = (unit_a * unit_b).sum(1, keepdim=True).clamp(-1, 1)
    across = unit_b - cosine * unit_a
    across = across / across.norm(dim=1, keepdim=True).clamp_min(1e-12)
    angle = t[:, None] * cosine.acos()
    return (angle.cos() * unit_a + angle.sin() * across) * torch.lerp(length_a, length_b, t[:, None])


@torch.no_grad()
def measure_paths(
    generator: nn.Module,
    names: Sequence[str],
    count: int,
    perceptual: Perceptual,
    *,
    seed: int,
    labels: Tensor | None,
    device: torch.device,
    of: str,
) -> dict[str, Any]:
    """The path lengths of these names, each of so many paths, all in float32.

    Args:
        generator: whose noise, if it has any, stays the same.
        labels: of the paths, int64 [count], where the generator takes them.
        of: the generator's name, for errors.

    Returns:
        Plain types: ``metrics`` and ``deviations``, which are standard errors, by names that name the features;
        ``ppl_paths``, how many there are, ``ppl_epsilon`` and ``ppl_features``.
    """
    draws = {name: draw_along(generator, PATHS[name][0], of) for name in names}
    z0, z1 = (latents(count, generator.latent_dim, stream_seed(seed, f"paths {end}")) for end in ("from", "to"))
    places = torch.rand(count, generator=torch.Generator().manual_seed(stream_seed(seed, "paths at")))
    batch = min(max(PIXELS // generator.resolution**2, 1), 64)
    values: dict[str, float] = {}
    errors: dict[str, float] = {}
    for name, draw in draws.items():
        metric, whole = PerceptualPathLength(), PATHS[name][1]
        for part in tqdm(torch.arange(count).split(batch), desc=name, delay=3, leave=False, disable=None):
            a, b, t = z0[part].to(device), z1[part].to(device), (places[part] * whole).to(device)
            given = None if labels is None else labels[part].to(device)
            features = [perceptual.embed(draw(a, b, at, given).float()) for at in (t, t + EPSILON)]
            metric.update(*features)
        key = qualified(name, perceptual.label)
        values[key], error, _ = metric.compute()
        if not math.isnan(error):  # of a single path there is none
            errors[key] = error
    about = {"ppl_paths": count, "ppl_epsilon": EPSILON, "ppl_features": perceptual.description}
    return {"metrics": values, "deviations": errors, **about}
