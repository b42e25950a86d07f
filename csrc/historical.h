// Historical averaging kernels: arguments, documented once for CPU and CUDA. The formulas are in math/historical.h.
#pragma once

#include "kernel_types.h"
#include "math/historical.h"

namespace gan_ops {

/// Elements that are handled in one piece, and summed so, whatever the threads: results repeat. Sums of chunks are
/// added in float64, in order.
constexpr int64_t kHistoricalChunk = 4096;

/// One place of the lists: tensors that lie in memory alike, `size` elements each.
struct HistoricalTensor {
  const void* parameter;
  const void* average;
  const void* v;  // cotangent of the parameter's gradient; double backward only
  void* out;      // what is written: the parameter's gradient or the average
  int64_t size;
  int64_t first_chunk;  // the chunks of all tensors before it
};

/// Places whose parameters are of one type and whose averages are of that type or, if `wide_averages`, of its
/// accumulate type.
struct HistoricalGroup {
  const HistoricalTensor* tensors;
  int64_t count;
  int64_t chunks;  // of all of them
  bool wide_averages;
  HistoricalStep step;
};

/// partial: [chunks] float64, sums of (θ − m)² for the distance.
struct HistoricalDistanceArgs {
  HistoricalGroup group;
  double* partial;
};

/// g: cotangent of the distance. Writes the parameters' gradients.
struct HistoricalBackwardArgs {
  HistoricalGroup group;
  const double* g;
};

/// Writes the gradients of the backward pass's parameters, and to partial [chunks], float64, sums of v (θ − m).
struct HistoricalDoubleBackwardArgs {
  HistoricalGroup group;
  const double* g;
  double* partial;
};

/// Moves the averages.
struct HistoricalUpdateArgs {
  HistoricalGroup group;
};

/// total: the sum of partial [chunks], times 2 k² `factor`.
struct HistoricalSumArgs {
  const double* partial;
  int64_t chunks;
  double* total;
  HistoricalStep step;
  double factor;
};

void run_on_cpu(const HistoricalDistanceArgs& args, Dtype dtype);
void run_on_cpu(const HistoricalBackwardArgs& args, Dtype dtype);
void run_on_cpu(const HistoricalDoubleBackwardArgs& args, Dtype dtype);
void run_on_cpu(const HistoricalUpdateArgs& args, Dtype dtype);
void run_on_cpu(const HistoricalSumArgs& args, Dtype dtype);

void run_on_cuda(const HistoricalDistanceArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const HistoricalBackwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const HistoricalDoubleBackwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const HistoricalUpdateArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const HistoricalSumArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
