"""Which frequencies the layers of StyleGAN3 keep, and on which grids (Karras et al. 2021, section 3.2 and figure 4b).

Cutoffs and stopbands grow geometrically from the first layer to the last but some, which are sampled critically.
Frequencies are in cycles per side of the picture, sampling rates in samples per side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from models.parts.lowpass import lowpass

FIRST_CUTOFF = 2.0
FIRST_STOPBAND = 2**2.1
LAST_STOPBAND = 2**0.3
"""As a multiple of the last cutoff."""
TAPS = 6
"""Of a filter, for each sample of the lower rate."""
OVERSAMPLING = 2
"""Nonlinearities act on a grid of this multiple of the higher rate of what a layer is given and gives."""


@dataclass(frozen=True)
class Band:
    """What a layer gives out.

    Attributes:
        cutoff: where its low-pass filters pass half.
        half_width: of their transition band.
        rate: sampling rate.
        size: height and width with the margins around the picture.
        critical: whether the rate is no higher than the cutoff needs, so that images may be sharp.
    """

    cutoff: float
    half_width: float
    rate: int
    size: int
    critical: bool

    @property
    def channels_at(self) -> float:
        """Frequencies up to the cutoff on an axis: by them the number of channels falls."""
        return 2 * self.cutoff


def bands(resolution: int, layers: int, critical: int, margin: int) -> list[Band]:
    """Those of the input, that are the first layer's too, … and of the last layer: ``layers`` + 1, of which the one
    before the last is drawn as the picture by the last.

    With i from 0 and e = min(i/(layers − critical), 1) the cutoff is 2·(R/4)^e, the stopband f_t is
    2^2.1·(R/2·2^0.3/2^2.1)^e, the rate 2^⌈log₂ min(2·f_t, R)⌉, and the half width max(f_t, rate/2) − cutoff.

    Args:
        resolution: R, of the picture: a power of two.
        layers: with a nonlinearity.
        critical: of these, the last ones, which have the picture's cutoff.
        margin: samples around the picture on each side, but for the last two.

    Raises:
        ValueError: there is no layer with a lower cutoff than the picture, or R is no power of two from 8 on.
    """
    if resolution < 8 or resolution & (resolution - 1):
        raise ValueError(f"resolution={resolution} is not a power of two of at least 8")
    if not 0 < critical < layers:
        raise ValueError(f"critical={critical} is not between 0 and layers={layers}")
    if margin < 0:
        raise ValueError(f"margin={margin} is below 0")
    last_cutoff = resolution / 2
    last_stopband = last_cutoff * LAST_STOPBAND
    made = []
    for i in range(layers + 1):
        part = min(i / (layers - critical), 1.0)
        cutoff = FIRST_CUTOFF * (last_cutoff / FIRST_CUTOFF) ** part
        stopband = FIRST_STOPBAND * (last_stopband / FIRST_STOPBAND) ** part
        # A rate that is a power of two but for rounding is one: at R = 256 that of i = 9 is.
        rate = 2 ** math.ceil(math.log2(min(2 * stopband, resolution)) - 1e-9)
        size = resolution if i >= layers - 1 else rate + 2 * margin
        made.append(Band(cutoff, max(stopband, rate / 2) - cutoff, rate, size, i >= layers - critical))
    return made


def passage(before: Band, after: Band, *, radial: bool) -> tuple[tuple[int, int], tuple[Tensor | None, Tensor | None]]:
    """From one band to another by way of a nonlinearity: the factors of enlargement and reduction, and their filters.

    Args:
        radial: whether the filter that reduces is alike in all directions.
    """
    rate = OVERSAMPLING * max(before.rate, after.rate)
    factors = rate // before.rate, rate // after.rate
    up, down = (TAPS * factor if factor > 1 else 1 for factor in factors)
    return factors, (
        lowpass(up, before.cutoff, 2 * before.half_width, rate),
        lowpass(down, after.cutoff, 2 * after.half_width, rate, radial=radial),
    )
