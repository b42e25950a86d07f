// The minibatch_stddev family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "minibatch_stddev.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <optional>
#include <tuple>

#include "op.h"

namespace gan_ops {
namespace minibatch_stddev_family {

using GroupSize = std::optional<int64_t>;  // none: the whole batch

void check_arguments(const Tensor& x, GroupSize group_size, int64_t num_channels, double eps) {
  check_feature_map(x, "x");
  check_eps(eps);
  TORCH_CHECK_VALUE(!group_size || *group_size >= 1, "group_size must be at least 1 or None, but is ", *group_size);
  TORCH_CHECK_VALUE(num_channels >= 1, "num_channels must be at least 1, but is ", num_channels);
  TORCH_CHECK_VALUE(x.size(1) % num_channels == 0, "num_channels=", num_channels, " does not divide the ", x.size(1),
                    " channels of x");
  const int64_t batch = x.size(0);
  TORCH_CHECK_VALUE(!group_size || batch == 0 || batch % std::min(*group_size, batch) == 0, "group_size=", *group_size,
                    " does not divide the batch of ", batch);
}

StddevLayout stddev_layout(const Tensor& x, GroupSize group_size, int64_t num_channels) {
  const int64_t batch = x.size(0), pixels = pixels_of(x), width = x.size(1) / num_channels;
  const int64_t group = group_size ? std::min(*group_size, batch) : batch;
  if (is_channels_last(x)) return {group, batch / group, num_channels, pixels, width, 1};
  return {group, batch / group, num_channels, 1, width * pixels, pixels};
}

std::vector<int64_t> out_sizes(const Tensor& x, int64_t num_channels) {
  auto sizes = x.sizes().vec();
  sizes[1] += num_channels;
  return sizes;
}

Tensor empty_out(const Tensor& x, int64_t num_channels) {
  return at::empty(out_sizes(x, num_channels), x.options(), format_of(x));
}

Tensor scratch(const Tensor& x, const StddevLayout& layout, int64_t positions) {
  return at::empty({layout.groups * layout.features * stddev_chunks(positions)}, x.options().dtype(accumulate_type(x)));
}

// ---- Kernels' entry points ----

Tensor minibatch_stddev(const Tensor& x_any, GroupSize group_size, int64_t num_channels, double eps) {
  check_arguments(x_any, group_size, num_channels, eps);
  const Tensor x = dense(x_any);
  Tensor out = empty_out(x, num_channels);
  if (x.numel() == 0) return out;
  const auto layout = stddev_layout(x, group_size, num_channels);
  Tensor partial = scratch(x, layout, layout.positions());
  run_kernel(StddevForwardArgs{x.const_data_ptr(), out.mutable_data_ptr(), partial.mutable_data_ptr(), layout, eps}, x);
  return out;
}

Tensor minibatch_stddev_backward(const Tensor& grad_any, const Tensor& x_any, GroupSize group_size,
                                 int64_t num_channels, double eps) {
  check_arguments(x_any, group_size, num_channels, eps);
  check_matches(grad_any, "grad", out_sizes(x_any, num_channels), x_any.scalar_type(), x_any.device());
  const Tensor x = dense(x_any), grad = dense_like(grad_any, x);
  Tensor d_x = at::empty_like(x);
  if (x.numel() == 0) return d_x;
  const auto layout = stddev_layout(x, group_size, num_channels);
  Tensor partial = scratch(x, layout, layout.group * layout.map_positions());
  run_kernel(StddevBackwardArgs{grad.const_data_ptr(), x.const_data_ptr(), d_x.mutable_data_ptr(),
                                partial.mutable_data_ptr(), layout, eps},
             x);
  return d_x;
}

std::tuple<Tensor, Tensor> minibatch_stddev_double_backward(const Tensor& v_any, const Tensor& grad_any,
                                                            const Tensor& x_any, GroupSize group_size,
                                                            int64_t num_channels, double eps) {
  check_arguments(x_any, group_size, num_channels, eps);
  check_matches(grad_any, "grad", out_sizes(x_any, num_channels), x_any.scalar_type(), x_any.device());
  check_matches(v_any, "v", x_any.sizes(), x_any.scalar_type(), x_any.device());
  const Tensor x = dense(x_any), grad = dense_like(grad_any, x), v = dense_like(v_any, x);
  Tensor d_grad = empty_out(x, num_channels), d_x = at::empty_like(x);
  if (x.numel() == 0) return {d_grad, d_x};
  const auto layout = stddev_layout(x, group_size, num_channels);
  Tensor partial = scratch(x, layout, layout.group * layout.map_positions());
  Tensor h_partial = scratch(x, layout, layout.positions());
  run_kernel(StddevDoubleBackwardArgs{v.const_data_ptr(), grad.const_data_ptr(), x.const_data_ptr(),
                                      d_grad.mutable_data_ptr(), d_x.mutable_data_ptr(), partial.mutable_data_ptr(),
                                      h_partial.mutable_data_ptr(), layout, eps},
             x);
  return {d_grad, d_x};
}

// ---- Derivatives ----

constexpr Op<"minibatch_stddev", minibatch_stddev> op;
constexpr Op<"minibatch_stddev_backward", minibatch_stddev_backward> backward_op;
constexpr Op<"minibatch_stddev_double_backward", minibatch_stddev_double_backward> double_backward_op;

Tensors derivative(const Kept& kept, const Tensors& grads) {
  const auto [group_size, num_channels, eps] = kept.options<GroupSize, int64_t, double>();
  return {backward_op(grads[0], kept[0], group_size, num_channels, eps)};
}

Tensor minibatch_stddev_autograd(const Tensor& x, GroupSize group_size, int64_t num_channels, double eps) {
  return recorded({x}, derivative, [&](const Keep& keep) {
    keep({x}, group_size, num_channels, eps);
    return op.below_autograd(x, group_size, num_channels, eps);
  });
}

Tensors derivative_of_backward(const Kept& kept, const Tensors& v) {
  const auto [group_size, num_channels, eps] = kept.options<GroupSize, int64_t, double>();
  return as_list(double_backward_op(v[0], kept[0], kept[1], group_size, num_channels, eps));
}

Tensor minibatch_stddev_backward_autograd(const Tensor& grad, const Tensor& x, GroupSize group_size,
                                          int64_t num_channels, double eps) {
  return recorded({grad, x}, derivative_of_backward, [&](const Keep& keep) {
    keep({grad, x}, group_size, num_channels, eps);
    return backward_op.below_autograd(grad, x, group_size, num_channels, eps);
  });
}

// Sizes are symbolic, since compilers trace this with unknown ones.
std::tuple<Tensor, Tensor> double_backward_formula(const Tensor& v, const Tensor& grad, const Tensor& x,
                                                   GroupSize group_size, int64_t num_channels, double eps) {
  const c10::SymInt batch = x.sym_size(0), group = group_size ? batch.min(*group_size) : batch;
  c10::SymInt pixels = 1;
  for (int64_t axis = 2; axis < x.dim(); ++axis) pixels = pixels * x.sym_size(axis);
  const c10::SymInt positions = x.sym_size(1) / num_channels * pixels;

  const auto in_groups = [&](const Tensor& t, const c10::SymInt& width) {  // [N, C or F, *] → [G, M, F, width]
    return t.to(accumulate_type(x)).reshape_symint({group, batch / group, num_channels, width});
  };
  const auto on_maps = [&](const Tensor& t) {  // [1, M, F, 1] → [N, F, *]
    auto sizes = x.sym_sizes().vec();
    sizes[1] = num_channels;
    return t.expand_symint({group, batch / group, num_channels, pixels}).reshape_symint(sizes).to(x.scalar_type());
  };
  const Tensor xw = in_groups(x, positions), vw = in_groups(v, positions);
  const Tensor maps = grad.narrow_symint(1, x.sym_size(1), num_channels);
  const Tensor t = in_groups(maps, pixels).sum(at::IntArrayRef{0, 3}, /*keepdim=*/true);
  const Tensor d = xw - xw.mean(0, /*keepdim=*/true);
  const Tensor sigma = (d.square().mean(0, /*keepdim=*/true) + eps).sqrt();
  const Tensor a = (vw * d / sigma).mean(0, /*keepdim=*/true);
  const Tensor h = a.mean(3, /*keepdim=*/true);
  const Tensor d_x = t * (vw - vw.mean(0, /*keepdim=*/true) - a * d / sigma) / sigma / at::Scalar(group * positions);
  return {at::cat({v, on_maps(h)}, 1), d_x.reshape_symint(x.sym_sizes()).to(x.scalar_type())};
}

std::tuple<Tensor, Tensor> minibatch_stddev_double_backward_autograd(const Tensor& v, const Tensor& grad,
                                                                     const Tensor& x, GroupSize group_size,
                                                                     int64_t num_channels, double eps) {
  if (records_gradient({v, grad, x}) && x.sym_size(0) != 0)
    return double_backward_formula(v, grad, x, group_size, num_channels, eps);
  return double_backward_op.below_autograd(v, grad, x, group_size, num_channels, eps);
}

const Registration registrations[] = {
    {op, minibatch_stddev_autograd},
    {backward_op, minibatch_stddev_backward_autograd},
    {double_backward_op, minibatch_stddev_double_backward_autograd},
};

}  // namespace minibatch_stddev_family
}  // namespace gan_ops
