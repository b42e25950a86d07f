"""Historical averaging: how far parameters are from the mean of all their past values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from gan_ops import reference
from gan_ops._checks import check_step
from gan_ops._dispatch import kernels_run, kernels_run_eagerly, reference_only


def historical_distance(parameters: Iterable[Tensor], averages: Iterable[Tensor], step: float | Tensor) -> Tensor:
    """Σ ‖θ − mean of θ[1..t]‖² over all parameters: Salimans et al. 2016, section 3.3.

    θ_t, the parameters as they are, counts in the mean, and gradients flow through it there too: to θ flows
    2(1 − 1/t)²(θ − average). A training step takes the distance into its loss and, after ``backward()`` and before
    the optimizer's step, calls :func:`historical_update_` with the same t::

        averages = [torch.empty_like(p) for p in model.parameters()]
        for t in range(1, steps + 1):
            loss = … + weight * gan_ops.historical_distance(model.parameters(), averages, t)
            loss.backward()
            gan_ops.historical_update_(model.parameters(), averages, t)
            optimizer.step()

    Args:
        parameters: tensors of any shapes and of float64, float32, float16 or bfloat16, on one device.
        averages: the means of θ[1..t−1], one tensor for each parameter, of its shape and of its type or float32. They
            are constants. At t = 1 their values do not matter.
        step: t, a number or a 0-d tensor on the CPU or on the parameters' device, whose value is not checked: nothing
            waits for the device.

    Returns:
        A scalar, float32 (float64 if any parameter is), 0 at t = 1. First and second derivatives are kernels too;
        higher ones run as plain torch.

    Raises:
        ValueError: step is below 1; the lists are empty or do not match in number, shapes or devices; averages or step
            require gradients.
        TypeError: a parameter or an average is of another type.
    """
    parameters, averages = list(parameters), list(averages)
    # In compiled graphs too. There, from 1 MB on, the definition takes 1.1 times as long forward and with the backward
    # pass, and 0.8 times with a second derivative, which no training with this loss takes (benchmarks/README.md).
    if kernels_run():
        return _distance(parameters, averages, _step_tensor(step))
    return reference.historical_distance(parameters, averages, step)


def historical_update_(parameters: Iterable[Tensor], averages: Iterable[Tensor], step: float | Tensor) -> None:
    """Moves the averages in place from the mean of θ[1..t−1] to that of θ[1..t]: average += (θ − average)/t.

    The arguments and errors are those of :func:`historical_distance`. Averages of float16 or bfloat16 parameters
    should be float32: in the narrow types, steps of 1/t are soon rounded to 0.
    """
    parameters, averages = list(parameters), list(averages)
    if kernels_run_eagerly():
        check_step(step)
        _update(parameters, averages, *((step, 0.0) if isinstance(step, Tensor) else (None, step)))
    else:
        reference.historical_update_(parameters, averages, step)


def _step_tensor(step: float | Tensor) -> Tensor:
    check_step(step)
    return step if isinstance(step, Tensor) else torch.scalar_tensor(step, dtype=torch.float64, device="cpu")


if not reference_only:
    _distance = torch.ops.gan_ops.historical_distance.default
    _update = torch.ops.gan_ops.historical_update_.default

    def _distance_like(parameters: Sequence[Tensor]) -> Tensor:
        wide = any(p.dtype == torch.float64 for p in parameters)
        return parameters[0].new_empty([], dtype=torch.float64 if wide else torch.float32)

    @torch.library.register_fake("gan_ops::historical_distance")
    def _(parameters: Sequence[Tensor], averages: Sequence[Tensor], step: Tensor) -> Tensor:
        return _distance_like(parameters)

    @torch.library.register_fake("gan_ops::historical_distance_backward")
    def _(grad: Tensor, parameters: Sequence[Tensor], averages: Sequence[Tensor], step: Tensor) -> list[Tensor]:
        return [torch.empty_like(p) for p in parameters]

    @torch.library.register_fake("gan_ops::historical_distance_double_backward")
    def _(
        v: Sequence[Tensor], grad: Tensor, parameters: Sequence[Tensor], averages: Sequence[Tensor], step: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        return torch.empty_like(grad), [torch.empty_like(p) for p in parameters]

    @torch.library.register_fake("gan_ops::historical_update_")
    def _(parameters: Sequence[Tensor], averages: Sequence[Tensor], step: Tensor | None, number: float) -> None:
        return None
