"""The kernel distance: torch-fidelity's number with its draws, and no bias."""

from __future__ import annotations

import pytest
import torch

from gan_ops.metrics import KernelDistance, kernel_distance


def test_it_is_torch_fidelitys_with_its_subsets(draw_features) -> None:
    fidelity = pytest.importorskip("torch_fidelity.metric_kid")
    a, b = draw_features(300), draw_features(250, seed=1, shift=0.1)
    theirs = fidelity.kid_features_to_metric(a, b, kid_subsets=10, kid_subset_size=100, rng_seed=2020, verbose=False)
    ours = kernel_distance(a, b, subsets=10, subset_size=100, seed=2020)
    assert ours.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)
    assert ours.deviation == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-6)


def test_of_three_points_it_is_the_formula_by_hand() -> None:
    a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])
    k = lambda x, y: (x * y + 1) ** 3  # noqa: E731
    expected = k(0, 1) + k(2, 3) - 2 * (k(0, 2) + k(0, 3) + k(1, 2) + k(1, 3)) / 4
    assert kernel_distance(a, b, subsets=1, subset_size=2).mean == pytest.approx(expected)


def test_it_is_not_biased(draw_features) -> None:
    """Between sets of one distribution it is 0 on average: the mean of repeats lies within three standard errors."""
    values = []
    for seed in range(60):
        a, b = draw_features(40, 8, seed=2 * seed), draw_features(40, 8, seed=2 * seed + 1)
        values.append(kernel_distance(a, b, subsets=1, subset_size=40).mean)
    repeats = torch.tensor(values)
    assert abs(repeats.mean()) < 3 * repeats.std() / len(repeats) ** 0.5
    assert (repeats < 0).any()


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batches_do_not_matter(batch: int, draw_features) -> None:
    real, fake = draw_features(100), draw_features(90, seed=1)
    streamed = KernelDistance(subsets=3, subset_size=50, seed=4)
    for features, of_real in ((real, True), (fake, False)):
        for part in features.split(batch):
            streamed.update(part, real=of_real)
    assert streamed.compute() == kernel_distance(fake, real, subsets=3, subset_size=50, seed=4)


def test_the_seed_chooses_the_subsets(draw_features) -> None:
    a, b = draw_features(100), draw_features(90, seed=1)
    values = {kernel_distance(a, b, subsets=3, subset_size=50, seed=seed).mean for seed in (0, 0, 1)}
    assert len(values) == 2


def test_real_features_can_be_kept_and_loaded(draw_features) -> None:
    real, fake = draw_features(60), draw_features(60, seed=1)
    first, second = (KernelDistance(subsets=2, subset_size=50) for _ in range(2))
    first.update(real, real=True)
    second.load_real(first.real_statistics())
    second.update(fake, real=False)
    assert second.compute() == kernel_distance(fake, real, subsets=2, subset_size=50)


def test_too_few_samples_are_refused(draw_features) -> None:
    with pytest.raises(ValueError, match="needs at least 1000 samples in features_b, but there are 90"):
        kernel_distance(draw_features(1000), draw_features(90))
    streamed = KernelDistance(subset_size=50)
    streamed.update(draw_features(60), real=False)
    with pytest.raises(ValueError, match="needs at least 50 real samples, but there are 0"):
        streamed.compute()
    with pytest.raises(ValueError, match="subset_size must be at least 2, but is 1"):
        KernelDistance(subset_size=1)
