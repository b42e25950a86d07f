"""InfoGAN's codes: how they lie, what they are made of, and how they are changed."""

from __future__ import annotations

import pytest
import torch

from models.dcgan import Generator
from models.parts.codes import Codes, OfCodes
from models.pggan import Generator as Growing

CODES = Codes((3, 2), 2)


def latents(count: int, length: int = 11) -> torch.Tensor:
    return torch.randn(count, length, generator=torch.Generator().manual_seed(0))


def test_categories_are_one_hot_vectors_and_equally_frequent():
    codes = CODES.of(latents(30_000))
    first, second = codes[:, :3], codes[:, 3:5]
    assert codes.shape == (30_000, 7)
    assert torch.equal(first.sum(1), torch.ones(30_000)) and torch.equal(first.unique(), torch.tensor([0.0, 1.0]))
    # Four standard deviations of a mean of 30 000.
    torch.testing.assert_close(first.mean(0), torch.full((3,), 1 / 3), atol=0.011, rtol=0)
    torch.testing.assert_close(second.mean(0), torch.full((2,), 1 / 2), atol=0.012, rtol=0)


def test_continuous_codes_are_uniform_on_minus_1_to_1():
    numbers = CODES.of(latents(30_000))[:, 5:]
    assert numbers.abs().max() <= 1
    for quantile in (0.1, 0.5, 0.9):
        torch.testing.assert_close(numbers.quantile(quantile, 0), torch.full((2,), 2 * quantile - 1), atol=0.03, rtol=0)


def test_what_comes_before_the_codes_stays():
    z = latents(5)
    placed = CODES.placed(z)
    assert torch.equal(placed[:, :4], z[:, :4]) and torch.equal(placed[:, 4:], CODES.of(z))
    assert Codes().placed(z) is z


def test_one_category_is_changed_and_nothing_else():
    placed = CODES.placed(latents(5))
    changed = CODES.with_category(placed, 1, torch.tensor([1, 0, 1, 0, 1]))
    assert changed[:, 7:9].argmax(1).tolist() == [1, 0, 1, 0, 1]
    assert torch.equal(changed[:, :7], placed[:, :7]) and torch.equal(changed[:, 9:], placed[:, 9:])


def test_one_number_is_changed_and_nothing_else():
    placed = CODES.placed(latents(2))
    changed = CODES.with_number(placed, 1, torch.tensor([-2.0, 2.0]))
    assert changed[:, 10].tolist() == [-2.0, 2.0] and torch.equal(changed[:, :10], placed[:, :10])


@pytest.mark.parametrize(("categorical", "continuous"), [((1,), 0), ((3, 0), 1), ((), -1)])
def test_a_code_has_two_values(categorical, continuous):
    with pytest.raises(ValueError, match=r"categorical=\[.*a code has two values or more"):
        Codes(categorical, continuous)


@pytest.mark.parametrize("norm", ["batch", "virtual"])
def test_a_generator_makes_its_codes_itself(norm):
    torch.manual_seed(0)
    made = Generator(16, latent_dim=11, width=2, categorical=[3, 2], continuous=2, norm=norm, reference_batch=4).eval()
    z = latents(3)
    assert torch.equal(made(z), OfCodes(made)(CODES.placed(z)))
    largest = z[:, 4:7].argmax(1)
    z[torch.arange(3), 4 + largest] += 1  # the same category
    assert torch.equal(made(z), made(latents(3)))


def test_a_growing_generator_too():
    torch.manual_seed(0)
    made = Growing(8, latent_dim=11, fmap_base=8, fmap_max=4, categorical=[3, 2], continuous=2)
    z = latents(3)
    assert torch.equal(made(z), OfCodes(made)(CODES.placed(z)))
