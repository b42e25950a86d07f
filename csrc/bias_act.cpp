// The bias_act family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "bias_act.h"

#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <optional>
#include <tuple>

#include "op.h"

namespace gan_ops {
namespace bias_act_family {

void check_options(double negative_slope, double gain, double scale) {
  // The derivative is told from the sign of the output, which these keep that of the input.
  check_negative_slope(negative_slope);
  check_factor(gain, "gain");
  check_factor(scale, "scale");
}

// ---- Kernels' entry points ----

Tensor bias_act(const Tensor& x_any, const MaybeTensor& bias_any, double negative_slope, double gain, double scale) {
  check_feature_map(x_any, "x");
  check_options(negative_slope, gain, scale);
  const Tensor x = dense(x_any);
  Tensor bias;
  if (bias_any) {
    check_channels(*bias_any, "bias", x);
    bias = bias_any->to(accumulate_type(x)).contiguous();
  }
  Tensor y = at::empty_like(x);
  if (x.numel() > 0)
    run_kernel(BiasActForwardArgs{x.const_data_ptr(), bias.defined() ? bias.const_data_ptr() : nullptr,
                                  y.mutable_data_ptr(), channel_layout(x), negative_slope, gain, scale},
               x);
  return y;
}

/// Returns d_x and, in the accumulate type, d_bias [C]; without `with_bias` that is empty.
std::tuple<Tensor, Tensor> bias_act_backward(const Tensor& grad_any, const Tensor& y_any, bool with_bias,
                                             double negative_slope, double gain, double scale) {
  check_feature_map(y_any, "y");
  check_options(negative_slope, gain, scale);
  check_matches(grad_any, "grad", y_any.sizes(), y_any.scalar_type(), y_any.device());
  const Tensor y = dense(y_any), grad = dense_like(grad_any, y);
  const auto layout = channel_layout(y);
  const auto chunks = bias_act_chunks(layout);
  const auto wide = y.options().dtype(accumulate_type(y));
  Tensor d_x = at::empty_like(y);
  if (y.numel() == 0) return {d_x, at::zeros({with_bias ? y.size(1) : 0}, wide)};
  Tensor d_bias = at::empty({with_bias ? y.size(1) : 0}, wide);
  Tensor partial = at::empty({with_bias ? chunks.count() * y.size(1) : 0}, wide);
  run_kernel(BiasActBackwardArgs{grad.const_data_ptr(), y.const_data_ptr(), d_x.mutable_data_ptr(),
                                 with_bias ? d_bias.mutable_data_ptr() : nullptr, partial.mutable_data_ptr(), chunks,
                                 layout, negative_slope, gain, scale},
             y);
  return {d_x, d_bias};
}

// ---- Derivatives ----

constexpr Op<"bias_act", bias_act> op;
constexpr Op<"bias_act_backward", bias_act_backward> backward_op;

Tensors derivative(const Kept& kept, const Tensors& grads) {
  const auto [negative_slope, gain, scale, bias_type] = kept.options<double, double, double, at::ScalarType>();
  const bool with_bias = kept.wants(1);
  auto [d_x, d_bias] = backward_op(grads[0], kept[0], with_bias, negative_slope, gain, scale);
  if (!with_bias) return {d_x};
  return {d_x, d_bias.to(bias_type)};
}

Tensor bias_act_autograd(const Tensor& x, const MaybeTensor& bias, double negative_slope, double gain, double scale) {
  return recorded({x, bias}, derivative, [&](const Keep& keep) {
    const Tensor y = op.below_autograd(x, bias, negative_slope, gain, scale);
    keep({y}, negative_slope, gain, scale, (bias ? *bias : x).scalar_type());
    return y;
  });
}

Tensors derivative_of_backward(const Kept& kept, const Tensors& v) {
  const auto [negative_slope, gain, scale] = kept.options<double, double, double>();
  const Tensor& y = kept[0];
  Tensor of_both = v[0];
  double of_scale = scale;
  if (v[1].defined() && v[1].sym_size(0) != 0) {
    std::vector<int64_t> sizes(y.dim(), 1);
    sizes[1] = -1;
    // scale·v + v_bias, [C] → [N, C, *]: the bias's gradient lacks the scale that d_x has. Rounded once, and in range
    // where float16 does not hold v_bias/scale.
    const Tensor of_bias = v[1].reshape(sizes).expand_as(y);
    of_both = (of_both.defined() ? at::add(of_bias, of_both, scale) : of_bias).to(y.scalar_type());
    of_scale = 1;
  }
  if (!of_both.defined()) return {};
  return {std::get<0>(backward_op(of_both, y, /*with_bias=*/false, negative_slope, gain, of_scale))};
}

// d_x = g · φ′ is linear in g, and φ′ does not move with y, so y is no input: it gets no gradient, not a tensor of
// zeros, which torch would carry through all the layers below.
std::tuple<Tensor, Tensor> bias_act_backward_autograd(const Tensor& grad, const Tensor& y, bool with_bias,
                                                      double negative_slope, double gain, double scale) {
  return recorded({grad}, derivative_of_backward, [&](const Keep& keep) {
    keep({y}, negative_slope, gain, scale);
    return backward_op.below_autograd(grad, y, with_bias, negative_slope, gain, scale);
  });
}

const Registration registrations[] = {
    {op, bias_act_autograd},
    {backward_op, bias_act_backward_autograd},
};

}  // namespace bias_act_family
}  // namespace gan_ops
