"""The birthday-paradox test: supports of known size, the real rate of collisions, any order."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gan_ops.metrics import Birthday, birthday, closest_pairs
from train.data.gaussians import MIXTURES


def repeated(images: Tensor, count: int, seed: int, weights: Tensor | None = None) -> Tensor:
    """``count`` draws from these images."""
    random = torch.Generator().manual_seed(seed)
    weights = torch.ones(len(images)) if weights is None else weights
    return images[torch.multinomial(weights, count, replacement=True, generator=random)]


@pytest.mark.parametrize("size", [1, 3, 10, 100, 1000, 3000])
def test_a_generator_of_so_many_samples_has_a_support_of_so_many(size: int, draw_features) -> None:
    real, images = draw_features(2000), draw_features(size, seed=1)
    estimates = [birthday(real, repeated(images, 1000, seed)).support for seed in range(5)]
    # c pairs are known to 1/√c; five standard errors of the mean of five.
    expected = math.comb(1000, 2) / size
    assert sum(estimates) / 5 == pytest.approx(size, rel=5 / math.sqrt(5 * expected) + 1e-3)


def test_of_the_likely_batch_half_have_a_duplicate(draw_features) -> None:
    real, images = draw_features(500), draw_features(1000, seed=1)
    batch = round(birthday(real, repeated(images, 1000, 0))._replace(support=1000).likely_batch)
    assert batch == 37  # √(2 ln 2 · 1000) = 37.2
    found = sum(birthday(real, repeated(images, batch, seed)).pairs > 0 for seed in range(100))
    assert found == pytest.approx(50, abs=20)  # four standard errors


def test_unequal_probabilities_have_their_effective_number(draw_features) -> None:
    """Half of all draws are one image, the others are spread over a thousand: 1/Σp² = 1/(¼ + ¼/1000)."""
    real, images = draw_features(2000), draw_features(1001, seed=1)
    weights = torch.cat([torch.ones(1000) / 2000, torch.tensor([0.5])])
    assert birthday(real, repeated(images, 1000, 0, weights)).support == pytest.approx(4, rel=0.2)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_samples_of_the_datas_distribution_collide_as_often_as_real_ones(seed: int, draw_features) -> None:
    result = birthday(draw_features(2000, 8), draw_features(2000, 8, seed=seed))
    expected = result.real_pairs  # of as many
    assert 10 <= expected <= 20  # a hundredth of 2000 samples, in pairs
    assert result.pairs == pytest.approx(expected, abs=4 * math.sqrt(2 * expected))


def test_the_threshold_and_the_pairs_are_those_of_the_definition(draw_features) -> None:
    real, fake = draw_features(60, 4), draw_features(50, 4, seed=1)
    result = birthday(real, fake, quantile=0.5)
    within, among = (torch.cdist(x, x).fill_diagonal_(math.inf) for x in (real, fake))
    threshold = within.min(1).values.sort().values[29]
    assert result.threshold == pytest.approx(threshold.item())
    assert result.pairs == (among <= threshold).sum() // 2 > 5
    assert result.real_pairs == (within <= threshold + 1e-9).sum() // 2
    assert result.support == math.comb(50, 2) / result.pairs
    assert result.real_support == math.comb(60, 2) / result.real_pairs


def test_no_pair_gives_a_bound(draw_features) -> None:
    far = 100 * torch.eye(40, dtype=torch.float64)
    result = birthday(draw_features(100, 40), far)
    assert (result.pairs, result.support) == (0, 780)
    assert result.at_least == pytest.approx(780 / -math.log(0.05))  # exp(−λ) = 5 %


def test_the_bound_is_that_of_a_poisson_count(draw_features) -> None:
    two = torch.tensor([[0.0], [0.0], [0.0], [1e3], [2e3], [3e3]]).double()  # three pairs of 15 are alike
    result = birthday(torch.arange(10.0).double()[:, None], two, quantile=0.1)
    assert result.pairs == 3 and result.support == 5
    rate = 15 / result.at_least
    assert sum(math.exp(-rate) * rate**n / math.factorial(n) for n in range(4)) == pytest.approx(0.05)


def test_duplicates_in_the_data_show_in_its_own_support_and_not_in_the_threshold(draw_features) -> None:
    clean = draw_features(1000)
    plain, doubled = birthday(clean, clean), birthday(clean.repeat(2, 1), clean)
    assert doubled.threshold == pytest.approx(plain.threshold) and doubled.pairs == plain.pairs
    assert doubled.real_support == pytest.approx(2000, rel=0.1)  # a thousand pairs of 2000 samples


def test_equal_real_samples_leave_equality_alone(draw_features) -> None:
    fake = draw_features(10, 8, seed=1).repeat(3, 1)
    result = birthday(draw_features(1, 8).repeat(20, 1), fake)
    assert result.threshold == 0 and result.real_support == 1
    assert result.pairs == 10 * 3


def test_lost_modes_show_in_the_ratio_to_the_real_support() -> None:
    """A continuous distribution has no size of its own, but a ratio to another at one threshold."""
    ring = MIXTURES["ring"]()
    real, fake = (ring.sample(4000, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    nearest = torch.cdist(fake, ring.centres).argmin(1)
    full, quarter = birthday(real, fake, quantile=0.2), birthday(real, fake[nearest < 2], quantile=0.2)
    assert full.support / full.real_support == pytest.approx(1, rel=0.25)
    assert quarter.support / quarter.real_support == pytest.approx(0.25, rel=0.4)


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batches_and_order_do_not_matter(batch: int, draw_features) -> None:
    real, fake = draw_features(100, 8), repeated(draw_features(30, 8, seed=1), 90, 0)
    streamed = Birthday()
    for features, of_real in ((real, True), (fake, False)):
        for part in features.flip(0).split(batch):
            streamed.update(part, real=of_real)
    assert streamed.compute() == pytest.approx(birthday(real, fake))
    assert streamed.compute().pairs > 90


def test_the_closest_pairs_come_first_and_share_no_sample() -> None:
    points = torch.tensor([[0.0], [10.0], [0.5], [10.1], [30.0], [10.25], [33.0]])
    assert closest_pairs(points, 2).tolist() == [[1, 3], [0, 2]]
    assert closest_pairs(points, 9).tolist() == [[1, 3], [0, 2], [4, 6]]


def test_what_cannot_be_measured_is_refused(draw_features) -> None:
    with pytest.raises(ValueError, match="birthday needs at least 2 fake samples, but there are 1"):
        birthday(draw_features(10), draw_features(1))
    with pytest.raises(ValueError, match="birthday needs at least 2 real samples, but there are 1"):
        birthday(draw_features(1), draw_features(10))
    for quantile in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match=f"quantile={quantile} is not above 0 and at most 1"):
            birthday(draw_features(10), draw_features(10), quantile=quantile)
