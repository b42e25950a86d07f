// The minibatch_discrimination family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "minibatch_discrimination.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>

#include "common.h"

namespace gan_ops {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

void check_features(const Tensor& m) {
  TORCH_CHECK_VALUE(m.dim() == 3 && m.size(1) >= 1 && m.size(2) >= 1,
                    "m must be [N, B, C] with at least one kernel and one dimension, but its shape is ", m.sizes());
  dtype_of(m, "m");
}

DiscriminationLayout layout_of(const Tensor& m) {
  return {m.size(0), m.size(1), m.size(2)};
}

/// [N, B]: the shape of the output and its cotangent.
std::vector<int64_t> out_sizes(const Tensor& m) {
  return {m.size(0), m.size(1)};
}

/// Undefined where the kernels need none: an empty tensor costs the host as much as a full one.
Tensor workspace_for(const Tensor& m, bool for_d_m) {
  const auto type = accumulate_type(m);
  const DiscriminationLayout layout = layout_of(m);
  const bool in_place = !for_d_m || m.scalar_type() == type;
  const int64_t size = m.is_cpu() ? discrimination_workspace(layout, at::get_num_threads())
                       : in_place ? 0
                                  : discrimination_totals(layout);
  return size > 0 ? at::empty({size}, m.options().dtype(type)) : Tensor();
}

void* data_of(const Tensor& workspace) {
  return workspace.defined() ? workspace.mutable_data_ptr() : nullptr;
}

// ---- Kernels' entry points ----

Tensor minibatch_discrimination(const Tensor& m_any, bool include_self) {
  check_features(m_any);
  const Tensor m = m_any.contiguous();
  Tensor out = at::empty(out_sizes(m), m.options());
  if (m.numel() == 0) return out;
  const Tensor workspace = workspace_for(m, /*for_d_m=*/false);
  run_kernel(DiscriminationForwardArgs{m.const_data_ptr(), out.mutable_data_ptr(), data_of(workspace), layout_of(m),
                                       include_self},
             m);
  return out;
}

Tensor minibatch_discrimination_backward(const Tensor& grad_any, const Tensor& m_any) {
  check_features(m_any);
  check_matches(grad_any, "grad", out_sizes(m_any), m_any.scalar_type(), m_any.device());
  const Tensor m = m_any.contiguous(), grad = grad_any.contiguous();
  Tensor d_m = at::empty_like(m);
  if (m.numel() == 0) return d_m;
  const Tensor workspace = workspace_for(m, /*for_d_m=*/true);
  run_kernel(DiscriminationBackwardArgs{grad.const_data_ptr(), m.const_data_ptr(), d_m.mutable_data_ptr(),
                                        data_of(workspace), layout_of(m)},
             m);
  return d_m;
}

std::tuple<Tensor, Tensor> minibatch_discrimination_double_backward(const Tensor& v_any, const Tensor& grad_any,
                                                                    const Tensor& m_any) {
  check_features(m_any);
  check_matches(grad_any, "grad", out_sizes(m_any), m_any.scalar_type(), m_any.device());
  check_matches(v_any, "v", m_any.sizes(), m_any.scalar_type(), m_any.device());
  const Tensor m = m_any.contiguous(), grad = grad_any.contiguous(), v = v_any.contiguous();
  Tensor d_grad = at::empty_like(grad), d_m = at::empty_like(m);
  if (m.numel() == 0) return {d_grad, d_m};
  const Tensor workspace = workspace_for(m, /*for_d_m=*/true);
  run_kernel(DiscriminationDoubleBackwardArgs{v.const_data_ptr(), grad.const_data_ptr(), m.const_data_ptr(),
                                              d_grad.mutable_data_ptr(), d_m.mutable_data_ptr(), data_of(workspace),
                                              layout_of(m)},
             m);
  return {d_grad, d_m};
}

// ---- Derivatives ----

auto minibatch_discrimination_op() {
  static const auto op = find_op<decltype(minibatch_discrimination)>("gan_ops::minibatch_discrimination");
  return op;
}
auto minibatch_discrimination_backward_op() {
  static const auto op =
      find_op<decltype(minibatch_discrimination_backward)>("gan_ops::minibatch_discrimination_backward");
  return op;
}
auto minibatch_discrimination_double_backward_op() {
  static const auto op =
      find_op<decltype(minibatch_discrimination_double_backward)>("gan_ops::minibatch_discrimination_double_backward");
  return op;
}

struct Backward : torch::autograd::Function<Backward> {
  static Tensor forward(AutogradContext* ctx, const Tensor& grad, const Tensor& m) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({grad, m});
    return minibatch_discrimination_backward_op().call(grad, m);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& v) {
    if (!v[0].defined()) return variable_list(2);
    const auto saved = ctx->get_saved_variables();
    auto [d_grad, d_m] = minibatch_discrimination_double_backward_op().call(v[0], saved[0], saved[1]);
    return {d_grad, d_m};
  }
};

struct Forward : torch::autograd::Function<Forward> {
  static Tensor forward(AutogradContext* ctx, const Tensor& m, bool include_self) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({m});
    return minibatch_discrimination_op().call(m, include_self);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[0].defined()) return variable_list(2);
    return {minibatch_discrimination_backward_op().call(grads[0], ctx->get_saved_variables()[0]), Tensor()};
  }
};

Tensor minibatch_discrimination_autograd(const Tensor& m, bool include_self) {
  if (records_gradient({m})) return Forward::apply(m, include_self);
  const at::AutoDispatchBelowADInplaceOrView guard;
  return minibatch_discrimination_op().call(m, include_self);
}

Tensor minibatch_discrimination_backward_autograd(const Tensor& grad, const Tensor& m) {
  if (records_gradient({grad, m})) return Backward::apply(grad, m);
  const at::AutoDispatchBelowADInplaceOrView guard;
  return minibatch_discrimination_backward_op().call(grad, m);
}

/// The derivative of the double backward: there is none, since torch's own ops would need N·N·B·C numbers for it.
struct DoubleBackward : torch::autograd::Function<DoubleBackward> {
  static variable_list forward(AutogradContext* ctx, const Tensor& v, const Tensor& grad, const Tensor& m) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    ctx->set_materialize_grads(false);
    auto [d_grad, d_m] = minibatch_discrimination_double_backward_op().call(v, grad, m);
    return {d_grad, d_m};
  }
  static variable_list backward(AutogradContext*, const variable_list& grads) {
    for (const Tensor& grad : grads)
      TORCH_CHECK_NOT_IMPLEMENTED(!grad.defined(),
                                  "minibatch_discrimination has no third derivative, because it would need N·N·B·C "
                                  "numbers; gan_ops.use_reference() has it, at that price");
    return variable_list(3);
  }
};

std::tuple<Tensor, Tensor> minibatch_discrimination_double_backward_autograd(const Tensor& v, const Tensor& grad,
                                                                             const Tensor& m) {
  if (records_gradient({v, grad, m})) {
    auto outputs = DoubleBackward::apply(v, grad, m);
    return {outputs[0], outputs[1]};
  }
  const at::AutoDispatchBelowADInplaceOrView guard;
  return minibatch_discrimination_double_backward_op().call(v, grad, m);
}

void register_kernels(torch::Library& m) {
  m.impl("minibatch_discrimination", minibatch_discrimination);
  m.impl("minibatch_discrimination_backward", minibatch_discrimination_backward);
  m.impl("minibatch_discrimination_double_backward", minibatch_discrimination_double_backward);
}

TORCH_LIBRARY_IMPL(gan_ops, CPU, m) {
  register_kernels(m);
}
TORCH_LIBRARY_IMPL(gan_ops, CUDA, m) {
  register_kernels(m);
}
TORCH_LIBRARY_IMPL(gan_ops, Autograd, m) {
  m.impl("minibatch_discrimination", minibatch_discrimination_autograd);
  m.impl("minibatch_discrimination_backward", minibatch_discrimination_backward_autograd);
  m.impl("minibatch_discrimination_double_backward", minibatch_discrimination_double_backward_autograd);
}

}  // namespace
}  // namespace gan_ops
