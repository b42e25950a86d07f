// The attention family: checks, blocks, products of matrices, and how its ops differentiate one another.
//
// torch's fused kernels have no second derivative, and its plain one keeps a dozen matrices of all scores. Here scores
// are made for some rows at a time, in all passes: products by torch's (at::bmm's), and what lies between them by the
// kernels of attention.h. math/attention.h has the formulas.
#include "attention.h"

#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include "attention_formula.h"
#include "op.h"

namespace gan_ops {
namespace attention_family {

using FourTensors = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using FiveTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;
using Sizes = std::vector<int64_t>;

// ---- Arguments ----

/// [..., rows, columns] with the first axes of `query`.
Sizes sizes_like(const Tensor& query, std::initializer_list<int64_t> last) {
  Sizes sizes(query.sizes().begin(), query.sizes().end() - 2);
  sizes.insert(sizes.end(), last);
  return sizes;
}

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

// ---- Blocks ----

/// How a bias lies beside the scores [rest, outer, inner, N, M]: its strides in elements of the contiguous tensor, 0
/// along axes that it is shared along. Adjacent axes that are alike in this are one.
struct BiasLayout {
  Sizes rest_sizes, rest_strides;  // rarely any
  int64_t outer = 1, inner = 1;
  int64_t outer_stride = 0, inner_stride = 0, row_stride = 0, column_stride = 0;

  BiasLayout(at::IntArrayRef scores, at::IntArrayRef bias) {
    const int64_t axes = static_cast<int64_t>(scores.size()), missing = axes - static_cast<int64_t>(bias.size());
    const auto size_of = [&](int64_t axis) { return axis < missing ? 1 : bias[axis - missing]; };
    const auto shared = [&](int64_t axis) { return size_of(axis) != scores[axis]; };
    column_stride = shared(axes - 1) ? 0 : 1;
    row_stride = shared(axes - 2) ? 0 : size_of(axes - 1);
    int64_t stride = size_of(axes - 1) * size_of(axes - 2);
    Sizes sizes, strides;  // of the first axes, the last of them first
    for (int64_t axis = axes - 3; axis >= 0; --axis) {
      if (scores[axis] == 1) continue;
      if (!sizes.empty() && shared(axis) == (strides.back() == 0)) {
        sizes.back() *= scores[axis];
      } else {
        sizes.push_back(scores[axis]);
        strides.push_back(shared(axis) ? 0 : stride);
      }
      stride *= size_of(axis);
    }
    if (sizes.size() > 0) inner = sizes[0], inner_stride = strides[0];
    if (sizes.size() > 1) outer = sizes[1], outer_stride = strides[1];
    if (sizes.size() > 2) rest_sizes.assign(sizes.begin() + 2, sizes.end());
    if (sizes.size() > 2) rest_strides.assign(strides.begin() + 2, strides.end());
  }

  /// Where the bias of part `index` of rest begins.
  int64_t rest_offset(int64_t index) const {
    int64_t offset = 0;
    for (size_t axis = 0; axis < rest_sizes.size(); index /= rest_sizes[axis++])
      offset += index % rest_sizes[axis] * rest_strides[axis];
    return offset;
  }
};

/// Elements of a block's matrix that are worth its products' calls, and not more than caches hold: measured, in
/// benchmarks/ops/test_attention.py, on two cores with 2 MB each. On CUDA it is 16 MB in float32.
int64_t block_elements(const Tensor& like) {
  return like.is_cpu() ? at::get_num_threads() * (int64_t{1} << 18) : int64_t{1} << 22;
}
constexpr int64_t kLeastRows = 16;  // of one matrix, however long they are

/// Tensors [..., rows, columns] as matrices: the first axes as one. Rows or columns are adjacent, as products want it.
Tensor as_matrices(const Tensor& tensor) {
  const Tensor matrices = tensor.reshape(
      {c10::multiply_integers(tensor.sizes().begin(), tensor.sizes().end() - 2), tensor.size(-2), tensor.size(-1)});
  return matrices.stride(1) == 1 || matrices.stride(2) == 1 ? matrices : matrices.contiguous();
}

/// The scores of a call in blocks, and what all blocks share.
class Blocks {
 public:
  Blocks(const Tensor& query, const Tensor& key, const MaybeTensor& bias, bool causal)
      : type_(query.options().dtype(accumulate_type(query))),
        scores_(sizes_like(query, {query.size(-2), key.size(-2)})),
        layout_(scores_, bias ? bias->sizes() : at::IntArrayRef()),
        rows_(query.size(-2)),
        columns_(key.size(-2)),
        causal_(causal) {
    const int64_t most = block_elements(query), wide = std::max<int64_t>(1, columns_);
    const int64_t matrices = layout_.outer * layout_.inner;
    // Several matrices side by side keep several threads busy; then as many rows as there is room for.
    const int64_t at_once = std::min<int64_t>(matrices, query.is_cpu() ? at::get_num_threads() : 16);
    block_rows_ = std::clamp<int64_t>(most / (wide * std::max<int64_t>(1, at_once)), kLeastRows,
                                      std::max<int64_t>(kLeastRows, rows_));
    block_rows_ = std::min(block_rows_, std::max<int64_t>(1, rows_));
    const int64_t room = std::max<int64_t>(1, most / (wide * block_rows_));
    block_inner_ = std::clamp<int64_t>(room, 1, std::max<int64_t>(1, layout_.inner));
    block_outer_ = block_inner_ < layout_.inner
                       ? 1
                       : std::clamp<int64_t>(room / block_inner_, 1, std::max<int64_t>(1, layout_.outer));
  }

  at::TensorOptions type() const { return type_; }
  const BiasLayout& layout() const { return layout_; }

  /// Memory for a block's matrices of `columns` columns.
  Tensor buffer(int64_t columns) const {
    return at::empty({block_outer_ * block_inner_ * block_rows_ * columns}, type_);
  }

  /// Some matrices, from `first` on, in `outer` groups of `inner`; `bias`: where theirs begins.
  struct Run {
    int64_t first, outer, inner, bias;
    int64_t count() const { return outer * inner; }
  };
  /// body(Run) for parts of the matrices.
  template <class Body>
  void for_runs(const Body& body) const {
    const int64_t rest = c10::multiply_integers(layout_.rest_sizes);
    for (int64_t part = 0; part < rest; ++part)
      for (int64_t outer = 0; outer < layout_.outer; outer += block_outer_)
        for (int64_t inner = 0; inner < layout_.inner; inner += block_inner_)
          body(Run{(part * layout_.outer + outer) * layout_.inner + inner,
                   std::min(block_outer_, layout_.outer - outer), std::min(block_inner_, layout_.inner - inner),
                   layout_.rest_offset(part) + outer * layout_.outer_stride + inner * layout_.inner_stride});
  }

  /// body(ScoreBlock) for parts of these matrices' rows.
  template <class Body>
  void for_rows(const Run& run, const Body& body) const {
    for (int64_t row = 0; row < rows_; row += block_rows_)
      body(ScoreBlock{run.outer, run.inner, std::min(block_rows_, rows_ - row), columns_, row, rows_, causal_});
  }

 private:
  at::TensorOptions type_;
  Sizes scores_;
  BiasLayout layout_;
  int64_t rows_, columns_, block_rows_, block_inner_, block_outer_;
  bool causal_;
};

/// A tensor [..., rows, columns] of an argument or result, and its part for a run of matrices, in the accumulate type.
class Matrices {
 public:
  explicit Matrices(const Tensor& tensor, at::ScalarType type) : all_(as_matrices(tensor)), type_(type) {}

  /// Those of the run: whole, [matrices, rows, columns].
  Tensor of(const Blocks::Run& run) const { return all_.narrow(0, run.first, run.count()).to(type_); }
  /// Of these the block's rows.
  Tensor of(const Blocks::Run& run, const ScoreBlock& block) const {
    return all_.narrow(0, run.first, run.count()).narrow(1, block.first_row, block.rows).to(type_);
  }

 private:
  Tensor all_;
  at::ScalarType type_;
};

/// A bias as kernels read it.
class Bias {
 public:
  Bias(const MaybeTensor& bias, const Blocks& blocks)
      : layout_(blocks.layout()), all_(bias ? bias->to(blocks.type().dtype()).contiguous() : Tensor()) {}

  ScoreBias of(const Blocks::Run& run, const ScoreBlock& block) const {
    if (!all_.defined()) return {nullptr, 0, 0, 0, 0};
    const int64_t offset = run.bias + block.first_row * layout_.row_stride;
    return {static_cast<const char*>(all_.const_data_ptr()) + offset * all_.element_size(), layout_.outer_stride,
            layout_.inner_stride, layout_.row_stride, layout_.column_stride};
  }

 private:
  BiasLayout layout_;
  Tensor all_;
};

/// A bias's gradient: sums over all that it is shared along, block after block.
class BiasGradient {
 public:
  Tensor total;

  BiasGradient(const MaybeTensor& bias, bool wanted, const Blocks& blocks)
      : total(wanted && bias ? at::zeros(bias->sizes(), blocks.type()) : at::empty({0}, blocks.type())),
        layout_(blocks.layout()),
        wanted_(wanted && bias) {}

  void add(const Tensor& d_s, const Blocks::Run& run, const ScoreBlock& b) const {
    if (!wanted_) return;
    std::array<int64_t, 4> sizes = {b.outer, b.inner, b.rows, b.columns};
    const std::array<int64_t, 4> strides = {layout_.outer_stride, layout_.inner_stride, layout_.row_stride,
                                            layout_.column_stride};
    Sizes shared;
    for (int64_t axis = 0; axis < 4; ++axis)
      if (strides[axis] == 0) sizes[axis] = 1, shared.push_back(axis);
    const Tensor block = d_s.view({b.outer, b.inner, b.rows, b.columns});
    total.as_strided(sizes, strides, run.bias + b.first_row * layout_.row_stride)
        .add_(shared.empty() ? block : block.sum(shared, /*keepdim=*/true));
  }

 private:
  BiasLayout layout_;
  bool wanted_;
};

/// The beginning of a buffer as a block [matrices, rows, columns].
Tensor block_of(const Tensor& buffer, const ScoreBlock& block, int64_t columns) {
  const int64_t matrices = block.outer * block.inner;
  return buffer.narrow(0, 0, matrices * block.rows * columns).view({matrices, block.rows, columns});
}

/// A gradient [..., rows, columns] that is made a run of matrices at a time; without elements where nobody wants it.
class Gradient {
 public:
  Tensor all;

  Gradient(const Tensor& of, bool wanted)
      : all(wanted ? at::empty(of.sizes(), of.options()) : at::empty({0}, of.options())), wanted_(wanted) {}

  explicit operator bool() const { return wanted_; }

  /// Zeros to add to, for a run: its part of the gradient itself if that is of this type.
  Tensor begin(const Blocks::Run& run, const at::TensorOptions& type) const {
    const Tensor part = as_matrices(all).narrow(0, run.first, run.count());
    return part.scalar_type() == type.dtype() ? part.zero_() : at::zeros(part.sizes(), type);
  }
  void end(const Blocks::Run& run, const Tensor& sums) const {
    const Tensor part = as_matrices(all).narrow(0, run.first, run.count());
    if (part.const_data_ptr() != sums.const_data_ptr()) part.copy_(sums);
  }
  /// The block's rows are factor·(a b + c d), where c and d may be undefined.
  void put(const Blocks::Run& run, const ScoreBlock& block, double factor, const Tensor& a, const Tensor& b,
           const Tensor& c = {}, const Tensor& d = {}) const {
    const Tensor part = as_matrices(all).narrow(0, run.first, run.count()).narrow(1, block.first_row, block.rows);
    const bool direct = part.is_contiguous() && part.scalar_type() == a.scalar_type();
    const Tensor sums = direct ? part : at::empty(part.sizes(), a.options());
    sums.baddbmm_(a, b, /*beta=*/0, factor);
    if (c.defined()) sums.baddbmm_(c, d, /*beta=*/1, factor);
    if (!direct) part.copy_(sums);
  }

 private:
  bool wanted_;
};

// ---- Kernels' entry points ----

/// Returns the output and the logarithms of the sums, ℓ [..., N], in the accumulate type.
std::tuple<Tensor, Tensor> attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                     const MaybeTensor& bias_any, std::optional<double> scale, bool causal) {
  check_arguments(query, key, value, bias_any);
  const double s = scale_of(scale, query);
  const Blocks blocks(query, key, bias_any, causal);
  const auto type = accumulate_type(query);
  const Gradient out(at::empty(sizes_like(query, {query.size(-2), value.size(-1)}), query.options()), true);
  Tensor log_sum = at::empty(sizes_like(query, {query.size(-2)}), blocks.type());
  if (query.numel() == 0 || key.size(-2) == 0) {
    out.all.zero_();
    return {out.all, log_sum.fill_(std::numeric_limits<double>::infinity())};
  }
  const Matrices q_all(query, type), k_all(key, type), v_all(value, type);
  const Bias bias(bias_any, blocks);
  const Tensor s_buffer = blocks.buffer(key.size(-2)), log_sums = log_sum.view({-1, query.size(-2)});
  blocks.for_runs([&](const Blocks::Run& run) {
    const Tensor k = k_all.of(run), v = v_all.of(run);
    blocks.for_rows(run, [&](const ScoreBlock& block) {
      const Tensor p = block_of(s_buffer, block, block.columns);
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
  const Blocks blocks(query, key, bias_any, causal);
  const auto type = accumulate_type(query);
  const Gradient d_query(query, wanted[0]), d_key(key, wanted[1]), d_value(value, wanted[2]);
  const BiasGradient d_bias(bias_any, wanted[3], blocks);
  if (query.numel() == 0 || key.size(-2) == 0) {
    for (const Gradient* gradient : {&d_query, &d_key, &d_value}) gradient->all.zero_();
    return {d_query.all, d_key.all, d_value.all, d_bias.total};
  }
  const Matrices g_all(grad, type), q_all(query, type), k_all(key, type), v_all(value, type);
  const Bias bias(bias_any, blocks);
  const Tensor log_sums = log_sum.contiguous().view({-1, query.size(-2)});
  const Tensor s_buffer = blocks.buffer(key.size(-2)), a_buffer = blocks.buffer(key.size(-2));
  blocks.for_runs([&](const Blocks::Run& run) {
    const Tensor k = k_all.of(run), v = v_all.of(run);
    const Tensor d_k = d_key ? d_key.begin(run, blocks.type()) : Tensor();
    const Tensor d_v = d_value ? d_value.begin(run, blocks.type()) : Tensor();
    blocks.for_rows(run, [&](const ScoreBlock& block) {
      const Tensor q = q_all.of(run, block), g = g_all.of(run, block);
      const Tensor p = block_of(s_buffer, block, block.columns), d_s = block_of(a_buffer, block, block.columns);
      p.baddbmm_(q, k.mT(), /*beta=*/0, s);
      d_s.baddbmm_(g, v.mT(), /*beta=*/0);
      run_kernel(AttentionBackwardArgs{p.mutable_data_ptr(), d_s.mutable_data_ptr(),
                                       log_sums[run.first].const_data_ptr(), bias.of(run, block), block},
                 p);
      if (d_query) d_query.put(run, block, s, d_s, k);
      if (d_key) d_k.baddbmm_(d_s.mT(), q, /*beta=*/1, s);
      if (d_value) d_v.baddbmm_(p.mT(), g);
      d_bias.add(d_s, run, block);
    });
    if (d_key) d_key.end(run, d_k);
    if (d_value) d_value.end(run, d_v);
  });
  return {d_query.all, d_key.all, d_value.all, d_bias.total};
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
  const Blocks blocks(query, key, bias_any, causal);
  const auto type = accumulate_type(query);
  const Gradient d_grad(grad, wanted[0]), d_query(query, wanted[1]), d_key(key, wanted[2]), d_value(value, wanted[3]);
  const BiasGradient d_bias(bias_any, wanted[4], blocks);
  if (query.numel() == 0 || key.size(-2) == 0) {
    for (const Gradient* gradient : {&d_grad, &d_query, &d_key, &d_value}) gradient->all.zero_();
    return {d_grad.all, d_query.all, d_key.all, d_value.all, d_bias.total};
  }
  const Matrices v_q_all(cotangent(v_query, "v_query", query), type), v_k_all(cotangent(v_key, "v_key", key), type);
  const Matrices v_v_all(cotangent(v_value, "v_value", value), type), g_all(grad, type);
  const Matrices q_all(query, type), k_all(key, type), v_all(value, type);
  const Bias bias(bias_any, blocks), v_bias(v_bias_any, blocks);
  const Tensor log_sums = log_sum.contiguous().view({-1, query.size(-2)});
  std::array<Tensor, 4> buffers;
  for (Tensor& buffer : buffers) buffer = blocks.buffer(key.size(-2));
  blocks.for_runs([&](const Blocks::Run& run) {
    const Tensor k = k_all.of(run), v = v_all.of(run), v_k = v_k_all.of(run), v_v = v_v_all.of(run);
    const Tensor k_and_v_k = at::cat({k, v_k}, -1);  // [M, 2E]
    const Tensor d_k = d_key ? d_key.begin(run, blocks.type()) : Tensor();
    const Tensor d_v = d_value ? d_value.begin(run, blocks.type()) : Tensor();
    blocks.for_rows(run, [&](const ScoreBlock& block) {
      const Tensor q = q_all.of(run, block), v_q = v_q_all.of(run, block), g = g_all.of(run, block);
      std::array<Tensor, 4> scores;
      for (size_t i = 0; i < scores.size(); ++i) scores[i] = block_of(buffers[i], block, block.columns);
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
      if (d_key) d_k.baddbmm_(t.mT(), q, /*beta=*/1, s).baddbmm_(d_s.mT(), v_q, /*beta=*/1, s);
      if (d_value) d_v.baddbmm_(x.mT(), g);
      d_bias.add(t, run, block);
    });
    if (d_key) d_key.end(run, d_k);
    if (d_value) d_value.end(run, d_v);
  });
  return {d_grad.all, d_query.all, d_key.all, d_value.all, d_bias.total};
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
