"""The bound of mutual information, against values worked out by hand and distributions whose divergence is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import tensor

from gan_ops.objectives import jensen_shannon_information, variational_information


def test_the_bound():
    joint, apart = tensor([1.0, -2.0]), tensor([0.0, 3.0, -1.0])
    expected = -(math.log1p(math.exp(-1)) + math.log1p(math.exp(2))) / 2
    expected -= (math.log(2) + math.log1p(math.exp(3)) + math.log1p(math.exp(-1))) / 3
    assert jensen_shannon_information(joint, apart).item() == pytest.approx(expected)


def test_gradients_are_sigmoids():
    joint, apart = (tensor([0.0, 2.0]).requires_grad_() for _ in range(2))
    jensen_shannon_information(joint, apart).backward()
    sigmoid = 1 / (1 + math.exp(-2))
    torch.testing.assert_close(joint.grad, tensor([0.25, (1 - sigmoid) / 2]))
    torch.testing.assert_close(apart.grad, tensor([-0.25, -sigmoid / 2]))


def test_it_has_both_derivatives():
    given = [torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(jensen_shannon_information, given)
    assert torch.autograd.gradgradcheck(jensen_shannon_information, given)


@pytest.mark.parametrize("agree", [0.5, 0.75, 0.999])
def test_the_logarithm_of_the_ratio_reaches_the_divergence(agree: float):
    """x and z are bits that agree with this probability: p(x, z) is agree/2 or (1 − agree)/2, p(x)p(z) = ¼."""
    p = [agree / 2, agree / 2, (1 - agree) / 2, (1 - agree) / 2]
    divergence = sum(a * math.log(2 * a / (a + 0.25)) + 0.25 * math.log(0.5 / (a + 0.25)) for a in p) / 2
    count = 4000  # as many samples of each pair as it is probable

    def bound(scale: float) -> float:
        t = [scale * math.log(4 * a) for a in p]
        joint = torch.cat([torch.full((round(a * count),), value) for a, value in zip(p, t, strict=True)])
        return jensen_shannon_information(joint, tensor(t)).item()

    assert bound(1.0) == pytest.approx(2 * divergence - 2 * math.log(2), rel=1e-5)
    if agree != 0.5:
        assert max(bound(0.9), bound(1.1)) < bound(1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_statistics_are_finite(dtype: torch.dtype):
    t = tensor([-100.0, 100.0], dtype=dtype).requires_grad_()
    value = jensen_shannon_information(t, t)
    assert value.dtype == torch.float32 and value.item() == pytest.approx(-100)
    assert torch.autograd.grad(value, t)[0].isfinite().all()


def test_what_q_says_of_codes():
    told = tensor([[1.0, 0.0, -1.0, 0.5, 0.3], [0.0, 2.0, 0.0, -1.0, 0.0]], dtype=torch.float64)
    codes = tensor([[1.0, 0.0, 0.0, 0.2, -0.7], [0.0, 1.0, 0.0, -1.0, 1.0]], dtype=torch.float64)
    categorical, continuous = variational_information(told, codes, [3])
    log_q = [1 - math.log(math.e + 1 + math.exp(-1)), 2 - math.log(2 + math.exp(2))]
    assert categorical.item() == pytest.approx(math.log(3) + sum(log_q) / 2)
    squares = (0.3**2 + 1.0**2 + 0.0 + 1.0**2) / 2
    assert continuous.item() == pytest.approx(2 * (math.log(2) - math.log(2 * math.pi) / 2) - squares / 2)


def test_the_information_about_categories_is_their_entropy_where_q_is_certain():
    codes = torch.eye(4).repeat(3, 1)
    categorical, continuous = variational_information(100 * codes, codes, [4])
    assert categorical.item() == pytest.approx(math.log(4)) and continuous.item() == 0


def test_it_is_nothing_where_q_knows_no_more_than_what_is_frequent():
    codes = torch.cat((torch.eye(3), torch.eye(3).flip(0)), 1)
    assert variational_information(torch.zeros(3, 6), codes, [3, 3])[0].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [(2, 5), (3, 4), (2, 4, 1)])
def test_what_q_says_must_have_the_shape_of_the_codes(shape):
    with pytest.raises(ValueError, match=r"told=\[.*\] and codes=\[2, 4\] with categorical=\[3\]"):
        variational_information(torch.zeros(shape), torch.zeros(2, 4), [3])


def test_there_must_be_room_for_the_categories():
    with pytest.raises(ValueError, match=r"categorical=\[3, 2\]"):
        variational_information(torch.zeros(2, 4), torch.zeros(2, 4), [3, 2])
