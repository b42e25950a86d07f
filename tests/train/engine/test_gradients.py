"""The gradients of every game, move by move, are those of a plain formulation, to 1e-10 in float64.

A new system is covered by an entry in GAMES: what makes a trainer of it, and its losses as the textbook has them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_ops.objectives import Scores
from models.semi_supervised import DenseClassifier, DenseGenerator
from train import (
    began,
    biggan,
    cyclegan,
    dcgan,
    ebgan,
    meg,
    mixture,
    pggan,
    r3gan,
    semi_supervised,
    sngan,
    stylegan,
    stylegan2,
    stylegan3,
    transgan,
    vae_gan,
)
from train.data import ImageSet
from train.data.few_labels import PoolLists
from train.engine.game import Batch, Game, Move, Update
from train.engine.player import Player
from train.engine.trainer import Trainer
from train.gan.game import Gan
from train.gan.losses import PENALTIES
from train.gan.options import GanConfig, Techniques

from . import textbook
from .games import BATCH, CPU, TOYS, Lists, toy_trainer, trainer_of
from .losses import ENERGIES
from .textbook import Plain, Styled, Translating, TwoPlayers

Make = Callable[..., Trainer]
"""Takes ``update``, ``microbatch`` and ``compile``; gives a trainer whose next step is the one to look at."""


class Generator(nn.Module):
    """z [N, 2] → [N, 1, 4, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 16), nn.Unflatten(1, (1, 4, 4)))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class Discriminator(nn.Module):
    """x [N, pack, 4, 4] → scores [N] or [N, outputs], so steep that some gradients are longer than 1 and some are
    not."""

    def __init__(self, pack: int = 1, outputs: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(pack, 3, 3), nn.Softplus(), nn.Flatten(), nn.Linear(12, outputs))

    def forward(self, x: Tensor) -> Scores:
        scores = 6 * self.layers(x)
        return Scores(scores[:, 0] if scores.shape[1] == 1 else scores)


def gan(loss: str = "non-saturating", penalty: str = "", d_steps: int = 1, pack: int = 1, norm: str = "") -> Make:
    """Tiny networks without any statistics of a batch."""

    def make(update: str, **options: Any) -> Trainer:
        torch.manual_seed(3)
        techniques = Techniques(loss=loss, penalty=penalty)
        objective = techniques.objective()
        game = Gan(
            Generator(),
            Discriminator(pack, objective.outputs),
            techniques.roles((0.0, 0.99)),
            objective,
            latent=2,
            pack=pack,
            gradient_norm=norm,
            penalties=techniques.penalties(),
            d_steps=d_steps,
            shared_latents=update == "merged",
        )
        source = Lists(images=torch.rand(9, 1, 4, 4) * 2 - 1)
        return trainer_of(game, source=source, update=update, **options)

    return make


def images(size: int) -> ImageSet:
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (20, 3, size, size), generator=random).to(torch.uint8)
    return ImageSet.from_images(pixels, name="noise", labels=torch.arange(20) % 3)


def system(program: ModuleType, kind: type[GanConfig], shown: int = 0, **options: Any) -> Make:
    """A system as its own program builds it, when it has shown so many images."""

    def make(update: str, microbatch: int, compile: bool) -> Trainer:
        sizes = {"batch": str(BATCH), "microbatch": str(microbatch), "latent": 3}
        config = kind(**{**sizes, **options}, update=update, compile=compile)
        trainer = program.build_trainer(config, {"images": images(config.resolution)}, CPU)[0]
        trainer.images = shown
        return trainer

    return make


def growing(**changes: Any) -> Make:
    """PGGAN in the middle of its fade to 8x8."""
    phases = {"resolution": 8, "fade_kimg": "0.016", "stable_kimg": "0.016"}
    return system(pggan, pggan.PgganConfig, 16 + 8, **phases, fmap_base=8, fmap_max=3, group_size=2, **changes)


def convolutional(**changes: Any) -> Make:
    """DCGAN at 16x16."""
    sizes = {"g_width": 2, "d_width": 2, "kernel_size": 4, "reference_batch": 5}
    return system(dcgan, dcgan.DcganConfig, resolution=16, kimg=0.4, **sizes, **changes)


def transformers(**changes: Any) -> Make:
    """TransGAN at 16x16, with maps that are divided into cells."""
    sizes = {"g_width": 16, "g_blocks": "1,1", "d_width": 16, "d_blocks": 1, "heads": 2, "window": 2}
    steps = {"resolution": 16, "kimg": 0.4, "d_steps": 1, "g_batches": 1}
    return system(transgan, transgan.TransganConfig, **{**sizes, **steps, **changes})


def without_norms(**changes: Any) -> Make:
    """R3GAN at 8x8, in the middle of its schedules, when its blocks are no identities any more."""
    sizes = {"resolution": 8, "width": "4", "group_width": 2, "blocks": 1, "kimg": 0.016}
    made = system(r3gan, r3gan.R3ganConfig, 8, **sizes, **changes)

    def make(**how: Any) -> Trainer:
        trainer = made(**how)
        for network in trainer.game.networks.values():
            for block in network.modules():
                if hasattr(block, "leave"):
                    nn.init.normal_(block.leave)
        return trainer

    return make


def styled(**changes: Any) -> Make:
    """StyleGAN2 at 8x8, where noise counts, and path lengths have the mean 0.75."""
    sizes = {"resolution": 8, "kimg": 0.4, "w_dim": 3, "mapping_layers": 2, "channel_base": "16", "channel_max": 3}
    made = system(stylegan2, stylegan2.Stylegan2Config, **{**sizes, "group_size": 2, "gamma": "10", **changes})

    def make(**how: Any) -> Trainer:
        trainer = made(**how)
        for name, parameter in trainer.game.networks["G"].named_parameters():
            if name.endswith("strength"):
                nn.init.constant_(parameter, 0.3)
        if trainer.game.path:
            trainer.game.state.path_length.fill_(0.75)
        return trainer

    return make


def waves(**changes: Any) -> Make:
    """StyleGAN3 at 8x8, where w moves and turns the input, and layers do not take the mean squares to be 1."""
    sizes = {"resolution": 8, "kimg": 0.4, "w_dim": 3, "channel_base": "16", "channel_max": 3}
    layers = {"layers": 3, "critical": 1, "margin": 2, "group_size": 2, "gamma": "10"}
    made = system(stylegan3, stylegan3.Stylegan3Config, **{**sizes, **layers, **changes})

    def make(**how: Any) -> Trainer:
        trainer = made(**how)
        g = trainer.game.networks["G"]
        nn.init.normal_(g.input.affine.weight, generator=torch.Generator().manual_seed(4))
        g.squares.mean.copy_(torch.tensor([0.5, 2.0, 1.5, 0.7]))
        return trainer

    return make


def growing_styles(**changes: Any) -> Make:
    """StyleGAN in the middle of its fade to 8x8, where noise counts."""
    phases = {"resolution": 8, "start_resolution": 4, "fade_kimg": "0.016", "stable_kimg": "0.016", "kimg": 0.0}
    sizes = {"fmap_base": 8, "fmap_max": 3, "group_size": 2, "w_dim": 3, "mapping_layers": 2}
    made = system(stylegan, stylegan.StyleganConfig, 16 + 8, **phases, **sizes, **changes)

    def make(**how: Any) -> Trainer:
        trainer = made(**how)
        for name, parameter in trainer.game.networks["G"].named_parameters():
            if name.endswith("strength"):
                nn.init.constant_(parameter, 0.3)
        return trainer

    return make


def residual(program: ModuleType, kind: type[GanConfig], **changes: Any) -> Make:
    """A system of residual networks at 8x8, where no parameter is 0 and vectors of spectral norms stand still: each
    pass would move them on, and the plain formulation takes other passes."""
    sizes = {"resolution": 8, "kimg": 0.4, "g_width": 2, "d_width": 2}
    made = system(program, kind, **{**sizes, **changes})

    def make(**how: Any) -> Trainer:
        trainer = made(**how)
        random = torch.Generator().manual_seed(4)
        for network in trainer.game.networks.values():
            for parameter in network.parameters():
                if not parameter.any():
                    nn.init.normal_(parameter, 0.0, 0.3, generator=random)
            for module in network.modules():
                if parametrize.is_parametrized(module):
                    module.parametrizations.eval()
        return trainer

    return make


def of_energies(program: ModuleType, kind: type[GanConfig], memory: Mapping[str, float] = {}, **changes: Any) -> Make:
    """A system whose critic gives energies, at 16x16, when its objective remembers these numbers."""
    made = system(program, kind, **{"resolution": 16, "kimg": 0.4, **changes})

    def make(**how: Any) -> Trainer:
        trainer = made(**how)
        for name, value in memory.items():
            trainer.game.state.objective.get_buffer(name).fill_(value)
        return trainer

    return make


def autoencoding(memory: Mapping[str, float] = {}, **changes: Any) -> Make:
    """EBGAN."""
    return of_energies(ebgan, ebgan.EbganConfig, memory, g_width=2, d_width=2, **changes)


def translating(**changes: Any) -> Make:
    """CycleGAN at 8x8, with a pool that has filled."""

    def make(update: str, microbatch: int, compile: bool) -> Trainer:
        sizes = {"resolution": 8, "g_width": 2, "g_blocks": 1, "d_width": 2, "d_layers": 1, "kimg": 0.4}
        steps = {"batch": str(BATCH), "microbatch": str(microbatch), "compile": compile}
        config = cyclegan.CycleganConfig(**sizes, **steps, **changes)
        trainer = cyclegan.build_trainer(config, {"a": images(8), "b": images(8)}, CPU)[0]
        for pool in trainer.game.own.pools.values():
            pool.images.uniform_(-1, 1)
            pool.stored.fill_(pool.size)
        return trainer

    return make


def autoencoder(**changes: Any) -> Make:
    """VAE-GAN at 16x16."""

    def make(update: str, microbatch: int, compile: bool) -> Trainer:
        sizes = {"latent": 3, "e_width": 2, "g_width": 2, "d_width": 2, "kernel_size": 4, "resolution": 16}
        steps = {"batch": str(BATCH), "microbatch": str(microbatch), "update": update, "compile": compile}
        config = vae_gan.VaeGanConfig(**sizes, **steps, kimg=0.4, **changes)
        return vae_gan.build_trainer(config, {"images": images(16)}, CPU)[0]

    return make


def points() -> Make:
    """The networks of mixtures of Gaussians."""

    def make(**options: Any) -> Trainer:
        trainer = mixture.new_trainer(mixture.MixtureConfig(latent=3, width=8, update=options["update"]), 0)
        return trainer_of(trainer.game, source=trainer.source, **options)

    return make


def few_labels(adversary: bool = True, adversarial: bool = False) -> Make:
    """Networks without noise of their own."""

    def make(**options: Any) -> Trainer:
        torch.manual_seed(3)
        d = DenseClassifier(16, 3, hidden=(6, 5), input_noise=0, noise=0, compare_batch=adversarial)
        g = DenseGenerator((1, 4, 4), hidden=(6,))
        loss = "adversarial" if adversarial else "feature-matching"
        config = semi_supervised.SemiOptions(unlabelled_weight=0.7, generator_loss=loss)
        game = semi_supervised.SemiSupervised(d, g, config) if adversary else semi_supervised.Supervised(d)
        source = PoolLists(torch.rand(9, 1, 4, 4), torch.arange(9) % 3, torch.arange(6), 0)
        return trainer_of(game, source=source, **options)

    return make


@dataclass(frozen=True)
class Covered:
    """A game: what makes a trainer of it, and the losses of its moves by their names."""

    make: Make
    plain: Mapping[str, Plain]
    updates: tuple[Update, ...] = Game.updates


def toy(name: str) -> Covered:
    return Covered(partial(toy_trainer, name), textbook.TOYS[name], TOYS[name].updates)


def two(make: Make, *args: Any, **options: Any) -> Covered:
    """A game of two players; the rest says what its losses are."""
    return Covered(make, TwoPlayers(*args, **options).plain())


def alternating(covered: Covered) -> Covered:
    """One kind of update alone: losses differ, not what plays them."""
    return replace(covered, updates=("alternating",))


BIG = {"attention": 0, "latent": 4, "embedding": 3, "orthogonal": 0.3}


def big(make: Make, players: TwoPlayers, orthogonal: float, bound: float = 0.0) -> Covered:
    """BigGAN, whose G has penalties on its weights."""
    plain = players.plain()

    def g(nets: textbook.Networks, b: Batch, start: textbook.Networks) -> Tensor:
        return plain["G"](nets, b, start) + textbook.on_weights(nets["G"], orthogonal, bound)

    return Covered(make, {**plain, "G": g})


BROUGHT = {"dragan": ("dragan",), "wgan-div": ("wgan-div",), "r3gan": ("r1", "r2"), "mmd": ("wgan-gp",)}
"""Penalties that losses bring along."""
ALL_UPDATES = ("minimax", "non-saturating", "lsgan", "hinge", "wgan", "wgan-gp")
OTHER_LOSSES = [loss for loss in textbook.LOSSES if loss not in (*ALL_UPDATES, "wgan-gp and drift")]


def thrice(label: str, plain: Mapping[str, Plain]) -> dict[str, Plain]:
    """A lazy penalty stands for one in each of three moves."""
    loss = plain[label]
    return {**plain, label: lambda *args: 3 * loss(*args)}


GAMES: dict[str, Covered] = {
    **{name: toy(name) for name in TOYS},
    **{loss: two(gan(loss), loss) for loss in ALL_UPDATES if loss != "wgan-gp"},
    "wgan-gp": two(gan("wgan-gp"), "wgan-gp", ("wgan-gp",)),
    **{loss: alternating(two(gan(loss), loss, BROUGHT.get(loss.split("(")[0], ()))) for loss in OTHER_LOSSES},
    "pairs of images": two(gan("hinge", "r1,r2,wgan-gp", pack=2), "hinge", ("r1", "r2", "wgan-gp"), pack=2),
    "pairs of images, compared": alternating(two(gan("qp", pack=2), "qp", pack=2)),
    "gradient norm": two(gan("hinge", norm="gradient"), "hinge", norm="gradient"),
    "gradient norm of pairs": two(gan(norm="gradient-v2", pack=2), "non-saturating", norm="gradient-v2", pack=2),
    "gradient norm, compared": alternating(
        two(gan("relativistic", norm="gradient"), "relativistic(average=true)", norm="gradient")
    ),
    "mmd, all penalties": alternating(
        two(
            gan("mmd(kernel=gaussian,outputs=3,weight=10)", "r1,dragan"),
            "mmd(kernel=gaussian,outputs=3,weight=10)",
            ("wgan-gp", "r1", "dragan"),
        )
    ),
    "r1": two(gan(penalty="r1"), "non-saturating", ("r1",)),
    "r2": two(gan(penalty="r2"), "non-saturating", ("r2",)),
    "r1,r2": two(gan(penalty="r1,r2"), "non-saturating", ("r1", "r2")),
    "wgan-lp": two(gan(penalty="wgan-lp"), "non-saturating", ("wgan-lp",)),
    "wgan-gp,dragan": two(gan(penalty="wgan-gp,dragan"), "non-saturating", ("wgan-gp", "dragan")),
    **{f"lazy {name}": two(gan(penalty=f"{name}(every=3)"), "non-saturating", lazy=(name,)) for name in PENALTIES},
    "r1, lazy r2 and dragan": two(gan("hinge", "r1,r2(every=2),dragan(every=3)"), "hinge", ("r1",), ("r2", "dragan")),
    "three moves of D": Covered(
        gan("wgan-gp", "r1", d_steps=3), TwoPlayers("wgan-gp", ("wgan-gp", "r1")).plain(), ("alternating",)
    ),
    "three moves of D, lazy r2": Covered(
        gan("hinge", "r2(every=2)", d_steps=3),
        thrice("D_R2", TwoPlayers("hinge", lazy=("r2",)).plain()),
        ("alternating",),
    ),
    "pggan": two(growing(), "wgan-gp and drift", ("wgan-gp",)),
    "pggan, cgan": two(growing(condition="cgan"), "wgan-gp and drift", ("wgan-gp",), labels="cgan"),
    "pggan, acgan, noise, r1,r2": two(
        growing(condition="acgan", class_weight=0.7, loss="lsgan", penalty="r1,r2", instance_noise=0.2),
        "lsgan",
        ("r1", "r2"),
        labels="acgan",
        class_weight=0.7,
    ),
    "pggan, feature matching, noise": two(
        growing(loss="minimax", feature_matching=4, instance_noise=0.2), "minimax", matched=-1
    ),
    "pggan, minibatch discrimination": two(
        growing(loss="non-saturating", minibatch_discrimination=3, minibatch_dim=2, penalty="r2"),
        "non-saturating",
        ("r2",),
    ),
    "pggan, projection, hinge": two(growing(condition="projection", loss="hinge"), "hinge", labels="projection"),
    "pggan, infogan": two(
        growing(condition="infogan", categorical="3,2", continuous=2, information_weight=0.7),
        "wgan-gp and drift",
        ("wgan-gp",),
        labels="infogan",
        class_weight=0.7,
    ),
    "dcgan": two(convolutional(), "non-saturating"),
    "transgan": two(transformers(), "wgan-gp and drift", ("wgan-gp",)),
    "transgan, projection": alternating(
        two(transformers(condition="projection"), "wgan-gp and drift", ("wgan-gp",), labels="projection")
    ),
    "transgan, layer norm, three scales, two moves of D": Covered(
        transformers(norm="layer", scales=3, upsampling="bicubic", loss="hinge", penalty="r1", d_steps=2),
        TwoPlayers("hinge", ("r1",)).plain(),
        ("alternating",),
    ),
    "dcgan, diffaugment, compared with images held out": alternating(
        two(convolutional(loss="relativistic", augment="diffaugment", held_out=5), "relativistic(average=true)")
    ),
    "dcgan, all of ada, r1, r2": two(
        convolutional(augment="bgcfnc", augment_p="0.8", penalty="r1,r2", d_norm="layer", instance_noise=0.1),
        "non-saturating",
        ("r1", "r2"),
    ),
    "dcgan, ada by the sign": alternating(
        two(convolutional(augment="bgc", augment_kimg=0.1, loss="hinge", g_norm="layer", d_norm="layer"), "hinge")
    ),
    "pggan, ada along a plan, lazy r1": alternating(
        two(
            growing(augment="bgc", augment_p="0.9:0.5", penalty="r1(every=2)"),
            "wgan-gp and drift",
            ("wgan-gp",),
            ("r1",),
        )
    ),
    "r3gan": two(without_norms(loss="r3gan(gamma=10)"), "r3gan(gamma=10)", ("r1", "r2")),
    "r3gan, projection, other reals, lazy r1": two(
        without_norms(loss="relativistic(average=false)", penalty="r2,r1(every=2)", condition="projection"),
        "relativistic(average=false)",
        ("r2",),
        ("r1",),
        labels="projection",
    ),
    "r3gan, ada along a plan": alternating(
        two(
            without_norms(loss="r3gan(gamma=10)", augment="bgc(color=0.5,cutout=1)", augment_p="0.9:0.5"),
            "r3gan(gamma=10)",
            ("r1", "r2"),
        )
    ),
    "r3gan, non-saturating": alternating(two(without_norms(loss="non-saturating"), "non-saturating")),
    "stylegan": Covered(growing_styles(), Styled("non-saturating", ("r1",)).plain()),
    "stylegan, projection, no mixing": alternating(
        Covered(
            growing_styles(condition="projection", mixing=0.0),
            Styled("non-saturating", ("r1",), labels="projection").plain(),
        )
    ),
    "stylegan2": Covered(styled(), Styled("non-saturating", lazy=("r1",), lengths=0.75).plain()),
    "stylegan2, projection, frozen layers, no path lengths": alternating(
        Covered(
            styled(condition="projection", freeze_d=3, path_weight=0.0, mixing=0.5),
            Styled("non-saturating", lazy=("r1",), labels="projection").plain(),
        )
    ),
    "stylegan2, ada, no mixing, no skips, r1 at every step": alternating(
        Covered(
            styled(mixing=0.0, d_skips=False, r1_every=1, augment="bgc", augment_p="0.8"),
            Styled("non-saturating", ("r1",), lengths=0.75).plain(),
        )
    ),
    "stylegan3": Covered(waves(), Styled("non-saturating", lazy=("r1",)).plain()),
    "stylegan3, r, blur, ada, r1 at every step": alternating(
        Covered(
            waves(configuration="r", blur=1.5, augment="bgc", augment_p="0.8", r1_every=1),
            Styled("non-saturating", ("r1",)).plain(),
        )
    ),
    "stylegan3, projection, frozen layers, pointwise": alternating(
        Covered(
            waves(condition="projection", freeze_d=2, filtered=False),
            Styled("non-saturating", lazy=("r1",), labels="projection").plain(),
        )
    ),
    "sngan": two(residual(sngan, sngan.SnganConfig, d_steps=1, g_batches=1), "hinge"),
    "sngan, projection, three moves of D, more fakes for G": alternating(
        two(
            residual(sngan, sngan.SnganConfig, condition="projection", g_spectral=True, d_steps=3, instance_noise=0.1),
            "hinge",
            labels="projection",
        )
    ),
    "sngan, wgan-gp, acgan, attention, self-modulation": two(
        residual(
            *(sngan, sngan.SnganConfig),
            **{"loss": "wgan-gp", "d_norm": "layer", "d_pool": "mean", "condition": "acgan", "class_weight": 0.7},
            **{"attention": 8, "self_modulation": 3, "residual_scale": 0.5, "upsampling": "bilinear"},
            **{"d_steps": 1, "g_batches": 1, "g_width": 8, "d_width": 8, "resolution": 16},
        ),
        "wgan-gp",
        ("wgan-gp",),
        labels="acgan",
        class_weight=0.7,
    ),
    "biggan": big(
        residual(biggan, biggan.BigganConfig, d_steps=1, **BIG), TwoPlayers("hinge", labels="projection"), 0.3
    ),
    "biggan, two moves of D, no labels, bounded singular values": alternating(
        big(
            residual(biggan, biggan.BigganConfig, d_steps=2, sigma_bound=0.9, **{**BIG, "condition": "none"}),
            TwoPlayers("hinge"),
            0.3,
            bound=0.9,
        )
    ),
    "biggan-deep": alternating(
        big(
            residual(
                *(biggan, biggan.BigganConfig),
                **{**BIG, "deep": True, "hierarchical": False, "g_width": 4, "d_width": 4},
                d_steps=1,
            ),
            TwoPlayers("hinge", labels="projection"),
            0.3,
        )
    ),
    "dcgan, cgan": two(convolutional(condition="cgan"), "non-saturating", labels="cgan"),
    "dcgan, acgan": two(
        convolutional(condition="acgan", class_weight=0.7), "non-saturating", labels="acgan", class_weight=0.7
    ),
    "dcgan, projection, r1": two(
        convolutional(condition="projection", loss="hinge", d_norm="layer", penalty="r1"),
        "hinge",
        ("r1",),
        labels="projection",
    ),
    "dcgan, infogan": two(
        convolutional(condition="infogan", categorical="3,2", continuous=1), "non-saturating", labels="infogan"
    ),
    "cyclegan": Covered(translating(pool=6), Translating("lsgan", 10.0, 5.0).plain(), ("alternating",)),
    "cyclegan, hinge, no pool, other weights": Covered(
        translating(loss="hinge", pool=0, cycle_weight=3.0, identity_weight=0.0),
        Translating("hinge", 3.0, 0.0).plain(),
        ("alternating",),
    ),
    "vae-gan": Covered(
        autoencoder(gamma=0.02, prior_weight=0.3),
        textbook.vae_gan(0, 0.02, 0.3),
        vae_gan.VaeGan.updates,
    ),
    "vae-gan, other layer, norms, pixels": Covered(
        autoencoder(feature_height=4, gamma=0.02, pixel_weight=0.5, d_norm="layer", e_norm="none", g_norm="group"),
        textbook.vae_gan(1, 0.02, 1.0, 0.5),
        vae_gan.VaeGan.updates,
    ),
    "began": two(of_energies(began, began.BeganConfig, {"k": 0.25}, width=2), ENERGIES["began"]),
    "ebgan": two(autoencoding(loss="ebgan(margin=17)"), ENERGIES["ebgan"]),
    "magan": two(
        autoencoding({"step": 3, "margin": 17.0}, loss="magan(epoch=3,pretraining=1)", shown=12, d_norm="none"),
        ENERGIES["magan"],
    ),
    "ebgan, loss-sensitive, dense codes, r1": two(
        autoencoding(loss="loss-sensitive", penalty="r1", code=3, kernel_size=5, d_norm="layer", g_norm="none"),
        "loss-sensitive(form=paper)",
        ("r1",),
    ),
    "ebgan, mmd": two(autoencoding(loss="mmd", code=3, g_norm="none", d_norm="none"), ENERGIES["mmd"]),
    "meg": Covered(
        of_energies(
            *(meg, meg.MegConfig),
            **{"g_width": 2, "d_width": 2, "t_width": 2, "t_hidden": 3, "d_steps": 1, "entropy_weight": 0.7},
            **{"g_norm": "layer", "penalty": "r1(gamma=3)"},
        ),
        textbook.maximum_entropy(3.0, 0.7),
    ),
    "meg, three moves of D": Covered(
        of_energies(
            *(meg, meg.MegConfig), g_width=2, d_width=2, t_width=2, t_hidden=3, d_steps=3, penalty="r1(gamma=3)"
        ),
        textbook.maximum_entropy(3.0, 1.0),
        ("alternating",),
    ),
    "mixture": two(points(), "non-saturating"),
    "few labels": Covered(few_labels(), textbook.few_labels(0.7, False), ("alternating",)),
    "few labels, adversarial": Covered(few_labels(adversarial=True), textbook.few_labels(0.7, True), ("alternating",)),
    "labels alone": Covered(few_labels(adversary=False), {"D": textbook.labels_alone}),
    "dcgan, virtual batch norm, K + 1 labels": two(
        convolutional(g_norm="virtual", condition="k+1", class_weight=1.5),
        "non-saturating",
        labels="real",
        class_weight=1.5,
    ),
}
INDUCTOR = ("Weighed", "r1,r2")
"""Games whose code is generated too."""


WAYS = ("whole", "microbatches", "compiled")
RUNS = [
    pytest.param(game, update, way, id=f"{name}-{update}-{way}")
    for name, game in GAMES.items()
    for update in game.updates
    for way in WAYS
    # Joint moves compile to the graphs of alternating ones.
    if (way, update) != ("compiled", "joint") or "alternating" not in game.updates
]


class Widened:
    """A trainer in float64 that keeps the columns of its step."""

    def __init__(self, trainer: Trainer) -> None:
        for network in (*trainer.game.networks.values(), *trainer.averages.values()):
            network.double()
        self.draw, trainer.game.draw = trainer.game.draw, self
        self.columns: Batch = {}

    def __call__(self, *args: Any) -> Batch:
        drawn = self.draw(*args)
        self.columns = {name: x.double() if x.is_floating_point() else x for name, x in drawn.items()}
        return self.columns


def in_their_order(moves: Sequence[Move], update: Update) -> list[list[tuple[Move, int]]]:
    """The moves with their repeats; those that start from one state together."""
    if update == "alternating":
        return [[(move, repeat)] for move in moves for repeat in range(move.times)]
    lazy = [[(move, 0)] for move in moves if move.every > 1]
    return [[(move, 0) for move in moves if move.every == 1], *lazy]


def parts_of(columns: Batch, move: Move, repeat: int, size: int) -> list[Batch]:
    """The microbatches that a repeat of a move sees."""
    own = {name: name.startswith(f"{move.role}/") for name in columns}
    wide = {name: move.rows if own[name] else 1 for name in columns}
    begin = {name: wide[name] * (repeat * BATCH if own[name] else 0) for name in columns}
    return [
        {
            name: x[begin[name] + wide[name] * start : begin[name] + wide[name] * (start + size)]
            for name, x in columns.items()
        }
        for start in range(0, BATCH, size)
    ]


@pytest.mark.parametrize(("game", "update", "way"), RUNS)
def test_gradients_are_those_of_the_plain_formulation(
    game: Covered, update: Update, way: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    compile, size = way == "compiled", BATCH // 2 if way == "microbatches" else BATCH
    if compile:
        torch.compiler.reset()
        if game not in [GAMES[name] for name in INDUCTOR]:
            request.getfixturevalue("without_code_generation")
    trainer = game.make(update=update, microbatch=size, compile=compile)
    said: list[str] = []
    trainer.say = said.append
    widened, nets, players = Widened(trainer), trainer.game.networks, trainer.players
    start = copy.deepcopy(nets)
    groups = in_their_order(trainer.game.moves(trainer.position), update)
    assert {move.label for group in groups for move, _ in group} == set(game.plain)
    to_come = [(move, group if i == 0 else []) for group in groups for i, (move, _) in enumerate(group)]
    expected: list[list[Tensor]] = []
    apply = Player.update

    def compared(player: Player, gradients: list[Tensor], **options: Any) -> Any:
        move, starting = to_come.pop(0)
        assert player is players[move.role]
        for each, repeat in starting:
            parts = parts_of(widened.columns, each, repeat, size)
            loss, parameters = game.plain[each.label], players[each.role].active
            some = textbook.gradients(loss, parameters, nets, parts, start)
            expected.append([each.every * gradient for gradient in some])
        largest = max(float(gradient.abs().max()) for gradient in expected[0])
        assert largest > 1e-5
        torch.testing.assert_close(gradients, expected.pop(0), rtol=1e-10, atol=1e-10 * largest)
        return apply(player, gradients, **options)

    monkeypatch.setattr(Player, "update", compared)
    trainer.step()
    assert to_come == []
    graphs = {group[0][0].label if update == "merged" else move.label for group in groups for move, _ in group}
    assert len(said) == (len(graphs) if compile else 0)
    assert all(": compiled the " in line for line in said), said
