"""CycleGAN: translates between two unpaired lists of images, there and back (Zhu et al. 2017, arXiv 1703.10593)."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from gan_ops.objectives import LeastSquares, Objective, interleave
from models.translation import Norm, PatchCritic, Translator, most_layers
from train.base.capacity import check_fits, check_networks
from train.base.errors import UsageError, run_program
from train.base.seeds import stream_seed
from train.base.specs import parse_spec
from train.base.values import Decay, Range, Share, Size
from train.data import ImageSet, same_images
from train.data.sources import Images, Lists
from train.engine.game import Batch, Game, Move, Networks, Role, Stats
from train.engine.schedule import Position, Schedule
from train.engine.trainer import Trainer
from train.gan import losses
from train.gan.build import trainer_of
from train.gan.pool import Pool
from train.run.options import Table, TrainConfig
from train.run.session import train_as_told
from train.run.system import System, View

LOSSES = {name: losses.LOSSES[name] for name in ("lsgan", "minimax", "non-saturating", "hinge")}
"""Without those that bound D's gradient: a pool's past fakes are no points of theirs."""


@dataclass(frozen=True)
class CycleganConfig(TrainConfig):
    """Options of CycleGAN; the defaults are the paper's (Zhu et al. 2017, section 4 and appendix 7.1)."""

    a: str = "glyphs-serif"
    """Images of kind a: a folder, a zip, or glyphs-serif, glyphs-sans, glyphs, digits, mnist, cifar10, svhn, …"""
    b: str = "glyphs-sans"
    """Images of kind b, another list: no image of it need have a partner in a."""
    batch: Table = "1"
    """Images of each kind in a step."""
    lr: Table = "0.0002"
    """Learning rate of all networks."""
    lr_decay: Share = 0.5
    """Last part of the run, over which the learning rate falls to 0 (the paper's: half)."""
    beta1: Decay = 0.5
    """Adam's beta1, the decay rate of the mean gradient."""
    loss: losses.loss_option(LOSSES) = "lsgan"
    cycle_weight: float = 10.0
    """Weight of the mean |x' - x| of images translated there and back (3.2)."""
    identity_weight: float = 5.0
    """Weight of the mean |G(y) - y| of images that are of the kind to translate to already (5.2: half the cycle's)."""
    pool: Annotated[int, Range(0, 2**16)] = 50
    """Number of past translations of each kind that critics see among new ones (section 4; 0: none)."""
    g_width: Size = 64
    """Feature maps of a translator's first layer; its blocks have four times as many."""
    g_blocks: Annotated[int, Range(0, 1000)] = 9
    """Residual blocks of a translator (section 4: 6 at 128x128, 9 from 256x256 on)."""
    d_width: Size = 64
    """Feature maps of a critic's first layer; each next has twice as many, up to eight times."""
    d_layers: Annotated[int, Range(1, 16)] = 3
    """A critic's layers of stride 2: it judges patches of 70 pixels with 3, of 34 with 2, of 16 with 1."""
    g_norm: Norm = "instance"
    """Norm of the translators; instance: Ulyanov et al. 2016; layer: Ba 2016; group: Wu 2018."""
    d_norm: Norm = "instance"
    """Norm of the critics."""

    SIZES = ("g_width", "g_blocks", "d_width", "d_layers", "g_norm", "d_norm")
    FIXED = ("g_norm", "d_norm")  # some have states of one shape

    def lists(self) -> dict[str, str]:
        return {"a": self.a, "b": self.b}

    def check(self) -> None:
        super().check()
        for name in ("cycle_weight", "identity_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name}={getattr(self, name)} is not a finite number of at least 0")
        if same_images(self.a, self.b):
            raise UsageError(f"a={self.a!r} and b={self.b!r} are the same images: there is nothing to translate")
        if self.resolution < 8:
            raise UsageError(f"resolution={self.resolution} is less than 8")
        if self.d_layers > (most := most_layers(self.resolution)):
            raise UsageError(f"d_layers={self.d_layers} at resolution={self.resolution}: at most {most} leave a score")
        self.objective()

    def objective(self) -> Objective:
        """What translators and critics minimise; UsageError if ``loss`` says it wrongly."""
        return parse_spec(self.loss, LOSSES, "loss")

    def schedule(self) -> Schedule:
        """One phase, over whose end the learning rate falls."""
        self.check()
        return self.one_phase(self.lr_decay)


PRESETS = {
    # Sized for two CPU cores: eleven minutes. Layer norm, since instance norm loses the colours of flat paper.
    "glyphs": CycleganConfig(
        precision="auto",
        kimg=36.0,
        batch="4",
        lr="0.0004",
        cycle_weight=5.0,
        identity_weight=0.0,  # a translation has to change the polarity that an identity would keep
        g_width=24,
        g_blocks=3,
        g_norm="layer",
        d_width=48,
        d_layers=1,
        d_norm="layer",
        checkpoint_kimg="3",
    ),
    # 200 epochs of the 1067 horses, or as many of the zebras.
    "photos-256": CycleganConfig(
        preset="photos-256",
        a="trainA",
        b="trainB",
        resolution=256,
        kimg=213.4,
        ema_kimg="0",
        image_kimg="5",
        checkpoint_kimg="5",
    ),
}


class CycleGan(Game):
    """Two translators, AB of images of kind a and BA of kind b, and a critic of each kind, DA and DB.

    The translators move first, and the critics judge what they made then. As in the authors' code the critics' loss is
    halved, so that they learn more slowly.

    Args:
        networks: AB, BA, DA and DB.
        config: the losses and their weights, the pool, and Adam's beta1.
    """

    averaged = ("AB", "BA")
    sampler = ""
    updates = ("alternating",)  # joint ones are the same: the critics see what was made before the translators moved

    def __init__(self, networks: Mapping[str, nn.Module], config: CycleganConfig) -> None:
        super().__init__(networks)
        betas = (config.beta1, 0.999)
        self.roles = {"translators": Role(("AB", "BA"), betas=betas), "critics": Role(("DA", "DB"), betas=betas)}
        self.objective = config.objective()
        # The paper's least squares, which its weights are for, lack the factor ½ of Mao et al. 2017.
        self._unit = 2.0 if isinstance(self.objective, LeastSquares) else 1.0
        self._cycle, self._identity = config.cycle_weight, config.identity_weight
        ab = networks["AB"]
        shape, device = (ab.image_channels, ab.resolution, ab.resolution), next(ab.parameters()).device
        self.own.pools = nn.ModuleDict({kind: Pool(kind, config.pool, shape, device, "critics") for kind in ("a", "b")})

    def takes(self, count: int, at: Position) -> dict[str, int]:
        return {"a": count, "b": count}

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        """Columns: images "a" and "b", and what the pools draw."""
        for pool in self.own.pools.values():
            seen = seen | pool.draw(count, random)
        return seen

    def moves(self, at: Position) -> list[Move]:
        return [Move("translators", self.translate), Move("critics", self.judge)]

    def translate(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        """For each kind, what its critic says of translations to it, mean |back again - x| and mean |to itself - y|.

        Reports the translations, "fake_a" and "fake_b".
        """
        for kind, there, back, critic, x, y in (
            ("b", nets.AB, nets.BA, nets.DB, b["a"], b["b"]),
            ("a", nets.BA, nets.AB, nets.DA, b["b"], b["a"]),
        ):
            # In one pass with those that are to stay as they are.
            made = there(interleave(x, y) if self._identity else x).unflatten(0, (len(x), -1))  # [N, 1 or 2, C, H, W]
            stats[f"fake_{kind}"] = fake = made[:, 0].contiguous(memory_format=torch.channels_last)
            stats[f"cycle_{kind}"] = cycle = (back(fake) - x).abs().mean()
            loss = self._unit * self.objective.g(critic(fake)) + self._cycle * cycle
            if self._identity:
                stats[f"identity_{kind}"] = identity = (made[:, 1] - y).abs().mean()
                loss = loss + self._identity * identity
            yield loss

    def judge(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        """Half the loss of each critic, on images of its kind and on translations to it, some of them of the pool."""
        for kind, critic in (("a", nets.DA), ("b", nets.DB)):
            seen = self.own.pools[kind].seen(b[f"fake_{kind}"], b, stats)
            real, fake = critic(interleave(b[kind], seen)).parted(2)
            stats[f"real_score_{kind}"], stats[f"fake_score_{kind}"] = real.score.mean(), fake.score.mean()
            yield self._unit / 2 * self.objective.d(real, fake)

    def after(self, stats: Stats) -> None:
        for kind, pool in self.own.pools.items():
            pool.after(stats[f"fake_{kind}"], stats)


def build_trainer(
    config: CycleganConfig, lists: Mapping[str, ImageSet], device: torch.device
) -> tuple[Trainer, dict[str, Any]]:
    """What trains, and a translator's arguments, for checkpoints; UsageError for what is larger than the memory."""
    schedule, images = config.schedule(), {"resolution": config.resolution, "image_channels": lists["a"].channels}
    of_g = {**images, "width": config.g_width, "blocks": config.g_blocks, "norm": config.g_norm}
    of_d = {**images, "width": config.d_width, "layers": config.d_layers, "norm": config.d_norm}

    def networks() -> list[nn.Module]:
        return [*(Translator(**of_g) for _ in range(2)), *(PatchCritic(**of_d) for _ in range(2))]

    for option, count in (("batch", schedule.phases[0].batch), ("pool", config.pool)):
        size = 2 * 4 * count * images["image_channels"] * config.resolution**2  # of both kinds, float32
        check_fits(size, device, f"{option}={count} at resolution={config.resolution}")
    check_networks(networks, device, ", ".join(f"{name}={getattr(config, name)}" for name in config.SIZES))
    torch.manual_seed(stream_seed(config.seed, "weights"))
    made = [network.to(device, memory_format=torch.channels_last) for network in networks()]
    game = CycleGan(dict(zip(("AB", "BA", "DA", "DB"), made, strict=True)), config)
    seeds = {name: stream_seed(config.seed, name) for name in lists}
    source = Lists({n: Images(x, device, mirror=config.mirror, seed=seeds[n]) for n, x in lists.items()})
    return trainer_of(game, config, schedule, source, device), of_g


def _view(takes: str, like: str, there: str, back: str) -> View:
    return View(takes, like, lambda nets: nets[there], lambda nets: nn.Sequential(nets[there], nets[back]))


SYSTEM = System(
    name="cyclegan",
    about="Trains a CycleGAN: two translators between images of two kinds, from unpaired lists of both.",
    presets=PRESETS,
    build=build_trainer,
    networks={"AB": Translator, "BA": Translator},
    views={"a-to-b": _view("a", "b", "AB", "BA"), "b-to-a": _view("b", "a", "BA", "AB")},
)

main = partial(train_as_told, SYSTEM)

if __name__ == "__main__":
    sys.exit(run_program(main))
