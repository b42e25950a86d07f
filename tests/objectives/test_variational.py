"""Terms of the variational bound: the posterior's divergence from the prior, its draws, and the normal likelihood."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, tensor
from torch.distributions import Normal, kl_divergence

from gan_ops.objectives import NormalPosterior, normal_distance, prior_divergence


@pytest.fixture
def posterior() -> NormalPosterior:
    random = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(2, 5, 3, dtype=torch.float64, generator=random)
    return NormalPosterior(mean.requires_grad_(), log_variance.requires_grad_())


def scale(posterior: NormalPosterior) -> Tensor:
    return (posterior.log_variance / 2).exp()


def test_the_divergence_is_that_of_torchs_distributions(posterior):
    prior = Normal(torch.zeros(3, dtype=torch.float64), 1.0)
    expected = kl_divergence(Normal(posterior.mean, scale(posterior)), prior).sum(1).mean()
    torch.testing.assert_close(prior_divergence(posterior), expected)


def test_the_divergence_of_the_prior_itself_is_zero():
    assert prior_divergence(NormalPosterior(torch.zeros(2, 3), torch.zeros(2, 3))) == 0


def test_the_divergence_sums_over_latents_and_averages_over_the_batch():
    mean = tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert prior_divergence(NormalPosterior(mean, torch.zeros(4, 2))).item() == 2 * 0.5 / 4


def test_draws_have_the_posteriors_mean_and_variance():
    count = 200_000
    eps = torch.randn(count, 1, generator=torch.Generator().manual_seed(0))
    z = NormalPosterior(torch.full((count, 1), 3.0), torch.full((count, 1), math.log(4.0))).sample(eps)
    # Standard errors: 2/√count = 0.0045 and 4·√(2/count) = 0.013.
    assert z.mean().item() == pytest.approx(3.0, abs=0.02) and z.var().item() == pytest.approx(4.0, abs=0.06)


def test_a_draw_is_differentiated_through(posterior):
    eps = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(lambda *both: NormalPosterior(*both).sample(eps), tuple(posterior))
    of_mean, of_log_variance = torch.autograd.grad(posterior.sample(eps).sum(), tuple(posterior))
    assert torch.equal(of_mean, torch.ones_like(eps))
    torch.testing.assert_close(of_log_variance, scale(posterior) * eps / 2)


def test_the_distance_is_the_normal_log_likelihood_but_for_a_constant():
    x, mean = torch.randn(2, 4, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    constant = 3 * 2 * 2 * math.log(2 * math.pi) / 2
    expected = -Normal(mean, 1.0).log_prob(x).flatten(1).sum(1).mean() - constant
    torch.testing.assert_close(normal_distance(x, mean), expected)


def test_the_distance_has_gradients_to_both():
    x, mean = (torch.tensor([[value, 0.0]], requires_grad=True) for value in (3.0, 1.0))
    of_x, of_mean = torch.autograd.grad(normal_distance(x, mean), (x, mean))
    assert of_x.tolist() == [[2.0, 0.0]] and of_mean.tolist() == [[-2.0, 0.0]]


def test_the_distance_of_half_precision_is_summed_in_float32():
    # 4096 values of ½ each; bfloat16 would stop counting at 256.
    ones, zeros = torch.ones(1, 4096, dtype=torch.bfloat16), torch.zeros(1, 4096, dtype=torch.bfloat16)
    distance = normal_distance(ones, zeros)
    assert distance.dtype == torch.float32 and distance.item() == 2048


def test_a_distance_of_different_shapes_is_refused():
    with pytest.raises(ValueError, match=r"mean must be \[2, 3\] as x is, but it is \[1, 3\]"):
        normal_distance(torch.zeros(2, 3), torch.zeros(1, 3))
