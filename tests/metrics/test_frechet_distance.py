"""The Fréchet distance: its closed form for Gaussians, torch-fidelity's number, and streams that add up."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gan_ops.metrics import FrechetDistance, frechet_distance


def with_moments(mean: torch.Tensor, covariance: torch.Tensor, n: int = 200) -> torch.Tensor:
    """Samples whose mean and covariance are exactly these."""
    x = torch.randn(n, len(mean), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x -= x.mean(0)
    white = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / (n - 1))).T
    return white @ torch.linalg.cholesky(covariance).T + mean


def test_of_gaussians_it_is_the_closed_form(draw_features) -> None:
    """Where covariances commute, tr(Σ_a + Σ_b − 2(Σ_a Σ_b)^½) is the sum of (σ_a − σ_b)² along their common axes."""
    axes = torch.linalg.qr(draw_features(6, 6)).Q
    variances, others = torch.tensor([1.0, 4, 9, 0.25, 1, 2]).double(), torch.tensor([4.0, 1, 9, 1, 0.01, 3]).double()
    mean, other_mean = torch.arange(6).double(), torch.full((6,), 1.5).double()
    a = with_moments(mean, axes * variances @ axes.T)
    b = with_moments(other_mean, axes * others @ axes.T)
    expected = (mean - other_mean).square().sum() + (variances.sqrt() - others.sqrt()).square().sum()
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-10)


def test_of_equal_sets_it_is_zero(draw_features) -> None:
    assert frechet_distance(draw_features(100), draw_features(100)) == pytest.approx(0, abs=1e-10)


def test_it_is_torch_fidelitys(draw_features) -> None:
    fidelity = pytest.importorskip("torch_fidelity.metric_fid")
    a, b = draw_features(500, 48), draw_features(400, 48, seed=1, shift=0.1, scale=1.2)
    theirs = fidelity.fid_statistics_to_metric(
        fidelity.fid_features_to_statistics(a), fidelity.fid_features_to_statistics(b), False
    )
    assert frechet_distance(a, b) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)


def test_covariances_without_full_rank_are_fine(draw_features) -> None:
    """Fewer samples than features, as always with little data: checked through the roots of a small Gram matrix."""
    a, b = draw_features(20, 64), draw_features(25, 64, seed=1)
    centred = [(x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b)]
    roots = torch.linalg.svdvals(centred[0] @ centred[1].T).sum()  # the same numbers as of Σ_a^½ Σ_b^½
    expected = (a.mean(0) - b.mean(0)).square().sum() + sum(x.square().sum() for x in centred) - 2 * roots
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batches_and_order_do_not_matter(batch: int, draw_features) -> None:
    a, b = draw_features(100, shift=1e3), draw_features(90, seed=1, shift=1e3)
    streamed = FrechetDistance()
    for features, real in ((a, True), (b, False)):
        mixed = features[np.random.RandomState(0).permutation(len(features))]
        for part in mixed.split(batch):
            streamed.update(part, real=real)
    # Sums of float64 in another order.
    assert streamed.compute() == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_memory_does_not_grow(draw_features) -> None:
    streamed = FrechetDistance()
    for seed in range(3):
        streamed.update(draw_features(50, seed=seed), real=True)
    held = sum(value.numel() for value in vars(streamed._real).values() if isinstance(value, torch.Tensor))
    assert held == 32 * 32 + 2 * 32


def test_real_statistics_can_be_kept_and_loaded(draw_features) -> None:
    a, more, b = draw_features(50), draw_features(30, seed=2), draw_features(60, seed=1)
    first, second = FrechetDistance(), FrechetDistance()
    first.update(a, real=True)
    second.load_real(first.real_statistics())
    second.update(more, real=True)
    second.update(b, real=False)
    assert (second.count_real, second.count_fake) == (80, 60)
    assert second.compute() == pytest.approx(frechet_distance(torch.cat([a, more]), b), rel=1e-9)


def test_reset_forgets(draw_features) -> None:
    streamed = FrechetDistance()
    streamed.update(draw_features(50, width=8), real=True)
    streamed.reset()
    with pytest.raises(ValueError, match="needs at least 2 real samples, but there are 0"):
        streamed.compute()


def test_what_does_not_make_sense_is_refused(draw_features) -> None:
    a = draw_features(10)
    with pytest.raises(ValueError, match="needs at least 2 fake samples, but there are 1"):
        frechet_distance(a, a[:1])
    with pytest.raises(ValueError, match=r"must have 32 columns, but its shape is \[10, 8\]"):
        frechet_distance(a, a[:, :8])
    with pytest.raises(ValueError, match="must be finite, but 1 values are not"):
        frechet_distance(a, torch.cat([a[:9], torch.full((1, 32), 1.0).masked_fill(torch.arange(32) == 3, torch.nan)]))
    with pytest.raises(TypeError, match="must be floating-point, but is torch"):
        frechet_distance(a, torch.ones(3, 32, dtype=torch.int64))
