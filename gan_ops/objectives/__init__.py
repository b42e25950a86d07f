"""What discriminator and generator minimise: small objects on scores and gradients, independent of trainers."""

from gan_ops.objectives import penalties, semi_supervised
from gan_ops.objectives.comparing import QuadraticPotential, R3Gan, Relativistic, Softmax
from gan_ops.objectives.divergences import (
    DIVERGENCES,
    FAMILIES,
    BoundarySeeking,
    Divergence,
    FGan,
    LikelihoodRatio,
    RatioFamily,
)
from gan_ops.objectives.energies import Began, EnergyMargin, LossSensitive, Magan, pulling_away
from gan_ops.objectives.feature_matching import FeatureMatching, feature_matching
from gan_ops.objectives.gradients import gradient_at, gradient_of, score_gradient
from gan_ops.objectives.integral import CTransform, Fisher, NonSaturatingDragan, WassersteinDiv
from gan_ops.objectives.kernels import Mmd, squared_mmd
from gan_ops.objectives.moments import McGanCovariance, McGanMean
from gan_ops.objectives.mutual_information import jensen_shannon_information, variational_information
from gan_ops.objectives.normalized import GradientNorm, gradient_normalized
from gan_ops.objectives.objective import Objective
from gan_ops.objectives.pairs import pair_distances
from gan_ops.objectives.path_length import PathLength, path_directions, path_lengths
from gan_ops.objectives.penalties import R1, R2, Dragan, GradientPenalty, Penalty, WganDiv, WganGP, WganLP
from gan_ops.objectives.pointwise import (
    ClippedWasserstein,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Wasserstein,
    WassersteinGP,
)
from gan_ops.objectives.scores import Scores, interleave, score_of, scores_of, vectors_of
from gan_ops.objectives.semi_supervised import classification_loss
from gan_ops.objectives.variational import NormalPosterior, normal_distance, prior_divergence
from gan_ops.objectives.weights import orthogonal_penalty, singular_value, singular_value_penalty

__all__ = [
    "DIVERGENCES",
    "FAMILIES",
    "R1",
    "R2",
    "Began",
    "BoundarySeeking",
    "CTransform",
    "ClippedWasserstein",
    "Divergence",
    "Dragan",
    "EnergyMargin",
    "FGan",
    "FeatureMatching",
    "Fisher",
    "GradientNorm",
    "GradientPenalty",
    "Hinge",
    "LeastSquares",
    "LikelihoodRatio",
    "LossSensitive",
    "Magan",
    "McGanCovariance",
    "McGanMean",
    "Minimax",
    "Mmd",
    "NonSaturating",
    "NonSaturatingDragan",
    "NormalPosterior",
    "Objective",
    "PathLength",
    "Penalty",
    "QuadraticPotential",
    "R3Gan",
    "RatioFamily",
    "Relativistic",
    "Scores",
    "Softmax",
    "Wasserstein",
    "WassersteinDiv",
    "WassersteinGP",
    "WganDiv",
    "WganGP",
    "WganLP",
    "classification_loss",
    "feature_matching",
    "gradient_at",
    "gradient_normalized",
    "gradient_of",
    "interleave",
    "jensen_shannon_information",
    "normal_distance",
    "orthogonal_penalty",
    "pair_distances",
    "path_directions",
    "path_lengths",
    "penalties",
    "prior_divergence",
    "pulling_away",
    "score_gradient",
    "score_of",
    "scores_of",
    "semi_supervised",
    "singular_value",
    "singular_value_penalty",
    "squared_mmd",
    "variational_information",
    "vectors_of",
]
