from __future__ import annotations

from functools import partial

from emulated import Outputs, Run, like
from torch import Tensor

EPS = 1e-8


def minibatch_stddev(
    group_size: int | None, features: int, run: Run, inputs: tuple[Tensor], g: Tensor, v: tuple[Tensor]
) -> Outputs:
    (x,) = inputs
    n, group = len(x), min(group_size or len(x), len(x))
    outer, channels, inner = run.layout(x)
    # Channels adjacent: a row a pixel. Else a row a sample.
    rows, width, plane = (outer // n, channels, 1) if inner == 1 else (1, channels * inner, inner)
    options = (group, n // group, features, rows, width // features, plane, EPS)
    (out,) = run("minibatch_stddev", x, like(g), *options)
    (d_x,) = run("minibatch_stddev_backward", g, x, like(x), *options)
    return [out, d_x, *run("minibatch_stddev_double_backward", v[0], g, x, like(g), like(x), *options)]


RUNS = {
    f"minibatch_stddev(group_size={group_size}, num_channels={features})": partial(
        minibatch_stddev, group_size, features
    )
    for group_size, features in [(4, 1), (None, 1), (2, 3), (1, 1), (3, 2), (5, 1)]
}
