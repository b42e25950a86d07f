"""BigGAN: large class-conditional networks, truncation, orthogonal weights (Brock et al. 2019, arXiv 1809.11096)."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_ops.objectives import orthogonal_penalty, singular_value, singular_value_penalty
from models.biggan import G_WIDTHS, RESOLUTIONS, Discriminator, Generator, d_blocks
from train.base.errors import UsageError, run_program
from train.base.values import Decay, NotNegative, Range, Size
from train.data import ImageSet
from train.engine.curve import After
from train.engine.game import Batch, Networks, Stats
from train.engine.trainer import Trainer
from train.gan.build import build_gan
from train.gan.game import Gan
from train.gan.residual import ResidualConfig
from train.run.options import Table
from train.run.session import train_as_told
from train.run.system import System


class BigGan(Gan):
    """A game whose first singular values are reported, and in which G's weights have penalties.

    Reports ``d_sigma_max`` and ``d_sigma_mean``, over the layers with spectral norm, and G's: σ₀ of the weights
    before they are divided by it (Brock et al. 2019, section 4 and figure 3).

    Args:
        orthogonal: weight of the orthogonal regularisation of G.
        sigma_bound: above it G's first singular values are penalised; 0 for not at all.
    """

    def __init__(self, *args: Any, orthogonal: float = 0.0, sigma_bound: float = 0.0, **options: Any) -> None:
        super().__init__(*args, **options)
        self.orthogonal, self.sigma_bound = orthogonal, sigma_bound
        self._spectral = {name: _spectral_weights(self.networks[name]) for name in ("D", "G")}

    def d(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        yield from super().d(nets, b, stats)
        self._first_values("D", stats)

    def g(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        yield from super().g(nets, b, stats)
        values = self._first_values("G", stats)
        if self.orthogonal:
            yield self.orthogonal * orthogonal_penalty(weight.original for weight in self._spectral["G"])
        if self.sigma_bound:
            yield singular_value_penalty(values, self.sigma_bound)

    def _first_values(self, name: str, stats: Stats) -> Tensor:
        """σ₀ [L] of a network's layers, by the vectors that the power iteration has come to."""
        values = torch.stack([singular_value(w.original, w[0]._u, w[0]._v) for w in self._spectral[name]])
        stats[f"{name.lower()}_sigma_max"], stats[f"{name.lower()}_sigma_mean"] = values.max(), values.mean()
        return values


def _spectral_weights(network: nn.Module) -> list[parametrize.ParametrizationList]:
    return [m.parametrizations.weight for m in network.modules() if parametrize.is_parametrized(m, "weight")]


@dataclass(frozen=True)
class BigganConfig(ResidualConfig):
    """Options of BigGAN; the defaults are the paper's for ImageNet at 128x128 (Brock et al. 2019, appendix C)."""

    resolution: int = 128
    """Height and width of the images: 8, 16, 32, 64, 128 or 256."""
    batch: Table = "2048"
    """Images in a step."""
    microbatch: Table = "256"
    """Images to process at once; gradients are summed; batch norm's statistics are of these only (0: the batch)."""
    lr: Table = "0.00005"
    """Learning rate of G; of D: see ttur."""
    ttur: float = 4.0
    """D's learning rate divided by G's: two time scales (Heusel et al. 2017; Brock et al. 2019: 4)."""
    beta2: Decay = 0.999
    """Adam's beta2, the decay rate of the mean squared gradient."""
    d_steps: Annotated[int, Range(1, 1000)] = 2
    """Updates of D for each update of G, each with new images (Brock et al. 2019: 2)."""
    latent: Size = 120
    """Length of the latent vector (Brock et al. 2019: 120 at 128x128, 140 at 256x256, 128 if deep)."""
    g_width: Size = 96
    """Unit of G's feature maps: a quarter of each block's up to 32x32, its last block's at 128x128."""
    d_width: Size = 96
    """Unit of D's feature maps: its first block's from 64x64 on; in smaller networks each has a multiple."""
    attention: Annotated[int, Range(0, 2**10)] = 64
    """Height of the maps with attention, in both networks (Zhang et al. 2019: 32; Brock et al. 2019: 64; 0: none)."""
    condition: Literal["none", "acgan", "projection"] = "projection"
    """Use of labels: in G's norms, and in D (acgan: Odena et al. 2017, projection: Miyato and Koyama 2018)."""
    embedding: Annotated[int, Range(0, 2**16)] = 128
    """Length of the classes' vectors that G's norms share (Brock et al. 2019: 128; 0: each norm has its own)."""
    hierarchical: bool = True
    """Each of G's blocks is given a chunk of z (Brock et al. 2019, 3; not if deep)."""
    deep: bool = False
    """The networks of BigGAN-deep: twice as many blocks, of bottlenecks (Brock et al. 2019, appendix B)."""
    orthogonal: NotNegative = 0.0001
    """Weight of the orthogonal regularisation of G (Brock et al. 2019, equation 3: 1e-4)."""
    sigma_bound: NotNegative = 0.0
    """Penalise first singular values of G's weights above it (Brock et al. 2019, 4.1 and equation 2; 0: never)."""
    ema_start_kimg: NotNegative = 0.0
    """Thousands of images until which the averaged generator is a copy of G."""

    SIZES = (*ResidualConfig.SIZES, "embedding", "hierarchical", "deep")
    RESOLUTIONS = RESOLUTIONS
    d_blocks = staticmethod(d_blocks)

    def check(self) -> None:
        super().check()
        if self.deep and self.hierarchical:
            raise UsageError("deep=True gives all of z to all blocks, and hierarchical=True cuts it: choose one")
        if self.deep and min(self.g_width, self.d_width) < 4:
            raise UsageError(f"deep=True needs g_width={self.g_width} and d_width={self.d_width} of at least 4")
        chunks = len(G_WIDTHS[self.resolution])
        if self.hierarchical and self.latent % chunks:
            raise UsageError(
                f"latent={self.latent} is no multiple of {chunks}, the chunks of z at {self.resolution}x"
                f"{self.resolution} (hierarchical=True)"
            )
        if self.condition != "none" and not self.embedding and (self.hierarchical or self.deep):
            option = "deep" if self.deep else "hierarchical"
            raise UsageError(f"embedding=0 cannot be combined with {option}=True: z joins the vectors of the classes")


PRESETS: dict[str, BigganConfig] = {
    # Sized for two CPU cores.
    "glyphs": BigganConfig(
        precision="auto",
        resolution=32,
        kimg=200.0,
        batch="32",
        microbatch="0",
        lr="0.001",
        lr_decay=0.5,
        beta2=0.99,
        ttur=2.0,
        d_steps=1,
        latent=64,
        g_width=8,
        d_width=8,
        pyramid=True,
        attention=0,
        embedding=32,
        ema_kimg="5",
    ),
    # The authors' PyTorch code, whose weights start at N(0, 0.02): 500 epochs; the average begins at update 1000.
    "cifar10": BigganConfig(
        preset="cifar10",
        data="cifar10",
        resolution=32,
        kimg=25000.0,
        batch="50",
        microbatch="0",
        lr="0.0002",
        ttur=1.0,
        d_steps=4,
        latent=128,
        g_width=64,
        d_width=64,
        attention=0,
        embedding=0,
        hierarchical=False,
        orthogonal=0.0,
        ema_kimg="1386",
        ema_start_kimg=200.0,
        log_kimg="50",
        image_kimg="1000",
        checkpoint_kimg="1000",
    ),
    # 150 000 updates of G of 2 · 2048 images; the average keeps 0.9999 of itself, from update 20 000 on.
    "imagenet-128": BigganConfig(
        preset="imagenet-128",
        data="imagenet",
        kimg=614400.0,
        ema_kimg="28391",
        ema_start_kimg=81920.0,
        log_kimg="200",
        image_kimg="10000",
        checkpoint_kimg="10000",
    ),
}


def build_trainer(
    config: BigganConfig, lists: Mapping[str, ImageSet], device: torch.device
) -> tuple[Trainer, dict[str, Any]]:
    """What trains, and the generator's arguments, for checkpoints; UsageError where options contradict the data."""
    images, schedule = lists["images"], config.schedule()
    conditioning = config.conditioning(images)
    g_classes, d_classes = conditioning.classes(images.num_classes)
    shared = {"resolution": config.resolution, "deep": config.deep, "attention": config.heights}
    shared["pyramid"] = config.pyramid
    options = {
        **shared,
        "image_channels": images.channels,
        "latent_dim": config.latent,
        "width": config.g_width,
        "num_classes": g_classes,
        "embedding": config.embedding if g_classes else 0,
        "hierarchical": config.hierarchical,
    }

    def networks() -> tuple[Generator, Discriminator]:
        return Generator(**options), Discriminator(
            **shared,
            image_channels=config.pack * images.channels,
            width=config.d_width,
            condition=conditioning.name,
            num_classes=d_classes,
            outputs=config.objective().outputs,
        )

    trainer = build_gan(
        partial(BigGan, orthogonal=config.orthogonal, sigma_bound=config.sigma_bound),
        config,
        schedule,
        images,
        device,
        networks,
        sizes=f"latent={config.latent}, g_width={config.g_width}, d_width={config.d_width}",
        betas=(config.beta1, config.beta2),
        conditioning=conditioning,
        ema_curve=After(1000 * config.ema_start_kimg) if config.ema_start_kimg else None,
    )
    return trainer, options


SYSTEM = System(
    name="biggan",
    about="Trains a BigGAN, or with --deep --no-hierarchical a BigGAN-deep. generate --truncation draws from it.",
    presets=PRESETS,
    build=build_trainer,
    networks={"G": Generator},
)

main = partial(train_as_told, SYSTEM)

if __name__ == "__main__":
    sys.exit(run_program(main))
