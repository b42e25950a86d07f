from __future__ import annotations

import math
from functools import partial

import torch
from emulated import Outputs, Run, like, wide_like, widened
from torch import Tensor

EPS = 1e-2  # as in families.py


def virtual_batch_norm(
    affine: bool, reference_size: float, run: Run, inputs: tuple[Tensor, ...], g: Tensor, v: tuple[Tensor, ...]
) -> Outputs:
    x = inputs[0]
    mean, var, *given = (widened(t) for t in inputs[1:])
    weight, bias = given if affine else (None, None)
    outer, channels, inner = run.layout(x)
    layout, own = (len(x), channels, outer * inner // len(x), inner == 1), 1 / (reference_size + 1)
    of_rows, of_channels = wide_like(x.flatten(2)[..., 0] if x.dim() > 2 else x), like(mean)

    y, *saved = run("virtual_batch_norm", x, mean, var, weight, bias, like(x), of_rows, of_rows, *layout, own, EPS)
    saved = [*saved, mean, weight]
    d_x, *of_parameters = run("virtual_batch_norm_backward", g, x, *saved, like(x), *[of_channels] * 4, *layout, own)
    (d_x_alone,) = run("virtual_batch_norm_backward", g, x, *saved, like(x), *[None] * 4, *layout, own)
    alone = run("virtual_batch_norm_backward", g, x, *saved, None, *[of_channels] * 4, *layout, own)
    same = d_x.equal(d_x_alone) and all(a.equal(b) for a, b in zip(of_parameters, alone, strict=True))
    assert same, "gradients depend on which of them are asked for, or on unwritten memory"
    d_weight, d_bias, d_mean, d_var = of_parameters

    v_mean, v_var, *v_given = (widened(t) for t in v[1:])
    v_weight, v_bias = v_given if affine else (None, None)
    cotangents = [v[0], v_weight, v_bias, v_mean, v_var]
    outputs = [like(g), like(x), *[of_channels] * 3]

    def double_backward(cotangents: list[Tensor | None]) -> list[Tensor]:
        return run("virtual_batch_norm_double_backward", *cotangents, g, x, *saved, *outputs, *layout, own)

    d_g, d_x2, d_weight2, d_mean2, d_var2 = double_backward(cotangents)
    only_var = [torch.zeros_like(v[0]), *[torch.zeros_like(mean)] * 3, v_var]
    pairs = zip(double_backward(only_var), double_backward([None] * 4 + [v_var]), strict=True)
    assert all(a.equal(b) for a, b in pairs), "an absent cotangent is not a cotangent of zeros"
    first = [d_x, d_mean, d_var, *([d_weight, d_bias] if affine else [])]
    second = [d_g, d_x2, d_mean2, d_var2, *([d_weight2, None] if affine else [])]
    return [y, *first, *second]


RUNS = {
    f"virtual_batch_norm(affine={affine}, reference_size={size})": partial(virtual_batch_norm, affine, size)
    for affine, size in [(True, 3), (False, 0), (True, math.inf)]
}
