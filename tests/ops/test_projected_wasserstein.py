"""projected_wasserstein: the mean of |sort(a·ray) − sort(b·ray)|, whatever the projections look like."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gan_ops import reference
from gan_ops.ops import projected_wasserstein

ROW = 20_000
"""More vectors than have their projections sorted."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def wasserstein_1d(a: Tensor, b: Tensor, of=projected_wasserstein) -> Tensor:
    """Of rows [R, N]: of column vectors, along the axes. Each projection is 1 times a value and 0 times the others."""
    return of(a.T, b.T, torch.eye(len(a)))


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
    for measured in (wasserstein_1d(a, b), wasserstein_1d(a, b, reference.projected_wasserstein)):
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


# ---- Projecting ----

SIZES = [(5000, 147, 20), (4097, 3, 8), (33, 147, 65), (70, 1, 3), (1, 6, 130)]
"""Numbers of vectors, columns and rays: whole panels, tiles and groups of them, and parts."""


@pytest.mark.parametrize(("count", "size", "directions"), SIZES)
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_projections_and_standardising_are_those_of_float64(count: int, size: int, directions: int, channels) -> None:
    if channels and (size % channels or count == 1):
        pytest.skip("nothing to standardise")
    a, b, rays = 3 * noise(count, size) + 7, noise(count, size, seed=1) ** 3, noise(directions, size, seed=2)
    expected = []
    for x in (a.double(), b.double()):
        if channels:
            groups = x.view(count, channels, -1)
            x = (groups - groups.mean((0, 2), keepdim=True)) / groups.std((0, 2), keepdim=True, correction=0)
        expected.append(rays.double() @ x.reshape(count, size).T)
    # Sums of K float32 products, each of them at most 30·5.
    error = size * 2**-24 * 150
    for of in (projected_wasserstein, reference.projected_wasserstein):
        torch.testing.assert_close(of(a, b, rays, channels=channels), exact(*expected), rtol=1e-5, atol=error)


def test_a_channel_that_does_not_vary_counts_as_zeros() -> None:
    a, b = noise(100, 6), noise(100, 6, seed=1)
    a[:, 2:4], b[:, 2:4] = 5.0, -3.0
    rays = noise(4, 6)
    without = [torch.cat([x[:, :2], x[:, 4:]], 1) for x in (a, b, rays)]
    for of in (projected_wasserstein, reference.projected_wasserstein):
        torch.testing.assert_close(of(a, b, rays, channels=3), of(*without, channels=2))


def test_a_channel_far_from_zero_is_centred_to_its_last_digit() -> None:
    a, b = (1000 + 0.1 * noise(500, 6, seed=seed) for seed in (0, 1))
    b = b + 0.01
    rays = noise(3, 6, seed=2)
    wide = []
    for x in (a, b):
        groups = x.double().view(500, 2, 3)
        mean, deviation = groups.mean((0, 2), keepdim=True), groups.std((0, 2), keepdim=True, correction=0)
        wide.append(((groups - mean) / deviation).flatten(1) @ rays.double().T)
    expected = (wide[0].sort(0).values - wide[1].sort(0).values).abs().mean(0)
    for of in (projected_wasserstein, reference.projected_wasserstein):
        torch.testing.assert_close(of(a, b, rays, channels=2), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("of", [projected_wasserstein, reference.projected_wasserstein])
def test_autocast_changes_nothing(of) -> None:
    a, b = (noise(100, 6, seed=seed) for seed in (0, 1))
    expected = of(a, b, a[:5])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(of(a, b, a[:5]), expected)


def test_tensors_on_different_devices_are_refused() -> None:
    a = noise(5, 6)
    for arguments in ((a, a, a.to("meta")), (a, a.to("meta"), a)):
        with pytest.raises(ValueError, match="meta"):
            projected_wasserstein(*arguments)


def test_any_strides_give_the_same() -> None:
    a, b, rays = noise(6, 200).T[::2], noise(100, 6, seed=1), noise(6, 4).T
    for of in (projected_wasserstein, reference.projected_wasserstein):
        expected = of(a.contiguous(), b, rays.contiguous(), channels=2)
        torch.testing.assert_close(of(a, b, rays, channels=2), expected)


def test_no_rays_give_no_distances() -> None:
    for of in (projected_wasserstein, reference.projected_wasserstein):
        assert of(noise(5, 2), noise(5, 2), noise(0, 2)).shape == (0,)


@pytest.mark.parametrize("count", [10, ROW])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_makes_all_distances_nan(value: float, count: int) -> None:
    a, b = noise(count, 3), noise(count, 3, seed=1)
    a[count // 2, 1] = value
    for of in (projected_wasserstein, reference.projected_wasserstein):
        assert of(a, b, noise(4, 3)).isnan().all() and of(b, a, noise(4, 3)).isnan().all()


def test_it_repeats_to_the_bit_in_any_number_of_threads() -> None:
    a, b, rays = noise(ROW, 9), noise(ROW, 9, seed=1), noise(70, 9, seed=2)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(projected_wasserstein(a, b, rays, channels=3))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_a_ray_does_not_care_which_others_there_are() -> None:
    a, b, rays = noise(5000, 9), noise(5000, 9, seed=1), noise(70, 9, seed=2)
    assert torch.equal(projected_wasserstein(a, b, rays)[61:66], projected_wasserstein(a, b, rays[61:66]))


@pytest.mark.parametrize("of", [projected_wasserstein, reference.projected_wasserstein])
def test_what_does_not_make_sense_is_refused(of) -> None:
    a, rays = noise(5, 6), noise(2, 6)
    with pytest.raises(ValueError, match=r"a must be .* with at least one row, but its shape is"):
        of(a[:0], a[:0], rays)
    with pytest.raises(ValueError, match=r"b must have the shape .*5, 6.*, but has"):
        of(a, a[:1], rays)
    with pytest.raises(ValueError, match=r"rays must be .*directions, size.*, but its shape is"):
        of(a, a, rays[0])
    with pytest.raises(ValueError, match=r"rays must have the shape .*2, 6.*, but has"):
        of(a, a, rays[:, :5])
    for channels in (0, 4):
        with pytest.raises(ValueError, match=f"channels={channels} does not divide the 6 columns of a"):
            of(a, a, rays, channels=channels)
    with pytest.raises(TypeError, match="a must be float32, but is"):
        of(a.double(), a.double(), rays.double())
    with pytest.raises(TypeError, match="rays must be"):
        of(a, a, rays.half())
    with pytest.raises(NotImplementedError, match="projected_wasserstein has no derivative"):
        of(a.requires_grad_(), a, rays)


def test_the_fake_says_what_the_kernel_gives() -> None:
    a, b, rays = noise(50, 6), noise(50, 6, seed=1), noise(3, 6)
    torch.library.opcheck(torch.ops.gan_ops.projected_wasserstein.default, (a, b, rays, 2))
    compiled = torch.compile(projected_wasserstein, fullgraph=True, backend="eager")
    assert torch.equal(compiled(a, b, rays), projected_wasserstein(a, b, rays))
