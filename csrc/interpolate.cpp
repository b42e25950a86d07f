// The interpolate family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "interpolate.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <tuple>

#include "op.h"

namespace gan_ops {
namespace interpolate_family {

void check_weight(const Tensor& weight, const Tensor& real) {
  dtype_of(weight, "weight");
  TORCH_CHECK_VALUE(weight.dim() >= 1 && weight.size(0) == real.size(0) && weight.numel() == real.size(0),
                    "weight must have one value a sample, [", real.size(0), "] or [", real.size(0),
                    ", 1, …], but its shape is ", weight.sizes());
  TORCH_CHECK_VALUE(weight.device() == real.device(), "weight must be on ", real.device(), ", but is on ",
                    weight.device());
}

void check_arguments(const Tensor& real, const Tensor& fake, const Tensor& weight) {
  check_samples(real, "real");
  check_matches(fake, "fake", real.sizes(), real.scalar_type(), real.device());
  check_weight(weight, real);
}

Tensor wide_weight(const Tensor& weight, const Tensor& real) {
  return weight.to(accumulate_type(real)).contiguous();
}

// ---- Kernels' entry points ----

Tensor interpolate(const Tensor& real_any, const Tensor& fake_any, const Tensor& weight_any) {
  check_arguments(real_any, fake_any, weight_any);
  const Tensor real = dense(real_any), fake = dense_like(fake_any, real), weight = wide_weight(weight_any, real);
  Tensor y = at::empty_like(real);
  if (real.numel() > 0)
    run_kernel(InterpolateForwardArgs{real.const_data_ptr(), fake.const_data_ptr(), weight.const_data_ptr(),
                                      y.mutable_data_ptr(), sample_layout(real)},
               real);
  return y;
}

/// Returns d_real and d_fake; one that is not wanted is empty.
std::tuple<Tensor, Tensor> interpolate_backward(const Tensor& grad_any, const Tensor& weight_any, bool with_real,
                                                bool with_fake) {
  check_samples(grad_any, "grad");
  check_weight(weight_any, grad_any);
  const Tensor grad = dense(grad_any), weight = wide_weight(weight_any, grad);
  Tensor d_real = with_real ? at::empty_like(grad) : at::empty({0}, grad.options());
  Tensor d_fake = with_fake ? at::empty_like(grad) : at::empty({0}, grad.options());
  if (grad.numel() > 0)
    run_kernel(InterpolateBackwardArgs{grad.const_data_ptr(), weight.const_data_ptr(),
                                       with_real ? d_real.mutable_data_ptr() : nullptr,
                                       with_fake ? d_fake.mutable_data_ptr() : nullptr, sample_layout(grad)},
               grad);
  return {d_real, d_fake};
}

/// The weight's gradient [N], in the accumulate type.
Tensor interpolate_weight_grad(const Tensor& grad_any, const Tensor& real_any, const Tensor& fake_any) {
  check_samples(grad_any, "grad");
  check_matches(real_any, "real", grad_any.sizes(), grad_any.scalar_type(), grad_any.device());
  check_matches(fake_any, "fake", grad_any.sizes(), grad_any.scalar_type(), grad_any.device());
  const Tensor grad = dense(grad_any), real = dense_like(real_any, grad), fake = dense_like(fake_any, grad);
  const auto wide = grad.options().dtype(accumulate_type(grad));
  if (grad.numel() == 0) return at::zeros({grad.size(0)}, wide);
  const auto layout = sample_layout(grad);
  Tensor d_weight = at::empty({layout.samples}, wide);
  Tensor partial = at::empty({layout.samples, layout.chunks()}, grad.options().dtype(at::kDouble));
  run_kernel(InterpolateWeightGradArgs{grad.const_data_ptr(), real.const_data_ptr(), fake.const_data_ptr(),
                                       d_weight.mutable_data_ptr(), partial.mutable_data_ptr<double>(), layout},
             grad);
  return d_weight;
}

// ---- Derivatives ----

constexpr Op<"interpolate", interpolate> op;
constexpr Op<"interpolate_backward", interpolate_backward> backward_op;
constexpr Op<"interpolate_weight_grad", interpolate_weight_grad> weight_grad_op;

/// The weight's gradient in the weight's own shape and type.
Tensor weight_grad_like(const Tensor& weight, const Tensor& grad, const Tensor& real, const Tensor& fake) {
  return weight_grad_op(grad, real, fake).reshape_symint(weight.sym_sizes()).to(weight.scalar_type());
}

Tensors derivative(const Kept& kept, const Tensors& grads) {
  const auto [layout] = kept.options<at::MemoryFormat>();
  const Tensor& weight = kept[0];
  const bool with_real = kept.wants(0), with_fake = kept.wants(1);
  const Tensor grad = grads[0].contiguous(layout);
  Tensors gradients(3);
  if (with_real || with_fake) {
    auto [d_real, d_fake] = backward_op(grad, weight, with_real, with_fake);
    if (with_real) gradients[0] = d_real;
    if (with_fake) gradients[1] = d_fake;
  }
  if (kept.wants(2)) gradients[2] = weight_grad_like(weight, grad, kept[1], kept[2]);
  return gradients;
}

Tensor interpolate_autograd(const Tensor& real, const Tensor& fake, const Tensor& weight) {
  return recorded({real, fake, weight}, derivative, [&](const Keep& keep) {
    const bool images = weight.requires_grad();  // which its gradient alone needs
    keep({weight, images ? real : Tensor(), images ? fake : Tensor()}, format_of(real));
    return op.below_autograd(real, fake, weight);
  });
}

// With cotangents v of d_real = (1 − w) g and d_fake = w g: d_g = (1 − w) v_real + w v_fake and d_w = Σ g (v_fake −
// v_real), which are the ops of this family.
Tensors derivative_of_backward(const Kept& kept, const Tensors& v) {
  const Tensor &grad = kept[0], &weight = kept[1];
  // What was not wanted is a constant without elements.
  const auto counts = [&](const Tensor& t) { return t.defined() && t.dim() == grad.dim(); };
  if (!counts(v[0]) && !counts(v[1])) return {};
  const Tensor v_real = counts(v[0]) ? v[0] : at::zeros_like(grad);
  const Tensor v_fake = counts(v[1]) ? v[1] : at::zeros_like(grad);
  Tensors gradients(2);
  if (kept.wants(0)) gradients[0] = op(v_real, v_fake, weight);
  if (kept.wants(1)) gradients[1] = weight_grad_like(weight, grad, v_real, v_fake);
  return gradients;
}

std::tuple<Tensor, Tensor> interpolate_backward_autograd(const Tensor& grad, const Tensor& weight, bool with_real,
                                                         bool with_fake) {
  return recorded({grad, weight}, derivative_of_backward, [&](const Keep& keep) {
    keep({grad, weight});
    return backward_op.below_autograd(grad, weight, with_real, with_fake);
  });
}

// d_weight = Σ g (fake − real) is linear in each of the three: products in torch's own ops, which differentiate to any
// order.
Tensors derivative_of_weight_grad(const Kept& kept, const Tensors& v) {
  const Tensor &grad = kept[0], &real = kept[1], &fake = kept[2];
  c10::SymDimVector column(grad.dim(), 1);
  column[0] = grad.sym_size(0);
  const Tensor of_sample = v[0].reshape_symint(column);  // [N] → [N, 1, …]
  Tensors gradients(3);
  if (kept.wants(0)) {
    const auto type = accumulate_type(real);
    gradients[0] = (of_sample * (fake.to(type) - real.to(type))).to(grad.scalar_type());
  }
  if (kept.wants(1) || kept.wants(2)) gradients[2] = (of_sample * grad).to(grad.scalar_type());
  if (kept.wants(1)) gradients[1] = -gradients[2];
  return gradients;
}

Tensor interpolate_weight_grad_autograd(const Tensor& grad, const Tensor& real, const Tensor& fake) {
  return recorded({grad, real, fake}, derivative_of_weight_grad, [&](const Keep& keep) {
    keep({grad, real, fake});
    return weight_grad_op.below_autograd(grad, real, fake);
  });
}

const Registration registrations[] = {
    {op, interpolate_autograd},
    {backward_op, interpolate_backward_autograd},
    {weight_grad_op, interpolate_weight_grad_autograd},
};

}  // namespace interpolate_family
}  // namespace gan_ops
