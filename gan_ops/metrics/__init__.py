"""How far generated images are from real ones, by the usual metrics. ``import gan_ops`` does not import it.

Each metric is a function on whole sets, and a class of the same name in CamelCase for sets that come in batches:
``update`` adds a batch, ``compute`` gives what the function gives, ``reset`` starts again. Metrics on features do
not depend on where those come from; with :mod:`gan_ops.metrics.inception` they are FID, KID and so on.
"""

from gan_ops.metrics.birthday import Birthday, BirthdayResult, birthday, closest_pairs
from gan_ops.metrics.equivariance import SignalToNoise, as_if_turned, rotation, shifted, signal_to_noise, turned
from gan_ops.metrics.frechet_distance import FrechetDistance, frechet_distance
from gan_ops.metrics.images import quantised
from gan_ops.metrics.inception_score import InceptionScore, InceptionScoreResult, inception_score
from gan_ops.metrics.kernel_distance import KernelDistance, KernelDistanceResult, kernel_distance
from gan_ops.metrics.mode_coverage import ModeCoverage, ModeCoverageResult, mode_coverage
from gan_ops.metrics.ms_ssim import MsSsim, MsSsimResult, ms_ssim
from gan_ops.metrics.parzen import ParzenLogLikelihood, ParzenResult, parzen_log_likelihood
from gan_ops.metrics.perceptual import unit_features
from gan_ops.metrics.perceptual_path_length import PathLengthResult, PerceptualPathLength, perceptual_path_length
from gan_ops.metrics.precision_recall import PrecisionRecall, PrecisionRecallResult, precision_recall
from gan_ops.metrics.sliced_wasserstein import SlicedWasserstein, noise_floor, sliced_wasserstein

__all__ = [
    "Birthday",
    "BirthdayResult",
    "FrechetDistance",
    "InceptionScore",
    "InceptionScoreResult",
    "KernelDistance",
    "KernelDistanceResult",
    "ModeCoverage",
    "ModeCoverageResult",
    "MsSsim",
    "MsSsimResult",
    "ParzenLogLikelihood",
    "ParzenResult",
    "PathLengthResult",
    "PerceptualPathLength",
    "PrecisionRecall",
    "PrecisionRecallResult",
    "SignalToNoise",
    "SlicedWasserstein",
    "as_if_turned",
    "birthday",
    "closest_pairs",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "mode_coverage",
    "ms_ssim",
    "noise_floor",
    "parzen_log_likelihood",
    "perceptual_path_length",
    "precision_recall",
    "quantised",
    "rotation",
    "shifted",
    "signal_to_noise",
    "sliced_wasserstein",
    "turned",
    "unit_features",
]
