// The gradient_penalty family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "gradient_penalty.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>

#include <numeric>
#include <tuple>

#include "op.h"

namespace gan_ops {
namespace gradient_penalty_family {

void check_arguments(const Tensor& x, double target) {
  check_samples(x, "gradient");
  TORCH_CHECK_VALUE(target >= 0, "target must not be negative, but is ", target);
}

void check_saved(const Tensor& grad, const Tensor& x, const Tensor& norm, double target) {
  check_arguments(x, target);
  check_matches(grad, "grad", {x.size(0)}, accumulate_type(x), x.device());
  check_matches(norm, "norm", {x.size(0)}, at::kDouble, x.device());
}

Tensor one_a_sample(const Tensor& x, at::ScalarType type) {
  return at::empty({x.size(0)}, x.options().dtype(type));
}

Tensor scratch(const Tensor& x, int64_t count) {
  return at::empty({count}, x.options().dtype(at::kDouble));
}

// ---- Kernels' entry points ----

std::tuple<Tensor, Tensor> gradient_penalty(const Tensor& x_any, double target, bool one_sided) {
  check_arguments(x_any, target);
  const Tensor x = dense(x_any);
  Tensor penalty = one_a_sample(x, accumulate_type(x)), norm = one_a_sample(x, at::kDouble);
  const auto layout = sample_layout(x);
  if (layout.samples == 0) return {penalty, norm};
  const Tensor partial = scratch(x, layout.samples * layout.chunks());
  run_kernel(PenaltyForwardArgs{x.const_data_ptr(), penalty.mutable_data_ptr(), norm.mutable_data_ptr<double>(),
                                partial.mutable_data_ptr<double>(), layout, target, one_sided},
             x);
  return {penalty, norm};
}

Tensor gradient_penalty_backward(const Tensor& grad_any, const Tensor& x_any, const Tensor& norm_any, double target,
                                 bool one_sided) {
  check_saved(grad_any, x_any, norm_any, target);
  const Tensor x = dense(x_any), grad = grad_any.contiguous(), norm = norm_any.contiguous();
  Tensor d_x = at::empty_like(x);
  if (x.numel() > 0)
    run_kernel(PenaltyBackwardArgs{grad.const_data_ptr(), x.const_data_ptr(), norm.const_data_ptr<double>(),
                                   d_x.mutable_data_ptr(), sample_layout(x), target, one_sided},
               x);
  return d_x;
}

std::tuple<Tensor, Tensor> gradient_penalty_double_backward(const Tensor& v_any, const Tensor& grad_any,
                                                            const Tensor& x_any, const Tensor& norm_any, double target,
                                                            bool one_sided) {
  check_saved(grad_any, x_any, norm_any, target);
  check_matches(v_any, "v", x_any.sizes(), x_any.scalar_type(), x_any.device());
  const Tensor x = dense(x_any), v = dense_like(v_any, x), grad = grad_any.contiguous(), norm = norm_any.contiguous();
  Tensor d_grad = one_a_sample(x, accumulate_type(x)), d_x = at::empty_like(x);
  const auto layout = sample_layout(x);
  if (layout.samples == 0) return {d_grad, d_x};
  const Tensor along = scratch(x, layout.samples), partial = scratch(x, layout.samples * layout.chunks());
  run_kernel(PenaltyDoubleBackwardArgs{v.const_data_ptr(), grad.const_data_ptr(), x.const_data_ptr(),
                                       norm.const_data_ptr<double>(), d_grad.mutable_data_ptr(), d_x.mutable_data_ptr(),
                                       along.mutable_data_ptr<double>(), partial.mutable_data_ptr<double>(), layout,
                                       target, one_sided},
             x);
  return {d_grad, d_x};
}

// ---- Derivatives ----

constexpr Op<"gradient_penalty", gradient_penalty> op;
constexpr Op<"gradient_penalty_backward", gradient_penalty_backward> backward_op;
constexpr Op<"gradient_penalty_double_backward", gradient_penalty_double_backward> double_backward_op;

// In the ops that take it, norm is the value that the forward pass kept for x, not a variable of its own: the
// derivative to x counts the norm's dependence on x.
void check_constant(const Tensor& norm) {
  TORCH_CHECK_VALUE(!norm.requires_grad(),
                    "norm must be the value that gradient_penalty returned, which has no gradient");
}

Tensors derivative(const Kept& kept, const Tensors& grads) {
  const auto [target, one_sided] = kept.options<double, bool>();
  return {backward_op(grads[0], kept[0], kept[1], target, one_sided)};
}

std::tuple<Tensor, Tensor> gradient_penalty_autograd(const Tensor& x, double target, bool one_sided) {
  return recorded({x}, derivative, [&](const Keep& keep) {
    auto [penalty, norm] = op.below_autograd(x, target, one_sided);
    keep({x, norm}, target, one_sided);
    keep.constants({norm});
    return std::tuple(penalty, norm);
  });
}

Tensors derivative_of_backward(const Kept& kept, const Tensors& v) {
  const auto [target, one_sided] = kept.options<double, bool>();
  return as_list(double_backward_op(v[0], kept[0], kept[1], kept[2], target, one_sided));
}

Tensor gradient_penalty_backward_autograd(const Tensor& grad, const Tensor& x, const Tensor& norm, double target,
                                          bool one_sided) {
  check_constant(norm);
  return recorded({grad, x}, derivative_of_backward, [&](const Keep& keep) {
    keep({grad, x, norm}, target, one_sided);
    return backward_op.below_autograd(grad, x, norm, target, one_sided);
  });
}

// In float64 neither squares of float32 nor quotients by a norm leave the range.
std::tuple<Tensor, Tensor> double_backward_formula(const Tensor& v, const Tensor& grad, const Tensor& x, double target,
                                                   bool one_sided) {
  std::vector<int64_t> axes(x.dim() - 1), column(x.dim(), 1);
  std::iota(axes.begin(), axes.end(), 1);
  column[0] = -1;
  const Tensor xw = x.to(at::kDouble), vw = v.to(at::kDouble), g = grad.to(at::kDouble).reshape(column);
  const auto of_sample = [&](const Tensor& t) { return t.sum(axes, /*keepdim=*/true); };  // [N, *] → [N, 1, …]
  Tensor d_grad, d_x;
  if (target == 0) {
    d_grad = 2 * of_sample(vw * xw);
    d_x = 2 * g * vw;
  } else {
    const Tensor square = of_sample(xw * xw), zero = square == 0;
    const Tensor norm = (square + zero).sqrt(), u = xw / norm, a = of_sample(vw * u);
    Tensor excess = norm / target - 1, curvature = at::full_like(excess, 2 / (target * target));
    if (one_sided) {
      curvature = curvature * (excess > 0);
      excess = excess.relu();
    }
    const Tensor slope = 2 * excess / target;
    d_grad = (slope * a).masked_fill(zero, 0);
    d_x = (g * (curvature * a * u + slope / norm * (vw - a * u))).masked_fill(zero, 0);
  }
  return {d_grad.reshape(-1).to(grad.scalar_type()), d_x.to(x.scalar_type())};
}

std::tuple<Tensor, Tensor> gradient_penalty_double_backward_autograd(const Tensor& v, const Tensor& grad,
                                                                     const Tensor& x, const Tensor& norm, double target,
                                                                     bool one_sided) {
  check_constant(norm);
  if (records_gradient({v, grad, x})) return double_backward_formula(v, grad, x, target, one_sided);
  return double_backward_op.below_autograd(v, grad, x, norm, target, one_sided);
}

const Registration registrations[] = {
    {op, gradient_penalty_autograd},
    {backward_op, gradient_penalty_backward_autograd},
    {double_backward_op, gradient_penalty_double_backward_autograd},
};

}  // namespace gradient_penalty_family
}  // namespace gan_ops
