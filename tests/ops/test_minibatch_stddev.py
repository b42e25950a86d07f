"""What is minibatch stddev's own: which samples form a group, how maps are made, its errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gan_ops

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one


def stddev_by_hand(x: np.ndarray, group: int, maps: int, eps: float) -> np.ndarray:
    """The paper's recipe in loops: [N, C, P] → [N, maps]."""
    n, c, _ = x.shape
    out = np.zeros((n, maps))
    for sample in range(n):
        members = [other for other in range(n) if other % (n // group) == sample % (n // group)]
        for m in range(maps):
            part = x[members, m * c // maps : (m + 1) * c // maps]
            out[sample, m] = np.sqrt(((part - part.mean(axis=0)) ** 2).mean(axis=0) + eps).mean()
    return out


@pytest.mark.parametrize(("group_size", "group"), [(4, 4), (2, 2), (None, 8), (100, 8), (1, 1)])
@pytest.mark.parametrize("num_channels", [1, 3])
@EVERYWHERE
def test_groups_are_strided_and_the_variance_is_biased(group_size, group, num_channels) -> None:
    x = torch.randn(8, 6, 5, dtype=torch.float64)
    out = gan_ops.minibatch_stddev(x, group_size, num_channels, eps=1e-4)
    expected = torch.from_numpy(stddev_by_hand(x.cpu().numpy(), group, num_channels, 1e-4))
    assert torch.equal(out[:, :6], x)
    torch.testing.assert_close(out[:, 6:].cpu(), expected[..., None].expand(-1, -1, 5))


@EVERYWHERE
def test_equal_samples_give_the_root_of_eps_and_finite_derivatives() -> None:
    x = torch.ones(4, 3, 2, 2, requires_grad=True)
    out = gan_ops.minibatch_stddev(x)
    torch.testing.assert_close(out[:, 3], torch.full((4, 2, 2), 1e-4))
    (gradient,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), x)
    assert gradient.isfinite().all() and second.isfinite().all()


def test_sums_do_not_depend_on_the_number_of_threads() -> None:
    x = torch.randn(4, 64, 32, 32)
    before = torch.get_num_threads()
    outs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        outs.append(gan_ops.minibatch_stddev(x))
    torch.set_num_threads(before)
    assert torch.equal(*outs)


@pytest.mark.parametrize(
    "wrapped", [gan_ops.minibatch_stddev, gan_ops.reference.minibatch_stddev], ids=["kernel", "reference"]
)
@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((8, 4, 2), {"group_size": 3}, "group_size=3 does not divide the batch of 8"),
        ((8, 4, 2), {"group_size": 0}, "group_size must be at least 1 or None, but is 0"),
        ((8, 4, 2), {"num_channels": 3}, "num_channels=3 does not divide the 4 channels of x"),
        ((8, 4, 2), {"num_channels": 0}, "num_channels must be at least 1, but is 0"),
        ((8, 4, 2), {"eps": -1e-3}, "eps must not be negative, but is -0.001"),
        ((8,), {}, r"x must be \[N, C, \*\].*but its shape is \[8\]"),
    ],
)
def test_bad_arguments_are_named(wrapped, shape, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        wrapped(torch.ones(shape), **options)


def test_integers_are_a_type_error() -> None:
    with pytest.raises(TypeError, match="x must be float64"):
        gan_ops.minibatch_stddev(torch.ones(4, 2, dtype=torch.int32))
