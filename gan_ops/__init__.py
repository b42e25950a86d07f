"""gan_ops: the hot, awkward parts of GAN training as C++/CUDA kernels with fast and exact second derivatives."""

from gan_ops import reference
from gan_ops._dispatch import use_reference
from gan_ops._extension import BuildError
from gan_ops.ops import (
    bias_act,
    bias_act_pixel_norm,
    conv2d,
    fade_in,
    filtered_lrelu,
    gradient_penalty,
    historical_distance,
    historical_update_,
    interpolate,
    minibatch_discrimination,
    minibatch_stddev,
    pair_distances,
    pixel_norm,
    virtual_batch_norm,
)

__all__ = [
    "BuildError",
    "bias_act",
    "bias_act_pixel_norm",
    "conv2d",
    "fade_in",
    "filtered_lrelu",
    "gradient_penalty",
    "historical_distance",
    "historical_update_",
    "interpolate",
    "minibatch_discrimination",
    "minibatch_stddev",
    "pair_distances",
    "pixel_norm",
    "reference",
    "use_reference",
    "virtual_batch_norm",
]
__version__ = "0.1.0"
