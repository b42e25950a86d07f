"""Toy games that nobody ships, each for something that the engine must be able to do.

Their networks have a few dozen weights and work on vectors [N, 3] or images [N, 1, 4, 4].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops.objectives import Scores
from train.data.order import ShuffledOrder
from train.engine.curve import Cosine
from train.engine.game import Batch, Game, Move, Networks, Role, Stats, Update
from train.engine.precision import Autocast
from train.engine.schedule import Phase, Position, Schedule
from train.engine.trainer import Trainer

CPU = torch.device("cpu")
BATCH = 4
LATENT = 2


class Lists:
    """Samples [M, …] by list, each visited in an order of its own."""

    def __init__(self, **samples: Tensor) -> None:
        self._samples = samples
        self.lists = {name: len(some) for name, some in samples.items()}
        self._orders = {name: ShuffledOrder(len(some), seed) for seed, (name, some) in enumerate(samples.items())}

    def columns(self, counts: Mapping[str, int], at: Position, random: torch.Generator) -> Batch:
        return {name: self._samples[name][self._orders[name].next(count)] for name, count in counts.items()}

    def state_dict(self) -> dict[str, Any]:
        return {name: order.state_dict() for name, order in self._orders.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, order in self._orders.items():
            order.load_state_dict(state[name])


class Critic(nn.Module):
    """x [N, 3] → scores [N], and the activations before them as maps."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 5), nn.Tanh())
        self.head = nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Scores:
        h = self.body(x)
        return Scores(self.head(h)[:, 0], maps=(h,))


def mlp(*widths: int) -> nn.Sequential:
    """[N, first] → [N, last], tanh between the layers."""
    layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


def d_loss(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def g_loss(fake: Tensor) -> Tensor:
    return F.softplus(-fake).mean()


class Toy(Game):
    """G and D on vectors; both learn from the same latents."""

    def __init__(self, **roles: Role) -> None:
        super().__init__(self.new_networks())
        self.roles = {"D": Role(("D",)), "G": Role(("G",)), **roles}

    def new_networks(self) -> dict[str, nn.Module]:
        return {"G": mlp(LATENT, 5, 3), "D": Critic()}

    def takes(self, count: int, at: Position) -> dict[str, int]:
        return {"x": count}

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        return {"real": seen["x"], "z": torch.randn(count, LATENT, generator=random)}

    def moves(self, at: Position) -> Sequence[Move]:
        return [Move("D", self.d), Move("G", self.g)]

    def fake(self, nets: Networks, b: Batch) -> Tensor:
        return nets.once("fake", lambda: nets.G(b["z"]))

    def d(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        yield d_loss(nets.D(b["real"]).score, nets.D(self.fake(nets, b).detach()).score)

    def g(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        yield g_loss(nets.D(self.fake(nets, b)).score)


class Balanced(Toy):
    """A state that moves after a step: L_D = U(x) − k·U(G(z)), L_G = U(G(z)), k ← k + rate·(½U(x) − U(G(z))), where D
    restores what it sees and U is by how much it fails (as in BEGAN, Berthelot et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.state.register_buffer("k", torch.tensor(0.25))

    def new_networks(self) -> dict[str, nn.Module]:
        return {"G": mlp(LATENT, 5, 3), "D": mlp(3, 2, 3)}

    def d(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        real, fake = (failure(nets.D, x) for x in (b["real"], self.fake(nets, b).detach()))
        stats["real_failure"] = real
        yield real - self.state.k * fake

    def g(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        stats["fake_failure"] = loss = failure(nets.D, self.fake(nets, b))
        yield loss

    def after(self, stats: Stats) -> None:
        self.state.k.add_(0.05 * (stats["real_failure"] / 2 - stats["fake_failure"]))


def failure(restore: Any, x: Tensor) -> Tensor:
    return (x - restore(x)).abs().mean()


class Lazy(Toy):
    """A move of every third step, and historical averaging on the role that has it."""

    def __init__(self, historical_averaging: float = 0.0) -> None:
        super().__init__(D=Role(("D",), lr=2.0, betas=(0.5, 0.9), historical_averaging=historical_averaging))

    def moves(self, at: Position) -> Sequence[Move]:
        return [Move("D", self.d), Move("D", self.flat, every=3, name="Flat"), Move("G", self.g)]

    def flat(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        x = nets.point(b["real"])
        yield nets.gradient(nets.D(x), x).square().sum(1).mean()


class ThreeRoles(Toy):
    """Encoder, generator and critic, moved from one state by one pass (as in VAE-GAN, Larsen et al. 2016)."""

    updates: tuple[Update, ...] = ("joint", "merged")

    def __init__(self) -> None:
        super().__init__(E=Role(("E",), lr=0.5))

    def new_networks(self) -> dict[str, nn.Module]:
        return {**super().new_networks(), "E": mlp(3, 5, 2 * LATENT)}

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        return super().draw(seen, count, at, random) | {"noise": torch.randn(count, LATENT, generator=random)}

    def moves(self, at: Position) -> Sequence[Move]:
        return [Move("E", self.encode), Move("G", self.g), Move("D", self.d)]

    def seen(self, nets: Networks, b: Batch) -> tuple[Tensor, Tensor, Scores, Scores, Scores]:
        def make() -> tuple[Tensor, Tensor, Scores, Scores, Scores]:
            mean, log_variance = nets.E(b["real"]).chunk(2, 1)
            again = nets.G(mean + (log_variance / 2).exp() * b["noise"])
            return mean, log_variance, nets.D(b["real"]), nets.D(again), nets.D(nets.G(b["z"]))

        return nets.once("seen", make)

    def encode(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        mean, log_variance, real, again, _ = self.seen(nets, b)
        divergence = (mean.square() + log_variance.exp() - log_variance - 1).sum(1).mean() / 2
        yield divergence + F.mse_loss(again.maps[0], real.maps[0])

    def g(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        *_, real, again, drawn = self.seen(nets, b)
        yield F.mse_loss(again.maps[0], real.maps[0]) + g_loss(again.score) + g_loss(drawn.score)

    def d(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        *_, real, again, drawn = self.seen(nets, b)
        yield d_loss(real.score, again.score) + F.softplus(drawn.score).mean()


class TwoLists(Game):
    """Two translators of images and two critics, each pair a role, on two lists of images; the critics see what the
    translators made, in statistics of theirs (as in CycleGAN, Zhu et al. 2017)."""

    averaged = ("AB", "BA")
    sampler = "AB"

    def __init__(self) -> None:
        translators = {name: nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Tanh()) for name in ("AB", "BA")}
        critics = {name: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Conv2d(2, 1, 1)) for name in ("DA", "DB")}
        super().__init__({**translators, **critics})
        self.roles = {"translators": Role(("AB", "BA")), "critics": Role(("DA", "DB"), lr=2.0)}

    def takes(self, count: int, at: Position) -> dict[str, int]:
        return {"a": count, "b": count}

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        return seen

    def moves(self, at: Position) -> Sequence[Move]:
        return [Move("translators", self.translate), Move("critics", self.judge)]

    def translate(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        for to, there, back, critic, x in (
            ("b", nets.AB, nets.BA, nets.DB, "a"),
            ("a", nets.BA, nets.AB, nets.DA, "b"),
        ):
            stats[f"fake_{to}"] = fake = there(b[x])
            yield g_loss(critic(fake)) + 10 * (back(fake) - b[x]).abs().mean()

    def judge(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        for name, critic in (("a", nets.DA), ("b", nets.DB)):
            yield d_loss(critic(b[name]), critic(b[f"fake_{name}"]))


class Normalised(Toy):
    """An inner gradient in both players' losses: D̂ = D/(‖∇D‖ + |D|) (Wu et al. 2021)."""

    def d(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        real, fake = (nets.point(x) for x in (b["real"], self.fake(nets, b)))
        yield d_loss(self.normalised(nets, real), self.normalised(nets, fake))

    def g(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        yield g_loss(self.normalised(nets, self.fake(nets, b)))

    def normalised(self, nets: Networks, x: Tensor) -> Tensor:
        score = nets.D(x).score
        return score / (nets.gradient(score, x).norm(dim=1) + score.abs())


class Pooled(Toy):
    """D sees fakes of earlier steps among those that G, who moves first, reports; each process keeps its own."""

    def __init__(self) -> None:
        super().__init__()
        self.own.register_buffer("pool", torch.randn(6, 3))

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        which = torch.randint(len(self.own.pool), (count,), generator=random)
        old = torch.rand(count, 1, generator=random) < 0.5
        return {**super().draw(seen, count, at, random), "old": old, "of_pool": self.own.pool[which]}

    def moves(self, at: Position) -> Sequence[Move]:
        return [Move("G", self.g), Move("D", self.d)]

    def g(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        stats["fake"] = self.fake(nets, b)
        yield from super().g(nets, b, stats)

    def d(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        yield d_loss(nets.D(b["real"]).score, nets.D(torch.where(b["old"], b["of_pool"], b["fake"])).score)

    def after(self, stats: Stats) -> None:
        self.own.pool.copy_(torch.cat((stats["fake"], self.own.pool))[: len(self.own.pool)])


class Often(Toy):
    """Three moves of D for each of G's, each on rows of its own, with clipped weights (Arjovsky et al. 2017)."""

    updates: tuple[Update, ...] = ("alternating",)

    def __init__(self) -> None:
        super().__init__(D=Role(("D",), clip=0.4))

    def takes(self, count: int, at: Position) -> dict[str, int]:
        return {"x": 3 * count}

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        z = torch.randn(4 * count, LATENT, generator=random)
        return {"D/real": seen["x"], "D/z": z[count:], "G/z": z[:count]}

    def moves(self, at: Position) -> Sequence[Move]:
        return [Move("D", self.d, times=3), Move("G", self.g)]

    def d(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        yield nets.D(nets.G(b["D/z"]).detach()).score.mean() - nets.D(b["D/real"]).score.mean()

    def g(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        yield -nets.D(nets.G(b["G/z"])).score.mean()


class Wide(Toy):
    """G learns from three times as many fakes as D (Miyato et al. 2018: twice as many)."""

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        z = torch.randn(4 * count, LATENT, generator=random)
        return {"D/real": seen["x"], "D/z": z[:count], "G/z": z[count:]}

    def moves(self, at: Position) -> Sequence[Move]:
        return [Move("D", self.d), Move("G", self.g, rows=3)]

    def d(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        yield d_loss(nets.D(b["D/real"]).score, nets.D(nets.G(b["D/z"]).detach()).score)

    def g(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        yield g_loss(nets.D(nets.G(b["G/z"])).score)


class Weighed(Toy):
    """G's two terms weigh alike at its last layer's weight: that of the score is λ = ‖∇L‖/(‖∇S‖ + 10⁻⁴) (as in VQGAN,
    Esser et al. 2021); D's loss comes in two terms."""

    def d(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        yield F.softplus(-nets.D(b["real"]).score).mean()
        yield F.softplus(nets.D(nets.G(b["z"]).detach()).score).mean()

    def g(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        fake, last = nets.G(b["z"]), nets.parameter("G", "2.weight")
        length, score = fake.square().mean(), g_loss(nets.D(fake).score)
        of_length, of_score = (torch.autograd.grad(x, last, retain_graph=True)[0].norm() for x in (length, score))
        stats["weight"] = weight = (of_length / (of_score + 1e-4)).detach()
        yield length + weight * score


class Annealed(Toy):
    """β₂, the learning rate and the averages' half-life change along the run, as R3GAN's do."""

    curve = Cosine(1.0, 0.25, 10 * BATCH)

    def __init__(self) -> None:
        falling = Cosine(0.9, 0.5, 12 * BATCH)
        super().__init__(D=Role(("D",), betas=(0.0, falling)), G=Role(("G",), betas=(0.5, falling)))


TOYS: dict[str, type[Game]] = {
    toy.__name__: toy
    for toy in (Toy, Balanced, Lazy, ThreeRoles, TwoLists, Normalised, Pooled, Often, Wide, Weighed, Annealed)
}


def source_of(game: Game) -> Lists:
    """Samples enough for some steps of an epoch, and no multiple of a batch."""
    random = torch.Generator().manual_seed(5)
    if isinstance(game, TwoLists):
        return Lists(a=torch.rand(7, 1, 4, 4, generator=random), b=-torch.rand(5, 1, 4, 4, generator=random))
    return Lists(x=torch.randn(11, 3, generator=random))


def trainer_of(
    game: Game, *, microbatch: int = BATCH, lr: float = 0.01, precision: torch.dtype = torch.float32, **options: Any
) -> Trainer:
    """A run of 64 steps' samples, on the CPU."""
    curve = getattr(game, "curve", None)
    schedule = Schedule((Phase(4, False, 0, 64 * BATCH, 64 * BATCH, BATCH, microbatch, lr),), lr_curve=curve)
    source = options.pop("source", None) or source_of(game)
    own = {"device": CPU, "autocast": Autocast(CPU, precision), "ema_kimg": {4: 0.02}, "ema_curve": curve}
    return Trainer(game, schedule, source, **own, **options)


def toy_trainer(name: str, **options: Any) -> Trainer:
    """A run of one of the toys, which begins with the same weights whenever it is made."""
    torch.manual_seed(1)
    game = TOYS[name]()
    return trainer_of(game, **{"update": game.updates[0], **options})


def spoil(game: Game, images: int, column: str) -> None:
    """In the step that begins after so many images, a column is not finite."""
    draw = game.draw

    def spoiled(seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        batch = draw(seen, count, at, random)
        return {**batch, column: batch[column] * torch.inf} if at.images == images else batch

    game.draw = spoiled
