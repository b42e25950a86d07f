from __future__ import annotations

from functools import partial

from emulated import Outputs, Run, widened
from families import UPFIRDN2D, Resampling
from torch import Tensor

from gan_ops._resampling import both_axes, filter_size, four_sides, resampled_size


def call(run: Run, x: Tensor, how: Resampling) -> Tensor:
    (up_x, up_y), (down_x, down_y) = both_axes(how.up), both_axes(how.down)
    x0, _, y0, _ = four_sides(how.padding)
    (taps_y, taps_x), (height, width) = filter_size(how.filter), x.shape[2:]
    out_y, out_x = resampled_size([height, width], [taps_y, taps_x], how.up, how.down, how.padding)
    n, c = x.shape[:2]
    (y,) = run(
        "upfirdn2d",
        x,
        None if how.filter is None else how.filter.to(widened(x)),
        x.new_empty(n, c, out_y, out_x, device="meta"),
        *((n, c) if run.channels_last else (n * c, 1)),
        *(width, out_x, taps_x, up_x, down_x, x0),
        *(height, out_y, taps_y, up_y, down_y, y0),
        int(how.filter is not None and how.filter.dim() == 1),
        int(how.flip),
        float(how.gain),
    )
    return y


def upfirdn2d(how: Resampling, run: Run, inputs: tuple[Tensor], g: Tensor, v: tuple[Tensor]) -> Outputs:
    (x,) = inputs
    return [call(run, x, how), call(run, g, how.adjoint(x, g)), call(run, *v, how), None]


RUNS = {f"upfirdn2d({name})": partial(upfirdn2d, how) for name, how in UPFIRDN2D.items()}
