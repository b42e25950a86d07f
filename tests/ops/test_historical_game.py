"""Historical averaging in the game min_x max_y xy, whose simultaneous gradient descent never arrives."""

from __future__ import annotations

import pytest
import torch

import gan_ops


def played(weight: float, moves: int) -> float:
    """How far the players are from the equilibrium (0, 0) after so many simultaneous moves of step 0.1 from (1, 1).

    Each has weight·‖θ − mean of past θ‖² added to its cost (Salimans et al. 2016, section 3.3).
    """
    x, y = (torch.ones([], dtype=torch.float64, requires_grad=True) for _ in range(2))
    players = [x, y]
    averages = [torch.zeros([], dtype=torch.float64) for _ in players]
    for t in range(1, moves + 1):
        costs = [x * y, -x * y]
        gradients = [
            torch.autograd.grad(cost + weight * gan_ops.historical_distance([player], [average], t), player)[0]
            for cost, player, average in zip(costs, players, averages, strict=True)
        ]
        gan_ops.historical_update_(players, averages, t)
        with torch.no_grad():
            for player, gradient in zip(players, gradients, strict=True):
                player -= 0.1 * gradient
    return torch.stack(players).norm().item()


def test_plain_gradient_descent_moves_away_from_the_equilibrium() -> None:
    # Each move multiplies the distance, √2 at the start, by √(1 + 0.1²).
    assert played(0.0, 300) == pytest.approx(2**0.5 * 1.01**150)


def test_a_weight_of_a_tenth_of_historical_averaging_makes_it_converge() -> None:
    assert played(0.1, 300) < 0.05
    assert played(0.1, 1000) < 0.005


def test_a_weight_of_a_hundredth_is_too_little() -> None:
    assert played(0.01, 300) > 2 * 2**0.5
    assert played(0.01, 600) > played(0.01, 300)
