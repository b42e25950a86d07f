"""Penalties at reals and fakes take their gradients from the scores' own pass, and no work is done for others."""

from __future__ import annotations

import pytest

from .games import BATCH
from .test_gradients import gan

N = BATCH


@pytest.mark.parametrize("update", ["alternating", "joint", "merged"])
@pytest.mark.parametrize(
    ("penalty", "passes"),
    [
        ("", [2 * N]),
        ("r1", [N, N]),
        ("r2", [N, N]),
        ("r1,r2", [2 * N]),
        ("wgan-gp", [2 * N, N]),
        ("r1,dragan", [N, N, N]),
        ("r1(every=2)", [2 * N]),
    ],
)
def test_passes_through_d_in_its_move(penalty, passes, update) -> None:
    trainer = gan(penalty=penalty)(update, microbatch=N, compile=False)
    trainer.steps = 1  # no lazy move is due
    sizes: list[int] = []
    trainer.game.networks["D"].register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    trainer.step()
    assert sizes == [*passes, N]  # and G's


@pytest.mark.parametrize(("penalty", "differentiated"), [("r1", "real"), ("r2", "fake")])
def test_a_gradient_is_taken_at_the_images_that_are_penalised_alone(penalty, differentiated) -> None:
    trainer = gan(penalty=penalty)("alternating", microbatch=N, compile=False)
    required: list[bool] = []
    trainer.game.networks["D"].register_forward_hook(lambda _, args, __: required.append(args[0].requires_grad))
    trainer.step()
    assert required[:2] == [differentiated == "real", differentiated == "fake"]


def test_a_lazy_penalty_has_a_pass_of_its_own_when_it_is_due() -> None:
    trainer = gan(penalty="r1(every=2)")("alternating", microbatch=N, compile=False)
    sizes: list[int] = []
    trainer.game.networks["D"].register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    trainer.step()
    trainer.step()
    assert sizes == [2 * N, N, N, 2 * N, N]
