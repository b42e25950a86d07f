"""The last layers of discriminators: from features of images to scores, and what labels have to do with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor, nn

from gan_ops.objectives.semi_supervised import real_score
from models.parts.labels import one_hot
from models.parts.minibatches import one_by_one
from models.parts.precision import widened
from models.parts.scores import scores_in

Condition = Literal["none", "cgan", "acgan", "projection", "k+1", "infogan"]
CONDITIONS = get_args(Condition)
HIDDEN = 128
"""Units of Q's hidden layer (Chen et al. 2016, appendix C)."""


class Head(nn.Module):
    """Features h [N, features] → scores [N], or [N, ``outputs``] of more than one, and logits of classes or None.

    Conditions, with K = ``num_classes`` and labels y:

    - "none": a dense layer.
    - "cgan": the same; the network joins the labels to what comes before (Mirza and Osindero 2014).
    - "acgan": a second dense layer gives K logits (Odena et al. 2017).
    - "projection": the score is w·h + b + ⟨v_y, h⟩, with a vector v for each class (Miyato and Koyama 2018, arXiv
      1802.05637, equation 3).
    - "k+1": K logits l alone, and the score is log Σ exp l, that of "real" where "generated" is a class K + 1 of logit
      0 (Salimans et al. 2016, §5).
    - "infogan": the logits are the K values by which Q tells the codes of an image: logits of categories, means of
      continuous codes. Q has a hidden layer of its own, and whatever ``finish`` does is not done to it, which bounds
      no score (Chen et al. 2016, arXiv 1606.03657, appendix C).

    Args:
        linear: makes a layer of so many inputs and outputs; takes ``bias``.
        finish: what is done to each layer: its initial weights, spectral norm.
    """

    def __init__(
        self,
        features: int,
        *,
        condition: str = "none",
        num_classes: int = 0,
        outputs: int = 1,
        linear: Callable[..., nn.Module] = nn.Linear,
        finish: Callable[[nn.Module], nn.Module] = lambda layer: layer,
    ):
        super().__init__()
        check_condition(condition, num_classes, outputs)
        self.condition, self.num_classes = condition, num_classes
        if condition != "k+1":
            self.score = finish(linear(features, outputs))
        if condition in ("acgan", "k+1"):
            self.classes = finish(linear(features, num_classes))
        if condition == "projection":
            self.embed = finish(linear(features, num_classes, bias=False))  # weight [K, features]: a row is a class's v
        if condition == "infogan":
            hidden = [linear(features, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.LeakyReLU(0.1)]
            self.q = nn.Sequential(*hidden, linear(HIDDEN, num_classes))

    def forward(self, h: Tensor, labels: Tensor | None = None, batches: int = 1) -> tuple[Tensor, Tensor | None]:
        """The scores, and the logits [N, K] or None; both in float32 or wider. h may interleave ``batches``
        minibatches, which Q's batch norm sees one by one."""
        logits = self._logits(h, batches)
        if self.condition == "k+1":
            return real_score(logits), logits
        score = scores_in(widened(self.score(h)))
        if self.condition == "projection":
            products = widened(self.embed(h))
            score = score + (products * one_hot(labels, self.num_classes, products)).sum(1)
        return score, logits

    def _logits(self, h: Tensor, batches: int) -> Tensor | None:
        if self.condition == "infogan":
            return one_by_one(lambda some: (widened(self.q(some)),), h, batches)[0]
        return widened(self.classes(h)) if self.condition in ("acgan", "k+1") else None


def takes_labels(condition: str) -> bool:
    """Whether a discriminator of this condition is given labels."""
    return condition in ("cgan", "projection")


def check_condition(condition: str, num_classes: int, outputs: int = 1) -> None:
    """ValueError unless a discriminator can have these together."""
    if condition not in CONDITIONS:
        raise ValueError(f"condition={condition!r} is not one of {', '.join(CONDITIONS)}")
    if (condition == "none") != (num_classes == 0):
        raise ValueError(f"num_classes={num_classes} does not go with condition={condition!r}")
    if outputs > 1 and condition in ("projection", "k+1"):
        raise ValueError(f"outputs={outputs} does not go with condition={condition!r}, whose score is one number")
