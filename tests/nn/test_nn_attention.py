"""SAGAN's layer: its formula, pixel by pixel, its start, and its derivatives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from gan_ops.nn import SelfAttention2d

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one


def layer_and_maps(pool: bool) -> tuple[SelfAttention2d, Tensor]:
    torch.manual_seed(0)
    layer = SelfAttention2d(8, pool=pool).double()
    torch.nn.init.constant_(layer.gamma, 0.7)
    return layer, torch.randn(2, 8, 4, 6, dtype=torch.float64, requires_grad=True)


def by_the_paper(layer: SelfAttention2d, x: Tensor) -> Tensor:
    """Equations 1 to 3, with f = key, g = query, h = value and v = output: o_j = v(Σ_i β_ji h(x_i))."""
    f, g, h = layer.key(x), layer.query(x), layer.value(x)
    if layer.pool:
        f, h = F.max_pool2d(f, 2), F.max_pool2d(h, 2)
    f, g, h = (t.flatten(2) for t in (f, g, h))
    s = torch.einsum("nci,ncj->nij", f, g)  # s_ij = f(x_i)ᵀ g(x_j)
    beta = s.exp() / s.exp().sum(dim=1, keepdim=True)  # over i
    o = layer.output(torch.einsum("nci,nij->ncj", h, beta).view(len(x), -1, *x.shape[2:]))
    return layer.gamma * o + x


@pytest.mark.parametrize("pool", [False, True])
@EVERYWHERE
def test_is_the_paper_s_formula(pool: bool) -> None:
    layer, x = layer_and_maps(pool)
    torch.testing.assert_close(layer(x), by_the_paper(layer, x))


@EVERYWHERE
def test_begins_as_the_identity_and_learns_gamma_first() -> None:
    layer, x = SelfAttention2d(16), torch.randn(2, 16, 4, 4)
    out = layer(x)
    assert torch.equal(out, x)
    out.square().sum().backward()
    assert layer.gamma.grad != 0 and not layer.value.weight.grad.any()


@pytest.mark.parametrize("pool", [False, True])
def test_differentiates_twice(pool: bool) -> None:
    layer, x = layer_and_maps(pool)
    inputs = (x[:1].detach().requires_grad_(), *layer.parameters())
    names = [name for name, _ in layer.named_parameters()]

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)

    assert gradcheck(call, inputs) and gradgradcheck(call, inputs)


@EVERYWHERE
def test_keeps_the_memory_format() -> None:
    layer, x = SelfAttention2d(8), torch.randn(2, 8, 4, 6)
    assert layer(x).is_contiguous()
    layer, x = (t.to(memory_format=torch.channels_last) for t in (layer, x))
    assert layer(x).is_contiguous(memory_format=torch.channels_last)


def test_takes_spectral_norm() -> None:
    layer, x = layer_and_maps(pool=True)
    for name in ("query", "key", "value", "output"):
        torch.nn.utils.parametrizations.spectral_norm(getattr(layer, name))
    (g,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    g.square().sum().backward()
    assert all(parameter.grad is not None for name, parameter in layer.named_parameters() if "query" in name)


def test_channels_are_checked_at_once() -> None:
    with pytest.raises(ValueError, match=r"channels must be at least 8.*but are 7"):
        SelfAttention2d(7)
