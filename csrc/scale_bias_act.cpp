// The scale_bias_act family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "scale_bias_act.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <tuple>

#include "op.h"
#include "scale_bias_act_formula.h"

namespace gan_ops {
namespace scale_bias_act_family {

using FourTensors = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using FiveTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;
using MaybeNumber = std::optional<double>;

// ---- Arguments ----

Activation activation_of(c10::string_view act) {
  constexpr const char* kNames[] = {"linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"};
  for (int i = 0; i < static_cast<int>(std::size(kNames)); ++i)
    if (act == kNames[i]) return static_cast<Activation>(i);
  TORCH_CHECK_VALUE(false, "act must be linear, relu, lrelu, tanh, sigmoid, elu, selu, softplus or swish, but is \"",
                    act, "\"");
}

EpilogueOptions check_options(c10::string_view act, double alpha, double gain, MaybeNumber clamp) {
  TORCH_CHECK_VALUE(std::isfinite(alpha), "alpha must be finite, but is ", alpha);
  TORCH_CHECK_VALUE(std::isfinite(gain), "gain must be finite, but is ", gain);
  TORCH_CHECK_VALUE(!clamp || *clamp >= 0, "clamp must not be negative, but is ", clamp.value_or(0));
  return {activation_of(act), alpha, gain, clamp.value_or(-1)};
}

/// A scale [N, C] or a noise map [N, 1, *] or [1, 1, *] beside x [N, C, *], of any type that the kernels know.
void check_scale(const Tensor& scale, const char* name, const Tensor& x) {
  dtype_of(scale, name);
  check_matches(scale, name, {x.size(0), x.size(1)}, scale.scalar_type(), x.device());
}
void check_noise(const Tensor& noise, const char* name, const Tensor& x) {
  dtype_of(noise, name);
  auto sizes = scale_sizes(x);
  if (noise.dim() == x.dim() && noise.size(0) == 1) sizes[0] = 1;
  check_matches(noise, name, sizes, noise.scalar_type(), x.device());
}

/// The tensors that stand beside x, as the kernels read them; undefined where they are absent.
struct Parameters {
  Tensor scale, bias, noise;

  EpilogueParameters pointers(const Tensor& x) const {
    const auto data = [](const Tensor& t) { return t.defined() ? t.const_data_ptr() : nullptr; };
    return {data(scale), data(bias), data(noise), noise.defined() && noise.size(0) == x.size(0)};
  }
};
Parameters check_parameters(const MaybeTensor& scale, const MaybeTensor& bias, const MaybeTensor& noise,
                            const Tensor& x, std::array<const char*, 3> names) {
  if (scale) check_scale(*scale, names[0], x);
  if (bias) check_channels(*bias, names[1], x);
  if (noise) check_noise(*noise, names[2], x);
  const auto read = [&](const MaybeTensor& t) { return t ? t->to(accumulate_type(x)).contiguous() : Tensor(); };
  return {read(scale), read(bias), read(noise)};
}

EpilogueLayout layout_of(const Tensor& x) {
  const int64_t pixels = pixels_of(x);
  return {x.size(0), x.size(1), pixels, is_channels_last(x) || pixels == 1};
}

EpilogueChunks chunks_of(const Tensor& x) {
  return x.is_cpu() ? cpu_epilogue_chunks(layout_of(x)) : cuda_epilogue_chunks(layout_of(x), x.element_size());
}

// ---- Sums ----

/// The sums that are asked for, with their scratch; the others are empty.
class Sums {
 public:
  Tensor scale, bias, noise;

  Sums(const Tensor& x, bool with_scale, bool with_bias, const Tensor& noise_like) : chunks_(chunks_of(x)) {
    const int64_t samples = x.size(0), channels = x.size(1);
    const auto layout = layout_of(x);
    const int64_t of_pixels = layout.channels_adjacent ? chunks_.of_rows : chunks_.of_lanes;
    const int64_t of_channels = layout.channels_adjacent ? chunks_.of_lanes : chunks_.of_rows;
    const auto type = x.options().dtype(accumulate_type(x));
    const auto make = [&](bool wanted, at::IntArrayRef sizes) {
      if (!wanted) return at::empty({0}, type);
      return x.numel() == 0 ? at::zeros(sizes, type) : at::empty(sizes, type);
    };
    scale = make(with_scale, {samples, channels});
    bias = make(with_bias, {channels});
    noise = noise_like.defined() ? make(true, noise_like.sizes()) : make(false, {});
    if (x.numel() == 0) return;
    partial_scale_ = make(with_scale, {samples * of_pixels * channels});
    partial_bias_ = make(with_bias, {samples * of_pixels * channels});
    partial_noise_ = make(noise_like.defined(), {samples * of_channels * layout.pixels});
  }

  EpilogueSums pointers() const {
    const auto data = [](const Tensor& t) { return t.numel() > 0 ? t.mutable_data_ptr() : nullptr; };
    return {data(scale), data(bias), data(noise), data(partial_scale_), data(partial_bias_), data(partial_noise_)};
  }
  EpilogueChunks chunks() const { return chunks_; }

 private:
  EpilogueChunks chunks_;
  Tensor partial_scale_, partial_bias_, partial_noise_;
};

// ---- Kernels' entry points ----

Tensor scale_bias_act(const Tensor& x_any, const MaybeTensor& scale, const MaybeTensor& bias, const MaybeTensor& noise,
                      c10::string_view act, double alpha, double gain, MaybeNumber clamp) {
  check_feature_map(x_any, "x");
  const auto options = check_options(act, alpha, gain, clamp);
  const auto of = check_parameters(scale, bias, noise, x_any, {"scale", "bias", "noise"});
  const Tensor x = dense(x_any);
  Tensor y = at::empty_like(x);
  if (x.numel() > 0)
    run_kernel(ScaleBiasActForwardArgs{.x = x.const_data_ptr(),
                                       .of = of.pointers(x),
                                       .y = y.mutable_data_ptr(),
                                       .layout = layout_of(x),
                                       .options = options},
               x);
  return y;
}

/// Returns d_x and, in the accumulate type, the gradients of scale, bias and noise. Those that are not wanted are
/// empty.
FourTensors scale_bias_act_backward(const Tensor& grad_any, const Tensor& x_any, const MaybeTensor& scale,
                                    const MaybeTensor& bias, const MaybeTensor& noise, c10::string_view act,
                                    double alpha, double gain, MaybeNumber clamp, std::array<bool, 4> wanted) {
  check_feature_map(x_any, "x");
  const auto options = check_options(act, alpha, gain, clamp);
  const auto of = check_parameters(scale, bias, noise, x_any, {"scale", "bias", "noise"});
  check_matches(grad_any, "grad", x_any.sizes(), x_any.scalar_type(), x_any.device());
  const Tensor x = dense(x_any), grad = dense_like(grad_any, x);
  Tensor d_x = wanted[0] ? at::empty_like(x) : at::empty({0}, x.options());
  const Sums sums(x, wanted[1] && scale, wanted[2] && bias, wanted[3] ? of.noise : Tensor());
  if (x.numel() > 0)
    run_kernel(ScaleBiasActBackwardArgs{.g = grad.const_data_ptr(),
                                        .x = x.const_data_ptr(),
                                        .of = of.pointers(x),
                                        .d_x = wanted[0] ? d_x.mutable_data_ptr() : nullptr,
                                        .sums = sums.pointers(),
                                        .chunks = sums.chunks(),
                                        .layout = layout_of(x),
                                        .options = options},
               x);
  return {d_x, sums.scale, sums.bias, sums.noise};
}

/// Returns the gradients of grad and x and, in the accumulate type, of scale, bias and noise. Those that are not wanted
/// are empty.
FiveTensors scale_bias_act_double_backward(const MaybeTensor& v_any, const MaybeTensor& v_scale,
                                           const MaybeTensor& v_bias, const MaybeTensor& v_noise,
                                           const Tensor& grad_any, const Tensor& x_any, const MaybeTensor& scale,
                                           const MaybeTensor& bias, const MaybeTensor& noise, c10::string_view act,
                                           double alpha, double gain, MaybeNumber clamp, std::array<bool, 5> wanted) {
  check_feature_map(x_any, "x");
  const auto options = check_options(act, alpha, gain, clamp);
  const auto of = check_parameters(scale, bias, noise, x_any, {"scale", "bias", "noise"});
  const auto to = check_parameters(v_scale, v_bias, v_noise, x_any, {"v_scale", "v_bias", "v_noise"});
  check_matches(grad_any, "grad", x_any.sizes(), x_any.scalar_type(), x_any.device());
  if (v_any) check_matches(*v_any, "v", x_any.sizes(), x_any.scalar_type(), x_any.device());
  const Tensor x = dense(x_any), grad = dense_like(grad_any, x), v = v_any ? dense_like(*v_any, x) : Tensor();
  const auto like_x = [&](bool is_wanted) { return is_wanted ? at::empty_like(x) : at::empty({0}, x.options()); };
  Tensor d_grad = like_x(wanted[0]), d_x = like_x(wanted[1]);
  const Sums sums(x, wanted[2] && scale, wanted[3] && bias, wanted[4] ? of.noise : Tensor());
  if (x.numel() > 0)
    run_kernel(ScaleBiasActDoubleBackwardArgs{.v = v.defined() ? v.const_data_ptr() : nullptr,
                                              .to = to.pointers(x),
                                              .g = grad.const_data_ptr(),
                                              .x = x.const_data_ptr(),
                                              .of = of.pointers(x),
                                              .d_g = wanted[0] ? d_grad.mutable_data_ptr() : nullptr,
                                              .d_x = wanted[1] ? d_x.mutable_data_ptr() : nullptr,
                                              .sums = sums.pointers(),
                                              .chunks = sums.chunks(),
                                              .layout = layout_of(x),
                                              .options = options},
               x);
  return {d_grad, d_x, sums.scale, sums.bias, sums.noise};
}

// ---- Derivatives ----

constexpr Op<"scale_bias_act", scale_bias_act> op;
constexpr Op<"scale_bias_act_backward", scale_bias_act_backward> backward_op;
constexpr Op<"scale_bias_act_double_backward", scale_bias_act_double_backward> double_backward_op;

/// A gradient in the type of what it belongs to; undefined for what is not wanted.
Tensor gradient_of(const Tensor& argument, const Tensor& gradient, bool wanted) {
  return wanted ? gradient.to(argument.scalar_type()) : Tensor();
}

Tensors derivative(const Kept& kept, const Tensors& grads) {
  const Tensor &x = kept[0], &scale = kept[1], &bias = kept[2], &noise = kept[3];
  const auto [act, alpha, gain, clamp] = kept.options<std::string, double, double, MaybeNumber>();
  const std::array<bool, 4> wanted = {kept.wants(0), kept.wants(1), kept.wants(2), kept.wants(3)};
  auto [d_x, d_scale, d_bias, d_noise] =
      backward_op(grads[0], x, if_defined(scale), if_defined(bias), if_defined(noise), act, alpha, gain, clamp, wanted);
  return {wanted[0] ? d_x : Tensor(), gradient_of(scale, d_scale, wanted[1]), gradient_of(bias, d_bias, wanted[2]),
          gradient_of(noise, d_noise, wanted[3])};
}

Tensor scale_bias_act_autograd(const Tensor& x, const MaybeTensor& scale, const MaybeTensor& bias,
                               const MaybeTensor& noise, c10::string_view act, double alpha, double gain,
                               MaybeNumber clamp) {
  return recorded({x, scale, bias, noise}, derivative, [&](const Keep& keep) {
    keep({x, scale, bias, noise}, std::string(act), alpha, gain, clamp);
    return op.below_autograd(x, scale, bias, noise, act, alpha, gain, clamp);
  });
}

Tensors derivative_of_backward(const Kept& kept, const Tensors& cotangents) {
  const Tensor &grad = kept[0], &x = kept[1], &scale = kept[2], &bias = kept[3], &noise = kept[4];
  const auto [act, alpha, gain, clamp, with_x, with_scale, with_bias, with_noise] =
      kept.options<std::string, double, double, MaybeNumber, bool, bool, bool, bool>();
  // Outputs that were not asked for are empty, and so are their cotangents.
  const auto cotangent = [&](int k, bool with) { return with ? if_defined(cotangents[k]) : MaybeTensor(); };
  const MaybeTensor v = cotangent(0, with_x), v_scale = cotangent(1, with_scale), v_bias = cotangent(2, with_bias),
                    v_noise = cotangent(3, with_noise);
  if (!v && !v_scale && !v_bias && !v_noise) return {};
  // Where φ″ is 0, what is left beside d_grad are the products of x and scale, and nothing of bias and noise.
  const bool curved = is_curved(activation_of(act));
  // But what noise is computed from, as its product with a strength, meets the 0 that it has but for linear: of inf
  // that makes nan.
  const bool zero_noise =
      kept.wants(4) && !curved && activation_of(act) != Activation::linear && noise.grad_fn() != nullptr;
  const std::array<bool, 5> wanted = {kept.wants(0), kept.wants(1) && (curved || v_scale),
                                      kept.wants(2) && (curved || v), kept.wants(3) && curved, kept.wants(4) && curved};
  auto [d_grad, d_x, d_scale, d_bias, d_noise] =
      double_backward_op(v, v_scale, v_bias, v_noise, grad, x, if_defined(scale), if_defined(bias), if_defined(noise),
                         act, alpha, gain, clamp, wanted);
  return {wanted[0] ? d_grad : Tensor(), wanted[1] ? d_x : Tensor(), gradient_of(scale, d_scale, wanted[2]),
          gradient_of(bias, d_bias, wanted[3]),
          zero_noise ? at::zeros({}, noise.options()).expand_symint(noise.sym_sizes())
                     : gradient_of(noise, d_noise, wanted[4])};
}

FourTensors scale_bias_act_backward_autograd(const Tensor& grad, const Tensor& x, const MaybeTensor& scale,
                                             const MaybeTensor& bias, const MaybeTensor& noise, c10::string_view act,
                                             double alpha, double gain, MaybeNumber clamp, std::array<bool, 4> wanted) {
  return recorded({grad, x, scale, bias, noise}, derivative_of_backward, [&](const Keep& keep) {
    keep({grad, x, scale, bias, noise}, std::string(act), alpha, gain, clamp, wanted[0], wanted[1], wanted[2],
         wanted[3]);
    return backward_op.below_autograd(grad, x, scale, bias, noise, act, alpha, gain, clamp, wanted);
  });
}

FiveTensors scale_bias_act_double_backward_autograd(const MaybeTensor& v, const MaybeTensor& v_scale,
                                                    const MaybeTensor& v_bias, const MaybeTensor& v_noise,
                                                    const Tensor& grad, const Tensor& x, const MaybeTensor& scale,
                                                    const MaybeTensor& bias, const MaybeTensor& noise,
                                                    c10::string_view act, double alpha, double gain, MaybeNumber clamp,
                                                    std::array<bool, 5> wanted) {
  if (records_gradient({v, v_scale, v_bias, v_noise, grad, x, scale, bias, noise}))
    return scale_bias_act_double_backward_formula({v, v_scale, v_bias, v_noise}, grad, {x, scale, bias, noise},
                                                  activation_of(act), alpha, gain, clamp, wanted);
  return double_backward_op.below_autograd(v, v_scale, v_bias, v_noise, grad, x, scale, bias, noise, act, alpha, gain,
                                           clamp, wanted);
}

const Registration registrations[] = {
    {op, scale_bias_act_autograd},
    {backward_op, scale_bias_act_backward_autograd},
    {double_backward_op, scale_bias_act_double_backward_autograd},
};

}  // namespace scale_bias_act_family
}  // namespace gan_ops
