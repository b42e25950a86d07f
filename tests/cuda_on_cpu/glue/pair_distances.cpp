#include "../../../csrc/pair_distances.h"

#include "glue.h"

using namespace gan_ops;

extern "C" {

void pair_distances(Dtype dtype, const void* x, const void* y, void* distance, int64_t rows, int64_t columns,
                    int64_t dims, int64_t metric) {
  PairForwardArgs args{x, y, distance, nullptr, {rows, columns, dims}, static_cast<PairMetric>(metric)};
  const Scratch scratch(dtype, pair_workspace_on_cuda(args));
  args.workspace = scratch.get();
  run_on_cuda(args, dtype, nullptr);
}

void pair_distances_backward(Dtype dtype, const void* g, const void* x, const void* y, const void* distance, void* d_x,
                             void* d_y, int64_t rows, int64_t columns, int64_t dims, int64_t metric) {
  run_on_cuda(
      PairBackwardArgs{g, x, y, distance, d_x, d_y, nullptr, {rows, columns, dims}, static_cast<PairMetric>(metric)},
      dtype, nullptr);
}

void pair_distances_double_backward(Dtype dtype, const void* v_x, const void* v_y, const void* g, const void* x,
                                    const void* y, const void* distance, void* d_g, void* d_x, void* d_y, int64_t rows,
                                    int64_t columns, int64_t dims, int64_t metric) {
  PairDoubleBackwardArgs args{
      v_x, v_y, g, x, y, distance, d_g, d_x, d_y, nullptr, {rows, columns, dims}, static_cast<PairMetric>(metric)};
  const Scratch scratch(dtype, pair_workspace_on_cuda(args));
  args.workspace = scratch.get();
  run_on_cuda(args, dtype, nullptr);
}
}
