"""The small networks for points: shapes, norms, minibatches that stay apart, errors."""

from __future__ import annotations

import pytest
import torch

from models.mixture import D_NORMS, G_NORMS, Discriminator, Generator
from models.parts import norms
from train.data.gaussians import ring


def generator(**options) -> Generator:
    torch.manual_seed(0)
    reference = torch.randn(5, 3) if options.get("norm") == "virtual" else None
    return Generator(3, width=8, reference=reference, **options)


@pytest.mark.parametrize("norm", G_NORMS)
def test_a_generator_makes_points(norm: str) -> None:
    assert generator(norm=norm)(torch.randn(4, 3)).shape == (4, 2, 1, 1)


@pytest.mark.parametrize("norm", D_NORMS)
def test_a_discriminator_scores_each_point(norm: str) -> None:
    scores = Discriminator(width=8, norm=norm)(torch.randn(4, 2, 1, 1))
    assert scores.score.shape == (4,) and scores.logits is None


def test_the_map_is_the_last_hidden_layer_of_which_the_score_is_a_linear_function() -> None:
    network = Discriminator(width=8)
    scores = network(torch.randn(4, 2, 1, 1))
    (hidden,) = scores.maps
    assert hidden.shape == (4, 8)
    assert torch.equal(network.out(hidden)[:, 0], scores.score)


@pytest.mark.parametrize(("norm", "kernels", "sees"), [("batch", 0, True), ("layer", 0, False), ("none", 3, True)])
def test_what_compares_samples_says_so(norm: str, kernels: int, sees: bool) -> None:
    assert Discriminator(width=8, norm=norm, minibatch_kernels=kernels).sees_batch is sees


@pytest.mark.parametrize("norm", D_NORMS)
@pytest.mark.parametrize("kernels", [0, 3])
def test_interleaved_minibatches_are_scored_as_one_by_one(norm: str, kernels: int) -> None:
    torch.manual_seed(0)
    network = Discriminator(width=8, norm=norm, minibatch_kernels=kernels)
    network.train(norm == "batch")  # in evaluation spectral norm stands still
    x = torch.randn(6, 2, 1, 1)
    for together, part in zip(network(x, batches=2).parted(2), (x[0::2], x[1::2]), strict=True):
        alone = network(part)
        torch.testing.assert_close(together.score, alone.score)
        torch.testing.assert_close(together.maps, alone.maps)


def test_minibatch_discrimination_sees_the_companions_and_nothing_else_does() -> None:
    x = torch.randn(4, 2, 1, 1)
    alone, other = x[:2], torch.cat([x[:2], x[2:] + 1])
    for kernels, sees in ((0, False), (3, True)):
        torch.manual_seed(0)
        network = Discriminator(width=8, minibatch_kernels=kernels)
        assert torch.allclose(network(alone).score, network(other).score[:2]) is not sees


def test_minibatch_discrimination_starts_wide_enough_to_see_other_modes() -> None:
    torch.manual_seed(0)
    network = Discriminator(minibatch_kernels=10)
    centres = ring().centres
    closeness = network.minibatch(network.hidden(centres[:, :, None, None]))[:, -10:]  # 1 for itself, 8 for all as one
    assert 2 < closeness.mean() < 7


def test_norms_are_some_of_those_of_images_and_in_their_order() -> None:
    assert tuple(norm for norm in norms.G_NORMS if norm in G_NORMS) == G_NORMS
    assert tuple(norm for norm in norms.D_NORMS if norm in D_NORMS) == D_NORMS


def test_weight_norm_reaches_every_layer() -> None:
    for network, layers in ((generator(weight_norm=True), 3), (Discriminator(width=8, weight_norm=True), 3)):
        assert sum(name.endswith("weight.original0") for name, _ in network.named_parameters()) == layers


@pytest.mark.parametrize("make", [lambda: Generator(3, norm="instance"), lambda: Discriminator(norm="virtual")])
def test_a_norm_that_does_not_fit_is_refused(make) -> None:
    with pytest.raises(ValueError, match=r"norm=.(instance|virtual). is not one of"):
        make()


def test_what_is_wrong_with_inputs_is_said() -> None:
    with pytest.raises(ValueError, match=r"z is \[4, 2\], not \[N, 3\]"):
        generator()(torch.randn(4, 2))
    with pytest.raises(ValueError, match=r"x is \[4, 2\], not \[N, 2, 1, 1\]"):
        Discriminator()(torch.randn(4, 2))
    with pytest.raises(ValueError, match="needs a reference batch"):
        Generator(3, norm="virtual")
