"""Conditions: what each network is given, what they need of the data, and what excludes them."""

from __future__ import annotations

import pytest
import torch

from models.parts.codes import Codes
from train.base.errors import UsageError
from train.data import ImageSet
from train.dcgan import DcganConfig
from train.dcgan import build_trainer as build_dcgan
from train.pggan import PgganConfig
from train.pggan import build_trainer as build_pggan

from .runs import TINY, TINY_DCGAN, batch_of, steps

CPU = torch.device("cpu")
CODES = {"condition": "infogan", "categorical": "3,2", "continuous": 1}


@pytest.fixture
def images() -> ImageSet:
    pixels = torch.randint(0, 256, (20, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return ImageSet.from_images(pixels, name="noise", labels=torch.arange(20) % 3)


def dcgan(images: ImageSet, **options):
    return build_dcgan(DcganConfig(**{**TINY_DCGAN, **options}), {"images": images}, CPU)


@pytest.mark.parametrize("system", ["dcgan", "pggan"])
@pytest.mark.parametrize(
    ("condition", "g_classes", "d_classes"),
    [("none", 0, 0), ("cgan", 3, 3), ("acgan", 3, 3), ("projection", 3, 3), ("k+1", 0, 3), ("infogan", 0, 16 - 4)],
)
def test_which_network_knows_the_classes(images, system, condition, g_classes, d_classes):
    if system == "dcgan":
        trainer, options = dcgan(images, condition=condition)
    else:
        config = PgganConfig(**{**TINY, "resolution": 16, "condition": condition})
        trainer, options = build_pggan(config, {"images": images}, CPU)
    networks = trainer.game.networks
    assert (networks["G"].num_classes, networks["D"].num_classes) == (g_classes, d_classes)
    assert networks["D"].condition == condition and options["num_classes"] == g_classes
    steps(trainer, 1)


@pytest.mark.parametrize("condition", ["cgan", "acgan", "projection", "k+1"])
def test_labels_are_needed(images, condition):
    images.labels, images.num_classes = None, 0
    with pytest.raises(UsageError, match="needs labels, and noise has none"):
        dcgan(images, condition=condition)


def test_codes_need_no_labels(images):
    images.labels, images.num_classes = None, 0
    steps(dcgan(images, **CODES)[0], 1)


def test_the_labels_of_fakes_are_the_codes_of_their_latents(images):
    trainer, options = dcgan(images, **CODES)
    batch, codes = batch_of(trainer), Codes((3, 2), 1)
    assert trainer.game.networks["G"].latent_dim == options["latent_dim"] == TINY_DCGAN["latent"] + 6
    for role in "DG":
        assert torch.equal(batch[f"{role}/labels"], codes.of(batch[f"{role}/z"]))


def test_latents_of_a_merged_step_share_their_codes(images):
    batch = batch_of(dcgan(images, **CODES, update="merged")[0])
    assert torch.equal(batch["D/labels"], batch["G/labels"])


def test_the_information_about_codes_is_reported(images):
    trainer, _ = dcgan(images, **CODES)
    steps(trainer, 1)
    assert "information" in trainer.measurements()


def test_q_moves_with_d_and_the_information_moves_g(images):
    """Without any other reason to move: the weights of the information are all that differs."""
    with_it, without = (
        steps(dcgan(images, **CODES, information_weight=weight, continuous_weight=weight)[0], 1)
        for weight in (1.0, 0.0)
    )
    for name in ("D", "G"):
        pairs = zip(with_it.game.networks[name].parameters(), without.game.networks[name].parameters(), strict=True)
        assert any(not torch.equal(one, other) for one, other in pairs)
    start = dcgan(images, **CODES)[0].game.networks["D"].head.q[0].weight
    assert not torch.equal(with_it.game.networks["D"].head.q[0].weight, start)
    assert torch.equal(without.game.networks["D"].head.q[0].weight, start)


def test_labels_are_used_if_there_are_any(images):
    config = PgganConfig(condition="auto")
    assert config.conditioning(images).name == "cgan"
    assert PgganConfig(condition="auto", pack=2).conditioning(images).name == "none"
    images.labels, images.num_classes = None, 0
    assert config.conditioning(images).name == "none"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"condition": "infogan", "pack": 2}, "pack=2 cannot be combined with condition='infogan'"),
        ({"condition": "infogan", "categorical": "", "continuous": 0}, "categorical='' and continuous=0 has no code"),
        ({"categorical": "10,1"}, "categorical='10,1' is not a list of whole numbers from 2 on, such as 10,10"),
        ({"categorical": "99999"}, "all codes have more than 65536 values"),
        ({"information_weight": -1.0}, "information_weight=-1.0 is not a finite number of at least 0"),
        ({"condition": "projection", "feature_matching": 4}, "means over all classes are matched"),
    ],
)
def test_what_codes_exclude(options, reason):
    with pytest.raises(UsageError, match=reason):
        DcganConfig(**options).check()


@pytest.mark.parametrize(
    "options",
    [
        {"condition": "cgan", "minibatch_discrimination": 2, "microbatch": "2"},
        {"condition": "projection", "d_norm": "spectral", "loss": "hinge", "update": "merged"},
        {"condition": "projection", "g_norm": "virtual", "d_norm": "layer", "loss": "wgan-gp", "d_steps": 2},
        {"condition": "acgan", "feature_matching": 4},
        {**CODES, "feature_matching": 4, "microbatch": "2"},
        {**CODES, "g_norm": "virtual", "d_norm": "spectral", "loss": "hinge", "penalty": "r1(every=2)"},
        {**CODES, "loss": "relativistic", "update": "joint"},
        {**CODES, "loss": "mcgan"},
        {"condition": "acgan", "loss": "hinge", "d_norm": "gradient"},
    ],
    ids=str,
)
def test_conditions_go_with_other_techniques(images, options):
    trainer = steps(dcgan(images, **options)[0], 2)
    assert all(p.isfinite().all() for network in trainer.game.networks.values() for p in network.parameters())
