// The pair_distances family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "pair_distances.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>

#include <optional>
#include <string>
#include <tuple>

#include "op.h"

namespace gan_ops {
namespace pair_distances_family {

PairMetric metric_of(c10::string_view metric) {
  if (metric == "l1") return PairMetric::l1;
  if (metric == "l2") return PairMetric::l2;
  TORCH_CHECK_VALUE(metric == "squared", "metric must be \"l1\", \"l2\" or \"squared\", but is \"", metric, "\"");
  return PairMetric::squared;
}

PairMetric check_arguments(const Tensor& x, const Tensor& y, c10::string_view metric) {
  TORCH_CHECK_VALUE(x.dim() == 2 && x.size(1) >= 1, "x must be [N, D] with at least one feature, but its shape is ",
                    x.sizes());
  dtype_of(x, "x");
  TORCH_CHECK_VALUE(y.dim() == 2 && y.size(1) == x.size(1), "y must be [M, D] with the ", x.size(1),
                    " features of x, but its shape is ", y.sizes());
  check_matches(y, "y", y.sizes(), x.scalar_type(), x.device());
  return metric_of(metric);
}

PairLayout layout_of(const Tensor& x, const Tensor& y) {
  return {x.size(0), y.size(0), x.size(1)};
}

void check_pairs(const Tensor& tensor, const char* name, const Tensor& x, const Tensor& y) {
  check_matches(tensor, name, {x.size(0), y.size(0)}, accumulate_type(x), x.device());
}

/// The root that l2's derivatives divide by; the other metrics have no use for it.
Tensor check_distance(const MaybeTensor& distance, PairMetric metric, const Tensor& x, const Tensor& y) {
  if (metric != PairMetric::l2) return Tensor();
  TORCH_CHECK_VALUE(distance.has_value(), "distance must be what pair_distances returned, but is None");
  check_pairs(*distance, "distance", x, y);
  return distance->contiguous();
}

const void* data_of(const Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr() : nullptr;
}

template <class Args>
int64_t workspace_size(const Args& args, const Tensor& x) {
  if (x.is_cpu()) return pair_workspace_on_cpu(args, x.scalar_type() != accumulate_type(x));
#ifdef GAN_OPS_WITH_CUDA
  return pair_workspace_on_cuda(args);
#else
  return 0;
#endif
}

/// Runs the kernels with as much scratch as they need.
template <class Args>
void run_pairs(Args args, const Tensor& x) {
  const int64_t size = workspace_size(args, x);
  const Tensor workspace = size > 0 ? at::empty({size}, x.options().dtype(accumulate_type(x))) : Tensor();
  args.workspace = size > 0 ? workspace.mutable_data_ptr() : nullptr;
  run_kernel(args, x);
}

/// A gradient in the shape of x; without elements where nobody wants it.
Tensor gradient_like(const Tensor& x, bool wanted) {
  return wanted ? at::empty_like(x) : at::empty({0}, x.options());
}
void* data_if(const Tensor& gradient, bool wanted) {
  return wanted ? gradient.mutable_data_ptr() : nullptr;
}

// ---- Kernels' entry points ----

Tensor pair_distances(const Tensor& x_any, const Tensor& y_any, c10::string_view metric_name) {
  const PairMetric metric = check_arguments(x_any, y_any, metric_name);
  const Tensor x = x_any.contiguous(), y = y_any.contiguous();
  Tensor distance = at::empty({x.size(0), y.size(0)}, x.options().dtype(accumulate_type(x)));
  if (distance.numel() > 0)
    run_pairs(PairForwardArgs{x.const_data_ptr(), y.const_data_ptr(), distance.mutable_data_ptr(), nullptr,
                              layout_of(x, y), metric},
              x);
  return distance;
}

std::tuple<Tensor, Tensor> pair_distances_backward(const Tensor& grad_any, const Tensor& x_any, const Tensor& y_any,
                                                   const MaybeTensor& distance_any, c10::string_view metric_name,
                                                   bool with_x, bool with_y) {
  const PairMetric metric = check_arguments(x_any, y_any, metric_name);
  check_pairs(grad_any, "grad", x_any, y_any);
  const Tensor distance = check_distance(distance_any, metric, x_any, y_any);
  const Tensor x = x_any.contiguous(), y = y_any.contiguous(), grad = grad_any.contiguous();
  Tensor d_x = gradient_like(x, with_x), d_y = gradient_like(y, with_y);
  if (grad.numel() > 0)
    run_pairs(PairBackwardArgs{grad.const_data_ptr(), x.const_data_ptr(), y.const_data_ptr(), data_of(distance),
                               data_if(d_x, with_x), data_if(d_y, with_y), nullptr, layout_of(x, y), metric},
              x);
  else
    d_x.zero_(), d_y.zero_();
  return {d_x, d_y};
}

std::tuple<Tensor, Tensor, Tensor> pair_distances_double_backward(const Tensor& v_x_any, const Tensor& v_y_any,
                                                                  const Tensor& grad_any, const Tensor& x_any,
                                                                  const Tensor& y_any, const MaybeTensor& distance_any,
                                                                  c10::string_view metric_name) {
  const PairMetric metric = check_arguments(x_any, y_any, metric_name);
  check_pairs(grad_any, "grad", x_any, y_any);
  check_matches(v_x_any, "v_x", x_any.sizes(), x_any.scalar_type(), x_any.device());
  check_matches(v_y_any, "v_y", y_any.sizes(), x_any.scalar_type(), x_any.device());
  const Tensor distance = check_distance(distance_any, metric, x_any, y_any);
  const Tensor x = x_any.contiguous(), y = y_any.contiguous(), grad = grad_any.contiguous();
  const Tensor v_x = v_x_any.contiguous(), v_y = v_y_any.contiguous();
  const bool curved = metric != PairMetric::l1;
  Tensor d_grad = at::empty_like(grad), d_x = gradient_like(x, curved), d_y = gradient_like(y, curved);
  if (grad.numel() > 0)
    run_pairs(
        PairDoubleBackwardArgs{v_x.const_data_ptr(), v_y.const_data_ptr(), grad.const_data_ptr(), x.const_data_ptr(),
                               y.const_data_ptr(), data_of(distance), d_grad.mutable_data_ptr(), data_if(d_x, curved),
                               data_if(d_y, curved), nullptr, layout_of(x, y), metric},
        x);
  else
    d_x.zero_(), d_y.zero_();
  return {d_grad, d_x, d_y};
}

// ---- Derivatives ----

constexpr Op<"pair_distances", pair_distances> op;
constexpr Op<"pair_distances_backward", pair_distances_backward> backward_op;
constexpr Op<"pair_distances_double_backward", pair_distances_double_backward> double_backward_op;

// The distance that derivatives take is the value that forward returned, not a variable of its own: derivatives to x
// and y count its dependence on them.
void check_constant(const MaybeTensor& distance) {
  TORCH_CHECK_VALUE(!distance.has_value() || !is_differentiated(*distance),
                    "distance must be the value that pair_distances returned, detached");
}

Tensors derivative(const Kept& kept, const Tensors& grads) {
  const auto [metric] = kept.options<std::string>();
  const bool with_x = kept.wants(0), with_y = kept.wants(1);
  const MaybeTensor distance = kept[2].defined() ? MaybeTensor(kept[2].detach()) : std::nullopt;
  auto [d_x, d_y] = backward_op(grads[0], kept[0], kept[1], distance, metric, with_x, with_y);
  return {with_x ? d_x : Tensor(), with_y ? d_y : Tensor()};
}

Tensor pair_distances_autograd(const Tensor& x, const Tensor& y, c10::string_view metric) {
  return recorded({x, y}, derivative, [&](const Keep& keep) {
    const Tensor distance = op.below_autograd(x, y, metric);
    keep({x, y, metric == "l2" ? distance : Tensor()}, std::string(metric));
    return distance;
  });
}

Tensors derivative_of_backward(const Kept& kept, const Tensors& v) {
  const Tensor &grad = kept[0], &x = kept[1], &y = kept[2];
  const auto [metric] = kept.options<std::string>();
  const auto or_zeros = [](const Tensor& of, const Tensor& like) {
    return of.defined() && of.sizes() == like.sizes() ? of : at::zeros_like(like);
  };
  auto [d_grad, d_x, d_y] =
      double_backward_op(or_zeros(v[0], x), or_zeros(v[1], y), grad, x, y, if_defined(kept[3]), metric);
  if (metric == "l1") return {d_grad};
  return {d_grad, d_x, d_y};
}

std::tuple<Tensor, Tensor> pair_distances_backward_autograd(const Tensor& grad, const Tensor& x, const Tensor& y,
                                                            const MaybeTensor& distance, c10::string_view metric,
                                                            bool with_x, bool with_y) {
  check_constant(distance);
  return recorded({grad, x, y}, derivative_of_backward, [&](const Keep& keep) {
    keep({grad, x, y, distance}, std::string(metric));
    return backward_op.below_autograd(grad, x, y, distance, metric, with_x, with_y);
  });
}

/// The derivative of the double backward: there is none, since torch's own ops would need N·M·D numbers for it.
Tensors derivative_of_double_backward(const Kept&, const Tensors&) {
  TORCH_CHECK_NOT_IMPLEMENTED(false,
                              "pair_distances has no third derivative, because it would need N·M·D "
                              "numbers; gan_ops.use_reference() has it, at that price");
}

std::tuple<Tensor, Tensor, Tensor> pair_distances_double_backward_autograd(const Tensor& v_x, const Tensor& v_y,
                                                                           const Tensor& grad, const Tensor& x,
                                                                           const Tensor& y, const MaybeTensor& distance,
                                                                           c10::string_view metric) {
  check_constant(distance);
  return recorded({v_x, v_y, grad, x, y}, derivative_of_double_backward, [&](const Keep&) {
    return double_backward_op.below_autograd(v_x, v_y, grad, x, y, distance, metric);
  });
}

const Registration registrations[] = {
    {op, pair_distances_autograd},
    {backward_op, pair_distances_backward_autograd},
    {double_backward_op, pair_distances_double_backward_autograd},
};

}  // namespace pair_distances_family
}  // namespace gan_ops
