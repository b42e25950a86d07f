from __future__ import annotations

from functools import partial

import torch
from emulated import Outputs, Run, like, wide_like, widened
from families import FILTERED_LRELU
from torch import Tensor

from gan_ops._resampling import filter_size, four_sides


def filtered_lrelu(name: str, run: Run, inputs: tuple[Tensor, ...], g: Tensor, v: tuple[Tensor, ...]) -> Outputs:
    options = FILTERED_LRELU[name]
    x = inputs[0]
    bias, v_bias = (widened(t[1]) if len(t) > 1 else None for t in (inputs, v))
    wide = widened(x).dtype
    given = [options.get(name) for name in ("up_filter", "down_filter")]
    filters = [torch.ones(1, dtype=wide) if f is None else f.to(wide).contiguous() for f in given]
    up, down = options.get("up", 1), options.get("down", 1)
    of_filters = [n for f in filters for n in (*filter_size(f), int(f.dim() == 1))]
    sizes = (*x.shape, *of_filters, up, down, *four_sides(options.get("padding", 0)))
    flags = (int(run.layout(x)[2] == 1 and run.channels_last), int(options.get("flip", False)))
    limit = -1.0 if options.get("clamp") is None else options["clamp"]
    numbers = (options.get("gain", 2**0.5), options.get("slope", 0.2), limit)

    rows, columns = ((out - 1) * down + k for out, k in zip(g.shape[2:], filter_size(filters[1]), strict=True))
    planes = -(-x.shape[0] * x.shape[1] // 16) * 16
    codes = torch.empty(planes, rows, -(-columns // 4), dtype=torch.uint8, device="meta")
    codes, y = run("filtered_lrelu", x, bias, *filters, codes, None, like(g), None, *sizes, *flags, 0, *numbers)
    (unrecorded,) = run("filtered_lrelu", x, bias, *filters, None, None, like(g), None, *sizes, *flags, 0, *numbers)
    assert y.equal(unrecorded), "result 0 depends on whether codes are asked for, or on unwritten memory"
    of_bias = None if bias is None else wide_like(bias)
    backward = run("filtered_lrelu", g, None, *filters, None, codes, like(x), of_bias, *sizes, *flags, 1, *numbers)
    (d_g,) = run("filtered_lrelu", v[0], v_bias, *filters, None, codes, like(g), None, *sizes, *flags, 0, *numbers)
    return [y, *backward, d_g, *[None] * len(inputs)]  # the second derivatives to the inputs are zero


RUNS = {name: partial(filtered_lrelu, name) for name in FILTERED_LRELU}
