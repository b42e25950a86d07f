"""The game of a generator of styles: a mean of w, style mixing, noise, and regularised path lengths."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gan_ops.objectives import PathLength, path_lengths
from models.parts.mapping import Mapping as MappingNetwork
from train.engine.game import Batch, Move, Networks, Stats
from train.engine.parallel import mean
from train.engine.schedule import Position
from train.gan.game import Gan

LAZY = "G_path"
"""The move that regularises path lengths."""


class StyleGan(Gan):
    """A game whose generator has a mapping network with a mean of w, and gives its styles beside images.

    ``G.mapping`` is that network, and ``G(z, with_styles=True)`` has ``images`` and ``styles`` [N, layers, W].

    The means of w and of the path lengths move once a step, from statistics of all microbatches and processes, and a
    step uses those before it. The authors' code moves the mean of w wherever the mapping network runs, that of lengths
    before it is used, each by the statistics of one process's microbatch.

    Args:
        mixing: probability that a sample has another latent's styles from some layer on (Karras et al. 2019, section
            3.1); ``G`` takes ``other`` and ``cutoffs``. The authors' code draws one layer for a whole batch.
        noisy: G takes ``noise`` [N, G.noise_values], and draws from none of its own in training.
        path: regularises path lengths at every ``path_every``-th step, at one of ``path_shrink`` samples of each
            microbatch; None for not at all.
    """

    def __init__(
        self,
        generator: nn.Module,
        *args: Any,
        mixing: float = 0.0,
        noisy: bool = False,
        path: PathLength | None = None,
        path_every: int = 4,
        path_shrink: int = 2,
        **options: Any,
    ) -> None:
        super().__init__(generator, *args, **options)
        self.mixing, self.noisy = mixing, noisy
        self.path, self.path_every, self.path_shrink = path, path_every, path_shrink
        mapping: MappingNetwork = generator.mapping
        self.state.w = mapping.average
        if path:
            self.state.register_buffer("path_length", torch.zeros((), device=next(generator.parameters()).device))

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        """Columns besides: of each role "other" [N, L], "cutoffs" int64 [N] and "noise"; "G/direction" [N, C, H, W],
        that of the path lengths."""
        batch = super().draw(seen, count, at, random)
        for role in "DG":
            if role == "G" and self.shared_latents:
                batch |= {f"G/{name}": batch[f"D/{name}"] for name in self._of_generator}
                continue
            rows, device = len(batch[f"{role}/z"]), batch[f"{role}/z"].device
            if self.mixing:
                layers = self.networks["G"].layers
                cutoffs = torch.randint(1, layers, (rows,), generator=random, device=device)
                whole = torch.rand(rows, generator=random, device=device) >= self.mixing
                batch[f"{role}/other"] = self._latents(rows, random)
                batch[f"{role}/cutoffs"] = cutoffs.masked_fill(whole, layers)
            if self.noisy:
                values = self.networks["G"].noise_values
                batch[f"{role}/noise"] = torch.randn(rows, values, generator=random, device=device)
        if self.path:
            # Due or not: with a column that comes and goes G's move would be compiled twice.
            g = self.networks["G"]
            shape = (len(batch["G/z"]), g.image_channels, g.resolution, g.resolution)
            noise = torch.randn(shape, generator=random, device=batch["G/z"].device)
            batch["G/direction"] = noise / g.resolution
        return batch

    @property
    def _of_generator(self) -> list[str]:
        """Columns that G is given beside latents and labels."""
        return [*(("other", "cutoffs") if self.mixing else ()), *(("noise",) if self.noisy else ())]

    def moves(self, at: Position) -> list[Move]:
        moves = super().moves(at)
        if self.path:
            moves.append(Move("G", self.lengthened, every=self.path_every, rows=self.g_batches, name=LAZY))
        return moves

    def generate(self, nets: Networks, b: Batch, role: str) -> Tensor:
        return self._drawn(nets, b, role).images

    def _drawn(self, nets: Networks, b: Batch, role: str, part: slice = slice(None)) -> Any:
        """What G gives: ``images``, here in float32 or wider, and their ``styles``; that of all rows is made once in a
        graph."""

        def make() -> Any:
            given = {name: b[f"{role}/{name}"][part] for name in self._of_generator}
            labels = b[f"{role}/labels"][part] if f"{role}/labels" in b else None
            drawn = self.conditioning.generate(partial(nets.G, with_styles=True, **given), b[f"{role}/z"][part], labels)
            images = drawn.images
            return drawn._replace(images=images if images.dtype == torch.float64 else images.float())

        return nets.once("fake", make) if part == slice(None) else make()

    def g(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        loss = self._deceiving(nets, b, stats)
        stats["w"] = self._drawn(nets, b, "G").styles[:, 0]  # the first layer's is never another latent's
        yield loss

    def lengthened(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        """The penalty of path lengths, of the latents that G's move had; reports "path_length".

        Every ``path_shrink``-th sample is taken, so that microbatches of multiples of that have those of the batch.
        """
        part = slice(None, None, self.path_shrink) if self.path_shrink > 1 else slice(None)
        images, styles, *_ = self._drawn(nets, b, "G", part)
        along = (images * b["G/direction"][part]).sum((1, 2, 3))  # [N, C, H, W] → [N]
        lengths = path_lengths(nets.gradient(along, styles))
        stats["path_length"] = lengths.mean()
        yield self.path.loss(lengths, self.state.path_length)

    def after(self, stats: Stats) -> None:
        super().after(stats)
        (w,) = mean([stats["w"].mean(0)])  # [N, W] → [W]
        self.state.w.move_(w)
        if "path_length" in stats:
            length = self.state.path_length
            length.lerp_(stats["path_length"].to(length.dtype), self.path.decay)
