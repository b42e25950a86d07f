"""The game of a generator and a discriminator, which most systems are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from gan_ops.objectives import GradientNorm, Objective, Penalty, Scores, interleave
from train.engine.curve import Cosine
from train.engine.game import Batch, Game, Move, Networks, Role, Stats
from train.engine.schedule import Position
from train.gan.augmentation import Augmentation, renamed
from train.gan.conditioning import Conditioning
from train.gan.critic import Critic
from train.gan.watching import report_scores


class Gan(Game):
    """Two players with any objective, penalties, conditioning and augmentation.

    ``G(z)`` gives images [N, C, H, W] of latents [N, latent]; ``D(x)`` gives :class:`gan_ops.objectives.Scores`. A
    discriminator that compares the samples of a minibatch says so by ``sees_batch`` and takes ``batches``, the number
    of minibatches that are interleaved.

    Args:
        roles: "G" and "D".
        objective: what they minimise. One with parameters is a network too, moved with D.
        penalties: on D's gradient; those with ``every`` above 1 are moves of their own.
        conditioning: how labels enter.
        augmentation: what D sees all images through.
        pack: images that D judges as one.
        gradient_norm: how D's scores are normalised by their gradients; "" for not at all.
        d_steps: D's moves for each of G's.
        g_batches: batches of fakes that G learns from in an update, where its loss compares none with reals.
        shared_latents: G learns from the latents and labels of D's fakes, as a merged update has it.
        penalty_curve: what multiplies D's penalties; None for 1.
        own_reals: where G's loss compares, it is with reals that D does not see in the step, and G's fakes are given
            their labels. With shared latents G's reals are D's.
        held_out: the source has the list "held_out" too: D's scores of it are reported, and no loss sees them.
        labels: of all real images, int64 [M], from which those of fakes are drawn, as frequent as there.
        fit: scales D's minibatch discrimination, if it has one, to real images, once more.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        roles: Mapping[str, Role],
        objective: Objective,
        *,
        latent: int,
        penalties: Sequence[Penalty] = (),
        conditioning: Conditioning | None = None,
        augmentation: Augmentation | None = None,
        pack: int = 1,
        gradient_norm: GradientNorm | Literal[""] = "",
        d_steps: int = 1,
        g_batches: int = 1,
        shared_latents: bool = False,
        penalty_curve: Cosine | None = None,
        own_reals: bool = False,
        held_out: bool = False,
        labels: Tensor | None = None,
        fit: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__({"G": generator, "D": discriminator})
        self.roles = dict(roles)
        self.objective, self.penalties, self.latent = objective, tuple(penalties), latent
        self.conditioning = conditioning or Conditioning()
        self.augmentation = augmentation or Augmentation()
        if self.augmentation.state is not None:
            self.state.augmentation = self.augmentation.state
        self.d_steps, self.g_batches, self.shared_latents = d_steps, g_batches, shared_latents
        self.penalty_curve, self.held_out = penalty_curve, held_out
        self.own_reals = own_reals and objective.compares and not shared_latents
        self.critic = Critic(discriminator, self.conditioning, pack, gradient_norm)
        self._labels, self._fit = labels, fit
        self._fade: float | Tensor = 0.0
        for part in (objective, getattr(objective, "objective", None)):
            if isinstance(part, nn.Module):
                self._take(part.to(next(generator.parameters()).device))

    def _take(self, objective: nn.Module) -> None:
        """What it remembers becomes state of the game; what it learns is moved with D."""
        if any(True for _ in objective.parameters()):
            self.networks["objective"] = objective
            self.roles["D"] = replace(self.roles["D"], networks=(*self.roles["D"].networks, "objective"))
        else:
            self.state.objective = objective

    def takes(self, count: int, at: Position) -> dict[str, int]:
        counts = {"images": count * (self.d_steps + self.own_reals)}
        return counts | ({"held_out": count * self.d_steps} if self.held_out else {})

    def shows(self, count: int, at: Position) -> int:
        return count * self.d_steps

    def blend(self, real: Tensor, fade: float | Tensor) -> Tensor:
        """How real images [N, C, H, W] look while a resolution fades in."""
        return real

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        """Columns: "D/real", "D/z", "D/between" [N], places between reals and fakes, "G/z"; with labels or codes
        "D/labels" and "G/labels"; what the augmentation and the penalties draw; reals for G, where its loss compares.
        "D/penalty weight" has the same value in each row."""
        shown, made = count * self.d_steps, count * self.g_batches
        images = self.blend(seen["images"], self._fade)
        real, own = images[:shown], images[shown:]
        batch = {"D/real": real, "D/z": self._latents(shown, random)}
        batch["D/between"] = torch.rand(shown, generator=random, device=real.device)
        batch["G/z"] = self._latents(made, random)
        if self.conditioning.labels:
            batch["D/labels"] = seen["labels"][:shown]
        if self.conditioning.codes.width:
            batch |= {f"{role}/labels": self.conditioning.codes.of(batch[f"{role}/z"]) for role in "DG"}
        if self.conditioning.generates and self.own_reals:
            batch["G/labels"] = seen["labels"][shown:]
        elif self.conditioning.generates:
            chosen = torch.randint(len(self._labels), (made,), generator=random, device=real.device)
            batch["G/labels"] = self._labels[chosen]
        seen_by_d = {"D/real": real, "D/fake": real}
        if not self.shared_latents:
            seen_by_d["G/fake"] = real[:made] if made <= shown else real[:1].expand(made, -1, -1, -1)
        if self.own_reals:
            seen_by_d["G/real"] = batch["G/real"] = own
            if self.conditioning.labels:
                batch["G/real labels"] = seen["labels"][shown:]
        if self.held_out:
            seen_by_d["D/held out"] = batch["D/held out"] = self.blend(seen["held_out"], self._fade)
            if self.conditioning.labels:
                batch["D/held out labels"] = seen["held_out labels"]
        if self.penalty_curve:
            batch["D/penalty weight"] = torch.full((shown,), self.penalty_curve.at(at.images), device=real.device)
        batch |= self.augmentation.draw(seen_by_d, at, random)
        for i, penalty in enumerate(self.penalties):
            # Lazy or not: with a column that comes and goes D's move would be compiled twice.
            if penalty.at == "around":
                batch[f"D/around {i}"] = torch.empty_like(real).uniform_(generator=random)
        if self.shared_latents:
            batch |= {f"G/{name}": batch[f"D/{name}"] for name in ("z", "labels") if f"D/{name}" in batch}
            batch |= renamed(batch, "D/fake ", "G/fake ")
        if self.objective.compares and not self.own_reals:
            batch["G/real"] = real[-count:]
            if self.conditioning.labels:
                batch["G/real labels"] = batch["D/labels"][-count:]
            batch |= {name: column[-count:] for name, column in renamed(batch, "D/real ", "G/real ").items()}
        return batch

    def _latents(self, count: int, random: torch.Generator) -> Tensor:
        return torch.randn(count, self.latent, generator=random, device=random.device)

    def moves(self, at: Position) -> list[Move]:
        lazy = [
            Move("D", partial(self.lazy_penalty, i), every=penalty.every, name=f"D_{type(penalty).__name__}")
            for i, penalty in enumerate(self.penalties)
            if penalty.every > 1
        ]
        return [Move("D", self.d, times=self.d_steps), *lazy, Move("G", self.g, rows=self.g_batches)]

    def d(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        """D's loss with the penalties on the gradients at its images, then the penalties at other points."""
        yield self._at_images(nets, b, stats)
        for i, penalty in enumerate(self.penalties):
            if penalty.every == 1 and not self._inside(penalty):
                value = self._alone(i, nets, b)
                _count(value, stats)
                yield value

    def g(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        yield self._deceiving(nets, b, stats)

    def _deceiving(self, nets: Networks, b: Batch, stats: Stats) -> Tensor:
        """G's loss. Scores and their maps are let go on return, before its gradients are taken."""
        scores = self._scores(nets, b, "G/fake", self.generate(nets, b, "G"), b.get("G/labels"))
        real = None
        if self.objective.compares:
            with torch.no_grad():
                real = self._scores(nets, b, "G/real", b["G/real"], b.get("G/real labels"))
        loss = self.objective.g(scores, real, stats)
        classes = self.conditioning.g(scores, b.get("G/labels"), stats)
        return loss if classes is None else loss + classes

    def lazy_penalty(self, index: int, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        """A penalty of every n-th step, by itself; it stands for one in each of D's moves."""
        yield self.d_steps * self._alone(index, nets, b)

    def generate(self, nets: Networks, b: Batch, role: str) -> Tensor:
        """The fakes that a role learns from, in float32 or wider: the same for both in a graph that they share."""

        def make() -> Tensor:
            images = self.conditioning.generate(nets.G, b[f"{role}/z"], b.get(f"{role}/labels"))
            return images if images.dtype == torch.float64 else images.float()

        return nets.once("fake", make)

    def _scores(self, nets: Networks, b: Batch, name: str, x: Tensor, labels: Tensor | None) -> Scores:
        """What D says of the images of a column, or of the fakes, through the augmentation."""
        return self.critic(nets, self.augmentation(x, b, name), labels)

    def _at_images(self, nets: Networks, b: Batch, stats: Stats) -> Tensor:
        """D's loss at reals and fakes, with the penalties there: their gradients are those of the scores' own pass.

        They are with respect to the images before the augmentation, through it.
        """
        inside = [penalty for penalty in self.penalties if penalty.every == 1 and self._inside(penalty)]
        at = {penalty.at for penalty in inside}
        images, labels = {"real": b["D/real"], "fake": self.generate(nets, b, "D").detach()}, b.get("D/labels")
        gradients: dict[str, Tensor] = {}
        if len(at) == 1:
            # In one pass with the other images, their gradients would be taken too.
            (which,) = at
            images[which] = nets.point(images[which])
            real, fakes = (self._scores(nets, b, f"D/{name}", x, labels) for name, x in images.items())
            gradients[which] = nets.gradient(real if which == "real" else fakes, images[which])
        else:
            if at:
                points = nets.point(torch.stack(list(images.values())))  # [2, N, C, H, W]
                images = dict(zip(images, points.unbind(), strict=True))
            both = interleave(*(self.augmentation(x, b, f"D/{name}") for name, x in images.items()))
            twice = None if labels is None else labels.repeat_interleave(2, 0)  # [N] → [2N]
            scores = self.critic(nets, both, twice, batches=2)
            real, fakes = scores.parted(2)
            if at:
                gradients = dict(zip(images, nets.gradient(scores, points).unbind(), strict=True))
        report_scores(self.objective, real.score, fakes.score, self._of_held_out(nets, b), b, stats)
        loss = self.objective.d(real, fakes, stats)
        if (classes := self.conditioning.d(real, fakes, labels, stats)) is not None:
            loss = loss + classes
        for penalty in inside:
            value = self._penalty(penalty, gradients[penalty.at], b)
            _count(value, stats)
            loss = loss + value
        return loss

    def _of_held_out(self, nets: Networks, b: Batch) -> Tensor | None:
        """D's scores of images that it does not learn from."""
        if not self.held_out:
            return None
        with torch.no_grad():
            return self._scores(nets, b, "D/held out", b["D/held out"], b.get("D/held out labels")).score

    def _inside(self, penalty: Penalty) -> bool:
        """Whether the scores' own pass gives the gradient that is penalised. A vector critic's is that of a function
        which the other samples determine too, and its points are to be none of these."""
        return penalty.at in ("real", "fake") and self.objective.outputs == 1

    def _alone(self, index: int, nets: Networks, b: Batch) -> Tensor:
        """A penalty with a pass of its own."""
        penalty, labels, vector = self.penalties[index], b.get("D/labels"), self.objective.outputs > 1
        images = {"real": b["D/real"]}
        if vector or penalty.at in ("between", "fake"):
            images["fake"] = self.generate(nets, b, "D").detach()

        def seen(name: str) -> Tensor:
            return self.augmentation(images[name], b, f"D/{name}")

        if penalty.at == "between":
            places = nets.point(self.critic.alike(b["D/between"]))
            points = shown = _channels_last(penalty.points(seen("real"), seen("fake"), places))
        elif penalty.at == "around":
            points = shown = _channels_last(penalty.points(seen("real"), nets.point(b[f"D/around {index}"])))
        else:
            points = nets.point(images[penalty.at])
            shown = self.augmentation(points, b, f"D/{penalty.at}")
        scores: Scores | Tensor = self.critic(nets, shown, labels)
        if vector:
            scores = self.objective.witness(scores, *(self.critic(nets, seen(name), labels) for name in images))
        return self._penalty(penalty, nets.gradient(scores, points), b)

    def _penalty(self, penalty: Penalty, gradient: Tensor, b: Batch) -> Tensor:
        value = penalty.loss(self.critic.packed(gradient))
        return value * b["D/penalty weight"][0] if self.penalty_curve else value

    def taken_over(self, tensors: Mapping[str, Collection[str]]) -> None:
        if "minibatch.weight" not in tensors["D"]:
            self._fit()  # it was scaled to what D was before

    def arrange(self, networks: Mapping[str, nn.Module], at: Position, fade: float | Tensor) -> None:
        self.augmentation.arrange(self.shows(at.batch, at))

    def after(self, stats: Stats) -> None:
        self.objective.after(stats)
        self.augmentation.after(stats)


def _channels_last(points: Tensor) -> Tensor:
    return points.contiguous(memory_format=torch.channels_last) if points.dim() == 4 else points


def _count(penalty: Tensor, stats: Stats) -> None:
    """Reports the sum of D's penalties."""
    stats["penalty"] = stats["penalty"] + penalty.detach() if "penalty" in stats else penalty.detach()
