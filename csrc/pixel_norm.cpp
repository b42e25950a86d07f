// The pixel_norm family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "pixel_norm.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>

#include "common.h"
#include "pixel_norm_formula.h"

namespace gan_ops {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// ---- Kernels' entry points ----

std::tuple<Tensor, Tensor> pixel_norm(const Tensor& x_any, double eps) {
  check_feature_map(x_any, "x");
  check_eps(eps);
  const Tensor x = dense(x_any);
  Tensor y = at::empty_like(x);
  Tensor r = at::empty(scale_sizes(x), x.options().dtype(accumulate_type(x)));
  if (x.numel() > 0)
    run_kernel(
        PixelNormForwardArgs{x.const_data_ptr(), y.mutable_data_ptr(), r.mutable_data_ptr(), channel_layout(x), eps},
        x);
  return {y, r};
}

void check_saved(const Tensor& grad, const Tensor& x, const Tensor& r) {
  check_feature_map(x, "x");
  check_matches(grad, "grad", x.sizes(), x.scalar_type(), x.device());
  check_matches(r, "r", scale_sizes(x), accumulate_type(x), x.device());
}

Tensor pixel_norm_backward(const Tensor& grad_any, const Tensor& x_any, const Tensor& r_any, double /*eps*/) {
  check_saved(grad_any, x_any, r_any);
  const Tensor x = dense(x_any), grad = dense_like(grad_any, x), r = r_any.contiguous();
  Tensor d_x = at::empty_like(x);
  if (x.numel() > 0)
    run_kernel(PixelNormBackwardArgs{grad.const_data_ptr(), x.const_data_ptr(), r.const_data_ptr(),
                                     d_x.mutable_data_ptr(), channel_layout(x)},
               x);
  return d_x;
}

std::tuple<Tensor, Tensor> pixel_norm_double_backward(const Tensor& v_any, const Tensor& grad_any, const Tensor& x_any,
                                                      const Tensor& r_any, double /*eps*/) {
  check_saved(grad_any, x_any, r_any);
  check_matches(v_any, "v", x_any.sizes(), x_any.scalar_type(), x_any.device());
  const Tensor x = dense(x_any), v = dense_like(v_any, x), grad = dense_like(grad_any, x);
  const Tensor r = r_any.contiguous();
  Tensor d_grad = at::empty_like(x), d_x = at::empty_like(x);
  if (x.numel() > 0)
    run_kernel(
        PixelNormDoubleBackwardArgs{v.const_data_ptr(), grad.const_data_ptr(), x.const_data_ptr(), r.const_data_ptr(),
                                    d_grad.mutable_data_ptr(), d_x.mutable_data_ptr(), channel_layout(x)},
        x);
  return {d_grad, d_x};
}

// ---- Derivatives ----

auto pixel_norm_op() {
  static const auto op = find_op<decltype(pixel_norm)>("gan_ops::pixel_norm");
  return op;
}
auto pixel_norm_backward_op() {
  static const auto op = find_op<decltype(pixel_norm_backward)>("gan_ops::pixel_norm_backward");
  return op;
}
auto pixel_norm_double_backward_op() {
  static const auto op = find_op<decltype(pixel_norm_double_backward)>("gan_ops::pixel_norm_double_backward");
  return op;
}

// In the ops that take it, r is the value that the forward pass kept for x and eps, not a variable of its own: the
// derivative to x counts r's dependence on x.
struct Backward : torch::autograd::Function<Backward> {
  static Tensor forward(AutogradContext* ctx, const Tensor& grad, const Tensor& x, const Tensor& r, double eps) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({grad, x, r});
    ctx->saved_data["eps"] = eps;
    return pixel_norm_backward_op().call(grad, x, r, eps);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& v) {
    if (!v[0].defined()) return variable_list(4);
    const auto saved = ctx->get_saved_variables();
    auto [d_grad, d_x] =
        pixel_norm_double_backward_op().call(v[0], saved[0], saved[1], saved[2], ctx->saved_data["eps"].toDouble());
    return {d_grad, d_x, Tensor(), Tensor()};
  }
};

struct Forward : torch::autograd::Function<Forward> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x, double eps) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    ctx->set_materialize_grads(false);
    auto [y, r] = pixel_norm_op().call(x, eps);
    ctx->save_for_backward({x, r});
    ctx->saved_data["eps"] = eps;
    ctx->mark_non_differentiable({r});
    return {y, r};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[0].defined()) return variable_list(2);
    const auto saved = ctx->get_saved_variables();
    return {pixel_norm_backward_op().call(grads[0], saved[0], saved[1], ctx->saved_data["eps"].toDouble()), Tensor()};
  }
};

std::tuple<Tensor, Tensor> pixel_norm_autograd(const Tensor& x, double eps) {
  if (records_gradient({x})) {
    auto outputs = Forward::apply(x, eps);
    return {outputs[0], outputs[1]};
  }
  const at::AutoDispatchBelowADInplaceOrView guard;
  return pixel_norm_op().call(x, eps);
}

void check_constant(const Tensor& r) {
  TORCH_CHECK_VALUE(!r.requires_grad(), "r must be the value that pixel_norm returned, which has no gradient");
}

Tensor pixel_norm_backward_autograd(const Tensor& grad, const Tensor& x, const Tensor& r, double eps) {
  check_constant(r);
  if (records_gradient({grad, x})) return Backward::apply(grad, x, r, eps);
  const at::AutoDispatchBelowADInplaceOrView guard;
  return pixel_norm_backward_op().call(grad, x, r, eps);
}

// Third and higher derivatives are rare: there the formula in torch's own ops takes the kernel's place, and torch
// differentiates it.
std::tuple<Tensor, Tensor> pixel_norm_double_backward_autograd(const Tensor& v, const Tensor& grad, const Tensor& x,
                                                               const Tensor& r, double eps) {
  check_constant(r);
  if (!records_gradient({v, grad, x})) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    return pixel_norm_double_backward_op().call(v, grad, x, r, eps);
  }
  const auto type = accumulate_type(x);
  auto [d_grad, d_x] = pixel_norm_double_backward_formula(v.to(type), grad.to(type), x.to(type), eps);
  return {d_grad.to(x.scalar_type()), d_x.to(x.scalar_type())};
}

void register_kernels(torch::Library& m) {
  m.impl("pixel_norm", pixel_norm);
  m.impl("pixel_norm_backward", pixel_norm_backward);
  m.impl("pixel_norm_double_backward", pixel_norm_double_backward);
}

TORCH_LIBRARY_IMPL(gan_ops, CPU, m) {
  register_kernels(m);
}
TORCH_LIBRARY_IMPL(gan_ops, CUDA, m) {
  register_kernels(m);
}
TORCH_LIBRARY_IMPL(gan_ops, Autograd, m) {
  m.impl("pixel_norm", pixel_norm_autograd);
  m.impl("pixel_norm_backward", pixel_norm_backward_autograd);
  m.impl("pixel_norm_double_backward", pixel_norm_double_backward_autograd);
}

}  // namespace
}  // namespace gan_ops
