"""Truncated latents, and the statistics that batch norms take of what is drawn of them."""

from __future__ import annotations

import math

import pytest
import torch

from models.biggan import Generator
from models.pggan import Generator as WithoutBatchNorm
from train.base.errors import UsageError
from train.measure.pictures import latents
from train.measure.standing import stand


@pytest.mark.parametrize("bound", [0.04, 0.5, 2.0])
def test_truncated_latents_are_normal_ones_without_those_beyond(bound):
    z = latents(400, 50, 0, bound).double()
    density = math.exp(-(bound**2) / 2) / math.sqrt(2 * math.pi)
    variance = 1 - 2 * bound * density / math.erf(bound / math.sqrt(2))  # of the truncated distribution
    assert z.abs().max() <= bound
    # 20 000 values: relative deviations of a variance's estimate are about 1/100.
    assert z.var().item() == pytest.approx(variance, rel=0.03)
    assert z.mean().item() == pytest.approx(0, abs=4 * math.sqrt(variance / z.numel()))


def test_a_bound_that_no_value_reaches_leaves_a_normal_distribution():
    z = latents(400, 50, 0, 1e30)
    assert z.isfinite().all() and z.var().item() == pytest.approx(1, rel=0.03) and z.abs().max() > 3


def test_a_longer_batch_of_truncated_latents_begins_with_the_shorter_one():
    assert torch.equal(latents(3, 5, 1, 0.5), latents(7, 5, 1, 0.5)[:3])
    assert not torch.equal(latents(3, 5, 2, 0.5), latents(3, 5, 1, 0.5))


def generator() -> Generator:
    torch.manual_seed(0)
    sizes = {"latent_dim": 6, "width": 2, "num_classes": 3, "embedding": 4, "hierarchical": True}
    return Generator(16, **sizes).eval()


def test_standing_statistics_are_means_over_batches_of_the_bounded_latents():
    g = generator()
    norm = g.blocks[0][0].norm1.normal
    seen = []
    norm.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    stand(g, 5, 8, seed=0, truncation=0.5)
    assert len(seen) == 5 and all(len(x) == 8 for x in seen)
    torch.testing.assert_close(norm.running_mean, torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0))
    variances = [x.transpose(0, 1).flatten(1).var(1) for x in seen]
    torch.testing.assert_close(norm.running_var, torch.stack(variances).mean(0))
    spread = torch.cat(seen).var()
    other = generator()
    seen.clear()
    other.blocks[0][0].norm1.normal.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    stand(other, 5, 8, seed=0)
    assert torch.cat(seen).var() > 2 * spread


def test_taking_them_changes_nothing_else():
    g = generator()
    before = {name: value.clone() for name, value in g.state_dict().items()}
    stand(g, 3, 4, seed=0)
    assert not any(module.training for module in g.modules())
    assert g.norm.momentum == 0.1
    changed = {name for name, value in g.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.rpartition(".")[2].startswith(("running_", "num_batches")) for name in changed)


def test_they_are_the_same_for_a_seed():
    a, b, c = generator(), generator(), generator()
    for g, seed in ((a, 0), (b, 0), (c, 1)):
        stand(g, 2, 4, seed=seed)
    assert torch.equal(a.norm.running_mean, b.norm.running_mean)
    assert not torch.equal(a.norm.running_mean, c.norm.running_mean)


def test_a_generator_without_batch_norm_has_none():
    with pytest.raises(UsageError, match="standing=3: this generator has no batch norm"):
        stand(WithoutBatchNorm(8, latent_dim=4, fmap_base=8, fmap_max=4), 3, 4, seed=0)
