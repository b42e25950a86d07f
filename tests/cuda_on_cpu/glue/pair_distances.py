from __future__ import annotations

from functools import partial

from emulated import Outputs, Run, like
from torch import Tensor

METRICS = ["l1", "l2", "squared"]  # as in csrc/math/pair_distances.h


def pair_distances(
    metric: str, run: Run, inputs: tuple[Tensor, Tensor], g: Tensor, v: tuple[Tensor, Tensor]
) -> Outputs:
    x, y = inputs
    options = (len(x), len(y), x.shape[1], METRICS.index(metric))
    (distance,) = run("pair_distances", x, y, like(g), *options)
    root = distance if metric == "l2" else None
    first = run("pair_distances_backward", g, x, y, root, like(x), like(y), *options)
    # Each gradient is the same where the other is not wanted.
    (d_x,) = run("pair_distances_backward", g, x, y, root, like(x), None, *options)
    (d_y,) = run("pair_distances_backward", g, x, y, root, None, like(y), *options)
    assert all(alone.equal(both) for alone, both in zip((d_x, d_y), first, strict=True))
    curved = [like(x), like(y)] if metric != "l1" else [None, None]
    d_g, *second = run("pair_distances_double_backward", *v, g, x, y, root, like(g), *curved, *options)
    return [distance, *first, d_g, *(second or [None, None])]


RUNS = {f"pair_distances(metric={metric})": partial(pair_distances, metric) for metric in METRICS}
