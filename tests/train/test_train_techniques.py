"""The options of every pair of networks: which losses they stand for, and which of them exclude each other."""

import dataclasses

import pytest

from gan_ops.objectives import GradientPenalty, Hinge, LeastSquares, Minimax, NonSaturating, Wasserstein
from train.base.errors import UsageError
from train.dcgan_config import PRESETS, schedule_of
from train.gan.options import Techniques, losses_of, player_options


@pytest.mark.parametrize(
    ("options", "objective", "penalty"),
    [
        ({}, NonSaturating(), None),
        ({"loss": "minimax", "label_smoothing": 0.1}, Minimax(0.1), None),
        ({"label_smoothing": 0.25}, NonSaturating(0.25), None),
        ({"loss": "lsgan", "label_smoothing": 0.1}, LeastSquares(0.1), None),
        ({"loss": "hinge"}, Hinge(), None),
        ({"loss": "wgan"}, Wasserstein(), None),
        ({"loss": "wgan-gp", "drift": 0.001}, Wasserstein(drift=0.001), GradientPenalty()),
        ({"loss": "wgan-gp", "gp_weight": 5.0, "gp_target": 750.0}, Wasserstein(), GradientPenalty(5.0, 750.0)),
        ({"loss": "wgan-gp", "gp_weight": 0.0}, Wasserstein(), None),
    ],
    ids=str,
)
def test_losses(options, objective, penalty):
    losses = losses_of(Techniques(**options))
    assert type(losses.objective) is type(objective) and losses.objective == objective
    assert losses.penalty == penalty


def test_every_technique_is_off_unless_it_is_asked_for():
    off = Techniques()
    for name in ("label_smoothing", "feature_matching", "minibatch_discrimination", "historical_averaging"):
        assert getattr(off, name) == 0
    assert (off.instance_noise, off.ttur, off.d_steps, off.update) == (0, 1, 1, "alternating")


def test_only_d_of_the_wgan_is_clipped():
    wgan = Techniques(loss="wgan", clip=0.02, historical_averaging=0.5)
    assert player_options(wgan, discriminator=True) == {"historical_averaging": 0.5, "clip": 0.02}
    assert player_options(wgan, discriminator=False) == {"historical_averaging": 0.5, "clip": 0.0}
    assert player_options(Techniques(), discriminator=True)["clip"] == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"loss": "hinge", "label_smoothing": 0.1},
            "label_smoothing=0.1 cannot be combined with loss='hinge', which has no target",
        ),
        ({"loss": "wgan-gp", "label_smoothing": 0.1}, "label_smoothing=0.1 cannot be combined with loss='wgan-gp'"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0 must be at least 0 and below 1"),
        (
            {"d_steps": 5, "update": "merged"},
            "d_steps=5 cannot be combined with update='merged', where both players are updated once",
        ),
        ({"d_steps": 5, "update": "joint"}, "d_steps=5 cannot be combined with update='joint'"),
        ({"d_steps": 0}, "d_steps=0 is less than 1"),
        (
            {"loss": "wgan", "minibatch_discrimination": 5},
            "loss='wgan' cannot be combined with minibatch_discrimination=5",
        ),
        ({"loss": "wgan", "clip": float("inf")}, "clip=inf is not a finite number of at least 0"),
        ({"ttur": float("inf")}, "ttur=inf is not a finite number of at least 0"),
        ({"ttur": 0.0}, "ttur=0.0"),
        ({"loss": "wgan", "clip": 0.0}, "clip=0.0"),
        ({"loss": "wgan-gp", "gp_weight": -1.0}, "gp_weight=-1.0 is not a finite number of at least 0"),
        ({"historical_averaging": -0.1}, "historical_averaging=-0.1 is not a finite number of at least 0"),
        ({"instance_noise": float("nan")}, "instance_noise=nan"),
        ({"minibatch_discrimination": 5, "minibatch_dim": 0}, "minibatch_dim=0"),
        ({"feature_matching": 3}, "feature_matching=3"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_with_the_reason(options, reason):
    with pytest.raises(UsageError) as refusal:
        losses_of(Techniques(**options))
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"loss": "wgan-gp"},
            "loss='wgan-gp' cannot be combined with d_norm='batch': the penalty is on the gradient of each image's own",
        ),
        ({"weight_norm": True, "d_norm": "spectral"}, "weight_norm cannot be combined with the norm 'spectral'"),
        ({"weight_norm": True, "g_norm": "spectral"}, "weight_norm cannot be combined with the norm 'spectral'"),
        ({"loss": "wgan", "d_norm": "spectral"}, "loss='wgan' cannot be combined with d_norm='spectral'"),
        ({"loss": "wgan", "weight_norm": True}, "loss='wgan' cannot be combined with weight_norm"),
        ({"feature_matching": 32}, "feature_matching=32: D's maps have heights 4 to 16"),
        ({"resolution": 256}, "resolution=256 is not one of 16, 32, 64, 128"),
        ({"resolution": 48}, "resolution=48"),
        ({"beta1": 1.0}, "beta1=1.0"),
        ({"latent": 0}, "latent=0"),
        ({"kimg": 0.0}, "kimg=0"),
        ({"batch": "0"}, "batch=0"),
    ],
    ids=str,
)
def test_dcgan_refuses_what_its_networks_do_not_allow(options, reason):
    with pytest.raises(UsageError) as refusal:
        schedule_of(dataclasses.replace(PRESETS["glyphs"], **options))
    assert reason in str(refusal.value)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_in_order(name):
    preset = PRESETS[name]
    assert preset.preset == name
    losses_of(preset)
    (phase,) = schedule_of(preset).phases
    assert (phase.resolution, phase.fading, phase.end) == (preset.resolution, False, round(1000 * preset.kimg))
