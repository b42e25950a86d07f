"""What discriminator and generator minimise: small objects on scores and gradients, independent of trainers."""

from gan_ops.objectives import penalties, semi_supervised
from gan_ops.objectives.adversarial import (
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Objective,
    Wasserstein,
    classification_loss,
)
from gan_ops.objectives.feature_matching import feature_matching
from gan_ops.objectives.gradient_penalty import GradientPenalty, gradient_at, score_gradient

__all__ = [
    "GradientPenalty",
    "Hinge",
    "LeastSquares",
    "Minimax",
    "NonSaturating",
    "Objective",
    "Wasserstein",
    "classification_loss",
    "feature_matching",
    "gradient_at",
    "penalties",
    "score_gradient",
    "semi_supervised",
]
