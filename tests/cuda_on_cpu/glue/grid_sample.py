from __future__ import annotations

import math
from functools import partial

import torch
from emulated import Outputs, Run, like
from families import SAMPLINGS, Sampling
from torch import Tensor

PADDINGS = ["zeros", "border", "reflection"]  # as in csrc/math/grid_sample.h


def flat(tensor: Tensor) -> Tensor:
    """A grid as its memory has it: Run would take its axes for channels."""
    return tensor.reshape(-1)


def grid_sample(how: Sampling, run: Run, inputs: tuple[Tensor, ...], g: Tensor, v: tuple[Tensor, ...]) -> Outputs:
    (x, grid), (v_x, v_grid) = inputs, v
    curved = how.mode == "bilinear"
    size = [*x.shape[:1:-1], 1][:3]
    points = math.prod(grid.shape[1:-1])
    options = (*x.shape[:2], points, how.axes, *size, int(run.channels_last))
    options = (*options, int(not curved), PADDINGS.index(how.padding_mode), int(how.align_corners))

    def gather(still, moving, moves, of_g, y, d_grid) -> list[Tensor]:
        return run("grid_sample_gather", still, moving, flat(grid), moves, of_g, y, d_grid, *options)

    def scatter(moves: Tensor | None) -> Tensor:
        (cells,) = run(
            "grid_sample_cells", flat(grid), torch.empty(len(x) * points, dtype=torch.int64, device="meta"), *options
        )
        ordered, order = cells.sort(stable=True)
        count = len(x) * math.prod(n + 1 for n in x.shape[2:])
        assert cells.min() >= 0 and cells.max() <= count
        starts = torch.searchsorted(ordered, torch.arange(count + 1))
        (d_x,) = run("grid_sample_scatter", g, flat(grid), moves, like(x), order, starts, *options)
        return d_x

    (y,) = gather(x, None, None, None, like(g), None)
    d_x = scatter(None)
    if not curved:
        (d_g,) = gather(v_x, None, None, None, like(g), None)
        return [y, d_x, None, d_g, None, None]
    (d_grid,) = gather(x, None, None, g, None, like(flat(grid)))
    moves = flat(v_grid)
    d_g, d_grid2 = gather(v_x, x, moves, g, like(g), like(flat(grid)))
    (alone,) = gather(v_x, x, moves, None, like(g), None)
    assert alone.equal(d_g), "d_g depends on whether d_grid is asked for"
    return [y, d_x, d_grid.view_as(grid), d_g, scatter(moves), d_grid2.view_as(grid)]


RUNS = {str(how): partial(grid_sample, how) for how in SAMPLINGS}
