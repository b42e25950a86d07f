// Attention's double backward in torch's own ops, for derivatives beyond it: rare, and torch differentiates them. They
// need N·M numbers of memory. math/attention.h has the formulas.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>

#include <array>
#include <limits>

namespace gan_ops {

/// P of the scores. Of a row that is −inf everywhere it is 0.
inline at::Tensor attention_weights_formula(const at::Tensor& scores, bool causal) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  at::Tensor s = scores;
  if (causal) {
    const at::Tensor seen = at::ones({s.size(-2), s.size(-1)}, s.options().dtype(at::kBool)).tril();
    s = s.masked_fill(~seen, -kInfinity);
  }
  const at::Tensor masked = at::eq(s, -kInfinity).all(-1, /*keepdim=*/true);  // [N, M] → [N, 1]
  return at::softmax(s.masked_fill(masked, 0.0), -1).masked_fill(masked, 0.0);
}

/// d_G, d_Q, d_K, d_V and d_B for cotangents v_q, v_k, v_v and v_bias (undefined for none); all of the accumulate type,
/// bias and v_bias undefined or with axes that broadcast with the scores.
inline std::array<at::Tensor, 5> attention_double_backward_formula(const at::Tensor& v_q, const at::Tensor& v_k,
                                                                   const at::Tensor& v_v, const at::Tensor& v_bias,
                                                                   const at::Tensor& g, const at::Tensor& q,
                                                                   const at::Tensor& k, const at::Tensor& v,
                                                                   const at::Tensor& bias, double scale, bool causal) {
  const auto times = [](const at::Tensor& a, const at::Tensor& b) { return at::matmul(a, b); };
  const auto over_rows = [](const at::Tensor& x) { return x.sum(-1, /*keepdim=*/true); };  // [N, M] → [N, 1]
  at::Tensor s = scale * times(q, k.mT());
  if (bias.defined()) s = s + bias;
  const at::Tensor p = attention_weights_formula(s, causal), a = times(g, v.mT());
  at::Tensor w = scale * (times(v_q, k.mT()) + times(q, v_k.mT()));
  if (v_bias.defined()) w = w + v_bias;
  const at::Tensor a_less_d = a - over_rows(p * a), w_less_mean = w - over_rows(p * w);
  const at::Tensor d_s = p * a_less_d, x = p * w_less_mean, r = a_less_d * w_less_mean + times(g, v_v.mT());
  const at::Tensor t = p * (r - over_rows(p * r));
  return {times(x, v) + times(p, v_v), scale * (times(t, k) + times(d_s, v_k)),
          scale * (times(t.mT(), q) + times(d_s.mT(), v_q)), times(x.mT(), g),
          bias.defined() ? t.sum_to_size(bias.sizes()) : at::Tensor()};
}

}  // namespace gan_ops
