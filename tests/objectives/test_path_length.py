"""Path length regularisation, against equation 4 of Karras et al. 2020 written out in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gan_ops.objectives import PathLength, path_directions, path_lengths


class Images(nn.Module):
    """Styles [N, 3, 4], one for each of 3 layers → images [N, 2, 3, 5], each of its own sample alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(12, 6).double()), nn.Parameter(torch.randn(6, 30).double())

    def forward(self, styles: Tensor) -> Tensor:
        return (torch.tanh(styles.flatten(1) @ self.first) @ self.second).view(-1, 2, 3, 5)


def jacobian_lengths(make: nn.Module, styles: list[Tensor], y: Tensor) -> Tensor:
    """The root of the layers' mean of ‖Jᵀy‖², J being one sample's Jacobian, whole."""
    lengths = []
    for one, direction in zip(styles, y, strict=True):
        values = make(one[None]).flatten()
        rows = [torch.autograd.grad(value, one, create_graph=True)[0].flatten() for value in values]
        product = torch.stack(rows).T @ direction.flatten()  # [12, 30] · [30]
        lengths.append((product.view_as(one) ** 2).sum(1).mean().sqrt())
    return torch.stack(lengths)


def test_the_penalty_and_its_gradients_are_those_of_the_jacobian():
    torch.manual_seed(0)
    make, mean = Images(), torch.tensor(0.7, dtype=torch.float64)
    styles = torch.randn(3, 3, 4).double().requires_grad_()
    images = make(styles)
    y = path_directions(images)
    (gradient,) = torch.autograd.grad((images * y).sum(), styles, create_graph=True)
    lengths = path_lengths(gradient)
    each = [one.detach().requires_grad_() for one in styles]
    plain = jacobian_lengths(make, each, y)
    torch.testing.assert_close(lengths, plain)
    ours, theirs = PathLength(3.0).loss(lengths, mean), (3 * (plain - mean) ** 2).mean()
    torch.testing.assert_close(ours, theirs)
    inputs = list(make.parameters())
    for a, b in zip(
        torch.autograd.grad(ours, inputs, retain_graph=True), torch.autograd.grad(theirs, inputs), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_lengths_have_first_and_second_derivatives():
    gradient = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(path_lengths, gradient)
    assert torch.autograd.gradgradcheck(path_lengths, gradient)
    torch.testing.assert_close(path_lengths(gradient[:, 0]), gradient[:, 0].square().sum(1).sqrt())


def test_where_nothing_changes_the_length_is_0_and_so_is_its_derivative():
    gradient = torch.zeros(2, 3, 4, requires_grad=True)
    lengths = path_lengths(gradient)
    assert not lengths.any()
    assert not torch.autograd.grad(PathLength().loss(lengths, torch.tensor(1.0)), gradient)[0].any()


def test_no_gradient_flows_to_the_mean():
    mean = torch.tensor(1.0, requires_grad=True)
    loss = PathLength().loss(torch.tensor([2.0], requires_grad=True), mean)
    assert torch.autograd.grad(loss, mean, allow_unused=True) == (None,)


def test_directions_have_the_same_length_at_every_resolution():
    random = torch.Generator().manual_seed(1)
    for size in (8, 64):
        y = path_directions(torch.zeros(20, 3, size, size), random)
        assert y.flatten(1).norm(dim=1).mean().item() == pytest.approx(math.sqrt(3), rel=0.05)
    again = path_directions(torch.zeros(20, 3, 64, 64), torch.Generator().manual_seed(1))
    assert not torch.equal(again, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1.0}, "weight=-1.0 is not a finite number"),
        ({"decay": math.nan}, "decay=nan is not"),
        ({"decay": 1.5}, "decay=1.5 is not between 0 and 1"),
    ],
)
def test_values_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PathLength(**options)
