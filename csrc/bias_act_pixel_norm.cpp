// The bias_act_pixel_norm family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "bias_act_pixel_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/leaky_relu_backward.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <optional>
#include <tuple>

#include "op.h"
#include "pixel_norm_formula.h"

namespace gan_ops {
namespace bias_act_pixel_norm_family {

// ---- Kernels' entry points ----

/// Where the sums of a bias gradient [C] go; none when nobody wants them. Scratch is there on the CPU all the same: its
/// kernels sum in any case, for versions that do not would be as many again to compile.
struct BiasGradient {
  PixelChunks chunks;
  Tensor sums, partial;

  BiasGradient(const Tensor& x, bool wanted)
      : chunks(x.is_cpu() ? cpu_walk_chunks(channel_layout(x)) : cuda_walk_chunks(channel_layout(x))) {
    const auto wide = x.options().dtype(accumulate_type(x));
    const int64_t channels = wanted ? x.size(1) : 0;
    sums = x.numel() == 0 ? at::zeros({channels}, wide) : at::empty({channels}, wide);
    partial = at::empty({chunks.count() * (x.is_cpu() ? x.size(1) : channels)}, wide);
  }
  void* target() const { return sums.numel() == 0 ? nullptr : sums.mutable_data_ptr(); }
};

std::tuple<Tensor, Tensor> bias_act_pixel_norm(const Tensor& x_any, const MaybeTensor& bias_any, double negative_slope,
                                               double eps, double scale) {
  check_feature_map(x_any, "x");
  check_negative_slope(negative_slope);
  check_eps(eps);
  check_factor(scale, "scale");
  if (bias_any) check_channels(*bias_any, "bias", x_any);
  const Tensor x = dense(x_any), bias = channel_values(bias_any, x, 0);
  Tensor y = at::empty_like(x);
  Tensor r = at::empty(scale_sizes(x), x.options().dtype(accumulate_type(x)));
  if (x.numel() > 0)
    run_kernel(BiasActPixelNormForwardArgs{x.const_data_ptr(), bias.const_data_ptr(), y.mutable_data_ptr(),
                                           r.mutable_data_ptr(), channel_layout(x), negative_slope, eps, scale},
               x);
  return {y, r};
}

void check_saved(const Tensor& grad, const Tensor& x, const MaybeTensor& bias, const Tensor& r, double negative_slope,
                 double scale) {
  check_feature_map(x, "x");
  check_negative_slope(negative_slope);
  check_factor(scale, "scale");
  check_matches(grad, "grad", x.sizes(), x.scalar_type(), x.device());
  check_matches(r, "r", scale_sizes(x), accumulate_type(x), x.device());
  if (bias) check_channels(*bias, "bias", x);
}

/// Returns d_x and, in the accumulate type, d_bias [C]; without `with_bias` that is empty.
std::tuple<Tensor, Tensor> bias_act_pixel_norm_backward(const Tensor& grad_any, const Tensor& x_any,
                                                        const MaybeTensor& bias_any, const Tensor& r_any,
                                                        bool with_bias, double negative_slope, double /*eps*/,
                                                        double scale) {
  check_saved(grad_any, x_any, bias_any, r_any, negative_slope, scale);
  const Tensor x = dense(x_any), grad = dense_like(grad_any, x), r = r_any.contiguous();
  const Tensor bias = channel_values(bias_any, x, 0);
  Tensor d_x = at::empty_like(x);
  const BiasGradient d_bias(x, with_bias);
  if (x.numel() > 0)
    run_kernel(BiasActPixelNormBackwardArgs{grad.const_data_ptr(), x.const_data_ptr(), bias.const_data_ptr(),
                                            r.const_data_ptr(), d_x.mutable_data_ptr(), d_bias.target(),
                                            d_bias.partial.mutable_data_ptr(), d_bias.chunks, channel_layout(x),
                                            negative_slope, scale},
               x);
  return {d_x, d_bias.sums};
}

/// Returns d_grad, d_x and d_bias, that one as the backward does.
std::tuple<Tensor, Tensor, Tensor> bias_act_pixel_norm_double_backward(const Tensor& v_any,
                                                                       const MaybeTensor& v_bias_any,
                                                                       const Tensor& grad_any, const Tensor& x_any,
                                                                       const MaybeTensor& bias_any, const Tensor& r_any,
                                                                       bool with_bias, double negative_slope,
                                                                       double /*eps*/, double scale) {
  check_saved(grad_any, x_any, bias_any, r_any, negative_slope, scale);
  check_matches(v_any, "v", x_any.sizes(), x_any.scalar_type(), x_any.device());
  if (v_bias_any) check_matches(*v_bias_any, "v_bias", {x_any.size(1)}, accumulate_type(x_any), x_any.device());
  const Tensor x = dense(x_any), v = dense_like(v_any, x), grad = dense_like(grad_any, x), r = r_any.contiguous();
  const Tensor bias = channel_values(bias_any, x, 0), v_bias = channel_values(v_bias_any, x, 0);
  Tensor d_grad = at::empty_like(x), d_x = at::empty_like(x);
  const BiasGradient d_bias(x, with_bias);
  if (x.numel() > 0)
    run_kernel(BiasActPixelNormDoubleBackwardArgs{v.const_data_ptr(), v_bias.const_data_ptr(), grad.const_data_ptr(),
                                                  x.const_data_ptr(), bias.const_data_ptr(), r.const_data_ptr(),
                                                  d_grad.mutable_data_ptr(), d_x.mutable_data_ptr(), d_bias.target(),
                                                  d_bias.partial.mutable_data_ptr(), d_bias.chunks, channel_layout(x),
                                                  negative_slope, scale},
               x);
  return {d_grad, d_x, d_bias.sums};
}

// ---- Derivatives ----

constexpr Op<"bias_act_pixel_norm", bias_act_pixel_norm> op;
constexpr Op<"bias_act_pixel_norm_backward", bias_act_pixel_norm_backward> backward_op;
constexpr Op<"bias_act_pixel_norm_double_backward", bias_act_pixel_norm_double_backward> double_backward_op;

// In the ops that take it, r is the value that the forward pass kept for x, bias and eps, not a variable of its own:
// the derivatives to x and bias count r's dependence on them.
void check_constant(const Tensor& r) {
  TORCH_CHECK_VALUE(!r.requires_grad(), "r must be the value that bias_act_pixel_norm returned, which has no gradient");
}

Tensors derivative(const Kept& kept, const Tensors& grads) {
  const Tensor &x = kept[0], &bias = kept[1], &r = kept[2];
  const auto [negative_slope, eps, scale] = kept.options<double, double, double>();
  const bool with_bias = kept.wants(1);
  auto [d_x, d_bias] = backward_op(grads[0], x, if_defined(bias), r, with_bias, negative_slope, eps, scale);
  if (!with_bias) return {d_x};
  return {d_x, d_bias.to(bias.scalar_type())};
}

std::tuple<Tensor, Tensor> bias_act_pixel_norm_autograd(const Tensor& x, const MaybeTensor& bias, double negative_slope,
                                                        double eps, double scale) {
  return recorded({x, bias}, derivative, [&](const Keep& keep) {
    auto [y, r] = op.below_autograd(x, bias, negative_slope, eps, scale);
    keep({x, bias, r}, negative_slope, eps, scale);
    keep.constants({r});
    return std::tuple(y, r);
  });
}

Tensors derivative_of_backward(const Kept& kept, const Tensors& v) {
  const Tensor &grad = kept[0], &x = kept[1], &bias = kept[2], &r = kept[3];
  const auto [negative_slope, eps, scale] = kept.options<double, double, double>();
  const bool of_bias = v[1].defined() && v[1].sym_size(0) != 0;
  if (!v[0].defined() && !of_bias) return {};
  const bool with_bias = kept.wants(2);
  auto [d_grad, d_x, d_bias] =
      double_backward_op(v[0].defined() ? v[0] : at::zeros_like(x), of_bias ? MaybeTensor(v[1]) : std::nullopt, grad, x,
                         if_defined(bias), r, with_bias, negative_slope, eps, scale);
  if (!with_bias) return {d_grad, d_x};
  return {d_grad, d_x, d_bias.to(bias.scalar_type())};
}

std::tuple<Tensor, Tensor> bias_act_pixel_norm_backward_autograd(const Tensor& grad, const Tensor& x,
                                                                 const MaybeTensor& bias, const Tensor& r,
                                                                 bool with_bias, double negative_slope, double eps,
                                                                 double scale) {
  check_constant(r);
  return recorded({grad, x, bias}, derivative_of_backward, [&](const Keep& keep) {
    keep({grad, x, bias, r}, negative_slope, eps, scale);
    return backward_op.below_autograd(grad, x, bias, r, with_bias, negative_slope, eps, scale);
  });
}

std::tuple<Tensor, Tensor, Tensor> bias_act_pixel_norm_double_backward_autograd(
    const Tensor& v, const MaybeTensor& v_bias, const Tensor& grad, const Tensor& x, const MaybeTensor& bias,
    const Tensor& r, bool with_bias, double negative_slope, double eps, double scale) {
  check_constant(r);
  if (!records_gradient({v, v_bias, grad, x, bias}))
    return double_backward_op.below_autograd(v, v_bias, grad, x, bias, r, with_bias, negative_slope, eps, scale);
  const auto type = accumulate_type(x);
  std::vector<int64_t> a_channel(x.dim(), 1), all_but_channels;  // [1, C, 1, …]
  a_channel[1] = -1;
  for (int64_t axis = 0; axis < x.dim(); ++axis)
    if (axis != 1) all_but_channels.push_back(axis);
  const auto scaled_and_biased = [&](const Tensor& t, const MaybeTensor& values) {
    const Tensor scaled = scale * t.to(type);
    return values ? scaled + values->to(type).reshape(a_channel) : scaled;
  };
  const Tensor entered = scaled_and_biased(x, bias);
  const auto times_slope = [&](const Tensor& t) { return at::leaky_relu_backward(t, entered, negative_slope, false); };
  auto [d_grad, d_t] = pixel_norm_double_backward_formula(times_slope(scaled_and_biased(v, v_bias)), grad.to(type),
                                                          at::leaky_relu(entered, negative_slope), eps);
  const Tensor of_bias = times_slope(d_t);
  const Tensor d_bias = with_bias ? of_bias.sum(at::IntArrayRef(all_but_channels)) : at::empty({0}, of_bias.options());
  return {d_grad.to(x.scalar_type()), (scale * of_bias).to(x.scalar_type()), d_bias};
}

const Registration registrations[] = {
    {op, bias_act_pixel_norm_autograd},
    {backward_op, bias_act_pixel_norm_backward_autograd},
    {double_backward_op, bias_act_pixel_norm_double_backward_autograd},
};

}  // namespace bias_act_pixel_norm_family
}  // namespace gan_ops
