"""The ops as functions: kernels with exact first and second derivatives, definitions where kernels can't run."""

from gan_ops.ops.attention import attention
from gan_ops.ops.bias_act import bias_act
from gan_ops.ops.bias_act_pixel_norm import bias_act_pixel_norm
from gan_ops.ops.conv2d import conv2d
from gan_ops.ops.demodulation import demodulation
from gan_ops.ops.fade_in import fade_in
from gan_ops.ops.filtered_lrelu import filtered_lrelu
from gan_ops.ops.filters import downsample2d, filter2d, setup_filter, upsample2d
from gan_ops.ops.gradient_penalty import gradient_penalty
from gan_ops.ops.grid_sample import affine_grid, grid_sample
from gan_ops.ops.historical import historical_distance, historical_update_
from gan_ops.ops.interpolate import interpolate
from gan_ops.ops.laplacian_patches import laplacian_patches as laplacian_patches  # not in __all__: no derivatives
from gan_ops.ops.minibatch_discrimination import minibatch_discrimination
from gan_ops.ops.minibatch_stddev import minibatch_stddev
from gan_ops.ops.modulated_conv2d import modulated_conv2d
from gan_ops.ops.pair_distances import pair_distances
from gan_ops.ops.pixel_norm import pixel_norm
from gan_ops.ops.projected_wasserstein import projected_wasserstein as projected_wasserstein  # nor this one
from gan_ops.ops.resample_conv2d import resample_conv2d
from gan_ops.ops.scale_bias_act import scale_bias_act
from gan_ops.ops.upfirdn2d import upfirdn2d
from gan_ops.ops.virtual_batch_norm import virtual_batch_norm

__all__ = [
    "affine_grid",
    "attention",
    "bias_act",
    "bias_act_pixel_norm",
    "conv2d",
    "demodulation",
    "downsample2d",
    "fade_in",
    "filter2d",
    "filtered_lrelu",
    "gradient_penalty",
    "grid_sample",
    "historical_distance",
    "historical_update_",
    "interpolate",
    "minibatch_discrimination",
    "minibatch_stddev",
    "modulated_conv2d",
    "pair_distances",
    "pixel_norm",
    "resample_conv2d",
    "scale_bias_act",
    "setup_filter",
    "upfirdn2d",
    "upsample2d",
    "virtual_batch_norm",
]
