"""What the matrix in test_contract.py needs to know of each op family: the op, its definition, inputs, and its
registered ops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import gan_ops

ops = torch.ops.gan_ops


@dataclass(frozen=True)
class Family:
    """One op family under test; ``op`` and ``reference`` take the tensors of ``inputs`` alone."""

    name: str
    op: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    inputs: Callable[[torch.Generator, torch.dtype], tuple[Tensor, ...]]
    registered: Callable[[], list[tuple[Callable, tuple]]]
    kernels_in_graphs: bool = False  # whether a compiled function keeps the op; else it holds the definition

    def __str__(self) -> str:
        return self.name


def rand(generator: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def _feature_map(*shape: int) -> Callable[[torch.Generator, torch.dtype], tuple[Tensor]]:
    return lambda generator, dtype: (rand(generator, dtype, *shape),)


def _grad_input(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def _pixel_norm_registered() -> list[tuple[Callable, tuple]]:
    cases = []
    for shape in ([3, 5, 4, 3], [4, 20]):
        x, g, v = _grad_input(*shape), _grad_input(*shape), _grad_input(*shape)
        r = ops.pixel_norm(x.detach(), 1e-8)[1]
        cases += [
            (ops.pixel_norm.default, (x, 1e-8)),
            (ops.pixel_norm_backward.default, (g, x, r, 1e-8)),
            (ops.pixel_norm_double_backward.default, (v, g, x, r, 1e-8)),
        ]
    return cases


def _minibatch_stddev_registered() -> list[tuple[Callable, tuple]]:
    cases = []
    for group_size, num_channels in ((2, 1), (None, 3)):
        x, g, v = _grad_input(4, 6, 3, 2), _grad_input(4, 6 + num_channels, 3, 2), _grad_input(4, 6, 3, 2)
        options = (group_size, num_channels, 1e-8)
        cases += [
            (ops.minibatch_stddev.default, (x, *options)),
            (ops.minibatch_stddev_backward.default, (g, x, *options)),
            (ops.minibatch_stddev_double_backward.default, (v, g, x, *options)),
        ]
    return cases


def _bias_act_registered() -> list[tuple[Callable, tuple]]:
    x, b, g = _grad_input(3, 5, 4, 3), _grad_input(5), _grad_input(3, 5, 4, 3)
    y = ops.bias_act(x.detach(), b.detach(), 0.2, 1.5)
    return [
        (ops.bias_act.default, (x, b, 0.2, 1.5)),
        (ops.bias_act.default, (x, None, 0.2, 1.5)),
        (ops.bias_act_backward.default, (g, y, True, 0.2, 1.5)),
        (ops.bias_act_backward.default, (g, y, False, 0.2, 1.5)),
    ]


def _conv2d_registered() -> list[tuple[Callable, tuple]]:
    x, w, b, g = _grad_input(2, 3, 5, 4), _grad_input(4, 3, 3, 3), _grad_input(4), _grad_input(2, 4, 5, 4)
    return [
        (ops.conv2d.default, (x, w, b, 1)),
        (ops.conv2d.default, (x, w, None, 1)),
        (ops.conv2d_input_grad.default, (g, w, 1)),
        (ops.conv2d_weight_grad.default, (g, x, 1)),
    ]


def _conv2d_inputs(generator: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, ...]:
    return rand(generator, dtype, 4, 6, 5, 4), rand(generator, dtype, 3, 6, 3, 3), rand(generator, dtype, 3)


def _stddev(group_size: int | None, num_channels: int) -> Family:
    return Family(
        name=f"minibatch_stddev(group_size={group_size}, num_channels={num_channels})",
        op=lambda x: gan_ops.minibatch_stddev(x, group_size, num_channels),
        reference=lambda x: gan_ops.reference.minibatch_stddev(x, group_size, num_channels),
        inputs=_feature_map(8, 6, 3, 5),
        registered=_minibatch_stddev_registered,
    )


FAMILIES = [
    Family(
        "pixel_norm",
        gan_ops.pixel_norm,
        gan_ops.reference.pixel_norm,
        _feature_map(4, 19, 3, 5),
        _pixel_norm_registered,
    ),
    Family(
        "bias_act",
        lambda x, b: gan_ops.bias_act(x, b, 0.2, 1.5),
        lambda x, b: gan_ops.reference.bias_act(x, b, 0.2, 1.5),
        lambda generator, dtype: (rand(generator, dtype, 4, 19, 3, 5), rand(generator, dtype, 19)),
        _bias_act_registered,
    ),
    _stddev(4, 1),
    _stddev(None, 1),
    _stddev(2, 3),
    Family(
        "conv2d",
        lambda x, w, b: gan_ops.conv2d(x, w, b, padding=1),
        lambda x, w, b: gan_ops.reference.conv2d(x, w, b, padding=1),
        _conv2d_inputs,
        _conv2d_registered,
        kernels_in_graphs=True,
    ),
]
