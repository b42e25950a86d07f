"""wasserstein_1d: the mean of |sort(a) − sort(b)|, whatever the values look like."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gan_ops import reference
from gan_ops.ops import wasserstein_1d

ROW = 20_000
"""More values than the kernel sorts."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def exact(a: Tensor, b: Tensor) -> Tensor:
    return (a.double().sort(1).values - b.double().sort(1).values).abs().mean(1)


PAIRS = {
    "shifted": lambda: (noise(3, ROW), noise(3, ROW, seed=1) + 0.1),
    "of one distribution": lambda: (noise(3, ROW), noise(3, ROW, seed=1)),
    "wider": lambda: (noise(3, ROW), 3 * noise(3, ROW, seed=1)),
    "far apart": lambda: (noise(3, ROW) - 50, noise(3, ROW, seed=1) + 50),
    "heavy-tailed": lambda: (noise(3, ROW) ** 5, 1.1 * noise(3, ROW, seed=1) ** 5),
    "with a giant": lambda: (noise(3, ROW), torch.cat([noise(3, ROW - 1, seed=1), torch.full((3, 1), 1e7)], 1)),
    "near each other beside giants": lambda: tuple(
        torch.cat([torch.full((3, ROW - 1), near), torch.full((3, 1), 1e8)], 1) for near in (0.300, 0.304)
    ),
    "with many ties": lambda: (noise(3, ROW).mul(3).round(), noise(3, ROW, seed=1).mul(3.3).round()),
    "mostly zero": lambda: (noise(3, ROW).sub(3).relu(), -noise(3, ROW, seed=1).sub(3).relu()),
    "constant": lambda: (torch.full((3, ROW), 2.0), torch.full((3, ROW), -1.5)),
    "huge": lambda: (1e30 * noise(3, ROW), 1e30 * noise(3, ROW, seed=1)),
    "beyond the kernel's range": lambda: (1e37 * noise(3, ROW), 1e37 * noise(3, ROW, seed=1)),
    "tiny": lambda: (1e-35 * noise(3, ROW), 2e-35 * noise(3, ROW, seed=1)),
    "few": lambda: (noise(3, 50), noise(3, 50, seed=1)),
    "single": lambda: (noise(3, 1), noise(3, 1, seed=1)),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_it_is_the_definition(pair: str) -> None:
    a, b = PAIRS[pair]()
    # A value x counts to within 2^-23·(|x| + mean), and it is the mean of such errors that counts.
    rounding = 2**-23 * (a.abs().double().mean(1) + b.abs().double().mean(1))
    for measured in (wasserstein_1d(a, b), reference.wasserstein_1d(a, b)):
        assert ((measured - exact(a, b)).abs() <= rounding).all()


def test_the_same_values_in_another_order_are_at_no_distance() -> None:
    a = noise(2, ROW)
    assert (wasserstein_1d(a, a[:, torch.randperm(ROW)]) == 0).all()


def test_a_shift_is_its_distance() -> None:
    a = noise(1, ROW).mul(1024).round() / 1024
    assert wasserstein_1d(a, a.flip(1) + 0.25).item() == 0.25


@pytest.mark.parametrize("size", [4095, 4096, 4097, 5000])
def test_sorted_and_counted_rows_agree(size: int) -> None:
    a, b = noise(2, size), noise(2, size, seed=1)
    torch.testing.assert_close(wasserstein_1d(a, b), exact(a, b), rtol=1e-5, atol=0)


def test_float64_is_exact() -> None:
    a, b = noise(2, ROW).double(), noise(2, ROW, seed=1).double()
    torch.testing.assert_close(wasserstein_1d(a, b), exact(a, b), rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types_are_widened(dtype: torch.dtype) -> None:
    a, b = noise(2, ROW).to(dtype), noise(2, ROW, seed=1).to(dtype)
    assert torch.equal(wasserstein_1d(a, b), wasserstein_1d(a.float(), b.float()))


def test_any_strides_give_the_same() -> None:
    a, b = noise(ROW, 6), noise(3, ROW, seed=1)
    assert torch.equal(wasserstein_1d(a.T[::2], b), wasserstein_1d(a.T[::2].contiguous(), b))


def test_no_rows_give_no_distances() -> None:
    assert wasserstein_1d(torch.empty(0, 5), torch.empty(0, 5)).shape == (0,)


@pytest.mark.parametrize("size", [10, ROW])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_shows_in_its_row_alone(value: float, size: int) -> None:
    a, b = noise(3, size), noise(3, size, seed=1)
    a[1, size // 2] = value
    for measured in (wasserstein_1d(a, b), reference.wasserstein_1d(b, a)):
        assert measured.isnan().tolist() == [False, True, False]


def test_it_repeats_to_the_bit_in_any_number_of_threads() -> None:
    a, b = noise(5, ROW), noise(5, ROW, seed=1)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(wasserstein_1d(a, b))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize("of", [wasserstein_1d, reference.wasserstein_1d])
def test_what_does_not_make_sense_is_refused(of) -> None:
    a = noise(2, 5)
    with pytest.raises(ValueError, match=r"a must be .* with at least one value a row, but its shape is"):
        of(a[:, :0], a[:, :0])
    with pytest.raises(ValueError, match=r"b must have the shape .*2, 5.*, but has"):
        of(a, a[:1])
    with pytest.raises(TypeError, match="a must be float64, float32, float16 or bfloat16, but is"):
        of(a.long(), a.long())
    with pytest.raises(TypeError, match="b must be"):
        of(a, a.double())
    with pytest.raises(NotImplementedError, match="wasserstein_1d has no derivative"):
        of(a.requires_grad_(), a)


def test_the_fake_says_what_the_kernel_gives() -> None:
    a, b = noise(2, 50), noise(2, 50, seed=1)
    torch.library.opcheck(torch.ops.gan_ops.wasserstein_1d.default, (a, b))
    compiled = torch.compile(wasserstein_1d, fullgraph=True, backend="eager")
    assert torch.equal(compiled(a, b), wasserstein_1d(a, b))
