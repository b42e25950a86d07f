"""What discriminator and generator minimise: small objects that know scores and gradients, and nothing of trainers."""

from gan_ops.objectives import penalties
from gan_ops.objectives.adversarial import LeastSquares, Objective, Wasserstein, classification_loss
from gan_ops.objectives.gradient_penalty import GradientPenalty, gradient_at, score_gradient

__all__ = [
    "GradientPenalty",
    "LeastSquares",
    "Objective",
    "Wasserstein",
    "classification_loss",
    "gradient_at",
    "penalties",
    "score_gradient",
]
