// Pixel norm's double backward in torch's own ops, for derivatives beyond it: rare, and torch differentiates them.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/rsqrt.h>

#include <tuple>

namespace gan_ops {

/// d_g and d_x of math/pixel_norm.h's double backward, from tensors in the accumulate type.
inline std::tuple<at::Tensor, at::Tensor> pixel_norm_double_backward_formula(const at::Tensor& v, const at::Tensor& g,
                                                                             const at::Tensor& x, double eps) {
  const auto channel_mean = [](const at::Tensor& t) { return t.mean(1, /*keepdim=*/true); };  // [N, C, *] → [N, 1, *]
  const at::Tensor r = at::rsqrt(channel_mean(x * x) + eps);
  const at::Tensor y = r * x;
  const at::Tensor p = channel_mean(y * v), q = channel_mean(y * g), w = channel_mean(v * g);
  return {r * (v - y * p), -r * r * (y * (w - 3 * p * q) + v * q + g * p)};
}

}  // namespace gan_ops
