"""Feature matching: distance of mean features."""

from __future__ import annotations

import pytest
import torch
from torch import tensor

from gan_ops.objectives import ClippedWasserstein, FeatureMatching, Fisher, Mmd, WassersteinGP, feature_matching


def test_is_the_squared_distance_of_the_means():
    real, fake = tensor([[1.0, 0.0], [3.0, 0.0]]), tensor([[0.0, 1.0]])
    assert feature_matching(real, fake).item() == 2.0**2 + 1.0**2


def test_is_zero_for_equal_statistics_of_different_samples():
    assert feature_matching(tensor([[1.0], [3.0]]), tensor([[2.0], [0.0], [4.0]])) == 0


def test_maps_count_position_by_position():
    real, fake = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    assert feature_matching(real, fake).item() == 3 * 4 * 4


def test_features_of_another_layer_are_refused():
    with pytest.raises(ValueError, match=r"fake must have features \[3\] as real has, but they are \[4\]"):
        feature_matching(torch.zeros(2, 3), torch.zeros(2, 4))


def test_what_a_loss_asks_of_the_trainer_it_asks_with_other_losses_for_the_generator_too():
    for loss in (ClippedWasserstein(), Fisher(), Mmd(outputs=3), WassersteinGP()):
        matching = FeatureMatching(loss)
        for name in ("shown", "least", "outputs", "clip", "penalties"):
            assert getattr(matching, name) == getattr(loss, name), name
        assert matching.compares
