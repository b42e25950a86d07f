// The minibatch_discrimination family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "minibatch_discrimination.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <tuple>

#include "op.h"

namespace gan_ops {
namespace minibatch_discrimination_family {

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

constexpr Op<"minibatch_discrimination", minibatch_discrimination> op;
constexpr Op<"minibatch_discrimination_backward", minibatch_discrimination_backward> backward_op;
constexpr Op<"minibatch_discrimination_double_backward", minibatch_discrimination_double_backward> double_backward_op;

Tensors derivative(const Kept& kept, const Tensors& grads) {
  return {backward_op(grads[0], kept[0])};
}

Tensor minibatch_discrimination_autograd(const Tensor& m, bool include_self) {
  return recorded({m}, derivative, [&](const Keep& keep) {
    keep({m});
    return op.below_autograd(m, include_self);
  });
}

Tensors derivative_of_backward(const Kept& kept, const Tensors& v) {
  return as_list(double_backward_op(v[0], kept[0], kept[1]));
}

Tensor minibatch_discrimination_backward_autograd(const Tensor& grad, const Tensor& m) {
  return recorded({grad, m}, derivative_of_backward, [&](const Keep& keep) {
    keep({grad, m});
    return backward_op.below_autograd(grad, m);
  });
}

/// The derivative of the double backward: there is none, since torch's own ops would need N·N·B·C numbers for it.
Tensors derivative_of_double_backward(const Kept&, const Tensors&) {
  TORCH_CHECK_NOT_IMPLEMENTED(false,
                              "minibatch_discrimination has no third derivative, because it would need N·N·B·C "
                              "numbers; gan_ops.use_reference() has it, at that price");
}

std::tuple<Tensor, Tensor> minibatch_discrimination_double_backward_autograd(const Tensor& v, const Tensor& grad,
                                                                             const Tensor& m) {
  return recorded({v, grad, m}, derivative_of_double_backward,
                  [&](const Keep&) { return double_backward_op.below_autograd(v, grad, m); });
}

const Registration registrations[] = {
    {op, minibatch_discrimination_autograd},
    {backward_op, minibatch_discrimination_backward_autograd},
    {double_backward_op, minibatch_discrimination_double_backward_autograd},
};

}  // namespace minibatch_discrimination_family
}  // namespace gan_ops
