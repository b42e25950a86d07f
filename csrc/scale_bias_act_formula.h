// scale_bias_act's double backward in torch's own ops, for derivatives beyond it: rare, and torch differentiates them.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <array>
#include <optional>
#include <tuple>

#include "math/activation.h"

namespace gan_ops {

/// φ(t) of math/activation.h, which is not differentiated, φ′(t) and φ″(t), which are.
inline std::array<at::Tensor, 3> activation_formula(const at::Tensor& t, Activation act, double alpha) {
  constexpr double kSeluScale = 1.0507009873554804934193349852946, kSeluAlpha = 1.6732632423543772848170429916717;
  const auto zeros = [&] { return at::zeros_like(t); };
  const auto ones = [&] { return at::ones_like(t); };
  const auto exponential_below = [&](double lambda, double a) -> std::array<at::Tensor, 3> {
    const at::Tensor below = t <= 0, e = lambda * a * at::exp(at::where(below, t, 0.0));
    return {at::where(below, e - lambda * a, lambda * t), at::where(below, e, lambda), at::where(t < 0, e, 0.0)};
  };
  switch (act) {
    case Activation::linear:
      return {t, ones(), zeros()};
    case Activation::relu:
      return {at::where(t <= 0, 0.0, t), at::where(t <= 0, zeros(), ones()), zeros()};
    case Activation::lrelu: {
      const at::Tensor slope = at::where(t > 0, ones(), alpha * ones());
      return {t * slope, slope, zeros()};
    }
    case Activation::tanh: {
      const at::Tensor y = at::tanh(t), first = 1 - y * y;
      return {y, first, -2 * y * first};
    }
    case Activation::sigmoid: {
      const at::Tensor s = at::sigmoid(t), first = s * (1 - s);
      return {s, first, first * (1 - 2 * s)};
    }
    case Activation::elu:
      return exponential_below(1, 1);
    case Activation::selu:
      return exponential_below(kSeluScale, kSeluAlpha);
    case Activation::softplus: {
      const at::Tensor s = at::sigmoid(t), is_t = t > 20;
      return {at::softplus(t), at::where(is_t, 1.0, s), at::where(t >= 20, 0.0, s * (1 - s))};
    }
    case Activation::swish: {
      const at::Tensor s = at::sigmoid(t), product = s * (1 - s);
      return {t * s, s + t * product, product * (2 + t * (1 - 2 * s))};
    }
  }
  return {};
}

struct EpilogueTensors {
  MaybeTensor of_x, scale, bias, noise;
};

/// d_g, d_x, d_scale, d_bias and d_noise of math/scale_bias_act.h's double backward, each empty where it is not wanted.
inline std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> scale_bias_act_double_backward_formula(
    const EpilogueTensors& v, const at::Tensor& grad, const EpilogueTensors& of, Activation act, double alpha,
    double gain, std::optional<double> clamp, const std::array<bool, 5>& wanted) {
  const at::Tensor& x = *of.of_x;
  const auto type = accumulate_type(x);
  const auto flat = [&](const MaybeTensor& t) -> at::Tensor {  // [N, C, *] → [N, C, P], of noise [N, 1, P] or [1, 1, P]
    if (!t) return {};
    return (t->dim() == 2 ? t->unsqueeze(2) : t->flatten(2)).to(type);
  };
  const auto of_rows = [&](const MaybeTensor& t) { return t ? t->to(type).unsqueeze(2) : at::Tensor(); };  // [N, C, 1]
  const auto of_channels = [&](const MaybeTensor& t) { return t ? t->to(type).unsqueeze(1) : at::Tensor(); };  // [C, 1]
  // Undefined stands for 0, of a scale for 1.
  const auto plus = [](const at::Tensor& a, const at::Tensor& b) {
    return !a.defined() ? b : !b.defined() ? a : a + b;
  };
  const auto times = [](const at::Tensor& a, const at::Tensor& b) {
    return a.defined() && b.defined() ? a * b : at::Tensor();
  };
  const auto scaled = [&](const at::Tensor& a) { return of.scale && a.defined() ? a * of_rows(of.scale) : a; };

  const at::Tensor xw = flat(x), g = flat(grad), u = flat(v.of_x), u_scale = of_rows(v.scale);
  const at::Tensor t = plus(plus(scaled(xw), flat(of.noise)), of_channels(of.bias));
  auto [value, first, second] = activation_formula(t, act, alpha);
  // relu and the clamp let nothing pass, whatever it is multiplied by.
  at::Tensor passes = act == Activation::relu ? (t <= 0).logical_not() : at::Tensor();
  if (clamp) {
    const at::Tensor y = gain * value.detach(), within = (y > -*clamp).logical_and(y < *clamp);
    passes = passes.defined() ? passes.logical_and(within) : within;
  }
  const auto passing = [&passes](const at::Tensor& a) { return passes.defined() ? at::where(passes, a, 0.0) : a; };
  const at::Tensor q = plus(plus(plus(scaled(u), times(u_scale, xw)), flat(v.noise)), of_channels(v.bias));
  const at::Tensor m = passing(g * gain), p = first * m;  // [N, C, P], as r
  const at::Tensor r = is_curved(act) ? second * m * q : at::zeros_like(p);

  const at::Tensor none = at::empty({0}, xw.options());
  const auto as_x = [&](const at::Tensor& a) { return a.reshape_symint(x.sym_sizes()).to(x.scalar_type()); };
  const auto noise_sum = [&] {  // [N, C, P] → [N, 1, *] or [1, 1, *]
    const at::Tensor sum = r.sum(1, /*keepdim=*/true);
    return (of.noise->sym_size(0) == r.sym_size(0) ? sum : sum.sum(0, /*keepdim=*/true))
        .reshape_symint(of.noise->sym_sizes());
  };
  return {wanted[0] ? as_x(passing(first * q * gain).expand_as(g)) : none.to(x.scalar_type()),
          wanted[1] ? as_x(plus(scaled(r), times(u_scale, p))) : none.to(x.scalar_type()),
          wanted[2] && of.scale ? plus(r * xw, times(p, u)).sum(2) : none.clone(),
          wanted[3] && of.bias ? r.sum(at::IntArrayRef{0, 2}) : none.clone(),
          wanted[4] && of.noise ? noise_sum() : none.clone()};
}

}  // namespace gan_ops
