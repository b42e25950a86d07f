from __future__ import annotations

from functools import partial

from emulated import Outputs, Run, like
from torch import Tensor


def minibatch_discrimination(
    include_self: bool, run: Run, inputs: tuple[Tensor], g: Tensor, v: tuple[Tensor]
) -> Outputs:
    (m,) = inputs
    (out,) = run("minibatch_discrimination", m, like(g), *m.shape, include_self)
    (d_m,) = run("minibatch_discrimination_backward", g, m, like(m), *m.shape)
    return [out, d_m, *run("minibatch_discrimination_double_backward", v[0], g, m, like(g), like(m), *m.shape)]


RUNS = {
    f"minibatch_discrimination(include_self={include_self})": partial(minibatch_discrimination, include_self)
    for include_self in (True, False)
}
