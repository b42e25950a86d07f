// The virtual_batch_norm family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "virtual_batch_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <optional>
#include <tuple>

#include "op.h"

namespace gan_ops {
namespace virtual_batch_norm_family {

using FiveTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

// ---- Arguments ----

void check_arguments(const Tensor& x, const Tensor& reference_mean, const Tensor& reference_var,
                     const MaybeTensor& weight, const MaybeTensor& bias, double own, double eps) {
  check_feature_map(x, "x");
  TORCH_CHECK_VALUE(own >= 0 && own <= 1, "own must be between 0 and 1, but is ", own);
  check_eps(eps);
  check_channels(reference_mean, "reference_mean", x);
  check_channels(reference_var, "reference_var", x);
  if (weight) check_channels(*weight, "weight", x);
  if (bias) check_channels(*bias, "bias", x);
}

void check_saved(const Tensor& grad, const Tensor& x, const Tensor& mean, const Tensor& rstd,
                 const Tensor& reference_mean, const Tensor& reference_var, const MaybeTensor& weight, double own,
                 double eps) {
  check_arguments(x, reference_mean, reference_var, weight, std::nullopt, own, eps);
  check_matches(grad, "grad", x.sizes(), x.scalar_type(), x.device());
  check_matches(mean, "mean", {x.size(0), x.size(1)}, accumulate_type(x), x.device());
  check_matches(rstd, "rstd", {x.size(0), x.size(1)}, accumulate_type(x), x.device());
}

at::TensorOptions wide(const Tensor& x) {
  return x.options().dtype(accumulate_type(x));
}

VbnLayout vbn_layout(const Tensor& x) {
  const int64_t pixels = pixels_of(x);
  return {x.size(0), x.size(1), pixels, is_channels_last(x) || pixels == 1};
}

/// Scratch of the CUDA kernels of a formula; undefined where they need none.
template <class Formula>
Tensor scratch_for(const Tensor& x, const VbnLayout& layout) {
  const int64_t values = vbn_cuda_scratch<Formula>(layout);
  return x.is_cuda() && values > 0 ? at::empty({values}, wide(x)) : Tensor();
}

/// An argument [C] as the kernels read it; undefined without one, which stands for zeros, of a weight for ones.
Tensor channels_or_none(const MaybeTensor& values, const Tensor& x) {
  return values ? channel_values(*values, x, 0) : Tensor();
}

void* data(const Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr() : nullptr;
}
const void* const_data(const Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr() : nullptr;
}

// ---- Kernels' entry points ----

/// y, and the examples' means and reciprocal deviations [N, C] in the accumulate type.
std::tuple<Tensor, Tensor, Tensor> virtual_batch_norm(const Tensor& x_any, const Tensor& reference_mean_any,
                                                      const Tensor& reference_var_any, const MaybeTensor& weight_any,
                                                      const MaybeTensor& bias_any, double own, double eps) {
  check_arguments(x_any, reference_mean_any, reference_var_any, weight_any, bias_any, own, eps);
  const Tensor x = dense(x_any);
  Tensor y = at::empty_like(x);
  Tensor mean = at::empty({x.size(0), x.size(1)}, wide(x)), rstd = at::empty_like(mean);
  if (x.numel() == 0) return {y, mean.zero_(), rstd.zero_()};
  const Tensor reference_mean = channel_values(reference_mean_any, x, 0),
               reference_var = channel_values(reference_var_any, x, 0);
  const Tensor weight = channels_or_none(weight_any, x), bias = channels_or_none(bias_any, x);
  const auto layout = vbn_layout(x);
  Tensor scratch = scratch_for<VbnForward<float>>(x, layout);
  run_kernel(VbnForwardArgs{.x = x.const_data_ptr(),
                            .reference_mean = reference_mean.const_data_ptr(),
                            .reference_var = reference_var.const_data_ptr(),
                            .weight = const_data(weight),
                            .bias = const_data(bias),
                            .y = data(y),
                            .mean = data(mean),
                            .rstd = data(rstd),
                            .scratch = data(scratch),
                            .layout = layout,
                            .own = own,
                            .eps = eps},
             x);
  return {y, mean, rstd};
}

/// Returns d_x and, in the accumulate type, the gradients [C] of weight, bias, reference_mean and reference_var. Those
/// that are not asked for are empty.
FiveTensors virtual_batch_norm_backward(const Tensor& grad_any, const Tensor& x_any, const Tensor& mean_any,
                                        const Tensor& rstd_any, const Tensor& reference_mean_any,
                                        const Tensor& reference_var_any, const MaybeTensor& weight_any, double own,
                                        double eps, bool with_x, bool with_channels) {
  check_saved(grad_any, x_any, mean_any, rstd_any, reference_mean_any, reference_var_any, weight_any, own, eps);
  const Tensor x = dense(x_any), grad = dense_like(grad_any, x);
  Tensor d_x = with_x ? at::empty_like(x) : at::empty({0}, x.options());
  const auto channel_sums = [&] {
    const int64_t size = with_channels ? x.size(1) : 0;
    return x.numel() == 0 ? at::zeros({size}, wide(x)) : at::empty({size}, wide(x));
  };
  Tensor d_weight = channel_sums(), d_bias = channel_sums(), d_mean = channel_sums(), d_var = channel_sums();
  if (x.numel() == 0) return {d_x, d_weight, d_bias, d_mean, d_var};
  const Tensor mean = mean_any.contiguous(), rstd = rstd_any.contiguous();
  const Tensor reference_mean = channel_values(reference_mean_any, x, 0), weight = channels_or_none(weight_any, x);
  const auto layout = vbn_layout(x);
  using Formula = VbnBackward<float>;
  Tensor kept = with_channels ? at::empty({Formula::kKept * layout.rows()}, wide(x)) : Tensor();
  Tensor scratch = scratch_for<Formula>(x, layout);
  run_kernel(VbnBackwardArgs{.g = grad.const_data_ptr(),
                             .x = x.const_data_ptr(),
                             .mean = mean.const_data_ptr(),
                             .rstd = rstd.const_data_ptr(),
                             .reference_mean = reference_mean.const_data_ptr(),
                             .weight = const_data(weight),
                             .d_x = with_x ? data(d_x) : nullptr,
                             .d_weight = data(d_weight),
                             .d_bias = data(d_bias),
                             .d_reference_mean = data(d_mean),
                             .d_reference_var = data(d_var),
                             .kept = data(kept),
                             .scratch = data(scratch),
                             .layout = layout,
                             .own = own},
             x);
  return {d_x, d_weight, d_bias, d_mean, d_var};
}

/// Returns the gradients of grad and x and, in the accumulate type, those [C] of weight, reference_mean and
/// reference_var, which are empty without `with_channels`.
FiveTensors virtual_batch_norm_double_backward(const MaybeTensor& v_any, const MaybeTensor& v_weight_any,
                                               const MaybeTensor& v_bias_any, const MaybeTensor& v_reference_mean_any,
                                               const MaybeTensor& v_reference_var_any, const Tensor& grad_any,
                                               const Tensor& x_any, const Tensor& mean_any, const Tensor& rstd_any,
                                               const Tensor& reference_mean_any, const Tensor& reference_var_any,
                                               const MaybeTensor& weight_any, double own, double eps,
                                               bool with_channels) {
  check_saved(grad_any, x_any, mean_any, rstd_any, reference_mean_any, reference_var_any, weight_any, own, eps);
  if (v_any) check_matches(*v_any, "v", x_any.sizes(), x_any.scalar_type(), x_any.device());
  const auto check_cotangent = [&](const MaybeTensor& cotangent, const char* name) {
    if (cotangent) check_channels(*cotangent, name, x_any);
  };
  check_cotangent(v_weight_any, "v_weight");
  check_cotangent(v_bias_any, "v_bias");
  check_cotangent(v_reference_mean_any, "v_reference_mean");
  check_cotangent(v_reference_var_any, "v_reference_var");

  const Tensor x = dense(x_any), grad = dense_like(grad_any, x);
  Tensor d_grad = at::empty_like(x), d_x = at::empty_like(x);
  const auto channel_sums = [&] {
    const int64_t size = with_channels ? x.size(1) : 0;
    return x.numel() == 0 ? at::zeros({size}, wide(x)) : at::empty({size}, wide(x));
  };
  Tensor d_weight = channel_sums(), d_mean = channel_sums(), d_var = channel_sums();
  if (x.numel() == 0) return {d_grad, d_x, d_weight, d_mean, d_var};
  const Tensor v = v_any ? dense_like(*v_any, x) : Tensor();
  const Tensor v_weight = channels_or_none(v_weight_any, x), v_bias = channels_or_none(v_bias_any, x);
  const Tensor v_mean = channels_or_none(v_reference_mean_any, x), v_var = channels_or_none(v_reference_var_any, x);
  const Tensor mean = mean_any.contiguous(), rstd = rstd_any.contiguous();
  const Tensor reference_mean = channel_values(reference_mean_any, x, 0), weight = channels_or_none(weight_any, x);
  const auto layout = vbn_layout(x);
  using Formula = VbnDoubleBackward<float>;
  Tensor kept = with_channels ? at::empty({Formula::kKept * layout.rows()}, wide(x)) : Tensor();
  Tensor scratch = scratch_for<Formula>(x, layout);
  run_kernel(VbnDoubleBackwardArgs{.u = const_data(v),
                                   .u_weight = const_data(v_weight),
                                   .u_bias = const_data(v_bias),
                                   .u_reference_mean = const_data(v_mean),
                                   .u_reference_var = const_data(v_var),
                                   .g = grad.const_data_ptr(),
                                   .x = x.const_data_ptr(),
                                   .mean = mean.const_data_ptr(),
                                   .rstd = rstd.const_data_ptr(),
                                   .reference_mean = reference_mean.const_data_ptr(),
                                   .weight = const_data(weight),
                                   .d_g = data(d_grad),
                                   .d_x = data(d_x),
                                   .d_weight = data(d_weight),
                                   .d_reference_mean = data(d_mean),
                                   .d_reference_var = data(d_var),
                                   .kept = data(kept),
                                   .scratch = data(scratch),
                                   .layout = layout,
                                   .own = own},
             x);
  return {d_grad, d_x, d_weight, d_mean, d_var};
}

// ---- Derivatives ----

constexpr Op<"virtual_batch_norm", virtual_batch_norm> op;
constexpr Op<"virtual_batch_norm_backward", virtual_batch_norm_backward> backward_op;
constexpr Op<"virtual_batch_norm_double_backward", virtual_batch_norm_double_backward> double_backward_op;

// In the ops that take them, mean and rstd are the values that the forward pass kept, not variables of their own: the
// derivatives to x and to the reference statistics count their dependence on these.
void check_constant(const Tensor& mean, const Tensor& rstd) {
  TORCH_CHECK_VALUE(!mean.requires_grad() && !rstd.requires_grad(),
                    "mean and rstd must be the values that virtual_batch_norm returned, which have no gradient");
}

/// A gradient [C] in the type of what it belongs to; undefined for an argument that was absent.
Tensor gradient_of(const Tensor& argument, const Tensor& gradient) {
  return argument.defined() ? gradient.to(argument.scalar_type()) : Tensor();
}

Tensors derivative(const Kept& kept, const Tensors& grads) {
  const Tensor &x = kept[0], &reference_mean = kept[3], &reference_var = kept[4], &weight = kept[5];
  const auto [own, eps, bias_type] = kept.options<double, double, at::ScalarType>();
  const bool with_x = kept.wants(0), with_bias = kept.wants(4);
  const bool with_channels = kept.wants(1) || kept.wants(2) || kept.wants(3) || with_bias;
  auto [d_x, d_weight, d_bias, d_mean, d_var] =
      backward_op(grads[0], x, kept[1], kept[2], reference_mean, reference_var, if_defined(weight), own, eps, with_x,
                  with_channels);
  if (!with_x) d_x = Tensor();
  if (!with_channels) return {d_x};
  return {d_x, gradient_of(reference_mean, d_mean), gradient_of(reference_var, d_var), gradient_of(weight, d_weight),
          with_bias ? d_bias.to(bias_type) : Tensor()};
}

std::tuple<Tensor, Tensor, Tensor> virtual_batch_norm_autograd(const Tensor& x, const Tensor& reference_mean,
                                                               const Tensor& reference_var, const MaybeTensor& weight,
                                                               const MaybeTensor& bias, double own, double eps) {
  return recorded({x, reference_mean, reference_var, weight, bias}, derivative, [&](const Keep& keep) {
    auto [y, mean, rstd] = op.below_autograd(x, reference_mean, reference_var, weight, bias, own, eps);
    keep({x, mean, rstd, reference_mean, reference_var, weight}, own, eps, (bias ? *bias : x).scalar_type());
    keep.constants({mean, rstd});
    return std::tuple(y, mean, rstd);
  });
}

Tensors derivative_of_backward(const Kept& kept, const Tensors& cotangents) {
  const Tensor &reference_mean = kept[4], &reference_var = kept[5], &weight = kept[6];
  const auto [own, eps, with_x, with_channels] = kept.options<double, double, bool, bool>();
  // Outputs that were not asked for are empty, and so are their cotangents.
  MaybeTensor v[5];
  for (int k = 0; k < 5; ++k)
    if (k == 0 ? with_x : with_channels) v[k] = if_defined(cotangents[k]);
  if (std::none_of(std::begin(v), std::end(v), [](const MaybeTensor& each) { return each.has_value(); })) return {};
  const bool wants_channels = kept.wants(2) || kept.wants(3) || kept.wants(4);
  auto [d_grad, d_x, d_weight, d_mean, d_var] =
      double_backward_op(v[0], v[1], v[2], v[3], v[4], kept[0], kept[1], kept[2], kept[3], reference_mean,
                         reference_var, if_defined(weight), own, eps, wants_channels);
  if (!wants_channels) return {d_grad, d_x};
  return {d_grad, d_x, gradient_of(reference_mean, d_mean), gradient_of(reference_var, d_var),
          gradient_of(weight, d_weight)};
}

FiveTensors virtual_batch_norm_backward_autograd(const Tensor& grad, const Tensor& x, const Tensor& mean,
                                                 const Tensor& rstd, const Tensor& reference_mean,
                                                 const Tensor& reference_var, const MaybeTensor& weight, double own,
                                                 double eps, bool with_x, bool with_channels) {
  check_constant(mean, rstd);
  return recorded({grad, x, reference_mean, reference_var, weight}, derivative_of_backward, [&](const Keep& keep) {
    keep({grad, x, mean, rstd, reference_mean, reference_var, weight}, own, eps, with_x, with_channels);
    return backward_op.below_autograd(grad, x, mean, rstd, reference_mean, reference_var, weight, own, eps, with_x,
                                      with_channels);
  });
}

// Third and higher derivatives are rare: there the formula of math/virtual_batch_norm.h in torch's own ops takes the
// kernel's place, and torch differentiates it. It starts from x itself, so that mean and rstd are not constants in it.
FiveTensors double_backward_formula(const MaybeTensor& v, const MaybeTensor& v_weight, const MaybeTensor& v_bias,
                                    const MaybeTensor& v_reference_mean, const MaybeTensor& v_reference_var,
                                    const Tensor& grad, const Tensor& x, const Tensor& reference_mean,
                                    const Tensor& reference_var, const MaybeTensor& weight, double own, double eps,
                                    bool with_channels) {
  const auto type = accumulate_type(x);
  c10::SymInt pixels = 1;
  for (int64_t axis = 2; axis < x.dim(); ++axis) pixels = pixels * x.sym_size(axis);
  const auto flat = [&](const Tensor& t) {  // [N, C, *] → [N, C, P]
    return t.to(type).reshape_symint({x.sym_size(0), x.sym_size(1), pixels});
  };
  const auto on_channels = [&](const MaybeTensor& t, double otherwise) {  // [C] → [C, 1]
    return t ? t->to(type).unsqueeze(1) : at::full({}, otherwise, x.options().dtype(type));
  };
  const auto sum = [](const Tensor& t) { return t.sum(2, /*keepdim=*/true); };  // [N, C, P] → [N, C, 1]
  const double other = 1 - own;
  const Tensor xw = flat(x), g = flat(grad), u = v ? flat(*v) : at::zeros_like(xw);
  const Tensor w = on_channels(weight, 1), u_w = on_channels(v_weight, 0), u_b = on_channels(v_bias, 0);
  const Tensor u_mean = on_channels(v_reference_mean, 0), u_var = on_channels(v_reference_var, 0);
  const Tensor ref_mean = on_channels(reference_mean, 0), ref_var = on_channels(reference_var, 0);

  const Tensor mean = xw.mean(2, /*keepdim=*/true), delta = mean - ref_mean;
  const Tensor variance = (xw - mean).square().mean(2, /*keepdim=*/true);
  const Tensor r = at::rsqrt(own * variance + other * (ref_var + own * delta * delta) + eps);
  const Tensor x_hat = r * (xw - (ref_mean + own * delta));
  const Tensor share = own / at::full_symint({}, pixels, xw.options());
  const Tensor s = sum(g), h = sum(g * x_hat), mean_u = u.mean(2, /*keepdim=*/true);
  const Tensor moved_mean = own * mean_u + other * u_mean;
  const Tensor shrink = share * r * sum(u * x_hat) + other * r * r * (0.5 * u_var - own * delta * u_mean);
  const Tensor kappa = u_w - w * shrink;
  const Tensor e = r * (sum(u * g) - s * moved_mean);
  const Tensor big_r = w * (e - 2 * h * shrink) + kappa * h;

  const Tensor d_grad = w * r * (u - moved_mean) + kappa * x_hat + u_b;
  const Tensor d_x = r * (kappa * (g - share * s) - share * (big_r * x_hat + w * r * h * (u - moved_mean)));
  const auto as_x = [&](const Tensor& t) { return t.reshape_symint(x.sym_sizes()).to(x.scalar_type()); };
  if (!with_channels) {
    const Tensor none = at::empty({0}, xw.options());
    return {as_x(d_grad), as_x(d_x), none, none.clone(), none.clone()};
  }
  const auto total = [](const Tensor& t) { return t.sum(at::IntArrayRef{0, 2}); };  // [N, C, 1] → [C]
  const Tensor d_mean = other * r * (own * r * (delta * big_r - w * h * (u_mean - mean_u)) - kappa * s);
  return {as_x(d_grad), as_x(d_x), total(e - h * shrink), total(d_mean), total(-0.5 * other * r * r * big_r)};
}

FiveTensors virtual_batch_norm_double_backward_autograd(const MaybeTensor& v, const MaybeTensor& v_weight,
                                                        const MaybeTensor& v_bias, const MaybeTensor& v_reference_mean,
                                                        const MaybeTensor& v_reference_var, const Tensor& grad,
                                                        const Tensor& x, const Tensor& mean, const Tensor& rstd,
                                                        const Tensor& reference_mean, const Tensor& reference_var,
                                                        const MaybeTensor& weight, double own, double eps,
                                                        bool with_channels) {
  check_constant(mean, rstd);
  if (records_gradient(
          {v, v_weight, v_bias, v_reference_mean, v_reference_var, grad, x, reference_mean, reference_var, weight}))
    return double_backward_formula(v, v_weight, v_bias, v_reference_mean, v_reference_var, grad, x, reference_mean,
                                   reference_var, weight, own, eps, with_channels);
  return double_backward_op.below_autograd(v, v_weight, v_bias, v_reference_mean, v_reference_var, grad, x, mean, rstd,
                                           reference_mean, reference_var, weight, own, eps, with_channels);
}

const Registration registrations[] = {
    {op, virtual_batch_norm_autograd},
    {backward_op, virtual_batch_norm_backward_autograd},
    {double_backward_op, virtual_batch_norm_double_backward_autograd},
};

}  // namespace virtual_batch_norm_family
}  // namespace gan_ops
