from __future__ import annotations

import torch
from emulated import Outputs, Run, like, widened
from families import _averages_of
from torch import Tensor

STEP = 3.0


def historical_distance(run: Run, inputs: tuple[Tensor, ...], g: Tensor, v: tuple[Tensor, ...]) -> Outputs:
    parameters, averages, total = list(inputs), _averages_of(inputs), like(g).double()
    sizes = torch.tensor([p.numel() for p in parameters])
    options = (sizes, len(parameters), False, STEP)
    gradients = [like(p) for p in parameters]
    (distance,) = run("historical_distance", parameters, averages, total, *options)
    first = run("historical_distance_backward", g.double(), parameters, averages, gradients, *options)
    d_g, *second = run(
        "historical_distance_double_backward", list(v), g.double(), parameters, averages, total, gradients, *options
    )
    # Averages of the parameters' type and wider ones.
    for means, wide in ((averages, False), ([widened(a) for a in averages], parameters[0].element_size() < 4)):
        moved = run("historical_update", parameters, means, [like(m) for m in means], sizes, len(means), wide, STEP)
        for parameter, mean, result in zip(parameters, means, moved, strict=True):
            exact = mean.double() + (parameter.double() - mean.double()) / STEP
            assert (result.double() - exact).abs().max() <= 2 * torch.finfo(mean.dtype).eps * exact.abs().max()
    return [distance, *first, d_g, *second]


RUNS = {"historical_distance": historical_distance}
