// What ops that filter images ask of their arguments.
#pragma once

#include "common.h"

namespace gan_ops {

inline void check_images(const Tensor& x) {
  TORCH_CHECK_VALUE(x.dim() == 4 && x.size(1) > 0 && x.size(2) > 0 && x.size(3) > 0,
                    "x must be [N, C, H, W] with at least one channel and pixel, but its shape is ", x.sizes());
  dtype_of(x, "x");
}

/// A filter [K', K], or [K] for both axes, of any type that the kernels know; or none.
inline void check_filter(const MaybeTensor& filter, const char* name, const Tensor& x) {
  if (!filter) return;
  TORCH_CHECK_VALUE((filter->dim() == 1 || filter->dim() == 2) && filter->numel() > 0, name,
                    " must be [K] or [K, K'] with at least one tap, but its shape is ", filter->sizes());
  dtype_of(*filter, name);
  TORCH_CHECK_VALUE(filter->device() == x.device(), name, " must be on ", x.device(), ", but is on ", filter->device());
}

inline void check_filter_is_constant(const MaybeTensor& filter, const char* name) {
  TORCH_CHECK_NOT_IMPLEMENTED(!filter || !is_differentiated(*filter), name,
                              " has no gradient: it is a constant; detach it");
}

}  // namespace gan_ops
