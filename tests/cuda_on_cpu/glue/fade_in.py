from __future__ import annotations

from functools import partial

import torch
from emulated import Outputs, Run, like, widened
from torch import Tensor


def fade_in(
    fraction: float | Tensor, run: Run, inputs: tuple[Tensor, Tensor], g: Tensor, v: tuple[Tensor, Tensor]
) -> Outputs:
    new, old = inputs
    n, c, height, width = old.shape
    layout = (n * height, width, c) if run.channels_last else (n * c * height, width, 1)
    on_device = fraction.to(widened(new).dtype) if isinstance(fraction, Tensor) else None
    options = (on_device, 0.0 if isinstance(fraction, Tensor) else fraction, *layout)
    (out,) = run("fade_in", new, old, like(new), *options)
    d_new, d_old = run("fade_in_backward", g, like(new), like(old), *options)
    (d_g,) = run("fade_in", *v, like(g), *options)
    return [out, d_new, d_old, d_g, None, None]


RUNS = {f"fade_in(fraction={fraction})": partial(fade_in, fraction) for fraction in (0.3, torch.tensor(0.7))}
