"""D as losses see it: packs of images, and which of interleaved minibatches they are of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gan_ops.objectives import McGanCovariance, Scores, interleave
from train.engine.player import Player, Role
from train.gan.conditioning import Conditioning
from train.gan.critic import Critic


def critic(pack: int) -> Critic:
    return Critic(nn.Identity(), Conditioning(), pack)


def images(count: int, start: float = 0.0) -> Tensor:
    """[count, 2, 1, 1], the values of image n being n and n + ½."""
    first = torch.arange(count) + start
    return torch.stack([first, first + 0.5], 1)[:, :, None, None]


def test_images_that_follow_each_other_are_joined_along_their_channels() -> None:
    packs = critic(2).packed(images(4))
    assert packs.flatten(1).tolist() == [[0, 0.5, 1, 1.5], [2, 2.5, 3, 3.5]]


@pytest.mark.parametrize("pack", [1, 2, 3, 6])
def test_packs_of_interleaved_minibatches_are_those_of_each_interleaved(pack: int) -> None:
    real, fake = images(6), images(6, 100)
    packed = critic(pack)
    expected = interleave(packed.packed(real), packed.packed(fake))
    assert torch.equal(packed.packed(interleave(real, fake), batches=2), expected)


def test_single_images_stay_what_they_are() -> None:
    x = images(4)
    assert critic(1).packed(x) is x and critic(1).alike(x) is x


def test_images_of_a_pack_have_one_place() -> None:
    places = torch.tensor([0.1, 0.2, 0.3, 0.4])
    torch.testing.assert_close(critic(2).alike(places), torch.tensor([0.1, 0.1, 0.3, 0.3]))


def test_what_d_was_shown_comes_with_its_answer() -> None:
    class Networks:
        @staticmethod
        def D(x: Tensor) -> Scores:
            return Scores(x.sum((1, 2, 3)))

    scores = critic(2)(Networks, images(4), None)
    assert scores.score.tolist() == [3.0, 11.0] and scores.x.shape == (2, 4, 1, 1)


def test_an_objective_that_learns_is_retracted_and_not_clipped() -> None:
    objective, network = McGanCovariance(outputs=4, components=2), nn.Linear(3, 4)
    role = Role(("D", "objective"), clip=0.01)
    player = Player({"D": network, "objective": objective}, role)
    player.set_lr(0.1)
    player.update([torch.ones_like(p) for p in player.active])
    assert all(p.abs().max() <= 0.01 for p in network.parameters())
    for directions in (objective.u, objective.v):
        torch.testing.assert_close(directions.T @ directions, torch.eye(2))
