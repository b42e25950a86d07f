from __future__ import annotations

from functools import partial

from emulated import Outputs, Run, like
from torch import Tensor


def gradient_penalty(
    target: float, one_sided: bool, run: Run, inputs: tuple[Tensor], g: Tensor, v: tuple[Tensor]
) -> Outputs:
    (x,) = inputs
    options = (len(x), x[0].numel(), target, one_sided)
    penalty, norm = run("gradient_penalty", x, like(g), like(g).double(), *options)
    (d_x,) = run("gradient_penalty_backward", g, x, norm, like(x), *options)
    return [penalty, d_x, *run("gradient_penalty_double_backward", v[0], g, x, norm, like(g), like(x), *options)]


RUNS = {
    f"gradient_penalty(target={target:g}, one_sided={one_sided})": partial(gradient_penalty, target, one_sided)
    for target, one_sided in [(1.0, False), (17.0, True), (0.0, False)]
}
