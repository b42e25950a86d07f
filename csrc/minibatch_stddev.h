// Minibatch stddev kernels: arguments, documented once for CPU and CUDA. The formulas are in math/minibatch_stddev.h.
#pragma once

#include "kernel_types.h"
#include "math/minibatch_stddev.h"

namespace gan_ops {

/// x: [N, C, *]; out: [N, C + F, *].
/// partial: scratch of [M, F, stddev_chunks(positions)] in the accumulate type.
struct StddevForwardArgs {
  const void* x;
  void* out;
  void* partial;
  StddevLayout layout;
  double eps;
};

/// g: cotangent of out; d_x: gradient of x.
/// partial: scratch of [M, F, stddev_chunks(G · map_positions)] in the accumulate type.
struct StddevBackwardArgs {
  const void* g;
  const void* x;
  void* d_x;
  void* partial;
  StddevLayout layout;
  double eps;
};

/// v: cotangent of the backward pass's d_x; d_g [N, C + F, *], d_x: gradients of its g and x.
/// partial: scratch as the backward pass's; h_partial: scratch as the forward pass's.
struct StddevDoubleBackwardArgs {
  const void* v;
  const void* g;
  const void* x;
  void* d_g;
  void* d_x;
  void* partial;
  void* h_partial;
  StddevLayout layout;
  double eps;
};

void run_on_cpu(const StddevForwardArgs& args, Dtype dtype);
void run_on_cpu(const StddevBackwardArgs& args, Dtype dtype);
void run_on_cpu(const StddevDoubleBackwardArgs& args, Dtype dtype);

void run_on_cuda(const StddevForwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const StddevBackwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const StddevDoubleBackwardArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
