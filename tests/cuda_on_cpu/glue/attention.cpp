#include "../../../csrc/attention.h"

#include "glue.h"

using namespace gan_ops;

namespace {

int64_t size_of(Dtype dtype) {
  return dtype == Dtype::float64 ? sizeof(double) : sizeof(float);
}

/// Of a bias, from the first element for the block's first row on; `offset` elements from where it begins.
ScoreBias bias_of(Dtype dtype, const void* data, int64_t offset, const ScoreBias& strides) {
  ScoreBias bias = strides;
  bias.data = data == nullptr ? nullptr : static_cast<const char*>(data) + offset * size_of(dtype);
  return bias;
}

/// Kernels work in place, and Python's tensors are read or written.
void copy_scores(Dtype dtype, const void* from, void* to, const ScoreBlock& block) {
  std::memcpy(to, from, block.row_count() * block.columns * size_of(dtype));
}

}  // namespace

extern "C" {

void attention(Dtype dtype, const void* s, void* p, void* log_sum, const void* bias, int64_t offset, int64_t to_outer,
               int64_t to_inner, int64_t to_row, int64_t to_column, int64_t outer, int64_t inner, int64_t rows,
               int64_t columns, int64_t first_row, int64_t all_rows, int64_t causal) {
  const ScoreBlock block{outer, inner, rows, columns, first_row, all_rows, causal != 0};
  copy_scores(dtype, s, p, block);
  run_on_cuda(
      AttentionForwardArgs{p, log_sum, bias_of(dtype, bias, offset, {nullptr, to_outer, to_inner, to_row, to_column}),
                           block},
      dtype, nullptr);
}

void attention_backward(Dtype dtype, const void* s, const void* a, const void* log_sum, void* p, void* d_s,
                        const void* bias, int64_t offset, int64_t to_outer, int64_t to_inner, int64_t to_row,
                        int64_t to_column, int64_t outer, int64_t inner, int64_t rows, int64_t columns,
                        int64_t first_row, int64_t all_rows, int64_t causal) {
  const ScoreBlock block{outer, inner, rows, columns, first_row, all_rows, causal != 0};
  copy_scores(dtype, s, p, block);
  copy_scores(dtype, a, d_s, block);
  run_on_cuda(
      AttentionBackwardArgs{p, d_s, log_sum,
                            bias_of(dtype, bias, offset, {nullptr, to_outer, to_inner, to_row, to_column}), block},
      dtype, nullptr);
}

void attention_double_backward(Dtype dtype, const void* s, const void* a, const void* w, const void* u,
                               const void* log_sum, void* p, void* d_s, void* x, void* t, const void* bias,
                               const void* v_bias, int64_t offset, int64_t to_outer, int64_t to_inner, int64_t to_row,
                               int64_t to_column, int64_t outer, int64_t inner, int64_t rows, int64_t columns,
                               int64_t first_row, int64_t all_rows, int64_t causal) {
  const ScoreBlock block{outer, inner, rows, columns, first_row, all_rows, causal != 0};
  copy_scores(dtype, s, p, block);
  copy_scores(dtype, a, d_s, block);
  copy_scores(dtype, w, x, block);
  copy_scores(dtype, u, t, block);
  const ScoreBias strides{nullptr, to_outer, to_inner, to_row, to_column};
  run_on_cuda(AttentionDoubleBackwardArgs{p, d_s, x, t, log_sum, bias_of(dtype, bias, offset, strides),
                                          bias_of(dtype, v_bias, offset, strides), block},
              dtype, nullptr);
}
}
