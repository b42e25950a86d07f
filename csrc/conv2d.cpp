// Stride-1 convolution, in groups too, whose derivatives of every order are convolutions that torch has fast kernels
// for.
//
// Convolution is linear in x and in w, and so are its two gradients, so three ops are closed under differentiation
// (W: transpose of w; *: correlation):
//   conv2d(x, w) = x * w          d_x = input_grad(g, w)           d_w = weight_grad(g, x)
//   input_grad(g, w)              d_g = conv2d(v, w)               d_w = weight_grad(g, v)
//   weight_grad(g, x)             d_g = conv2d(x, v)               d_x = input_grad(g, v)
// ATen's own double backward computes the weight's gradient as a convolution whose kernel is as large as the image,
// which oneDNN and cuDNN have no fast path for; that costs a gradient penalty most of its time.
#include <ATen/autocast_mode.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>

#include <array>
#include <optional>

#include "op.h"

namespace gan_ops {
namespace conv2d_family {

void check_groups(int64_t groups, const Tensor& weight) {
  TORCH_CHECK_VALUE(groups >= 1 && weight.size(0) % groups == 0, "groups must divide the ", weight.size(0),
                    " output channels, but is ", groups);
}

void check_arguments(const Tensor& x, const Tensor& weight, const MaybeTensor& bias, int64_t padding, int64_t groups) {
  TORCH_CHECK_VALUE(x.dim() == 4, "x must be [N, C, H, W], but its shape is ", x.sizes());
  TORCH_CHECK_VALUE(weight.dim() == 4, "weight must be [C_out, C_in / groups, K, K], but its shape is ",
                    weight.sizes());
  check_groups(groups, weight);
  TORCH_CHECK_VALUE(x.size(1) == weight.size(1) * groups, "x has ", x.size(1), " channels, but weight takes ",
                    weight.size(1) * groups);
  TORCH_CHECK_VALUE(padding >= 0 && padding < weight.size(2) && padding < weight.size(3),
                    "padding must be from 0 to the kernel size less 1, but is ", padding, " for a kernel of ",
                    weight.size(2), "x", weight.size(3));
  TORCH_CHECK_VALUE(x.size(2) + 2 * padding >= weight.size(2) && x.size(3) + 2 * padding >= weight.size(3),
                    "weight's kernel of ", weight.size(2), "x", weight.size(3), " is larger than the padded x of ",
                    x.size(2) + 2 * padding, "x", x.size(3) + 2 * padding);
  dtype_of(x, "x");
  TORCH_CHECK_TYPE(weight.scalar_type() == x.scalar_type(), "weight must be ", x.scalar_type(), " as x is, but is ",
                   weight.scalar_type());
  TORCH_CHECK_VALUE(weight.device() == x.device(), "weight must be on ", x.device(), " as x is, but is on ",
                    weight.device());
  if (bias) check_matches(*bias, "bias", {weight.size(0)}, x.scalar_type(), x.device());
}

constexpr std::array<bool, 3> kInput = {true, false, false};
constexpr std::array<bool, 3> kWeight = {false, true, false};

Tensor convolution_backward(const Tensor& grad, const Tensor& x, const Tensor& weight, int64_t padding, int64_t groups,
                            std::array<bool, 3> wanted) {
  auto grads =
      at::convolution_backward(grad, x, weight, std::nullopt, /*stride=*/{1, 1}, {padding, padding},
                               /*dilation=*/{1, 1}, /*transposed=*/false, /*output_padding=*/{0, 0}, groups, wanted);
  return wanted[0] ? std::get<0>(grads) : std::get<1>(grads);
}

/// A tensor that lends its shape, type and layout to convolution_backward, which does not read its values.
///
/// It lies where `like` does if that is large enough (values are there, so nothing can go wrong if they are read after
/// all), and in memory of its own else.
Tensor stand_in(const std::array<int64_t, 4>& sizes, const Tensor& like) {
  const auto [n, c, h, w] = sizes;
  const int64_t held = static_cast<int64_t>(like.storage().nbytes() / like.itemsize()) - like.storage_offset();
  if (n * c * h * w > held) return at::empty(sizes, like.options(), like.suggest_memory_format());
  const bool channels_last = like.suggest_memory_format() == at::MemoryFormat::ChannelsLast;
  const std::array<int64_t, 4> strides =
      channels_last ? std::array<int64_t, 4>{h * w * c, 1, w * c, c} : std::array<int64_t, 4>{c * h * w, h * w, w, 1};
  return like.as_strided(sizes, strides, like.storage_offset());
}

Tensor conv2d(const Tensor& x, const Tensor& weight, const MaybeTensor& bias, int64_t padding, int64_t groups) {
  check_arguments(x, weight, bias, padding, groups);
  return at::conv2d(x, weight, bias, /*stride=*/1, padding, /*dilation=*/1, groups);
}

/// grad [N, C_out, H', W'], weight [C_out, C_in / groups, K, K] → [N, C_in, H, W]
Tensor conv2d_input_grad(const Tensor& grad, const Tensor& weight, int64_t padding, int64_t groups) {
  TORCH_CHECK_VALUE(grad.dim() == 4 && weight.dim() == 4 && grad.size(1) == weight.size(0),
                    "grad must be [N, C_out, H, W] for weight [C_out, C_in / groups, K, K], but they are ",
                    grad.sizes(), " and ", weight.sizes());
  check_groups(groups, weight);
  if (grad.is_cuda() && grad.numel() > 0) {
    // The same as a transposed convolution, for which ATen calls the same function of cuDNN and wants no stand-in for
    // x: there its memory would be real, 67 MB for 16x512x64x64 in bfloat16. On the CPU oneDNN has another way for it.
    const c10::impl::ExcludeDispatchKeyGuard as_it_is(c10::autocast_dispatch_keyset);
    return at::conv_transpose2d(grad, weight, /*bias=*/std::nullopt, /*stride=*/1, padding, /*output_padding=*/0,
                                groups);
  }
  const Tensor x = stand_in({grad.size(0), weight.size(1) * groups, grad.size(2) + weight.size(2) - 1 - 2 * padding,
                             grad.size(3) + weight.size(3) - 1 - 2 * padding},
                            grad);
  return convolution_backward(grad, x, weight, padding, groups, kInput);
}

/// grad [N, C_out, H', W'], x [N, C_in, H, W] → [C_out, C_in / groups, K, K]
Tensor conv2d_weight_grad(const Tensor& grad, const Tensor& x, int64_t padding, int64_t groups) {
  TORCH_CHECK_VALUE(grad.dim() == 4 && x.dim() == 4 && grad.size(0) == x.size(0),
                    "grad and x must be [N, C, H, W] of one batch, but they are ", grad.sizes(), " and ", x.sizes());
  TORCH_CHECK_VALUE(groups >= 1 && grad.size(1) % groups == 0 && x.size(1) % groups == 0, "groups must divide the ",
                    grad.size(1), " channels of grad and the ", x.size(1), " of x, but is ", groups);
  const Tensor weight = stand_in({grad.size(1), x.size(1) / groups, x.size(2) + 2 * padding + 1 - grad.size(2),
                                  x.size(3) + 2 * padding + 1 - grad.size(3)},
                                 x);
  return convolution_backward(grad, x, weight, padding, groups, kWeight);
}

// ---- Derivatives ----

constexpr Op<"conv2d", conv2d> op;
constexpr Op<"conv2d_input_grad", conv2d_input_grad> input_grad_op;
constexpr Op<"conv2d_weight_grad", conv2d_weight_grad> weight_grad_op;

Tensors derivative(const Kept& kept, const Tensors& grads) {
  const auto [padding, groups] = kept.options<int64_t, int64_t>();
  Tensors gradients(3);
  if (kept.wants(0)) gradients[0] = input_grad_op(grads[0], kept[1], padding, groups);
  if (kept.wants(1)) gradients[1] = weight_grad_op(grads[0], kept[0], padding, groups);
  if (kept.wants(2)) gradients[2] = grads[0].sum({0, 2, 3});  // [N, C_out, H', W'] → [C_out]
  return gradients;
}

Tensor conv2d_autograd(const Tensor& x, const Tensor& weight, const MaybeTensor& bias, int64_t padding,
                       int64_t groups) {
  return recorded({x, weight, bias}, derivative, [&](const Keep& keep) {
    keep({x, weight}, padding, groups);
    return op.below_autograd(x, weight, bias, padding, groups);
  });
}

Tensors derivative_of_input_grad(const Kept& kept, const Tensors& v) {
  const auto [padding, groups] = kept.options<int64_t, int64_t>();
  Tensors gradients(2);
  if (kept.wants(0)) gradients[0] = op(v[0], kept[1], std::nullopt, padding, groups);
  if (kept.wants(1)) gradients[1] = weight_grad_op(kept[0], v[0], padding, groups);
  return gradients;
}

Tensor conv2d_input_grad_autograd(const Tensor& grad, const Tensor& weight, int64_t padding, int64_t groups) {
  return recorded({grad, weight}, derivative_of_input_grad, [&](const Keep& keep) {
    keep({grad, weight}, padding, groups);
    return input_grad_op.below_autograd(grad, weight, padding, groups);
  });
}

Tensors derivative_of_weight_grad(const Kept& kept, const Tensors& v) {
  const auto [padding, groups] = kept.options<int64_t, int64_t>();
  Tensors gradients(2);
  if (kept.wants(0)) gradients[0] = op(kept[1], v[0], std::nullopt, padding, groups);
  if (kept.wants(1)) gradients[1] = input_grad_op(kept[0], v[0], padding, groups);
  return gradients;
}

Tensor conv2d_weight_grad_autograd(const Tensor& grad, const Tensor& x, int64_t padding, int64_t groups) {
  return recorded({grad, x}, derivative_of_weight_grad, [&](const Keep& keep) {
    keep({grad, x}, padding, groups);
    return weight_grad_op.below_autograd(grad, x, padding, groups);
  });
}

// ---- Autocast: as torch's own convolution, in the narrow type ----

template <c10::DispatchKey key, c10::DeviceType device>
Tensor conv2d_autocast(const Tensor& x, const Tensor& weight, const MaybeTensor& bias, int64_t padding,
                       int64_t groups) {
  const c10::impl::ExcludeDispatchKeyGuard guard(key);
  const auto type = at::autocast::get_autocast_dtype(device);
  return op(at::autocast::cached_cast(type, x, device), at::autocast::cached_cast(type, weight, device),
            at::autocast::cached_cast(type, bias, device), padding, groups);
}

const Registration registrations[] = {
    {op, conv2d_autograd},
    {input_grad_op, conv2d_input_grad_autograd},
    {weight_grad_op, conv2d_weight_grad_autograd},
};
TORCH_LIBRARY_IMPL(gan_ops, AutocastCPU, m) {
  m.impl("conv2d", conv2d_autocast<c10::DispatchKey::AutocastCPU, c10::kCPU>);
}
TORCH_LIBRARY_IMPL(gan_ops, AutocastCUDA, m) {
  m.impl("conv2d", conv2d_autocast<c10::DispatchKey::AutocastCUDA, c10::kCUDA>);
}

}  // namespace conv2d_family
}  // namespace gan_ops
