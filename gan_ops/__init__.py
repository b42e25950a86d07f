"""gan_ops: the hot, awkward parts of GAN training as C++/CUDA kernels with fast and exact second derivatives."""

from gan_ops import reference
from gan_ops._dispatch import use_reference
from gan_ops._extension import BuildError
from gan_ops.ops import (
    bias_act,
    bias_act_pixel_norm,
    conv2d,
    demodulation,
    downsample2d,
    fade_in,
    filter2d,
    gradient_penalty,
    historical_distance,
    historical_update_,
    interpolate,
    minibatch_discrimination,
    minibatch_stddev,
    modulated_conv2d,
    pair_distances,
    pixel_norm,
    resample_conv2d,
    scale_bias_act,
    setup_filter,
    upfirdn2d,
    upsample2d,
    virtual_batch_norm,
)

__all__ = [
    "BuildError",
    "bias_act",
    "bias_act_pixel_norm",
    "conv2d",
    "demodulation",
    "downsample2d",
    "fade_in",
    "filter2d",
    "gradient_penalty",
    "historical_distance",
    "historical_update_",
    "interpolate",
    "minibatch_discrimination",
    "minibatch_stddev",
    "modulated_conv2d",
    "pair_distances",
    "pixel_norm",
    "reference",
    "resample_conv2d",
    "scale_bias_act",
    "setup_filter",
    "upfirdn2d",
    "upsample2d",
    "use_reference",
    "virtual_batch_norm",
]
__version__ = "0.1.0"
