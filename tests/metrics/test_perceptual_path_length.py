"""Perceptual path length: the paper's formula written out, its percentiles, and batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gan_ops.metrics import PerceptualPathLength, perceptual_path_length, unit_features


def test_it_is_the_mean_square_of_the_difference_over_the_squared_step(draw_features) -> None:
    start, end = draw_features(2, 5), draw_features(2, 5, seed=1)
    expected = (np.square((start - end).numpy()).sum(1) / 1e-8).mean()
    assert perceptual_path_length(start, end).mean == pytest.approx(expected, rel=1e-12)


def test_of_a_linear_generator_it_is_the_squared_length_of_its_derivative() -> None:
    a, b, matrix = (torch.randn(shape, generator=torch.Generator().manual_seed(0)).double() for shape in (3, 3, (4, 3)))
    t = torch.linspace(0, 1, 6)[:, None].double()
    start, end = ((torch.lerp(a, b, at)) @ matrix.T for at in (t, t + 1e-4))
    expected = (matrix @ (b - a)).square().sum().item()
    assert perceptual_path_length(start, end).mean == pytest.approx(expected, rel=1e-6)


def test_distances_beyond_the_first_and_the_last_percentile_do_not_count() -> None:
    distances = torch.randperm(250, generator=torch.Generator().manual_seed(0)).double() + 1
    result = perceptual_path_length(torch.zeros(250, 1).double(), distances.sqrt()[:, None], epsilon=1.0)
    low = np.percentile(distances, 1, method="lower")
    high = np.percentile(distances, 99, method="higher")
    kept = [d for d in distances.tolist() if low <= d <= high]
    assert 240 < len(kept) < 250
    assert result.count == len(kept)
    assert result.mean == pytest.approx(np.mean(kept), rel=1e-12)
    assert result.error == pytest.approx(np.std(kept, ddof=1) / math.sqrt(len(kept)), rel=1e-12)


def test_batches_add_up(draw_features) -> None:
    start, end = draw_features(50).float(), draw_features(50, seed=1).float()
    metric = PerceptualPathLength()
    for a, b in zip(start.split(8), end.split(8), strict=True):
        metric.update(a, b)
    assert metric.count == 50
    assert metric.compute() == perceptual_path_length(start, end)
    metric.reset()
    assert metric.count == 0
    with pytest.raises(ValueError, match="at least 1 samples"):
        metric.compute()


def test_what_cannot_be_measured_is_named(draw_features) -> None:
    x = draw_features(4, 3)
    with pytest.raises(ValueError, match="epsilon=0 is not a positive finite number"):
        perceptual_path_length(x, x, epsilon=0)
    with pytest.raises(ValueError, match="start has 4 samples and end 3"):
        perceptual_path_length(x, x[:3])
    with pytest.raises(ValueError, match="end must have 3 columns"):
        perceptual_path_length(x, x[:, :2])
    with pytest.raises(TypeError, match="start must be floating-point"):
        perceptual_path_length(x.long(), x)


def test_squared_distances_of_unit_features_are_those_of_lpips_without_weights() -> None:
    random = torch.Generator().manual_seed(0)
    shapes = (2, 3, 4, 4), (2, 5, 2, 2)
    ones, others = ([torch.randn(s, generator=random).double() for s in shapes] for _ in range(2))
    expected = torch.zeros(2).double()
    for x, y in zip(ones, others, strict=True):
        for n in range(2):
            for i in range(x.shape[2]):
                for j in range(x.shape[3]):
                    a, b = x[n, :, i, j], y[n, :, i, j]
                    difference = a / a.square().sum().sqrt() - b / b.square().sum().sqrt()
                    expected[n] += difference.square().sum() / (x.shape[2] * x.shape[3])
    distance = (unit_features(ones) - unit_features(others)).square().sum(1)
    torch.testing.assert_close(distance, expected, rtol=1e-9, atol=0)


def test_pixels_of_zeros_have_zeros_for_features_and_for_derivatives() -> None:
    maps = torch.zeros(1, 3, 2, 2, requires_grad=True)
    features = unit_features([maps])
    assert torch.equal(features, torch.zeros(1, 12))
    (gradient,) = torch.autograd.grad((features - 1).square().sum(), maps)
    assert gradient.isfinite().all()
