// The bias_act_pixel_norm family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "bias_act_pixel_norm.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <optional>
#include <tuple>

#include "common.h"
#include "pixel_norm_formula.h"

namespace gan_ops {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// ---- Kernels' entry points ----

/// Where the sums of a bias gradient [C] go; empty tensors when nobody wants them.
struct BiasGradient {
  PixelChunks chunks;
  Tensor sums, partial;

  BiasGradient(const Tensor& x, bool wanted)
      : chunks(x.is_cpu() ? cpu_walk_chunks(channel_layout(x)) : cuda_walk_chunks(channel_layout(x))) {
    const auto wide = x.options().dtype(accumulate_type(x));
    const int64_t channels = wanted ? x.size(1) : 0;
    sums = x.numel() == 0 ? at::zeros({channels}, wide) : at::empty({channels}, wide);
    partial = at::empty({chunks.count() * channels}, wide);
  }
  void* target() const { return sums.numel() == 0 ? nullptr : sums.mutable_data_ptr(); }
};

std::tuple<Tensor, Tensor> bias_act_pixel_norm(const Tensor& x_any, const std::optional<Tensor>& bias_any,
                                               double negative_slope, double eps, double scale) {
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

void check_saved(const Tensor& grad, const Tensor& x, const std::optional<Tensor>& bias, const Tensor& r,
                 double negative_slope, double scale) {
  check_feature_map(x, "x");
  check_negative_slope(negative_slope);
  check_factor(scale, "scale");
  check_matches(grad, "grad", x.sizes(), x.scalar_type(), x.device());
  check_matches(r, "r", scale_sizes(x), accumulate_type(x), x.device());
  if (bias) check_channels(*bias, "bias", x);
}

/// Returns d_x and, in the accumulate type, d_bias [C]; without `with_bias` that is empty.
std::tuple<Tensor, Tensor> bias_act_pixel_norm_backward(const Tensor& grad_any, const Tensor& x_any,
                                                        const std::optional<Tensor>& bias_any, const Tensor& r_any,
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
std::tuple<Tensor, Tensor, Tensor> bias_act_pixel_norm_double_backward(
    const Tensor& v_any, const std::optional<Tensor>& v_bias_any, const Tensor& grad_any, const Tensor& x_any,
    const std::optional<Tensor>& bias_any, const Tensor& r_any, bool with_bias, double negative_slope, double /*eps*/,
    double scale) {
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

auto bias_act_pixel_norm_op() {
  static const auto op = find_op<decltype(bias_act_pixel_norm)>("gan_ops::bias_act_pixel_norm");
  return op;
}
auto bias_act_pixel_norm_backward_op() {
  static const auto op = find_op<decltype(bias_act_pixel_norm_backward)>("gan_ops::bias_act_pixel_norm_backward");
  return op;
}
auto bias_act_pixel_norm_double_backward_op() {
  static const auto op =
      find_op<decltype(bias_act_pixel_norm_double_backward)>("gan_ops::bias_act_pixel_norm_double_backward");
  return op;
}

// In the ops that take it, r is the value that the forward pass kept for x, bias and eps, not a variable of its own:
// the derivatives to x and bias count r's dependence on them.
struct Backward : torch::autograd::Function<Backward> {
  static variable_list forward(AutogradContext* ctx, const Tensor& grad, const Tensor& x,
                               const std::optional<Tensor>& bias, const Tensor& r, bool with_bias,
                               double negative_slope, double eps, double scale) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({grad, x, bias.value_or(Tensor()), r});
    ctx->saved_data["negative_slope"] = negative_slope;
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["scale"] = scale;
    auto [d_x, d_bias] =
        bias_act_pixel_norm_backward_op().call(grad, x, bias, r, with_bias, negative_slope, eps, scale);
    return {d_x, d_bias};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& v) {
    const bool of_bias = v[1].defined() && v[1].sym_size(0) != 0;
    if (!v[0].defined() && !of_bias) return variable_list(8);
    const auto saved = ctx->get_saved_variables();
    const Tensor &grad = saved[0], &x = saved[1], &bias = saved[2], &r = saved[3];
    const bool with_bias = bias.defined() && ctx->needs_input_grad(2);
    auto [d_grad, d_x, d_bias] = bias_act_pixel_norm_double_backward_op().call(
        v[0].defined() ? v[0] : at::zeros_like(x), of_bias ? std::optional<Tensor>(v[1]) : std::nullopt, grad, x,
        if_defined(bias), r, with_bias, ctx->saved_data["negative_slope"].toDouble(), ctx->saved_data["eps"].toDouble(),
        ctx->saved_data["scale"].toDouble());
    variable_list gradients(8);
    gradients[0] = d_grad;
    gradients[1] = d_x;
    if (with_bias) gradients[2] = d_bias.to(bias.scalar_type());
    return gradients;
  }
};

struct Forward : torch::autograd::Function<Forward> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const std::optional<Tensor>& bias,
                               double negative_slope, double eps, double scale) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    ctx->set_materialize_grads(false);
    auto [y, r] = bias_act_pixel_norm_op().call(x, bias, negative_slope, eps, scale);
    ctx->save_for_backward({x, bias.value_or(Tensor()), r});
    ctx->saved_data["negative_slope"] = negative_slope;
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["scale"] = scale;
    ctx->mark_non_differentiable({r});
    return {y, r};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[0].defined()) return variable_list(5);
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &bias = saved[1], &r = saved[2];
    const bool with_bias = bias.defined() && ctx->needs_input_grad(1);
    auto [d_x, d_bias] = bias_act_pixel_norm_backward_op().call(
        grads[0], x, if_defined(bias), r, with_bias, ctx->saved_data["negative_slope"].toDouble(),
        ctx->saved_data["eps"].toDouble(), ctx->saved_data["scale"].toDouble());
    return {d_x, with_bias ? d_bias.to(bias.scalar_type()) : Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

std::tuple<Tensor, Tensor> bias_act_pixel_norm_autograd(const Tensor& x, const std::optional<Tensor>& bias,
                                                        double negative_slope, double eps, double scale) {
  if (records_gradient({x, bias.value_or(Tensor())})) {
    auto outputs = Forward::apply(x, bias, negative_slope, eps, scale);
    return {outputs[0], outputs[1]};
  }
  const at::AutoDispatchBelowADInplaceOrView guard;
  return bias_act_pixel_norm_op().call(x, bias, negative_slope, eps, scale);
}

void check_constant(const Tensor& r) {
  TORCH_CHECK_VALUE(!r.requires_grad(), "r must be the value that bias_act_pixel_norm returned, which has no gradient");
}

std::tuple<Tensor, Tensor> bias_act_pixel_norm_backward_autograd(const Tensor& grad, const Tensor& x,
                                                                 const std::optional<Tensor>& bias, const Tensor& r,
                                                                 bool with_bias, double negative_slope, double eps,
                                                                 double scale) {
  check_constant(r);
  if (records_gradient({grad, x, bias.value_or(Tensor())})) {
    auto outputs = Backward::apply(grad, x, bias, r, with_bias, negative_slope, eps, scale);
    return {outputs[0], outputs[1]};
  }
  const at::AutoDispatchBelowADInplaceOrView guard;
  return bias_act_pixel_norm_backward_op().call(grad, x, bias, r, with_bias, negative_slope, eps, scale);
}

// Third and higher derivatives are rare: there the formula in torch's own ops takes the kernel's place, and torch
// differentiates it.
std::tuple<Tensor, Tensor, Tensor> bias_act_pixel_norm_double_backward_autograd(
    const Tensor& v, const std::optional<Tensor>& v_bias, const Tensor& grad, const Tensor& x,
    const std::optional<Tensor>& bias, const Tensor& r, bool with_bias, double negative_slope, double eps,
    double scale) {
  check_constant(r);
  if (!records_gradient({v, v_bias.value_or(Tensor()), grad, x, bias.value_or(Tensor())})) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    return bias_act_pixel_norm_double_backward_op().call(v, v_bias, grad, x, bias, r, with_bias, negative_slope, eps,
                                                         scale);
  }
  const auto type = accumulate_type(x);
  std::vector<int64_t> a_channel(x.dim(), 1), all_but_channels;  // [1, C, 1, …]
  a_channel[1] = -1;
  for (int64_t axis = 0; axis < x.dim(); ++axis)
    if (axis != 1) all_but_channels.push_back(axis);
  const auto scaled_and_biased = [&](const Tensor& t, const std::optional<Tensor>& values) {
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

void register_kernels(torch::Library& m) {
  m.impl("bias_act_pixel_norm", bias_act_pixel_norm);
  m.impl("bias_act_pixel_norm_backward", bias_act_pixel_norm_backward);
  m.impl("bias_act_pixel_norm_double_backward", bias_act_pixel_norm_double_backward);
}

TORCH_LIBRARY_IMPL(gan_ops, CPU, m) {
  register_kernels(m);
}
TORCH_LIBRARY_IMPL(gan_ops, CUDA, m) {
  register_kernels(m);
}
TORCH_LIBRARY_IMPL(gan_ops, Autograd, m) {
  m.impl("bias_act_pixel_norm", bias_act_pixel_norm_autograd);
  m.impl("bias_act_pixel_norm_backward", bias_act_pixel_norm_backward_autograd);
  m.impl("bias_act_pixel_norm_double_backward", bias_act_pixel_norm_double_backward_autograd);
}

}  // namespace
}  // namespace gan_ops
