"""What stands before the discriminator: it sees all images through it."""

from train.gan.augmentation.base import Augmentation, renamed
from train.gan.augmentation.blurred import Blurred
from train.gan.augmentation.noise import InstanceNoise
from train.gan.augmentation.piped import Piped
from train.gan.augmentation.probability import Adaptive, Planned, Probability, Statistic

__all__ = [
    "Adaptive",
    "Augmentation",
    "Blurred",
    "InstanceNoise",
    "Piped",
    "Planned",
    "Probability",
    "Statistic",
    "renamed",
]
