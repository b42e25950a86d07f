// The pixel_norm family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "pixel_norm.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <tuple>

#include "op.h"
#include "pixel_norm_formula.h"

namespace gan_ops {
namespace pixel_norm_family {

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

constexpr Op<"pixel_norm", pixel_norm> op;
constexpr Op<"pixel_norm_backward", pixel_norm_backward> backward_op;
constexpr Op<"pixel_norm_double_backward", pixel_norm_double_backward> double_backward_op;

// In the ops that take it, r is the value that the forward pass kept for x and eps, not a variable of its own: the
// derivative to x counts r's dependence on x.
void check_constant(const Tensor& r) {
  TORCH_CHECK_VALUE(!r.requires_grad(), "r must be the value that pixel_norm returned, which has no gradient");
}

Tensors derivative(const Kept& kept, const Tensors& grads) {
  const auto [eps] = kept.options<double>();
  return {backward_op(grads[0], kept[0], kept[1], eps)};
}

std::tuple<Tensor, Tensor> pixel_norm_autograd(const Tensor& x, double eps) {
  return recorded({x}, derivative, [&](const Keep& keep) {
    auto [y, r] = op.below_autograd(x, eps);
    keep({x, r}, eps);
    keep.constants({r});
    return std::tuple(y, r);
  });
}

Tensors derivative_of_backward(const Kept& kept, const Tensors& v) {
  const auto [eps] = kept.options<double>();
  return as_list(double_backward_op(v[0], kept[0], kept[1], kept[2], eps));
}

Tensor pixel_norm_backward_autograd(const Tensor& grad, const Tensor& x, const Tensor& r, double eps) {
  check_constant(r);
  return recorded({grad, x}, derivative_of_backward, [&](const Keep& keep) {
    keep({grad, x, r}, eps);
    return backward_op.below_autograd(grad, x, r, eps);
  });
}

std::tuple<Tensor, Tensor> pixel_norm_double_backward_autograd(const Tensor& v, const Tensor& grad, const Tensor& x,
                                                               const Tensor& r, double eps) {
  check_constant(r);
  if (!records_gradient({v, grad, x})) return double_backward_op.below_autograd(v, grad, x, r, eps);
  const auto type = accumulate_type(x);
  auto [d_grad, d_x] = pixel_norm_double_backward_formula(v.to(type), grad.to(type), x.to(type), eps);
  return {d_grad.to(x.scalar_type()), d_x.to(x.scalar_type())};
}

const Registration registrations[] = {
    {op, pixel_norm_autograd},
    {backward_op, pixel_norm_backward_autograd},
    {double_backward_op, pixel_norm_double_backward_autograd},
};

}  // namespace pixel_norm_family
}  // namespace gan_ops
