from __future__ import annotations

from functools import partial

from emulated import Outputs, Run, like, over_pixels, wide_like, widened
from families import SCALE
from torch import Tensor


def bias_act(scale: float, run: Run, inputs: tuple[Tensor, Tensor], g: Tensor, v: tuple[Tensor, Tensor]) -> Outputs:
    x, b = inputs
    options = (*run.layout(x), 0.2, 1.5, scale)
    (y,) = run("bias_act", x, widened(b), like(x), *options)
    d_x, d_b = run("bias_act_backward", g, y, like(x), wide_like(b), *options)
    of_both = (v[0] + over_pixels(widened(v[1]) / scale, x)).to(x.dtype)
    (d_g,) = run("bias_act_backward", of_both, y, like(g), None, *options)
    return [y, d_x, d_b.to(b.dtype), d_g, None, None]


def bias_act_without_bias(run: Run, inputs: tuple[Tensor], g: Tensor, v: tuple[Tensor]) -> Outputs:
    (x,) = inputs
    options = (*run.layout(x), 0.0, 1.5, 1.0)
    (y,) = run("bias_act", x, None, like(x), *options)
    (d_x,) = run("bias_act_backward", g, y, like(x), None, *options)
    (d_g,) = run("bias_act_backward", v[0], y, like(g), None, *options)
    return [y, d_x, d_g, None]


RUNS = {
    "bias_act": partial(bias_act, 1.0),
    "bias_act scaled": partial(bias_act, SCALE),
    "bias_act without bias": bias_act_without_bias,
}
