"""The game of an encoder, a decoder and a discriminator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan_ops.objectives import Objective, Scores, normal_distance, prior_divergence
from train.engine.game import Batch, Game, Move, Networks, Role, Stats, Update
from train.engine.schedule import Position


class Seen(NamedTuple):
    """What the three losses share: N images through E, their latents and N others through G, and all 3N images through
    D."""

    divergence: Tensor  # L_prior, 0-d
    distance: Tensor  # L_llike, 0-d
    real: Tensor  # scores [N] of the images,
    again: Tensor  # of their reconstructions,
    drawn: Tensor  # and of samples of the prior


class VaeGan(Game):
    """Encoder E, decoder G and discriminator D, all moved from one state (Larsen et al. 2016, algorithm 1):

        E: prior_weight·L_prior + L_llike,    G: γ·L_llike − L_GAN,    D: L_GAN.

    L_prior = KL(q(z|x) ‖ N(0, I)). L_llike = ½‖D_l(x) − D_l(x̃)‖² for x̃ = G(z), z ~ q(z|x), and the maps of one layer of
    D. Both are sums over latents or features and means over the batch, as in the paper's equations 5 to 8 and its
    authors' code: the more features, the less the prior counts; ``prior_weight`` (there 1) can make up for that. −L_GAN
    is the objective's, for G of both kinds of fakes, x̃ and G(z_p), z_p ~ N(0, I). For D each kind counts half, so that
    fakes weigh as much as reals: that is what the authors' code does unless told otherwise, while in the paper's
    equation all three weigh alike. The gradients of each loss go to its own player alone.

    G's batch norms see both kinds of latents as one batch, and D's the images and both kinds of fakes, as in the
    authors' code. So E, G and D are each one function within a step: reconstructions and images are compared in
    features that are normalised alike, and the averaged G, whose batch norms use running statistics, is that which was
    trained.

    Args:
        networks: "E", "G" and "D", as in :mod:`models.autoencoder` and :mod:`models.dcgan`.
        height: of D's maps that are compared.
        gamma: weight of L_llike for G.
        pixel_weight: of ½‖x − x̃‖², added to L_llike; the paper has none.
    """

    averaged = ("E", "G")
    updates: tuple[Update, ...] = ("joint", "merged")

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        roles: Mapping[str, Role],
        objective: Objective,
        *,
        height: int,
        gamma: float,
        prior_weight: float = 1.0,
        pixel_weight: float = 0.0,
    ) -> None:
        super().__init__(networks)
        self.roles, self.objective, self.height = dict(roles), objective, height
        self.gamma, self.prior_weight, self.pixel_weight = gamma, prior_weight, pixel_weight
        d = networks["D"]
        # Batch norm has to see all images at once, and spectral norm moves on with each pass; else gradients of the
        # reconstructions need not be taken with those of the others, which are 0.
        self._apart = not getattr(d, "sees_batch", False) and not any(True for _ in d.buffers())

    def takes(self, count: int, at: Position) -> dict[str, int]:
        return {"images": count}

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        """Columns: "x" [N, C, R, R], latents "z" of the prior and "eps" of the posterior [N, L]."""
        shape = 2, count, self.networks["G"].latent_dim
        z, eps = torch.randn(shape, generator=random, device=random.device)
        return {"x": seen["images"], "z": z, "eps": eps}

    def moves(self, at: Position) -> list[Move]:
        return [Move("E", self.e), Move("G", self.g), Move("D", self.d)]

    def e(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        seen = self.seen(nets, b)
        stats["divergence"], stats["distance"] = seen.divergence, seen.distance
        yield self.prior_weight * seen.divergence + seen.distance

    def g(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        seen = self.seen(nets, b)
        yield self.gamma * seen.distance + self.objective.g(seen.again) + self.objective.g(seen.drawn)

    def d(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        seen = self.seen(nets, b)
        for name in ("real", "again", "drawn"):
            stats[f"{name}_score"] = getattr(seen, name).mean()
        yield self.objective.d(seen.real, torch.cat((seen.again, seen.drawn)))

    def seen(self, nets: Networks, b: Batch) -> Seen:
        """The pass; the same for all losses in a graph that they share."""

        def make() -> Seen:
            x = b["x"]
            posterior = nets.E(x)
            made = nets.G(torch.cat((posterior.sample(b["eps"]), b["z"])))
            images = (x, *(made if made.dtype == torch.float64 else made.float()).chunk(2))
            real, again, drawn = map(nets.D, images) if self._apart else _parts(nets.D(torch.cat(images)))
            distance = normal_distance(self._features(again), self._features(real))
            if self.pixel_weight:
                distance = distance + self.pixel_weight * normal_distance(images[1], x)
            return Seen(prior_divergence(posterior), distance, real.score, again.score, drawn.score)

        return nets.once("seen", make)

    def _features(self, scores: Scores) -> Tensor:
        """The maps of D that are compared."""
        (found,) = (maps for maps in scores.maps if maps.shape[2] == self.height)
        return found


def _parts(scores: Scores) -> list[Scores]:
    """Of three batches of one size that passed as one."""
    parts = zip(scores.score.chunk(3), *(maps.chunk(3) for maps in scores.maps), strict=True)
    return [Scores(score, maps=tuple(maps)) for score, *maps in parts]
