// The bias_act family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "bias_act.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <optional>
#include <tuple>

#include "common.h"

namespace gan_ops {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

void check_options(double negative_slope, double gain, double scale) {
  // The derivative is told from the sign of the output, which these keep that of the input.
  check_negative_slope(negative_slope);
  check_factor(gain, "gain");
  check_factor(scale, "scale");
}

// ---- Kernels' entry points ----

Tensor bias_act(const Tensor& x_any, const std::optional<Tensor>& bias_any, double negative_slope, double gain,
                double scale) {
  check_feature_map(x_any, "x");
  check_options(negative_slope, gain, scale);
  const Tensor x = dense(x_any);
  Tensor bias;
  if (bias_any) {
    check_channels(*bias_any, "bias", x);
    bias = bias_any->to(accumulate_type(x)).contiguous();
  }
  Tensor y = at::empty_like(x);
  if (x.numel() > 0)
    run_kernel(BiasActForwardArgs{x.const_data_ptr(), bias.defined() ? bias.const_data_ptr() : nullptr,
                                  y.mutable_data_ptr(), channel_layout(x), negative_slope, gain, scale},
               x);
  return y;
}

/// Returns d_x and, in the accumulate type, d_bias [C]; without `with_bias` that is empty.
std::tuple<Tensor, Tensor> bias_act_backward(const Tensor& grad_any, const Tensor& y_any, bool with_bias,
                                             double negative_slope, double gain, double scale) {
  check_feature_map(y_any, "y");
  check_options(negative_slope, gain, scale);
  check_matches(grad_any, "grad", y_any.sizes(), y_any.scalar_type(), y_any.device());
  const Tensor y = dense(y_any), grad = dense_like(grad_any, y);
  const auto layout = channel_layout(y);
  const auto chunks = bias_act_chunks(layout);
  const auto wide = y.options().dtype(accumulate_type(y));
  Tensor d_x = at::empty_like(y);
  if (y.numel() == 0) return {d_x, at::zeros({with_bias ? y.size(1) : 0}, wide)};
  Tensor d_bias = at::empty({with_bias ? y.size(1) : 0}, wide);
  Tensor partial = at::empty({with_bias ? chunks.count() * y.size(1) : 0}, wide);
  run_kernel(BiasActBackwardArgs{grad.const_data_ptr(), y.const_data_ptr(), d_x.mutable_data_ptr(),
                                 with_bias ? d_bias.mutable_data_ptr() : nullptr, partial.mutable_data_ptr(), chunks,
                                 layout, negative_slope, gain, scale},
             y);
  return {d_x, d_bias};
}

// ---- Derivatives ----

auto bias_act_op() {
  static const auto op = find_op<decltype(bias_act)>("gan_ops::bias_act");
  return op;
}
auto bias_act_backward_op() {
  static const auto op = find_op<decltype(bias_act_backward)>("gan_ops::bias_act_backward");
  return op;
}

// d_x = g · φ′ is linear in g, and φ′ does not move with y, so y gets no gradient: not a tensor of zeros, which torch
// would carry through all the layers below.
struct Backward : torch::autograd::Function<Backward> {
  static variable_list forward(AutogradContext* ctx, const Tensor& grad, const Tensor& y, bool with_bias,
                               double negative_slope, double gain, double scale) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({y});
    ctx->set_materialize_grads(false);
    ctx->saved_data["negative_slope"] = negative_slope;
    ctx->saved_data["gain"] = gain;
    ctx->saved_data["scale"] = scale;
    auto [d_x, d_bias] = bias_act_backward_op().call(grad, y, with_bias, negative_slope, gain, scale);
    return {d_x, d_bias};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& v) {
    const Tensor y = ctx->get_saved_variables()[0];
    const double scale = ctx->saved_data["scale"].toDouble();
    Tensor of_both = v[0];
    double of_scale = scale;
    if (v[1].defined() && v[1].sym_size(0) != 0) {
      std::vector<int64_t> sizes(y.dim(), 1);
      sizes[1] = -1;
      // scale·v + v_bias, [C] → [N, C, *]: the bias's gradient lacks the scale that d_x has. Rounded once, and in range
      // where float16 does not hold v_bias/scale.
      const Tensor of_bias = v[1].reshape(sizes).expand_as(y);
      of_both = (of_both.defined() ? at::add(of_bias, of_both, scale) : of_bias).to(y.scalar_type());
      of_scale = 1;
    }
    if (!of_both.defined()) return variable_list(6);
    auto d_grad = std::get<0>(bias_act_backward_op().call(of_both, y, /*with_bias=*/false,
                                                          ctx->saved_data["negative_slope"].toDouble(),
                                                          ctx->saved_data["gain"].toDouble(), of_scale));
    return {d_grad, Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

struct Forward : torch::autograd::Function<Forward> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const std::optional<Tensor>& bias, double negative_slope,
                        double gain, double scale) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    ctx->set_materialize_grads(false);
    const Tensor y = bias_act_op().call(x, bias, negative_slope, gain, scale);
    ctx->save_for_backward({y});
    ctx->saved_data["negative_slope"] = negative_slope;
    ctx->saved_data["gain"] = gain;
    ctx->saved_data["scale"] = scale;
    if (bias) ctx->saved_data["bias_type"] = static_cast<int64_t>(bias->scalar_type());
    return y;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[0].defined()) return variable_list(5);
    const auto type = ctx->saved_data.find("bias_type");  // without a bias there is no second edge to ask about
    const bool with_bias = type != ctx->saved_data.end() && ctx->needs_input_grad(1);
    auto [d_x, d_bias] = bias_act_backward_op().call(
        grads[0], ctx->get_saved_variables()[0], with_bias, ctx->saved_data["negative_slope"].toDouble(),
        ctx->saved_data["gain"].toDouble(), ctx->saved_data["scale"].toDouble());
    if (with_bias) d_bias = d_bias.to(static_cast<at::ScalarType>(type->second.toInt()));
    return {d_x, with_bias ? d_bias : Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

Tensor bias_act_autograd(const Tensor& x, const std::optional<Tensor>& bias, double negative_slope, double gain,
                         double scale) {
  if (records_gradient({x, bias.value_or(Tensor())})) return Forward::apply(x, bias, negative_slope, gain, scale);
  const at::AutoDispatchBelowADInplaceOrView guard;
  return bias_act_op().call(x, bias, negative_slope, gain, scale);
}

std::tuple<Tensor, Tensor> bias_act_backward_autograd(const Tensor& grad, const Tensor& y, bool with_bias,
                                                      double negative_slope, double gain, double scale) {
  if (records_gradient({grad})) {
    auto outputs = Backward::apply(grad, y, with_bias, negative_slope, gain, scale);
    return {outputs[0], outputs[1]};
  }
  const at::AutoDispatchBelowADInplaceOrView guard;
  return bias_act_backward_op().call(grad, y, with_bias, negative_slope, gain, scale);
}

void register_kernels(torch::Library& m) {
  m.impl("bias_act", bias_act);
  m.impl("bias_act_backward", bias_act_backward);
}

TORCH_LIBRARY_IMPL(gan_ops, CPU, m) {
  register_kernels(m);
}
TORCH_LIBRARY_IMPL(gan_ops, CUDA, m) {
  register_kernels(m);
}
TORCH_LIBRARY_IMPL(gan_ops, Autograd, m) {
  m.impl("bias_act", bias_act_autograd);
  m.impl("bias_act_backward", bias_act_backward_autograd);
}

}  // namespace
}  // namespace gan_ops
