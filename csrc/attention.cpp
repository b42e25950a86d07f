// The attention family: checks, products of matrices, and how its ops differentiate one another.
//
// torch's fused kernels have no second derivative, and its plain one keeps a dozen matrices of all scores. Here scores
// are made for some rows at a time, in all passes (attention_blocks.h): the products by torch, and what lies between
// them by the kernels of attention.h. math/attention.h has the formulas.
#include <ATen/autocast_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>

#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>

#include "attention_blocks.h"
#include "attention_formula.h"

namespace gan_ops {
namespace attention_family {

using FourTensors = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using FiveTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

// ---- Arguments ----

void check_bias(const Tensor& bias, const Sizes& scores, const Tensor& query) {
  dtype_of(bias, "bias");
  TORCH_CHECK_VALUE(bias.device() == query.device(), "bias must be on ", query.device(), ", but is on ", bias.device());
  bool fits = bias.dim() <= static_cast<int64_t>(scores.size());
  for (int64_t axis = 1; fits && axis <= bias.dim(); ++axis)
    fits = bias.size(-axis) == 1 || bias.size(-axis) == *(scores.end() - axis);
  TORCH_CHECK_VALUE(fits, "bias must broadcast to the scores' shape ", at::IntArrayRef(scores), ", but its shape is ",
                    bias.sizes());
}

void check_arguments(const Tensor& query, const Tensor& key, const Tensor& value, const MaybeTensor& bias) {
  TORCH_CHECK_VALUE(query.dim() >= 2 && query.size(-1) >= 1,
                    "query must be [..., N, E] with at least one feature, but its shape is ", query.sizes());
  dtype_of(query, "query");
  TORCH_CHECK_VALUE(key.dim() >= 2, "key must be [..., M, E], but its shape is ", key.sizes());
  TORCH_CHECK_VALUE(value.dim() >= 2, "value must be [..., M, F], but its shape is ", value.sizes());
  const auto type = query.scalar_type();
  check_matches(key, "key", sizes_like(query, {key.size(-2), query.size(-1)}), type, query.device());
  check_matches(value, "value", sizes_like(query, {key.size(-2), value.size(-1)}), type, query.device());
  if (bias) check_bias(*bias, sizes_like(query, {query.size(-2), key.size(-2)}), query);
}

double scale_of(std::optional<double> scale, const Tensor& query) {
  return scale.value_or(1 / std::sqrt(static_cast<double>(query.size(-1))));
}

// ---- Kernels' entry points ----

/// Returns the output and the logarithms of the sums, ℓ [..., N], in the accumulate type.
std::tuple<Tensor, Tensor> attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                     const MaybeTensor& bias_any, std::optional<double> scale, bool causal) {
  check_arguments(query, key, value, bias_any);
  const double s = scale_of(scale, query);
  const Blocks blocks(query, key, bias_any, /*adds_to_bias=*/false, causal, /*buffers=*/1);
  const Gradient out(sizes_like(query, {query.size(-2), value.size(-1)}), query, true);
  Tensor log_sum = at::empty(sizes_like(query, {query.size(-2)}), blocks.type());
  if (blocks.empty()) {
    out.all.zero_();
    return {out.all, log_sum.fill_(std::numeric_limits<double>::infinity())};
  }
  const Matrices q_all(query, blocks), k_all(key, blocks), v_all(value, blocks);
  const Bias bias(bias_any, blocks);
  const Tensor s_buffer = blocks.buffer(), log_sums = log_sum.view({-1, query.size(-2)});
  blocks.for_runs([&](const Blocks::Run& run) {
    const Tensor k = k_all.of(run), v = v_all.of(run);
    blocks.for_rows(run, [&](const ScoreBlock& block) {
      const Tensor p = block_of(s_buffer, run, block);
      p.baddbmm_(q_all.of(run, block), k.mT(), /*beta=*/0, s);
      run_kernel(AttentionForwardArgs{p.mutable_data_ptr(), log_sums[run.first].mutable_data_ptr(), bias.of(run, block),
                                      block},
                 p);
      out.put(run, block, 1, p, v);
    });
  });
  return {out.all, log_sum};
}

void check_saved(const Tensor& grad, const Tensor& query, const Tensor& value, const Tensor& log_sum) {
  check_matches(grad, "grad", sizes_like(query, {query.size(-2), value.size(-1)}), query.scalar_type(), query.device());
  check_matches(log_sum, "log_sum", sizes_like(query, {query.size(-2)}), accumulate_type(query), query.device());
}

/// Returns the gradients of query, key and value, and in the accumulate type that of bias. Those that are not wanted
/// are empty.
FourTensors attention_backward(const Tensor& grad, const Tensor& query, const Tensor& key, const Tensor& value,
                               const MaybeTensor& bias_any, const Tensor& log_sum, std::optional<double> scale,
                               bool causal, std::array<bool, 4> wanted) {
  check_arguments(query, key, value, bias_any);
  check_saved(grad, query, value, log_sum);
  const double s = scale_of(scale, query);
  const Blocks blocks(query, key, bias_any, wanted[3], causal, /*buffers=*/2);
  const Gradient d_query(query, wanted[0]), d_key(key, wanted[1]), d_value(value, wanted[2]);
  const BiasGradient d_bias(bias_any, wanted[3], blocks);
  if (blocks.empty()) {
    for (const Gradient* gradient : {&d_query, &d_key, &d_value}) gradient->all.zero_();
    return {d_query.all, d_key.all, d_value.all, d_bias.all};
  }
  const Matrices g_all(grad, blocks), q_all(query, blocks), k_all(key, blocks), v_all(value, blocks);
  const Bias bias(bias_any, blocks);
  const Tensor log_sums = log_sum.contiguous().view({-1, query.size(-2)});
  const Tensor s_buffer = blocks.buffer(), a_buffer = blocks.buffer();
  blocks.for_runs([&](const Blocks::Run& run) {
    const Tensor k = k_all.of(run), v = v_all.of(run);
    auto d_k = d_key.sums(run, blocks), d_v = d_value.sums(run, blocks);
    blocks.for_rows(run, [&](const ScoreBlock& block) {
      const Tensor q = q_all.of(run, block), g = g_all.of(run, block);
      const Tensor p = block_of(s_buffer, run, block), d_s = block_of(a_buffer, run, block);
      p.baddbmm_(q, k.mT(), /*beta=*/0, s);
      d_s.baddbmm_(g, v.mT(), /*beta=*/0);
      run_kernel(AttentionBackwardArgs{p.mutable_data_ptr(), d_s.mutable_data_ptr(),
                                       log_sums[run.first].const_data_ptr(), bias.of(run, block), block},
                 p);
      if (d_query) d_query.put(run, block, s, d_s, k);
      if (d_k) d_k->add(d_s, q, s);
      if (d_v) d_v->add(p, g);
      d_bias.add(d_s, run, block);
    });
    if (d_k) d_k->finish();
    if (d_v) d_v->finish();
  });
  return {d_query.all, d_key.all, d_value.all, d_bias.all};
}

/// For cotangents of what attention_backward returns, returns the gradients of its grad, query, key and value, and in
/// the accumulate type that of bias. Those that are not wanted are empty.
FiveTensors attention_double_backward(const MaybeTensor& v_query, const MaybeTensor& v_key, const MaybeTensor& v_value,
                                      const MaybeTensor& v_bias_any, const Tensor& grad, const Tensor& query,
                                      const Tensor& key, const Tensor& value, const MaybeTensor& bias_any,
                                      const Tensor& log_sum, std::optional<double> scale, bool causal,
                                      std::array<bool, 5> wanted) {
  check_arguments(query, key, value, bias_any);
  check_saved(grad, query, value, log_sum);
  const auto cotangent = [](const MaybeTensor& v, const char* name, const Tensor& like) {
    if (v) check_matches(*v, name, like.sizes(), like.scalar_type(), like.device());
    return v ? *v : at::zeros_like(like);
  };
  TORCH_CHECK_VALUE(!v_bias_any || bias_any, "v_bias must not be given without bias");
  if (v_bias_any) check_matches(*v_bias_any, "v_bias", bias_any->sizes(), v_bias_any->scalar_type(), query.device());
  const double s = scale_of(scale, query);
  const Blocks blocks(query, key, bias_any, wanted[4], causal, /*buffers=*/4);
  const Gradient d_grad(grad, wanted[0]), d_query(query, wanted[1]), d_key(key, wanted[2]), d_value(value, wanted[3]);
  const BiasGradient d_bias(bias_any, wanted[4], blocks);
  if (blocks.empty()) {
    for (const Gradient* gradient : {&d_grad, &d_query, &d_key, &d_value}) gradient->all.zero_();
    return {d_grad.all, d_query.all, d_key.all, d_value.all, d_bias.all};
  }
  const Matrices v_q_all(cotangent(v_query, "v_query", query), blocks), v_k_all(cotangent(v_key, "v_key", key), blocks);
  const Matrices v_v_all(cotangent(v_value, "v_value", value), blocks), g_all(grad, blocks);
  const Matrices q_all(query, blocks), k_all(key, blocks), v_all(value, blocks);
  const Bias bias(bias_any, blocks), v_bias(v_bias_any, blocks);
  const Tensor log_sums = log_sum.contiguous().view({-1, query.size(-2)});
  std::array<Tensor, 4> buffers;
  for (Tensor& buffer : buffers) buffer = blocks.buffer();
  blocks.for_runs([&](const Blocks::Run& run) {
    const Tensor k = k_all.of(run), v = v_all.of(run), v_k = v_k_all.of(run), v_v = v_v_all.of(run);
    const Tensor k_and_v_k = at::cat({k, v_k}, -1);  // [M, 2E]
    auto d_k = d_key.sums(run, blocks), d_v = d_value.sums(run, blocks);
    blocks.for_rows(run, [&](const ScoreBlock& block) {
      const Tensor q = q_all.of(run, block), v_q = v_q_all.of(run, block), g = g_all.of(run, block);
      std::array<Tensor, 4> scores;
      for (size_t i = 0; i < scores.size(); ++i) scores[i] = block_of(buffers[i], run, block);
      const auto& [p, d_s, x, t] = scores;
      p.baddbmm_(q, k.mT(), /*beta=*/0, s);
      d_s.baddbmm_(g, v.mT(), /*beta=*/0);
      x.baddbmm_(at::cat({v_q, q}, -1), k_and_v_k.mT(), /*beta=*/0, s);  // both products of W as one
      t.baddbmm_(g, v_v.mT(), /*beta=*/0);
      run_kernel(AttentionDoubleBackwardArgs{p.mutable_data_ptr(), d_s.mutable_data_ptr(), x.mutable_data_ptr(),
                                             t.mutable_data_ptr(), log_sums[run.first].const_data_ptr(),
                                             bias.of(run, block), v_bias.of(run, block), block},
                 p);
      if (d_grad) d_grad.put(run, block, 1, x, v, p, v_v);
      if (d_query) d_query.put(run, block, s, t, k, d_s, v_k);
      if (d_k) d_k->add(t, q, s), d_k->add(d_s, v_q, s);
      if (d_v) d_v->add(x, g);
      d_bias.add(t, run, block);
    });
    if (d_k) d_k->finish();
    if (d_v) d_v->finish();
  });
  return {d_grad.all, d_query.all, d_key.all, d_value.all, d_bias.all};
}

// ---- Derivatives ----

constexpr Op<"attention", attention> op;
constexpr Op<"attention_backward", attention_backward> backward_op;
constexpr Op<"attention_double_backward", attention_double_backward> double_backward_op;

// In the ops that take it, ℓ is the value that the forward pass kept, not a variable of its own: derivatives to query,
// key and bias count its dependence on them.
void check_constant(const Tensor& log_sum) {
  TORCH_CHECK_VALUE(!log_sum.requires_grad(),
                    "log_sum must be the value that attention returned, which has no gradient");
}

Tensor if_wanted(const Tensor& gradient, bool wanted) {
  return wanted ? gradient : Tensor();
}

Tensors derivative(const Kept& kept, const Tensors& grads) {
  if (!grads[0].defined()) return {};
  const auto [scale, causal] = kept.options<std::optional<double>, bool>();
  const std::array<bool, 4> wanted = {kept.wants(0), kept.wants(1), kept.wants(2), kept.wants(3)};
  const auto [d_q, d_k, d_v, d_b] =
      backward_op(grads[0], kept[0], kept[1], kept[2], if_defined(kept[3]), kept[4], scale, causal, wanted);
  return {if_wanted(d_q, wanted[0]), if_wanted(d_k, wanted[1]), if_wanted(d_v, wanted[2]), if_wanted(d_b, wanted[3])};
}

std::tuple<Tensor, Tensor> attention_autograd(const Tensor& query, const Tensor& key, const Tensor& value,
                                              const MaybeTensor& bias, std::optional<double> scale, bool causal) {
  return recorded({query, key, value, bias}, derivative, [&](const Keep& keep) {
    auto [out, log_sum] = op.below_autograd(query, key, value, bias, scale, causal);
    keep({query, key, value, bias, log_sum}, scale, causal);
    keep.constants({log_sum});
    return std::tuple(out, log_sum);
  });
}

Tensors derivative_of_backward(const Kept& kept, const Tensors& v) {
  const auto [scale, causal, of_query, of_key, of_value, of_bias] =
      kept.options<std::optional<double>, bool, bool, bool, bool, bool>();
  // Outputs that were not asked for are empty, and so are their cotangents.
  const auto cotangent = [&](int i, bool with) { return with ? if_defined(v[i]) : MaybeTensor(); };
  const MaybeTensor v_q = cotangent(0, of_query), v_k = cotangent(1, of_key), v_v = cotangent(2, of_value),
                    v_b = cotangent(3, of_bias && kept[4].defined());
  if (!v_q && !v_k && !v_v && !v_b) return {};
  const std::array<bool, 5> wanted = {kept.wants(0), kept.wants(1), kept.wants(2), kept.wants(3), kept.wants(4)};
  const auto [d_g, d_q, d_k, d_v, d_b] = double_backward_op(v_q, v_k, v_v, v_b, kept[0], kept[1], kept[2], kept[3],
                                                            if_defined(kept[4]), kept[5], scale, causal, wanted);
  return {if_wanted(d_g, wanted[0]), if_wanted(d_q, wanted[1]), if_wanted(d_k, wanted[2]), if_wanted(d_v, wanted[3]),
          if_wanted(d_b, wanted[4])};
}

FourTensors attention_backward_autograd(const Tensor& grad, const Tensor& query, const Tensor& key, const Tensor& value,
                                        const MaybeTensor& bias, const Tensor& log_sum, std::optional<double> scale,
                                        bool causal, std::array<bool, 4> wanted) {
  check_constant(log_sum);
  return recorded({grad, query, key, value, bias}, derivative_of_backward, [&](const Keep& keep) {
    keep({grad, query, key, value, bias, log_sum}, scale, causal, wanted[0], wanted[1], wanted[2], wanted[3]);
    return backward_op.below_autograd(grad, query, key, value, bias, log_sum, scale, causal, wanted);
  });
}

FiveTensors attention_double_backward_autograd(const MaybeTensor& v_query, const MaybeTensor& v_key,
                                               const MaybeTensor& v_value, const MaybeTensor& v_bias,
                                               const Tensor& grad, const Tensor& query, const Tensor& key,
                                               const Tensor& value, const MaybeTensor& bias, const Tensor& log_sum,
                                               std::optional<double> scale, bool causal, std::array<bool, 5> wanted) {
  check_constant(log_sum);
  if (!records_gradient({v_query, v_key, v_value, v_bias, grad, query, key, value, bias}))
    return double_backward_op.below_autograd(v_query, v_key, v_value, v_bias, grad, query, key, value, bias, log_sum,
                                             scale, causal, wanted);
  // The formula's products are torch's, which autocast would narrow.
  const c10::impl::ExcludeDispatchKeyGuard as_it_is(c10::autocast_dispatch_keyset);
  const auto type = accumulate_type(query);
  const auto widened = [&](const MaybeTensor& t) { return t ? t->to(type) : Tensor(); };
  const auto cotangent = [&](const MaybeTensor& v, const Tensor& like) {
    return (v ? *v : at::zeros_like(like)).to(type);
  };
  auto gradients = attention_double_backward_formula(
      cotangent(v_query, query), cotangent(v_key, key), cotangent(v_value, value), widened(v_bias), grad.to(type),
      query.to(type), key.to(type), value.to(type), widened(bias), scale_of(scale, query), causal);
  for (size_t i = 0; i < 5; ++i) {
    const auto own = i < 4 ? query.options() : query.options().dtype(type);
    gradients[i] = wanted[i] && gradients[i].defined() ? gradients[i].to(own.dtype()) : at::empty({0}, own);
  }
  return std::tuple_cat(gradients);
}

// ---- Autocast: as torch's own attention, in the narrow type ----

template <c10::DispatchKey key_of_autocast, c10::DeviceType device>
std::tuple<Tensor, Tensor> attention_autocast(const Tensor& query, const Tensor& key, const Tensor& value,
                                              const MaybeTensor& bias, std::optional<double> scale, bool causal) {
  const c10::impl::ExcludeDispatchKeyGuard guard(key_of_autocast);
  const auto narrow = [](const Tensor& t) {
    return at::autocast::cached_cast(at::autocast::get_autocast_dtype(device), t, device);
  };
  return op(narrow(query), narrow(key), narrow(value), bias, scale, causal);  // a bias of any type is added in float32
}

const Registration registrations[] = {
    {op, attention_autograd},
    {backward_op, attention_backward_autograd},
    {double_backward_op, attention_double_backward_autograd},
};
TORCH_LIBRARY_IMPL(gan_ops, AutocastCPU, m) {
  m.impl("attention", attention_autocast<c10::DispatchKey::AutocastCPU, c10::kCPU>);
}
TORCH_LIBRARY_IMPL(gan_ops, AutocastCUDA, m) {
  m.impl("attention", attention_autocast<c10::DispatchKey::AutocastCUDA, c10::kCUDA>);
}

}  // namespace attention_family
}  // namespace gan_ops
