"""AC-GAN's class term by hand, and the K-logit losses against a softmax over K + 1 classes whose last logit is 0."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import tensor

from gan_ops.objectives.semi_supervised import classification_loss, labelled_loss, real_score, unlabelled_loss

K = 5
REAL, FAKE = (3 * torch.randn(2, 7, K, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).unbind()
LABELS = torch.arange(7) % K


def with_generated_class(logits: torch.Tensor) -> torch.Tensor:
    return F.log_softmax(F.pad(logits, (0, 1)), dim=1)


def test_score_is_the_logit_of_not_being_generated():
    generated = with_generated_class(REAL)[:, K].exp()
    torch.testing.assert_close(torch.sigmoid(real_score(REAL)), 1 - generated)


def test_unlabelled_loss_is_half_the_cross_entropy_of_real_against_generated():
    real = -torch.log1p(-with_generated_class(REAL)[:, K].exp()).mean()
    fake = -with_generated_class(FAKE)[:, K].mean()
    torch.testing.assert_close(unlabelled_loss(REAL, FAKE), (real + fake) / 2)


def test_labelled_loss_is_the_cross_entropy_among_the_real_classes():
    log_p = with_generated_class(REAL)
    given_real = log_p[:, :K] - torch.log1p(-log_p[:, K].exp())[:, None]
    torch.testing.assert_close(labelled_loss(REAL, LABELS), -given_real[torch.arange(7), LABELS].mean())


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4], [-1e4, -1e4]])
    assert unlabelled_loss(logits, logits).isfinite() and labelled_loss(logits, torch.tensor([0, 1])).isfinite()


LOGITS = tensor([[math.log(3.0), 0.0], [0.0, 0.0]])  # P(class 0) = 3/4, 1/2


def test_class_term_of_the_generator_is_the_cross_entropy_of_fakes():
    loss = classification_loss(LOGITS, tensor([0, 1]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_class_term_of_the_discriminator_adds_that_of_reals():
    loss = classification_loss(LOGITS, tensor([0, 1]), LOGITS[:1], tensor([1]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2 + math.log(4))


def test_class_term_wants_real_labels_with_real_logits():
    with pytest.raises(ValueError, match="real_logits and real_labels"):
        classification_loss(LOGITS, tensor([0, 1]), LOGITS)
