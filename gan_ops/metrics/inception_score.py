"""Inception score: how sure a classifier is of each image, and how varied its answers are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gan_ops.metrics._features import FeatureSet, check_count, check_features


class InceptionScoreResult(NamedTuple):
    """Mean and (population) standard deviation over the splits."""

    mean: float
    deviation: float


def inception_score(logits: Tensor, *, splits: int = 10, seed: int | None = None) -> InceptionScoreResult:
    """exp(E KL(p(y|x) ‖ p(y))), p(y) being the mean within a split: Salimans et al. 2016, section 4.

    Published figures take 10 splits of 50 000 images and the 2015 network's logits without its biases. A split of few
    images can't reach a high score: it is at most the number of images in it.

    Args:
        logits: [N, K], floating-point; computed in float64.
        splits: consecutive parts of nearly equal size.
        seed: shuffles the images before they are split, as torch-fidelity does from the same seed (its default is
            2020). None keeps their order, which is as good if that is random.

    Raises:
        ValueError: another shape, values that are not finite, or fewer images than splits.
        TypeError: logits are not floating-point.
    """
    check_features(logits, "logits")
    if splits < 1:
        raise ValueError(f"splits must be at least 1, but is {splits}")
    check_count("inception_score", f"images for {splits} splits", splits, len(logits))
    logits = logits.detach()
    if seed is not None:
        logits = logits[torch.from_numpy(np.random.RandomState(seed).permutation(len(logits))).to(logits.device)]
    scores = []
    for i in range(splits):
        log_p = logits[i * len(logits) // splits : (i + 1) * len(logits) // splits].double().log_softmax(1)
        p = log_p.exp()
        # Where p(y) is 0 for all images of the split, so is each p(y|x), and 0·(−∞ − −∞) counts as 0.
        divergence = (p * (log_p - p.mean(0).log())).masked_fill(p == 0, 0).sum(1)
        scores.append(divergence.mean().exp())
    values = torch.stack(scores)
    return InceptionScoreResult(values.mean().item(), values.std(correction=0).item())


class InceptionScore:
    """:func:`inception_score` of batches. Keeps the logits: where a split begins depends on how many come."""

    def __init__(self, *, splits: int = 10, seed: int | None = None) -> None:
        self.splits, self.seed = splits, seed
        self.reset()

    def update(self, logits: Tensor) -> None:
        """Adds a batch of logits [N, K]."""
        self._logits.add(logits)

    def compute(self) -> InceptionScoreResult:
        return inception_score(self._logits.all("inception_score"), splits=self.splits, seed=self.seed)

    def reset(self) -> None:
        """Forgets everything."""
        self._logits = FeatureSet("logits")

    @property
    def count(self) -> int:
        return len(self._logits)
