from __future__ import annotations

from emulated import Outputs, Run, like, wide_like, widened
from torch import Tensor


def interpolate(run: Run, inputs: tuple[Tensor, Tensor, Tensor], g: Tensor, v: tuple[Tensor, ...]) -> Outputs:
    real, fake, weight = inputs
    size = (len(real), real[0].numel())
    (y,) = run("interpolate", real, fake, widened(weight), like(real), *size)
    d_real, d_fake = run("interpolate_backward", g, widened(weight), like(real), like(fake), *size)
    # One alone, the other not wanted.
    (d_real_alone,) = run("interpolate_backward", g, widened(weight), like(real), None, *size)
    (d_fake_alone,) = run("interpolate_backward", g, widened(weight), None, like(fake), *size)
    assert d_real.equal(d_real_alone) and d_fake.equal(d_fake_alone)
    (d_weight,) = run("interpolate_weight_grad", g, real, fake, wide_like(weight), *size)
    return [y, d_real, d_fake, d_weight, None, None, None, None]  # the second derivatives are torch's


RUNS = {"interpolate": interpolate}
