"""The game of a generator, an energy and a statistic of mutual information."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gan_ops.objectives import Objective, jensen_shannon_information
from train.engine.game import Batch, Networks, Role, Stats
from train.engine.schedule import Position
from train.gan.game import Gan


class MaximumEntropy(Gan):
    """G lowers energies U = −D while it keeps its samples varied (Kumar et al. 2019, section 3, algorithm 1):

        D: E[U(x)] − E[U(G(z))] and a zero-centred penalty,    G and T: E[U(G(z))] − entropy_weight·I(G(z), z).

    G is deterministic, so the entropy of its samples is their information about z but for a constant. T(x, z) estimates
    it (:func:`gan_ops.objectives.jensen_shannon_information`), and G and T raise the estimate together. Latents of
    no sample are drawn anew, where the authors' code permutes those of the batch.

    Args:
        statistics: T, images and latents to numbers [N].
        entropy_weight: of the information (the authors' code takes means over both kinds of pairs together, as ½ does).
    """

    averaged = ("G", "D")

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        statistics: nn.Module,
        roles: Mapping[str, Role],
        objective: Objective,
        *,
        entropy_weight: float = 1.0,
        **options: Any,
    ) -> None:
        roles = {**roles, "G": replace(roles["G"], networks=("G", "T"))}
        super().__init__(generator, discriminator, roles, objective, **options)
        self.networks["T"] = statistics
        self.entropy_weight = entropy_weight

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        """One column more: "G/other", latents that no sample of G is made of."""
        return super().draw(seen, count, at, random) | {"G/other": self._latents(count, random)}

    def g(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        energy = self._deceiving(nets, b, stats)
        fakes = self.generate(nets, b, "G")
        stats["information"] = information = jensen_shannon_information(
            nets.T(fakes, b["G/z"]), nets.T(fakes, b["G/other"])
        )
        yield energy - self.entropy_weight * information
