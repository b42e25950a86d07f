"""From images back to the styles and the noise that a generator makes them of (Karras et al. 2020, appendix D)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from models.parts.noise import noise_maps
from models.parts.styles import style_count
from train.base.errors import UsageError
from train.base.seeds import stream_seed
from train.measure.perceptual import Perceptual
from train.measure.pictures import latents

SAMPLES = 10_000
"""Styles whose mean the search begins with."""
BATCH = 500
RATE = 0.1
"""The largest learning rate of Adam, whose betas are torch's."""
RISES, FALLS = 0.05, 0.25
"""Parts of the steps in which the learning rate rises in a straight line at first, and falls by a cosine at last."""
NOISE, NOISY = 0.05, 0.75
"""What is added to w at first, in deviations of w, and the part of the steps in which it falls to 0, as a square."""
REGULARISATION = 1e5
"""Weight of the correlation of neighbours in the noise."""
SHOWN = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Parts of the steps after which images are kept."""


@dataclass(frozen=True)
class Projection:
    """What was found for images [N, C, R, R].

    Attributes:
        w: [N, w_dim], for all layers.
        noise: [N, noise_values]; None where the generator takes none.
        images: float32 [N, C, R, R], made of these.
        distances: [N], of these to the targets.
        of_mean: [N], of the images that the search begins with, those of the mean of w.
        strip: images after the parts of the steps in ``SHOWN``, [N, C, R, R] each.
    """

    w: Tensor
    noise: Tensor | None
    images: Tensor
    distances: Tensor
    of_mean: Tensor
    strip: Sequence[Tensor]


def check_styled(generator: nn.Module, name: str) -> None:
    """UsageError if images cannot be projected to a generator."""
    if not style_count(generator):
        raise UsageError(f"the generator of {name} has no mapping network: there is no w to project an image to")


def project(
    generator: nn.Module,
    targets: Tensor,
    perceptual: Perceptual,
    labels: Tensor | None = None,
    *,
    steps: int = 1000,
    seed: int = 0,
) -> Projection:
    """One w and one noise for each of the images [N, C, R, R] in [−1, 1], which are searched for side by side.

    Args:
        generator: has styles, see :func:`models.parts.styles.style_count`; in evaluation, without gradients.
        perceptual: by what images are alike.
        labels: of the images, int64 [N], where the generator takes them.
        seed: of the styles whose mean is taken, and of all noise.
    """
    device, count = targets.device, style_count(generator)
    heights: Sequence[int] = getattr(generator, "noise_heights", ())
    random = torch.Generator().manual_seed(stream_seed(seed, "projection"))
    mean, deviation = mean_styles(generator, labels, len(targets), seed)  # [N, W], [N, 1]
    w = mean.clone().requires_grad_()
    noise = None
    if heights:
        drawn = torch.randn(len(targets), sum(height**2 for height in heights), generator=random)
        noise = normalised(drawn.to(device), heights).requires_grad_()

    def images(styles: Tensor, noise: Tensor | None) -> Tensor:
        given = () if noise is None else (noise,)
        return generator.synthesis(styles[:, None].expand(-1, count, -1), *given).float()

    with torch.no_grad():
        wanted = perceptual.embed(targets)  # [N, D]
    optimizer = torch.optim.Adam([w] if noise is None else [w, noise], lr=RATE)
    shown = {round(part * steps) for part in SHOWN}
    strip = []
    for step in tqdm(range(steps), desc="project", unit="step", delay=3, leave=False, disable=None):
        if step in shown:
            strip.append(images(w.detach(), None if noise is None else noise.detach()))
        optimizer.param_groups[0]["lr"] = RATE * learning_rate(step / steps)
        added = torch.randn(w.shape, generator=random).to(device) * deviation * (NOISE * style_noise(step / steps))
        found = perceptual.embed(images(w + added, noise))
        loss = (found - wanted).square().sum()
        if noise is not None:
            loss = loss + REGULARISATION * correlation(noise, heights).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if noise is not None:
            noise.data = normalised(noise.data, heights)
    with torch.no_grad():
        w = w.detach()
        noise = None if noise is None else noise.detach()
        last = images(w, noise)
        distances, of_mean = (perceptual.distance(each, targets) for each in (last, strip[0]))
    return Projection(w, noise, last, distances, of_mean, (*strip, last))


@torch.no_grad()
def mean_styles(generator: nn.Module, labels: Tensor | None, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """The mean of w for each of so many images [N, W], and the root of its mean squared distance from it [N, 1].

    Both are of ``SAMPLES`` latents, with the image's label where there are labels.
    """
    device = next(generator.parameters()).device
    z = latents(SAMPLES, generator.latent_dim, stream_seed(seed, "mean of w")).to(device)

    def of(label: int | None) -> tuple[Tensor, Tensor]:
        given = () if label is None else (torch.full((BATCH,), label, device=device),)
        w = torch.cat([generator.mapping(part, *(some[: len(part)] for some in given)) for part in z.split(BATCH)])
        mean = w.mean(0)  # [SAMPLES, W] → [W]
        return mean, (w - mean).square().sum(1).mean().sqrt()[None]

    if labels is None:
        mean, deviation = of(None)
        return mean.expand(count, -1), deviation.expand(count, -1)
    each = {label: of(label) for label in sorted(set(labels.tolist()))}
    means, deviations = zip(*(each[label] for label in labels.tolist()), strict=True)
    return torch.stack(means), torch.stack(deviations)


def learning_rate(t: float) -> float:
    """Its part after a part t of the steps."""
    falling = min((1 - t) / FALLS, 1.0)
    return (0.5 - 0.5 * math.cos(math.pi * falling)) * min(t / RISES, 1.0)


def style_noise(t: float) -> float:
    """The part of the noise added to w after a part t of the steps."""
    return max(1 - t / NOISY, 0.0) ** 2


def correlation(noise: Tensor, heights: Sequence[int]) -> Tensor:
    """Σ over maps and their sizes of (mean n(x, y)·n(x − 1, y))² + (mean n(x, y)·n(x, y − 1))², of noise [N, values]:
    [N].

    Sizes are a map's own and, halved again and again, all down to 8×8; halves keep the variance of white noise. Without
    this the noise would carry the image.
    """
    total = noise.new_zeros(len(noise))
    for each in noise_maps(noise, heights):
        while True:
            for axis in (2, 3):
                total = total + (each * each.roll(1, axis)).mean((1, 2, 3)).square()  # [N, 1, H, W] → [N]
            if each.shape[-1] <= 8:
                break
            each = 2 * F.avg_pool2d(each, 2)
    return total


@torch.no_grad()
def normalised(noise: Tensor, heights: Sequence[int]) -> Tensor:
    """Noise [N, values] with mean 0 and mean square 1 in each map."""
    parts = []
    for each in noise_maps(noise, heights):
        centred = each - each.mean((1, 2, 3), keepdim=True)  # [N, 1, H, W] → [N, 1, 1, 1]
        parts.append((centred * centred.square().mean((1, 2, 3), keepdim=True).rsqrt()).flatten(1))
    return torch.cat(parts, 1)
