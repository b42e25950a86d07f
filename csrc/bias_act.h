// Bias and leaky ReLU kernels: arguments, documented once for CPU and CUDA. The formulas are in math/bias_act.h.
#pragma once

#include "kernel_types.h"
#include "math/bias_act.h"

namespace gan_ops {

/// x, y: [outer, channels, inner] in the tensor's dtype. bias: [channels] in the accumulate type, or null.
struct BiasActForwardArgs {
  const void* x;
  const void* bias;
  void* y;
  ChannelLayout layout;
  double slope, gain;
};

/// How many rows the bias gradient's partial sums have.
inline int64_t bias_partial_rows(const ChannelLayout& layout) {
  if (layout.inner != 1) return layout.outer;  // one a sample
  const int64_t rows = bias_rows_per_chunk(layout.channels);
  return (layout.outer + rows - 1) / rows;
}

/// g: cotangent of y; d_x: gradient of x. d_bias: [channels] in the accumulate type, or null when nobody wants it;
/// partial: scratch of [bias_partial_rows, channels] for it.
struct BiasActBackwardArgs {
  const void* g;
  const void* y;
  void* d_x;
  void* d_bias;
  void* partial;
  ChannelLayout layout;
  double slope, gain;
};

void run_on_cpu(const BiasActForwardArgs& args, Dtype dtype);
void run_on_cpu(const BiasActBackwardArgs& args, Dtype dtype);
void run_on_cuda(const BiasActForwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const BiasActBackwardArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
