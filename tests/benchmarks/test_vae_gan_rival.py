"""The plain loop that VAE-GAN's step is measured against computes the same."""

from __future__ import annotations

import pytest
import torch

from benchmarks.test_vae_gan_step import Ours, Plain, inputs

BATCH = 4


@pytest.fixture(scope="module", params=["batch", "layer"])
def after_three_steps(request: pytest.FixtureRequest) -> tuple[Ours, Plain, Plain]:
    """Both after the same steps from the same weights, and the start.

    With eps = 1e-3 Adam's steps tell gradients of different sizes apart; with its own they would be signs alone, and
    rounding near 0 would count as much as anything.
    """
    ours, plain, start = (kind(BATCH, torch.float32, request.param, eps=1e-3) for kind in (Ours, Plain, Plain))
    for _ in range(3):
        given = inputs(BATCH)
        ours.step(*given)
        plain.step(*given)
    return ours, plain, start


@pytest.mark.parametrize("name", ["E", "G", "D"])
def test_the_plain_loop_and_we_move_every_weight_alike(after_three_steps, name: str) -> None:
    ours, plain, start = (of.networks[name].state_dict() for of in after_three_steps)
    for tensor, expected in plain.items():
        if tensor.endswith("num_batches_tracked"):
            assert ours[tensor] == expected
            continue
        moved = (expected - start[tensor]).abs().max()
        assert moved > 0
        # Float32's rounding, where a sum of thousands of gradients is taken in another order.
        assert (ours[tensor] - expected).abs().max() < 1e-3 * moved, tensor


@pytest.mark.parametrize("name", ["E", "G"])
def test_the_plain_loop_and_we_keep_the_same_averages(after_three_steps, name: str) -> None:
    ours, plain, _ = (of.averages[name].state_dict() for of in after_three_steps)
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-6)
