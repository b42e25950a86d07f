"""Which trainings the study of networks has: a row of its tables each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

COMMON = (
    *("--data", "glyphs", "--resolution", "32", "--no-tensorboard", "--keep", "1", "--image-kimg", "0"),
    *("--grid", "2x24"),
)
"""Options of every training, before those of its row."""


@dataclass(frozen=True)
class Row:
    """A row: a system's preset ``glyphs`` with some other options.

    Attributes:
        options: of the program, beside the preset's and COMMON.
        labels: whether G is given classes.
        seeds: trainings, with seeds 1, 2, …
    """

    name: str
    system: str
    options: dict[str, Any] = field(default_factory=dict)
    labels: bool = False
    seeds: int = 1


GAMMA = 1
"""Of R3GAN's penalties in its preset."""
R1, R2 = f"r1(gamma={GAMMA})", f"r2(gamma={GAMMA})"
ATTENTION = {"attention": 16, "g_spectral": True, "ttur": 4.0}
"""Zhang et al. 2019: spectral norm in G too, and two time scales."""

R3GAN = Row("R3GAN", "r3gan", seeds=2)

NETWORKS: tuple[Row, ...] = (
    Row("DCGAN", "dcgan", seeds=2),
    Row("SNGAN", "sngan", seeds=2),
    Row("SNGAN, self-modulation", "sngan", {"self_modulation": 32}),
    Row("SAGAN", "sngan", ATTENTION),
    Row("TransGAN", "transgan"),
    R3GAN,
    Row("DCGAN, labels joined", "dcgan", {"condition": "cgan"}, labels=True),
    Row("DCGAN, projection", "dcgan", {"condition": "projection"}, labels=True, seeds=2),
    Row("SNGAN, projection", "sngan", {"condition": "projection"}, labels=True, seeds=2),
    Row("SAGAN, projection", "sngan", {**ATTENTION, "condition": "projection"}, labels=True),
    Row("BigGAN", "biggan", labels=True, seeds=2),
    Row("R3GAN, projection", "r3gan", {"condition": "projection"}, labels=True),
)
BASELINE = "DCGAN"
"""What the names of the rows begin with that others are compared with."""

ABLATION: tuple[Row, ...] = (
    R3GAN,
    Row("without R2", "r3gan", {"loss": "relativistic(average=false)", "penalty": R1}),
    Row("without R1 and R2", "r3gan", {"loss": "relativistic(average=false)"}),
    Row("non-saturating, R1 and R2", "r3gan", {"loss": "non-saturating", "penalty": f"{R1},{R2}"}),
)
"""The first is a row of NETWORKS too, and trained once."""

_R1, _R2 = "r1(gamma=0.1)", "r2(gamma=0.1)"
GRID: dict[str, dict[str, Any]] = {
    "R3GAN": {"loss": "r3gan(gamma=0.1)"},
    "without R2": {"loss": "relativistic(average=false)", "penalty": _R1},
    "without R1 and R2": {"loss": "relativistic(average=false)"},
    "non-saturating, R1 and R2": {"loss": "non-saturating", "penalty": f"{_R1},{_R2}"},
}
"""The same losses on the grid of 25 Gaussians: what each changes of train.mixture's defaults. The weight is that of
the study of mode collapse, for data of unit variance."""
