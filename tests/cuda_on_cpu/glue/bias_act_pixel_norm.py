from __future__ import annotations

from functools import partial

import torch
from emulated import Outputs, Run, like, wide_like, widened
from families import SCALE
from torch import Tensor


def bias_act_pixel_norm(
    eps: float, scale: float, run: Run, inputs: tuple[Tensor, Tensor], g: Tensor, v: tuple[Tensor, Tensor]
) -> Outputs:
    x, bias, layout, slope = inputs[0], widened(inputs[1]), run.layout(inputs[0]), 0.2
    y, r = run("bias_act_pixel_norm", x, bias, like(x), wide_like(x[:, :1]), *layout, slope, eps, scale)
    saved, options = (x, bias, r), (*layout, slope, scale)
    d_x, d_bias = run("bias_act_pixel_norm_backward", g, *saved, like(x), like(bias), *options)
    outputs = (like(g), like(x), like(bias))
    second = run("bias_act_pixel_norm_double_backward", v[0], widened(v[1]), g, *saved, *outputs, *options)
    return [y, d_x, d_bias, *second]


def bias_act_pixel_norm_without_bias(run: Run, inputs: tuple[Tensor], g: Tensor, v: tuple[Tensor]) -> Outputs:
    (x,) = inputs
    layout, slope, eps, scale = run.layout(x), 0.0, 0.1, 1.0
    zeros = torch.zeros_like(widened(x.flatten(2).sum((0, 2)) if x.dim() > 2 else x.sum(0)))  # [C]
    y, r = run("bias_act_pixel_norm", x, zeros, like(x), wide_like(x[:, :1]), *layout, slope, eps, scale)
    saved, options = (x, zeros, r), (*layout, slope, scale)
    (d_x,) = run("bias_act_pixel_norm_backward", g, *saved, like(x), None, *options)
    outputs = (like(g), like(x), None)
    return [y, d_x, *run("bias_act_pixel_norm_double_backward", v[0], zeros, g, *saved, *outputs, *options)]


RUNS = {
    "bias_act_pixel_norm": partial(bias_act_pixel_norm, 1e-8, 1.0),
    "bias_act_pixel_norm scaled": partial(bias_act_pixel_norm, 0.1, SCALE),
    "bias_act_pixel_norm without bias": bias_act_pixel_norm_without_bias,
}
