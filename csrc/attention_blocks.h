// Attention's scores in blocks: how they are cut, the arguments and results that belong to a block, and the loops over
// blocks.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "attention.h"
#include "op.h"

namespace gan_ops {
namespace attention_family {

using Sizes = std::vector<int64_t>;

/// [..., last] with the first axes of `query`.
inline Sizes sizes_like(const Tensor& query, std::initializer_list<int64_t> last) {
  Sizes sizes(query.sizes().begin(), query.sizes().end() - 2);
  sizes.insert(sizes.end(), last);
  return sizes;
}

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

/// Elements of a block's matrix, and of all its matrices: enough for products to be worth their calls, and few enough
/// for a core's cache. On CUDA 64 MB of float32.
constexpr int64_t kMatrixOnCpu = int64_t{1} << 19, kBlockOnCpu = int64_t{1} << 20, kBlockOnCuda = int64_t{1} << 24;
constexpr int64_t kLeastRows = 128;  // however long they are: products read all keys or values for each block
constexpr int64_t kElementsWorthThreads = int64_t{1} << 14;  // scores of all matrices

/// The scores of a call in blocks.
///
/// On the CPU threads work on runs of matrices of their own where there are enough of these: then none waits for
/// another between two products. Matrices whose scores add to one bias's gradient are one thread's, in their order.
class Blocks {
 public:
  /// `buffers`: how many matrices of scores a block has.
  Blocks(const Tensor& query, const Tensor& key, const MaybeTensor& bias, bool adds_to_bias, bool causal, int buffers)
      : type_(query.options().dtype(accumulate_type(query))),
        layout_(sizes_like(query, {query.size(-2), key.size(-2)}), bias ? bias->sizes() : at::IntArrayRef()),
        rows_(query.size(-2)),
        columns_(key.size(-2)),
        causal_(causal),
        adds_to_bias_(adds_to_bias && bias) {
    const int64_t threads = query.is_cpu() && !at::in_parallel_region() ? at::get_num_threads() : 1;
    const int64_t matrices = layout_.outer * layout_.inner;  // that a block may have
    workers_ = independent() >= threads && matrices * rows_ * columns_ >= kElementsWorthThreads ? threads : 1;
    const int64_t of_worker = threads / workers_;
    const int64_t room =
        query.is_cpu() ? std::min(kMatrixOnCpu, kBlockOnCpu / buffers) * of_worker : kBlockOnCuda / buffers;
    const auto within = [](int64_t value, int64_t most) {
      return std::clamp(value, int64_t{1}, std::max(most, int64_t{1}));
    };
    const int64_t columns = within(columns_, columns_);
    // A matrix for each of a worker's threads; of these as many rows as there is room for; then more matrices, but not
    // so many that workers end at different times.
    block_rows_ = within(std::max(kLeastRows, room / (columns * within(of_worker, matrices))), rows_);
    int64_t at_once = room / (columns * block_rows_);
    if (workers_ > 1) at_once = std::min(at_once, independent() / (4 * workers_));
    block_inner_ = within(at_once, layout_.inner);
    block_outer_ = block_inner_ < layout_.inner ? 1 : within(at_once / block_inner_, layout_.outer);
  }

  at::TensorOptions type() const { return type_; }
  const BiasLayout& layout() const { return layout_; }
  int64_t rows() const { return rows_; }
  bool empty() const { return rows_ == 0 || columns_ == 0 || layout_.outer * layout_.inner == 0; }

  /// Memory for a block's matrix of scores, for each worker.
  Tensor buffer() const { return at::empty({workers_, block_outer_ * block_inner_ * block_rows_ * columns_}, type_); }

  /// Some matrices, from `first` on, in `outer` groups of `inner`; `bias`: where theirs begins.
  struct Run {
    int64_t first, outer, inner, bias;
    int64_t worker = 0;
    int64_t count() const { return outer * inner; }
  };
  /// body(Run) for parts of the matrices.
  template <class Body>
  void for_runs(const Body& body) const {
    const auto tasks = in_tasks();
    if (workers_ == 1) {
      for (const auto& task : tasks)
        for (const Run& run : task) body(run);
      return;
    }
    at::parallel_for(0, static_cast<int64_t>(tasks.size()), 1, [&](int64_t begin, int64_t end) {
      const at::AutoDispatchBelowADInplaceOrView guard;  // a thread's own, which its starter's is not
      for (int64_t task = begin; task < end; ++task)
        for (Run run : tasks[task]) {
          run.worker = at::get_thread_num();
          body(run);
        }
    });
  }

  /// body(ScoreBlock) for parts of these matrices' rows.
  template <class Body>
  void for_rows(const Run& run, const Body& body) const {
    for (int64_t row = 0; row < rows_; row += block_rows_)
      body(ScoreBlock{run.outer, run.inner, std::min(block_rows_, rows_ - row), columns_, row, rows_, causal_});
  }

 private:
  /// How many matrices there are whose scores add to no common part of a bias's gradient.
  int64_t independent() const {
    const auto count = [&](int64_t size, int64_t stride) { return adds_to_bias_ && stride == 0 ? 1 : size; };
    int64_t product = count(layout_.outer, layout_.outer_stride) * count(layout_.inner, layout_.inner_stride);
    for (size_t axis = 0; axis < layout_.rest_sizes.size(); ++axis)
      product *= count(layout_.rest_sizes[axis], layout_.rest_strides[axis]);
    return product;
  }

  /// All runs, those together that add to the same part of a bias's gradient.
  std::vector<std::vector<Run>> in_tasks() const {
    std::vector<std::vector<Run>> tasks;
    std::map<int64_t, size_t> of_bias;
    const int64_t rest = c10::multiply_integers(layout_.rest_sizes);
    for (int64_t part = 0; part < rest; ++part)
      for (int64_t outer = 0; outer < layout_.outer; outer += block_outer_)
        for (int64_t inner = 0; inner < layout_.inner; inner += block_inner_) {
          const Run run{(part * layout_.outer + outer) * layout_.inner + inner,
                        std::min(block_outer_, layout_.outer - outer), std::min(block_inner_, layout_.inner - inner),
                        layout_.rest_offset(part) + outer * layout_.outer_stride + inner * layout_.inner_stride};
          const auto [known, is_new] = of_bias.try_emplace(adds_to_bias_ ? run.bias : run.first, tasks.size());
          if (is_new) tasks.emplace_back();
          tasks[known->second].push_back(run);
        }
    return tasks;
  }

  at::TensorOptions type_;
  BiasLayout layout_;
  int64_t rows_, columns_, workers_, block_rows_, block_inner_, block_outer_;
  bool causal_, adds_to_bias_;
};

/// Tensors [..., rows, columns] as matrices: the first axes as one. Rows or columns are adjacent, as products want it.
inline Tensor as_matrices(const Tensor& tensor) {
  const Tensor matrices = tensor.reshape(
      {c10::multiply_integers(tensor.sizes().begin(), tensor.sizes().end() - 2), tensor.size(-2), tensor.size(-1)});
  return matrices.stride(1) == 1 || matrices.stride(2) == 1 ? matrices : matrices.contiguous();
}

/// A run's part of a block's matrix of scores, [matrices, rows, columns], in its worker's memory.
inline Tensor block_of(const Tensor& buffer, const Blocks::Run& run, const ScoreBlock& block) {
  const int64_t size = block.row_count() * block.columns;
  return buffer.select(0, run.worker).narrow(0, 0, size).view({run.count(), block.rows, block.columns});
}

/// An argument [..., rows, columns], of which a run and its blocks have parts in the accumulate type.
class Matrices {
 public:
  Matrices(const Tensor& tensor, const Blocks& blocks)
      : all_(as_matrices(tensor)), type_(c10::typeMetaToScalarType(blocks.type().dtype())) {}

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

/// A bias's gradient: sums over all that it is shared along, block after block. Without elements if not wanted.
class BiasGradient {
 public:
  Tensor all;

  BiasGradient(const MaybeTensor& bias, bool wanted, const Blocks& blocks)
      : all(wanted && bias ? at::zeros(bias->sizes(), blocks.type()) : at::empty({0}, blocks.type())),
        layout_(blocks.layout()),
        wanted_(wanted && bias) {}

  void add(const Tensor& d_s, const Blocks::Run& run, const ScoreBlock& block) const {
    if (!wanted_) return;
    std::array<int64_t, 4> sizes = {block.outer, block.inner, block.rows, block.columns};
    const std::array<int64_t, 4> strides = {layout_.outer_stride, layout_.inner_stride, layout_.row_stride,
                                            layout_.column_stride};
    const Tensor values = d_s.view(sizes);
    Sizes shared;
    for (int64_t axis = 0; axis < 4; ++axis)
      if (strides[axis] == 0) sizes[axis] = 1, shared.push_back(axis);
    all.as_strided(sizes, strides, run.bias + block.first_row * layout_.row_stride)
        .add_(shared.empty() ? values : values.sum(shared, /*keepdim=*/true));
  }

 private:
  BiasLayout layout_;
  bool wanted_;
};

/// Sums over a run's rows, block after block: scoresᵀ·other for scores [rows, M] and other [rows, features].
class ColumnSums {
 public:
  /// `all`: the tensor [matrices, M, features] that they become.
  ColumnSums(const Tensor& all, const Blocks::Run& run, const Blocks& blocks)
      : result_(all.narrow(0, run.first, run.count())) {
    // As [features, M] such products are made in two thirds of the time, if features are few. Rows pay for the copy.
    transposed_ = result_.size(2) <= 48 && blocks.rows() >= 128;
    direct_ = !transposed_ && result_.dtype() == blocks.type().dtype();
    sums_ = direct_ ? result_.zero_() : at::zeros((transposed_ ? result_.mT() : result_).sizes(), blocks.type());
  }

  void add(const Tensor& scores, const Tensor& other, double factor = 1) {
    if (transposed_)
      sums_.baddbmm_(other.mT(), scores, /*beta=*/1, factor);
    else
      sums_.baddbmm_(scores.mT(), other, /*beta=*/1, factor);
  }
  void finish() const {
    if (!direct_) result_.copy_(transposed_ ? sums_.mT() : sums_);
  }

 private:
  Tensor result_, sums_;
  bool transposed_, direct_;
};

/// A gradient, or the output, [..., rows, columns], that is made in parts. Without elements if not wanted.
class Gradient {
 public:
  Tensor all;

  Gradient(at::IntArrayRef sizes, const Tensor& like, bool wanted)
      : all(wanted ? at::empty(sizes, like.options()) : at::empty({0}, like.options())), wanted_(wanted) {}
  Gradient(const Tensor& of, bool wanted) : Gradient(of.sizes(), of, wanted) {}

  explicit operator bool() const { return wanted_; }

  /// The block's rows are factor·(a b + c d), or factor·a b.
  void put(const Blocks::Run& run, const ScoreBlock& block, double factor, const Tensor& a, const Tensor& b,
           const Tensor& c = {}, const Tensor& d = {}) const {
    const Tensor part = as_matrices(all).narrow(0, run.first, run.count()).narrow(1, block.first_row, block.rows);
    const bool direct = part.is_contiguous() && part.scalar_type() == a.scalar_type();
    const Tensor sums = direct ? part : at::empty(part.sizes(), a.options());
    sums.baddbmm_(a, b, /*beta=*/0, factor);
    if (c.defined()) sums.baddbmm_(c, d, /*beta=*/1, factor);
    if (!direct) part.copy_(sums);
  }

  std::optional<ColumnSums> sums(const Blocks::Run& run, const Blocks& blocks) const {
    if (!wanted_) return std::nullopt;
    return ColumnSums(as_matrices(all), run, blocks);
  }

 private:
  bool wanted_;
};

}  // namespace attention_family
}  // namespace gan_ops
