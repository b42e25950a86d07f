// The interpolate family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "interpolate.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>

#include "common.h"

namespace gan_ops {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

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

auto interpolate_op() {
  static const auto op = find_op<decltype(interpolate)>("gan_ops::interpolate");
  return op;
}
auto interpolate_backward_op() {
  static const auto op = find_op<decltype(interpolate_backward)>("gan_ops::interpolate_backward");
  return op;
}
auto interpolate_weight_grad_op() {
  static const auto op = find_op<decltype(interpolate_weight_grad)>("gan_ops::interpolate_weight_grad");
  return op;
}

// d_weight = Σ g (fake − real) is linear in each of the three: products in torch's own ops, which differentiate to any
// order.
struct WeightGrad : torch::autograd::Function<WeightGrad> {
  static Tensor forward(AutogradContext* ctx, const Tensor& grad, const Tensor& real, const Tensor& fake) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({grad, real, fake});
    ctx->set_materialize_grads(false);
    return interpolate_weight_grad_op().call(grad, real, fake);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& v) {
    if (!v[0].defined()) return variable_list(3);
    const auto saved = ctx->get_saved_variables();
    const Tensor grad = saved[0], real = saved[1], fake = saved[2];
    c10::SymDimVector column(grad.dim(), 1);
    column[0] = grad.sym_size(0);
    const Tensor of_sample = v[0].reshape_symint(column);  // [N] → [N, 1, …]
    Tensor d_grad, d_fake;
    if (ctx->needs_input_grad(0)) {
      const auto type = accumulate_type(real);
      d_grad = (of_sample * (fake.to(type) - real.to(type))).to(grad.scalar_type());
    }
    if (ctx->needs_input_grad(1) || ctx->needs_input_grad(2)) d_fake = (of_sample * grad).to(grad.scalar_type());
    return {d_grad, ctx->needs_input_grad(1) ? -d_fake : Tensor(), d_fake};
  }
};

/// The weight's gradient in the weight's own shape and type.
Tensor weight_grad_like(const Tensor& weight, const Tensor& grad, const Tensor& real, const Tensor& fake) {
  return interpolate_weight_grad_op()
      .call(grad, real, fake)
      .reshape_symint(weight.sym_sizes())
      .to(weight.scalar_type());
}

// With cotangents v of d_real = (1 − w) g and d_fake = w g: d_g = (1 − w) v_real + w v_fake and d_w = Σ g (v_fake −
// v_real), which are the ops of this family.
struct Backward : torch::autograd::Function<Backward> {
  static variable_list forward(AutogradContext* ctx, const Tensor& grad, const Tensor& weight, bool with_real,
                               bool with_fake) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({grad, weight});
    ctx->set_materialize_grads(false);
    auto [d_real, d_fake] = interpolate_backward_op().call(grad, weight, with_real, with_fake);
    return {d_real, d_fake};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& v) {
    const auto saved = ctx->get_saved_variables();
    const Tensor grad = saved[0], weight = saved[1];
    // What was not wanted is a constant without elements.
    const auto counts = [&](const Tensor& t) { return t.defined() && t.dim() == grad.dim(); };
    if (!counts(v[0]) && !counts(v[1])) return variable_list(4);
    const Tensor v_real = counts(v[0]) ? v[0] : at::zeros_like(grad);
    const Tensor v_fake = counts(v[1]) ? v[1] : at::zeros_like(grad);
    Tensor d_grad, d_weight;
    if (ctx->needs_input_grad(0)) d_grad = interpolate_op().call(v_real, v_fake, weight);
    if (ctx->needs_input_grad(1)) d_weight = weight_grad_like(weight, grad, v_real, v_fake);
    return {d_grad, d_weight, Tensor(), Tensor()};
  }
};

struct Forward : torch::autograd::Function<Forward> {
  static Tensor forward(AutogradContext* ctx, const Tensor& real, const Tensor& fake, const Tensor& weight) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    // Without a gradient for the weight, the images are not needed any more.
    if (weight.requires_grad())
      ctx->save_for_backward({weight, real, fake});
    else
      ctx->save_for_backward({weight});
    ctx->set_materialize_grads(false);
    ctx->saved_data["layout"] = static_cast<int64_t>(format_of(real));
    return interpolate_op().call(real, fake, weight);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[0].defined()) return variable_list(3);
    const auto saved = ctx->get_saved_variables();
    const Tensor weight = saved[0];
    const bool with_real = ctx->needs_input_grad(0), with_fake = ctx->needs_input_grad(1);
    const Tensor grad = grads[0].contiguous(static_cast<at::MemoryFormat>(ctx->saved_data["layout"].toInt()));
    Tensor d_real, d_fake, d_weight;
    if (with_real || with_fake)
      std::tie(d_real, d_fake) = interpolate_backward_op().call(grad, weight, with_real, with_fake);
    if (ctx->needs_input_grad(2)) d_weight = weight_grad_like(weight, grad, saved[1], saved[2]);
    return {with_real ? d_real : Tensor(), with_fake ? d_fake : Tensor(), d_weight};
  }
};

Tensor interpolate_autograd(const Tensor& real, const Tensor& fake, const Tensor& weight) {
  if (records_gradient({real, fake, weight})) return Forward::apply(real, fake, weight);
  const at::AutoDispatchBelowADInplaceOrView guard;
  return interpolate_op().call(real, fake, weight);
}

std::tuple<Tensor, Tensor> interpolate_backward_autograd(const Tensor& grad, const Tensor& weight, bool with_real,
                                                         bool with_fake) {
  if (records_gradient({grad, weight})) {
    auto outputs = Backward::apply(grad, weight, with_real, with_fake);
    return {outputs[0], outputs[1]};
  }
  const at::AutoDispatchBelowADInplaceOrView guard;
  return interpolate_backward_op().call(grad, weight, with_real, with_fake);
}

Tensor interpolate_weight_grad_autograd(const Tensor& grad, const Tensor& real, const Tensor& fake) {
  if (records_gradient({grad, real, fake})) return WeightGrad::apply(grad, real, fake);
  const at::AutoDispatchBelowADInplaceOrView guard;
  return interpolate_weight_grad_op().call(grad, real, fake);
}

void register_kernels(torch::Library& m) {
  m.impl("interpolate", interpolate);
  m.impl("interpolate_backward", interpolate_backward);
  m.impl("interpolate_weight_grad", interpolate_weight_grad);
}

TORCH_LIBRARY_IMPL(gan_ops, CPU, m) {
  register_kernels(m);
}
TORCH_LIBRARY_IMPL(gan_ops, CUDA, m) {
  register_kernels(m);
}
TORCH_LIBRARY_IMPL(gan_ops, Autograd, m) {
  m.impl("interpolate", interpolate_autograd);
  m.impl("interpolate_backward", interpolate_backward_autograd);
  m.impl("interpolate_weight_grad", interpolate_weight_grad_autograd);
}

}  // namespace
}  // namespace gan_ops
