"""The game of a generator and a discriminator, which most systems are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from gan_ops.objectives import Objective, Penalty, Scores, interleave
from train.engine.game import Batch, Game, Move, Networks, Role, Stats
from train.engine.schedule import Position
from train.gan.augmentation import InstanceNoise
from train.gan.conditioning import Conditioning


class Gan(Game):
    """Two players with any objective, penalties, conditioning and augmentation.

    ``G(z)`` gives images [N, C, H, W] of latents [N, latent]; ``D(x)`` gives :class:`gan_ops.objectives.Scores`. A
    discriminator that compares the samples of a minibatch says so by ``sees_batch`` and takes ``batches``, the number
    of minibatches that are interleaved.

    Args:
        roles: "G" and "D".
        objective: what they minimise.
        penalties: on D's gradient; those with ``every`` above 1 are moves of their own.
        conditioning: how labels enter.
        augmentation: what D sees all images through.
        d_steps: D's moves for each of G's.
        shared_latents: G learns from the latents and labels of D's fakes, as a merged update has it.
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
        augmentation: InstanceNoise | None = None,
        d_steps: int = 1,
        shared_latents: bool = False,
        labels: Tensor | None = None,
        fit: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__({"G": generator, "D": discriminator})
        self.roles = dict(roles)
        self.objective, self.penalties, self.latent = objective, tuple(penalties), latent
        self.conditioning = conditioning or Conditioning()
        self.augmentation = augmentation or InstanceNoise()
        self.d_steps, self.shared_latents = d_steps, shared_latents
        self._labels, self._fit = labels, fit
        self._fade: float | Tensor = 0.0
        for part in (objective, getattr(objective, "objective", None)):
            if isinstance(part, nn.Module):
                self.state.objective = part

    def takes(self, count: int, at: Position) -> dict[str, int]:
        return {"images": count * self.d_steps}

    def blend(self, real: Tensor, fade: float | Tensor) -> Tensor:
        """How real images [N, C, H, W] look while a resolution fades in."""
        return real

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        """Columns: "D/real", "D/z", "D/between" [N], places between reals and fakes, "G/z"; with labels "D/labels" and
        "G/labels"; what the augmentation and the penalties draw; and reals for G, where its loss compares."""
        shown = count * self.d_steps
        real = self.blend(seen["images"], self._fade)
        batch = {"D/real": real, "D/z": self._latents(shown, random)}
        batch["D/between"] = torch.rand(shown, generator=random, device=real.device)
        batch["G/z"] = self._latents(count, random)
        if self.conditioning.labels:
            batch["D/labels"] = seen["labels"]
        if self.conditioning.generates:
            chosen = torch.randint(len(self._labels), (count,), generator=random, device=real.device)
            batch["G/labels"] = self._labels[chosen]
        seen_by_d = {"D/real": real, "D/fake": real}
        if not self.shared_latents:
            seen_by_d["G/fake"] = real[:count]
        batch |= self.augmentation.draw(seen_by_d, at, random)
        for i, penalty in enumerate(self.penalties):
            # Lazy or not: with a column that comes and goes D's move would be compiled twice.
            if penalty.at == "around":
                batch[f"D/around {i}"] = torch.empty_like(real).uniform_(generator=random)
        if self.shared_latents:
            batch |= {f"G/{name}": batch[f"D/{name}"] for name in ("z", "labels", "fake noise") if f"D/{name}" in batch}
        if self.objective.compares:
            names = {"real": "real", "real noise": "real noise", "labels": "real labels"}
            batch |= {f"G/{g}": batch[f"D/{d}"][-count:] for d, g in names.items() if f"D/{d}" in batch}
        return batch

    def _latents(self, count: int, random: torch.Generator) -> Tensor:
        return torch.randn(count, self.latent, generator=random, device=random.device)

    def moves(self, at: Position) -> list[Move]:
        lazy = [
            Move("D", partial(self.lazy_penalty, i), every=penalty.every, name=_label(penalty))
            for i, penalty in enumerate(self.penalties)
            if penalty.every > 1
        ]
        return [Move("D", self.d, times=self.d_steps), *lazy, Move("G", self.g)]

    def d(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        """D's loss with the penalties on the gradients at its images, then the penalties at other points."""
        yield self._at_images(nets, b, stats)
        for i, penalty in enumerate(self.penalties):
            if penalty.every == 1 and penalty.at not in ("real", "fake"):
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
        classes = self.conditioning.g(scores, b.get("G/labels"))
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

    def critic(self, nets: Networks, x: Tensor, labels: Tensor | None, batches: int = 1) -> Scores:
        """What D says of images [N, C, H, W]; of ``batches`` interleaved minibatches."""
        minibatches = {"batches": batches} if getattr(self.networks["D"], "sees_batch", False) else {}
        return self.conditioning.judge(nets.D, x, labels, **minibatches)

    def _at_images(self, nets: Networks, b: Batch, stats: Stats) -> Tensor:
        """D's loss at reals and fakes, with the penalties there: their gradients are those of the scores' own pass.

        They are with respect to the images before the augmentation, through it.
        """
        inside = [p for p in self.penalties if p.every == 1 and p.at in ("real", "fake")]
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
            twice = None if labels is None else labels[:, None].expand(-1, 2).flatten()  # [N] → [2N]
            scores = self.critic(nets, both, twice, batches=2)
            real, fakes = scores.parted(2)
            if at:
                gradients = dict(zip(images, nets.gradient(scores, points).unbind(), strict=True))
        stats["real_score"], stats["fake_score"] = real.score.detach().mean(), fakes.score.detach().mean()
        loss = self.objective.d(real, fakes, stats)
        if (classes := self.conditioning.d(real, fakes, labels)) is not None:
            loss = loss + classes
        for penalty in inside:
            value = penalty.loss(gradients[penalty.at])
            _count(value, stats)
            loss = loss + value
        return loss

    def _alone(self, index: int, nets: Networks, b: Batch) -> Tensor:
        """A penalty with a pass of its own."""
        penalty, labels = self.penalties[index], b.get("D/labels")
        fake = None if penalty.at == "real" else self.generate(nets, b, "D").detach()
        if penalty.at in ("real", "fake"):
            points = nets.point(b["D/real"] if fake is None else fake)
            return penalty.loss(nets.gradient(self._scores(nets, b, f"D/{penalty.at}", points, labels), points))
        real = self.augmentation(b["D/real"], b, "D/real")
        if penalty.at == "between":
            points = penalty.points(real, self.augmentation(fake, b, "D/fake"), nets.point(b["D/between"]))
        else:
            points = penalty.points(real, nets.point(b[f"D/around {index}"]))
        if points.dim() == 4:
            points = points.contiguous(memory_format=torch.channels_last)
        return penalty.loss(nets.gradient(self.critic(nets, points, labels), points))

    def taken_over(self, tensors: Mapping[str, Collection[str]]) -> None:
        if "minibatch.weight" not in tensors["D"]:
            self._fit()  # it was scaled to what D was before

    def after(self, stats: Stats) -> None:
        self.objective.after(stats)


def _count(penalty: Tensor, stats: Stats) -> None:
    """Reports the sum of D's penalties."""
    stats["penalty"] = stats["penalty"] + penalty.detach() if "penalty" in stats else penalty.detach()


def _label(penalty: Penalty) -> str:
    """Of the move that a lazy penalty is."""
    return f"D_{type(penalty).__name__}"
