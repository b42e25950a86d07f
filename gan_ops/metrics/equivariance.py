"""How exactly a generator's images move and turn with its input: EQ-T and EQ-R (Karras et al. 2021, arXiv 2106.12423,
appendix E), of images that are moved and turned here.

Points are (x, y), x to the right and y down, in pixels from the middle of an image.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_ops.metrics._features import check_count
from gan_ops.ops import filter2d, upfirdn2d

PEAK = 2.0
"""From the darkest to the lightest value of images in [−1, 1]."""
LOBES = 3
"""Of Lanczos' window, on each side."""
UP = 4
"""Samples between pixels among which rotated images are interpolated linearly."""
REACH = 64
"""Pixels at which ideal filters, which have no end, are cut off before they are convolved."""


def signal_to_noise(expected: Tensor, made: Tensor, mask: Tensor) -> float:
    """10·log₁₀(2²/E[(expected − made)²]) in dB, where the mask is 1 (equations 14 and 15, with images in [−1, 1]).

    Args:
        expected, made: [N, C, H, W].
        mask: [H, W], 0 or 1.

    Returns:
        Infinity where both are the same.

    Raises:
        ValueError: shapes differ, or the mask is 0 everywhere.
    """
    ratio = SignalToNoise()
    ratio.update(expected, made, mask)
    return ratio.compute()


class SignalToNoise:
    """:func:`signal_to_noise` of batches, each with a mask of its own; the mean is over all pixels of all batches."""

    def __init__(self) -> None:
        self.reset()

    def update(self, expected: Tensor, made: Tensor, mask: Tensor) -> None:
        if expected.dim() != 4 or expected.shape != made.shape or mask.shape != expected.shape[2:]:
            shapes = " and ".join(str(list(t.shape)) for t in (expected, made, mask))
            raise ValueError(f"expected and made must be [N, C, H, W] and mask [H, W], but their shapes are {shapes}")
        square = (expected.double() - made.double()).square() * mask.double()
        self._sum += square.sum().item()
        self.count += len(expected) * expected.shape[1] * int(mask.sum())

    def compute(self) -> float:
        check_count("signal_to_noise", "pixels", 1, self.count)
        error = self._sum / self.count
        return 10 * math.log10(PEAK**2 / error) if error else math.inf

    def reset(self) -> None:
        """Forgets everything."""
        self._sum, self.count = 0.0, 0


def shifted(x: Tensor, right: float, down: float) -> tuple[Tensor, Tensor]:
    """Images [N, C, H, W] moved by pixels, whole or not, and where the result depends on no pixel outside: [H, W].

    Between pixels they are interpolated by Lanczos' filter of 2·3 taps on each axis (appendix E.2).
    """
    height, width = x.shape[2:]
    of_rows, valid_rows = _interpolation(height, down, x)
    of_columns, valid_columns = _interpolation(width, right, x)
    moved = of_rows @ x @ of_columns.T  # [H, H] @ [N, C, H, W] @ [W, W]
    return moved, torch.outer(valid_rows, valid_columns)


def _interpolation(size: int, shift: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """The matrix [size, size] that moves samples along an axis, and which of them depend on none outside."""
    places = torch.arange(size, dtype=torch.float64)
    if float(shift).is_integer():
        matrix = (places[:, None] - shift == places).double()
        valid = (places - shift >= 0) & (places - shift < size)
    else:
        distance = places[:, None] - shift - places
        matrix = torch.sinc(distance) * _lanczos(distance)
        # All six taps have the same sum, but near the borders some are missing.
        taps = torch.arange(1 - LOBES, LOBES + 1) - (shift - math.floor(shift))
        matrix = matrix / (torch.sinc(taps.double()) * _lanczos(taps.double())).sum()
        first, last = torch.floor(places - shift - LOBES) + 1, torch.ceil(places - shift + LOBES) - 1
        valid = (first >= 0) & (last < size)
    return matrix.to(like), valid.to(like)


def turned(x: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """Square images [N, C, R, R] turned counter-clockwise by an angle in radians, and where the result depends on no
    pixel outside: [R, R] (appendix E.3).

    The image that the pixels stand for is turned and filtered so that the pixels' grid can hold it.
    """
    size = _side(x)
    filter = turning_filter(angle, UP).to(x)
    half, reach = len(filter) // 2, 2 * LOBES
    # Between pixels: sample i lies at the pixel (i − half)/UP.
    fine = upfirdn2d(x, filter, UP, padding=2 * half, gain=UP**2)
    places = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    points = torch.stack(torch.meshgrid(places, places, indexing="xy"), 2)  # [R, R, 2]
    origins = points @ rotation(-angle).T + (size - 1) / 2  # pixels that they come from
    valid = ((origins >= reach) & (origins <= size - 1 - reach)).all(2)
    grid = (origins * UP + half) * (2 / (fine.shape[-1] - 1)) - 1
    grid = grid.to(x).expand(len(x), -1, -1, -1)
    return F.grid_sample(fine, grid, mode="bilinear", padding_mode="zeros", align_corners=True), valid.to(x)


def as_if_turned(x: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """Images that show a turned scene, without the frequencies that :func:`turned` takes away, and where the result
    depends on no pixel outside: [R, R]. Both are then comparable (the pseudo-rotation of appendix E.3)."""
    size, reach = _side(x), 2 * LOBES
    valid = torch.zeros(size, size).to(x)
    valid[reach - 1 : size - reach + 1, reach - 1 : size - reach + 1] = 1
    return filter2d(x, turning_filter(-angle, 1).to(x)), valid


def rotation(angle: float) -> Tensor:
    """The matrix [2, 2] that turns points counter-clockwise, as one sees it, by an angle in radians; float64."""
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.tensor([[cos, sin], [-sin, cos]], dtype=torch.float64)


def turning_filter(angle: float, up: int) -> Tensor:
    """What interpolates an image to be turned: the convolution of two ideal low-pass filters, one along the image's
    axes and one along those that it is turned to, times that of two Lanczos windows (appendix E.3, equations 24, 25).

    Args:
        up: taps for each pixel.

    Returns:
        float64 [12·up − 1, 12·up − 1], whose taps that meet pixels at the same time have the sum 1/up².
    """
    most = REACH * up - 1
    t = torch.arange(-most, most + 1, dtype=torch.float64) / up
    here = torch.stack(torch.meshgrid(t, t, indexing="xy"), 2)
    there = here @ rotation(angle).T
    ideal, window = (
        _convolved(*(function(points).prod(2) for points in (here, there))) for function in (torch.sinc, _lanczos)
    )
    inner = 2 * LOBES * up - 1
    middle = slice(most - inner, most + inner + 1)
    filter = (ideal * window)[middle, middle]
    phases = F.pad(filter, (1, 0, 1, 0)).unflatten(1, (-1, up)).unflatten(0, (-1, up))  # [12, up, 12, up]
    phases = phases / (phases.sum((0, 2), keepdim=True) * up**2)
    return phases.flatten(2).flatten(0, 1)[1:, 1:]


def _convolved(a: Tensor, b: Tensor) -> Tensor:
    """Of arrays of an odd size with their origin in the middle, which are taken to be periodic; of that size."""
    product = torch.fft.rfft2(torch.fft.ifftshift(a)) * torch.fft.rfft2(torch.fft.ifftshift(b))
    return torch.fft.fftshift(torch.fft.irfft2(product, s=a.shape))


def _lanczos(t: Tensor) -> Tensor:
    return torch.sinc(t / LOBES) * (t.abs() < LOBES)


def _side(x: Tensor) -> int:
    """Of square images large enough to have valid pixels."""
    if x.dim() != 4 or x.shape[2] != x.shape[3]:
        raise ValueError(f"x must be [N, C, R, R], but its shape is {list(x.shape)}")
    if x.shape[2] <= 4 * LOBES:
        raise ValueError(f"x must have more than {4 * LOBES} pixels on a side to be turned, but has {x.shape[2]}")
    return x.shape[2]
