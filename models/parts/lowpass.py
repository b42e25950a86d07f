"""Low-pass filters with Kaiser windows, as StyleGAN3 designs them (Karras et al. 2021, arXiv 2106.12423, appendix C.1).

Frequencies are in cycles per unit of length, of which a picture has one side; a sampling rate is samples per unit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def attenuation(taps: int, width: float, rate: float) -> float:
    """Of the stopband, in dB, for a transition band of this width (Kaiser's estimate; Karras et al. 2021, eq. 6)."""
    return 2.285 * (taps - 1) * math.pi * width / (rate / 2) + 7.95


def kaiser_beta(attenuation: float) -> float:
    """The window's parameter for an attenuation in dB (Karras et al. 2021, eq. 7)."""
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    return 0.0


def lowpass(taps: int, cutoff: float, width: float, rate: float, *, radial: bool = False) -> Tensor | None:
    """A filter of sum 1 that keeps frequencies below ``cutoff``.

    An ideal filter's impulse response times Kaiser's window: along each axis sinc(2·cutoff·t); ``radial``, alike in all
    directions, J₁(2π·cutoff·r)/r, with r the distance from the middle.

    Args:
        taps: on an axis; 1 for no filter at all.
        cutoff: frequency at which half the amplitude passes; above 0.
        width: of the transition band about the cutoff.
        rate: of the samples that are filtered.

    Returns:
        float32 [taps], for both axes, or [taps, taps] if it is radial; None for one tap.

    Raises:
        ValueError: a value is out of range.
    """
    if taps < 1:
        raise ValueError(f"taps={taps} is not a positive number")
    for name, value in {"cutoff": cutoff, "width": width, "rate": rate}.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name}={value} is not a finite number above 0")
    if taps == 1:
        return None
    beta = kaiser_beta(attenuation(taps, width, rate))
    window = torch.kaiser_window(taps, periodic=False, beta=beta, dtype=torch.float64)
    t = (torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2) / rate
    if radial:
        filter = _disk(torch.hypot(t[:, None], t), cutoff) * torch.outer(window, window)
    else:
        filter = torch.sinc(2 * cutoff * t) * window
    return (filter / filter.sum()).float()


def _disk(r: Tensor, cutoff: float) -> Tensor:
    """J₁(2πcr)/(πcr), which is 1 at r = 0: the response of a filter whose pass band is a disk of this radius."""
    x = 2 * math.pi * cutoff * r
    return torch.where(x == 0, 1.0, 2 * torch.special.bessel_j1(x) / x.where(x != 0, torch.ones_like(x)))
