"""Losses of class logits: AC-GAN's, and those of the K + 1 classes of semi-supervised GANs.

The K + 1 classes are the K of the data and one for what is generated (Salimans et al. 2016, §5). There the
discriminator gives K logits l [N, K]; the logit of the class "generated" is fixed at 0, which loses nothing, since the
softmax of K + 1 logits does not change when all are shifted. With Z = log Σ_k exp l_k the probability that a sample is
real is then sigmoid(Z): Z is the discriminator's score, and every adversarial objective applies to it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["classification_loss", "labelled_loss", "real_score", "unlabelled_loss"]


def classification_loss(
    fake_logits: Tensor,
    fake_labels: Tensor,
    real_logits: Tensor | None = None,
    real_labels: Tensor | None = None,
) -> Tensor:
    """AC-GAN's class term, −L_C = −E[log P(c | G(z, c))] − E[log P(c | x)] (Odena et al. 2017, eq. 3).

    Logits [N, K] with int64 labels [N]. The discriminator minimises both halves; the generator, on which the real half
    does not depend, leaves ``real_logits`` and ``real_labels`` out.
    """
    if (real_logits is None) != (real_labels is None):
        raise ValueError("real_logits and real_labels must be given together")
    loss = F.cross_entropy(fake_logits, fake_labels)
    return loss if real_logits is None else loss + F.cross_entropy(real_logits, real_labels)


def real_score(logits: Tensor) -> Tensor:
    """Z = log Σ_k exp l_k, the logit of "real" against "generated": [N, K] → [N]."""
    return logits.logsumexp(1)


def labelled_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """−E[log p(y | x, real)] = E[−l_y + Z] for logits [N, K] of labelled samples and their int64 labels [N]."""
    return F.cross_entropy(logits, labels)


def unlabelled_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """½E[−Z + softplus(Z)] over real samples + ½E[softplus(Z)] over generated ones; logits [N, K] and [M, K].

    That is half the cross-entropy of "real" against "generated", −log p(real | x) and −log p(generated | G(z)): the
    paper's loss is the whole of it, the halves are its authors' code's.
    """
    return 0.5 * (F.softplus(-real_score(real_logits)).mean() + F.softplus(real_score(fake_logits)).mean())
