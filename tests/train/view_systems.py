"""Two toy systems that make images of images: a translator between two lists, and an autoencoder that draws too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from train.data import ImageSet, to_float
from train.engine.game import Batch, Game, Move, Networks, Role, Stats
from train.engine.precision import Autocast
from train.engine.schedule import Position, Schedule, growing_schedule
from train.engine.trainer import Trainer
from train.run.options import ImagesConfig, TrainConfig
from train.run.session import train_as_told
from train.run.system import System, View

from .engine.games import Lists

LATENT = 3


def one_phase(config: TrainConfig) -> Schedule:
    at_4 = {"fade": {4: 0.0}, "stable": {4: config.kimg}, "microbatch": {4: 0}, "batch": {4: 4}, "lr": {4: 0.01}}
    return growing_schedule(config.resolution, config.resolution, **at_4)


def trainer_of(game: Game, config: TrainConfig, lists: Mapping[str, ImageSet], device: torch.device) -> Trainer:
    source = Lists(**{name: to_float(images.level(config.resolution)) for name, images in lists.items()})
    ema = config.table("ema_kimg")
    return Trainer(
        game, config.schedule(), source, device=device, autocast=Autocast(device), ema_kimg=ema, seed=config.seed
    )


class Translator(nn.Module):
    """x [N, C, R, R] → the same shape, by one convolution."""

    def __init__(self, resolution: int, image_channels: int) -> None:
        super().__init__()
        self.resolution, self.image_channels = resolution, image_channels
        self.layer = nn.Conv2d(image_channels, image_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).tanh()


@dataclass(frozen=True)
class TranslatorConfig(TrainConfig):
    """Options of the translator."""

    a: str = "glyphs"
    """Images of kind a."""
    b: str = "glyphs"
    """Images of kind b."""

    def lists(self) -> dict[str, str]:
        return {"a": self.a, "b": self.b}

    def schedule(self) -> Schedule:
        self.check()
        return one_phase(self)


class Inverting(Game):
    """AB and BA learn to give negatives."""

    averaged = ("AB", "BA")
    sampler = ""

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        super().__init__(networks)
        self.roles = {"both": Role(("AB", "BA"))}

    def takes(self, count: int, at: Position) -> dict[str, int]:
        return {"a": count, "b": count}

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        return seen

    def moves(self, at: Position) -> list[Move]:
        return [Move("both", self.loss)]

    def loss(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        yield (nets.AB(b["a"]) + b["a"]).abs().mean() + (nets.BA(b["b"]) + b["b"]).abs().mean()


def build_translator(
    config: TranslatorConfig, lists: Mapping[str, ImageSet], device: torch.device
) -> tuple[Trainer, dict[str, Any]]:
    options = {"resolution": config.resolution, "image_channels": lists["a"].channels}
    torch.manual_seed(config.seed)
    game = Inverting({name: Translator(**options) for name in ("AB", "BA")})
    return trainer_of(game, config, lists, device), options


TRANSLATOR = System(
    name="toy_translator",
    about="Trains a translator.",
    presets={"glyphs": TranslatorConfig()},
    build=build_translator,
    networks={"AB": Translator, "BA": Translator},
    views={
        "a-to-b": View("a", "b", lambda n: n["AB"], lambda n: nn.Sequential(n["AB"], n["BA"])),
        "b-to-a": View("b", "a", lambda n: n["BA"], lambda n: nn.Sequential(n["BA"], n["AB"])),
    },
)


class Encoder(nn.Module):
    """x [N, C, R, R] → z [N, LATENT]."""

    def __init__(self, resolution: int, image_channels: int) -> None:
        super().__init__()
        self.resolution, self.image_channels = resolution, image_channels
        self.layer = nn.Linear(image_channels * resolution**2, LATENT)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))


class Decoder(nn.Module):
    """z [N, LATENT] → x [N, C, R, R]."""

    latent_dim, num_classes = LATENT, 0

    def __init__(self, resolution: int, image_channels: int) -> None:
        super().__init__()
        self.resolution, self.image_channels = resolution, image_channels
        self.layer = nn.Linear(LATENT, image_channels * resolution**2)

    def forward(self, z: Tensor) -> Tensor:
        return self.layer(z).tanh().unflatten(1, (self.image_channels, self.resolution, self.resolution))


@dataclass(frozen=True)
class EncoderConfig(ImagesConfig):
    """Options of the autoencoder."""

    def schedule(self) -> Schedule:
        self.check()
        return one_phase(self)


class Autoencoder(Game):
    """E and G learn to reconstruct."""

    averaged = ("E", "G")

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        super().__init__(networks)
        self.roles = {"both": Role(("E", "G"))}

    def takes(self, count: int, at: Position) -> dict[str, int]:
        return {"images": count}

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        return seen

    def moves(self, at: Position) -> list[Move]:
        return [Move("both", self.loss)]

    def loss(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        yield (nets.G(nets.E(b["images"])) - b["images"]).square().mean()


def build_encoder(
    config: EncoderConfig, lists: Mapping[str, ImageSet], device: torch.device
) -> tuple[Trainer, dict[str, Any]]:
    shape = {"resolution": config.resolution, "image_channels": lists["images"].channels}
    torch.manual_seed(config.seed)
    game = Autoencoder({"E": Encoder(**shape), "G": Decoder(**shape)})
    return trainer_of(game, config, lists, device), {"E": shape, "G": shape}


ENCODER = System(
    name="toy_encoder",
    about="Trains an autoencoder.",
    presets={"glyphs": EncoderConfig()},
    build=build_encoder,
    networks={"E": lambda E, G: Encoder(**E), "G": lambda E, G: Decoder(**G)},
    views={"reconstruct": View("images", "images", lambda n: nn.Sequential(n["E"], n["G"]), encode=lambda n: n["E"])},
)


def start(system: System, *args: str) -> int:
    """What ``python -m train.<system>`` ends with."""
    return train_as_told(system, args)
