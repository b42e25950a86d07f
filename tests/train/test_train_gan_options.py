"""The options of every pair of networks: which losses they stand for, and which of them exclude each other."""

import dataclasses

import pytest

from gan_ops.objectives import (
    R1,
    R2,
    ClippedWasserstein,
    CTransform,
    Dragan,
    FeatureMatching,
    FGan,
    Hinge,
    LeastSquares,
    LikelihoodRatio,
    McGanMean,
    Minimax,
    Mmd,
    NonSaturating,
    Relativistic,
    WassersteinGP,
    WganDiv,
    WganGP,
    WganLP,
)
from train.base.errors import UsageError
from train.dcgan import PRESETS, DcganConfig
from train.engine.game import Role
from train.engine.optimizers import Adam, Optimistic, OptimisticAdam, RMSProp
from train.gan.options import Techniques
from train.pggan import PgganConfig


@pytest.mark.parametrize(
    ("options", "objective", "penalties"),
    [
        ({}, NonSaturating(), ()),
        ({"loss": "minimax(label_smoothing=0.1)"}, Minimax(0.1), ()),
        ({"loss": "non-saturating(label-smoothing=0.25)"}, NonSaturating(0.25), ()),
        ({"loss": "lsgan(label_smoothing=0.1)"}, LeastSquares(0.1), ()),
        ({"loss": "hinge"}, Hinge(), ()),
        ({"loss": "wgan"}, ClippedWasserstein(), ()),
        ({"loss": "wgan(clip=0.02, drift=0.001)"}, ClippedWasserstein(0.02, drift=0.001), ()),
        ({"loss": "wgan-gp(drift=0.001)"}, WassersteinGP(drift=0.001), (WganGP(),)),
        ({"loss": "wgan-gp(weight=5, target=750)"}, WassersteinGP(5.0, 750.0), (WganGP(5.0, 750.0),)),
        ({"loss": "wgan-gp(weight=0)"}, WassersteinGP(0.0), ()),
        ({"penalty": "r1(gamma=1)"}, NonSaturating(), (R1(1.0),)),
        ({"penalty": "r1(every=16), r2"}, NonSaturating(), (R1(every=16), R2())),
        ({"loss": "hinge", "penalty": "dragan(noise=0.1)"}, Hinge(), (Dragan(noise=0.1),)),
        ({"loss": "wgan-gp", "penalty": "r1"}, WassersteinGP(), (WganGP(), R1())),
        ({"loss": "wgan", "penalty": "wgan-lp"}, ClippedWasserstein(), (WganLP(),)),
        ({"loss": "lsgan", "feature_matching": 8}, FeatureMatching(LeastSquares(), 8), ()),
    ],
    ids=str,
)
def test_losses_and_penalties(options, objective, penalties):
    techniques = Techniques(**options)
    techniques.check()
    assert type(techniques.objective()) is type(objective) and techniques.objective() == objective
    assert techniques.penalties() == penalties
    assert [type(mine) for mine in techniques.penalties()] == [type(expected) for expected in penalties]


def test_wgan_gp_of_pggan_has_the_papers_drift():
    assert PgganConfig().objective() == WassersteinGP(drift=0.001)
    assert PgganConfig(loss="wgan-gp(drift=0)").objective() == WassersteinGP()


def test_every_technique_is_off_unless_it_is_asked_for():
    off = Techniques()
    for name in ("feature_matching", "minibatch_discrimination", "historical_averaging", "instance_noise"):
        assert getattr(off, name) == 0
    assert off.objective() == NonSaturating(label_smoothing=0.0)
    assert (off.penalty, off.ttur, off.d_steps, off.update) == ("", 1, 1, "alternating")
    assert all(role.optimizer == Adam() for role in off.roles((0.5, 0.9)).values())


def test_only_d_of_the_wgan_is_clipped():
    wgan = Techniques(loss="wgan(clip=0.02)", historical_averaging=0.5, ttur=4.0)
    shared = {"betas": (0.5, 0.9), "historical_averaging": 0.5}
    assert wgan.roles((0.5, 0.9)) == {"D": Role(("D",), lr=4.0, clip=0.02, **shared), "G": Role(("G",), **shared)}
    assert Techniques().roles((0.5, 0.9))["D"].clip == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("adam", Adam()),
        ("rmsprop", RMSProp(0.99)),
        ("rmsprop(alpha=0.9)", RMSProp(0.9)),
        ("optimistic", Optimistic()),
        ("optimistic-adam", OptimisticAdam()),
    ],
)
def test_both_players_have_the_optimizer_that_is_asked_for(text, expected):
    techniques = Techniques(optimizer=text)
    techniques.check()
    chosen = [role.optimizer for role in techniques.roles((0.5, 0.9)).values()]
    assert chosen == [expected] * 2 and all(type(each) is type(expected) for each in chosen)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"loss": "hinge(label_smoothing=0.1)"}, "hinge has no 'label_smoothing', nor anything else to give"),
        ({"loss": "wgan-gp(label_smoothing=0.1)"}, "wgan-gp has no 'label_smoothing', only weight, target, drift"),
        ({"loss": "non-saturating(label_smoothing=1)"}, "label_smoothing=1.0 must be at least 0 and below 1"),
        ({"loss": "wgan-pg"}, "loss='wgan-pg': 'wgan-pg' is not one of"),
        ({"loss": "wgan-pg"}, "did you mean wgan-gp?"),
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
        ({"loss": "wgan(clip=inf)"}, "clip='inf' is not a finite number"),
        ({"ttur": float("inf")}, "ttur=inf is not a finite number of at least 0"),
        ({"ttur": 0.0}, "ttur=0.0"),
        ({"loss": "wgan(clip=0)"}, "clip=0.0 is not a finite number above 0"),
        ({"loss": "wgan-gp(weight=-1)"}, "weight=-1.0 is not a finite number of at least 0"),
        ({"penalty": "r1(gamma=-1)"}, "gamma=-1.0 is not a finite number of at least 0"),
        ({"penalty": "r1(every=0)"}, "every=0 is not a whole number of at least 1"),
        ({"penalty": "r3"}, "penalty='r3': 'r3' is not one of r1, r2, wgan-gp, wgan-lp, wgan-div, dragan"),
        ({"penalty": "r1, r1(every=4)"}, "has the same penalty twice"),
        ({"loss": "wgan-gp", "penalty": "wgan-gp"}, "has the same penalty twice"),
        ({"optimizer": "rmsporp"}, "did you mean rmsprop?"),
        ({"optimizer": "rmsprop(alpha=1)"}, "optimizer='rmsprop(alpha=1)': alpha=1.0 is not at least 0 and below 1"),
        ({"optimizer": "adam(alpha=0.9)"}, "adam has no 'alpha', nor anything else to give"),
        ({"historical_averaging": -0.1}, "historical_averaging=-0.1 is not a finite number of at least 0"),
        ({"instance_noise": float("nan")}, "instance_noise=nan"),
        ({"minibatch_discrimination": 5, "minibatch_dim": 0}, "minibatch_dim=0"),
        ({"feature_matching": 3}, "feature_matching=3"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_with_the_reason(options, reason):
    with pytest.raises(UsageError) as refusal:
        Techniques(**options).check()
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"loss": "wgan-gp"},
            "loss='wgan-gp' cannot be combined with d_norm='batch': the penalty is on the gradient of each image's own",
        ),
        ({"penalty": "r1"}, "penalty='r1' cannot be combined with d_norm='batch'"),
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
        dataclasses.replace(PRESETS["glyphs"], **options).schedule()
    assert reason in str(refusal.value)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_in_order(name):
    preset = PRESETS[name]
    assert preset.preset == name
    assert preset.objective()
    (phase,) = preset.schedule().phases
    assert (phase.resolution, phase.fading, phase.end) == (preset.resolution, False, round(1000 * preset.kimg))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("f(divergence=pearson, trick=true)", FGan("pearson", trick=True)),
        ("relativistic(average=false, of=hinge)", Relativistic(average=False, of="hinge")),
        ("lsgan(a=-1, b=1, c=0)", LeastSquares(a=-1.0, b=1.0, c=0.0)),
        ("likelihood-ratio(family=exponential)", LikelihoodRatio("exponential")),
        ("mmd(kernel=gaussian, outputs=3)", Mmd("gaussian", outputs=3)),
        ("mcgan(norm=inf)", McGanMean("inf")),
        ("c-transform(metric=l1, power=2)", CTransform("l1", power=2.0)),
    ],
)
def test_values_of_losses_reach_them(loss, expected):
    found = Techniques(loss=loss).objective()
    assert type(found) is type(expected) and found == expected


@pytest.mark.parametrize(
    ("loss", "penalties"),
    [
        ("r3gan(gamma=0.1)", (R1(0.1), R2(0.1))),
        ("wgan-div", (WganDiv(2.0, 6.0),)),
        ("dragan", (Dragan(),)),
        ("mmd(weight=0)", ()),
    ],
)
def test_losses_bring_their_penalties_along(loss, penalties):
    assert Techniques(loss=loss).penalties() == penalties


def test_an_objective_that_remembers_is_a_new_one_each_time():
    techniques = Techniques(loss="fisher(rho=0.01)")
    one, other = techniques.objective(), techniques.objective()
    one.multiplier.fill_(3.0)
    assert other.multiplier == 0 and other.rho == 0.01


@pytest.mark.parametrize(
    ("options", "norm", "reason"),
    [
        ({"penalty": "r1"}, "gradient", "d_norm='gradient' cannot be combined with penalty='r1': .* third derivatives"),
        ({"loss": "wgan-gp"}, "gradient-v2", "d_norm='gradient-v2' cannot be combined with loss='wgan-gp'"),
        (
            {"minibatch_discrimination": 5},
            "gradient",
            "minibatch_discrimination=5: each score is normalised by its own",
        ),
        ({"loss": "mmd(weight=0)"}, "gradient", r"loss='mmd\(weight=0\)': its critic gives vectors"),
    ],
    ids=str,
)
def test_what_gradient_norms_exclude(options, norm, reason):
    with pytest.raises(UsageError, match=reason):
        Techniques(**options).check_norms("none", norm, weight_norm=False)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (DcganConfig(kimg=1.0, batch="6", pack=4), "pack=4 does not divide the batch of 6 at 32x32"),
        (
            DcganConfig(kimg=1.0, batch="8", microbatch="2", pack=4),
            "pack=4 does not divide the microbatch of 2 at 32x32",
        ),
        (
            DcganConfig(condition="k+1", pack=2),
            r"pack=2 cannot be combined with condition='k\+1': a pack has no label of its own",
        ),
        (DcganConfig(condition="k+1", loss="mcgan"), r"loss='mcgan' cannot be combined with condition='k\+1'"),
        (DcganConfig(condition="projection", loss="mcgan"), "cannot be combined with condition='projection'"),
        (
            DcganConfig(condition="cgan", feature_matching=4),
            "feature_matching=4 cannot be combined with condition='cgan'",
        ),
        (DcganConfig(condition="acgan", feature_matching=4), None),
        (PgganConfig(condition="acgan", pack=2), "pack=2 cannot be combined with condition='acgan'"),
        (PgganConfig(batch="8", pack=4, group_size=4), None),
        (PgganConfig(batch="16", pack=4, group_size=3), "group_size=3 does not divide the 4 packs of the batch of 16"),
        (PgganConfig(loss="mcgan"), "loss='mcgan' clips D's parameters"),
        (DcganConfig(pack=0), "pack=0 is less than 1"),
        (DcganConfig(loss="mmd(weight=0)", batch="2", microbatch="1"), "at least 2 images, and the microbatch of 1 at"),
        (DcganConfig(loss="mmd(weight=0)", batch="4", pack=4), "at least 2 packs of images, and the batch of 4 at"),
        (DcganConfig(loss="mmd(weight=0)", batch="4", pack=2), None),
        (DcganConfig(loss="mmd(weight=0,outputs=1,reconstruction=8)"), "D is no autoencoder, so reconstruction must"),
    ],
    ids=str,
)
def test_what_packs_and_vectors_exclude(config, reason):
    if reason is None:
        config.schedule()
        return
    with pytest.raises(UsageError, match=reason):
        config.schedule()
