"""What a critic says about images, and several minibatches in one pass through it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gan_ops._types import accumulable

__all__ = ["Scores", "interleave", "samples_of", "score_of", "scores_of", "values_of", "vectors_of"]


class Scores(NamedTuple):
    """What a critic says about N samples."""

    score: Tensor  # [N], float32 (float64 of float64), higher is more real; [N, K] of vectors, [N, h, w] of patches
    logits: Tensor | None = None  # [N, num_classes] of one that tells classes apart
    maps: tuple[Tensor, ...] = ()  # [N, C, h, w] each, or [N, F]: all activations that features can be matched in
    x: Tensor | None = None  # [N, …]: the samples themselves, for losses that compare them

    def detached(self) -> Scores:
        """The same without a graph."""
        logits, x = (None if value is None else value.detach() for value in (self.logits, self.x))
        return Scores(self.score.detach(), logits, tuple(some.detach() for some in self.maps), x)

    def parted(self, parts: int) -> list[Scores]:
        """The scores of each of ``parts`` minibatches that :func:`interleave` laid into one."""

        def of(tensor: Tensor | None) -> list[Tensor | None]:
            if tensor is None:
                return [None] * parts
            return list(tensor.unflatten(0, (-1, parts)).unbind(1))  # [parts·n, …] → parts × [n, …]

        maps = zip(*map(of, self.maps), strict=True) if self.maps else [()] * parts
        fields = zip(of(self.score), of(self.logits), maps, of(self.x), strict=True)
        return [Scores(score, logits, tuple(some), x) for score, logits, some, x in fields]


def scores_of(value: Scores | Tensor) -> Scores:
    """The scores of a critic that gives a plain tensor [N] too."""
    return value if isinstance(value, Scores) else Scores(value)


def score_of(value: Scores | Tensor) -> Tensor:
    """The scores themselves, of a plain tensor too, in the type that sums over them are taken in."""
    return accumulable(value if isinstance(value, Tensor) else value.score)


def vectors_of(value: Scores | Tensor) -> Tensor:
    """The scores as vectors [N, K] in float32 or wider; [N] are of one number each."""
    score = score_of(value)
    return score[:, None] if score.dim() == 1 else score.flatten(1)


def samples_of(value: Scores) -> Tensor:
    """The samples [N, …] that the scores are of; ValueError where they don't have them."""
    if not isinstance(value, Scores) or value.x is None:
        raise ValueError("this loss reads the samples too: it takes Scores with x")
    return value.x


def values_of(value: Scores) -> Tensor:
    """Their values as constants [N, D], in float32 or wider."""
    x = samples_of(value).detach()
    return accumulable(x).reshape(len(x), -1)


def interleave(*batches: Tensor) -> Tensor:
    """k × [n, C, H, W] → [k·n, C, H, W]: the first of each, the second of each, …; channels last.

    Layers that compare the samples of a minibatch take the number k and keep the minibatches apart. ValueError unless
    all have the shape of the first, whose type and device the result has.
    """
    if any(batch.shape != batches[0].shape for batch in batches):
        raise ValueError(f"batches must have one shape, but are {', '.join(str(list(b.shape)) for b in batches)}")
    n, c, h, w = batches[0].shape
    k, like = len(batches), batches[0]
    both = torch.empty(k * n, c, h, w, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
    for i, batch in enumerate(batches):
        both[i::k] = batch
    return both
