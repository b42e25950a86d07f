"""Changes of images before a discriminator, with exact first and second derivatives: ADA's and DiffAugment's.

All random numbers are drawn first, a row for each image, so that the same images can be changed in the same way again:
in parts, in a compiled function, in a CUDA graph, or on another machine. ADA is Karras et al. 2020, "Training
generative adversarial networks with limited data" (arXiv 2006.06676).
"""

from gan_ops.augmentation.blit import Blit
from gan_ops.augmentation.color import Color
from gan_ops.augmentation.corruption import Cutout, Noise
from gan_ops.augmentation.diffaugment import DiffColor, DiffCutout, Translation
from gan_ops.augmentation.filtering import Filtering
from gan_ops.augmentation.geometry import Geometry
from gan_ops.augmentation.pipe import ADA, AUGMENTATIONS, DiffAugment, Pipe
from gan_ops.augmentation.transformation import Transformation

__all__ = [
    "ADA",
    "AUGMENTATIONS",
    "Blit",
    "Color",
    "Cutout",
    "DiffAugment",
    "DiffColor",
    "DiffCutout",
    "Filtering",
    "Geometry",
    "Noise",
    "Pipe",
    "Transformation",
    "Translation",
]
