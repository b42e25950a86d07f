// Minibatch discrimination kernels: arguments, documented once for CPU and CUDA. The formulas are in
// math/minibatch_discrimination.h.
#pragma once

#include "kernel_types.h"
#include "math/minibatch_discrimination.h"

namespace gan_ops {

/// m: [N, B, C]; out: [N, B].
/// workspace, here and below: scratch in the accumulate type. On the CPU discrimination_workspace(layout, threads)
/// values; on CUDA discrimination_totals(layout) where d_m is of a narrower type, else none.
struct DiscriminationForwardArgs {
  const void* m;
  void* out;
  void* workspace;
  DiscriminationLayout layout;
  bool include_self;
};

/// g: cotangent of out; d_m: gradient of m.
struct DiscriminationBackwardArgs {
  const void* g;
  const void* m;
  void* d_m;
  void* workspace;
  DiscriminationLayout layout;
};

/// v: cotangent of the backward pass's d_m; d_g [N, B], d_m: gradients of its g and m.
struct DiscriminationDoubleBackwardArgs {
  const void* v;
  const void* g;
  const void* m;
  void* d_g;
  void* d_m;
  void* workspace;
  DiscriminationLayout layout;
};

/// The CPU kernels' scratch for `threads` threads, in values of the accumulate type: O(N·B·C), since no more than B
/// threads find work.
int64_t discrimination_workspace(const DiscriminationLayout& layout, int64_t threads);

/// On CUDA, d_m is added up in shared memory where a kernel has at most so many features.
constexpr int64_t kDiscriminationSharedTotals = 32;

/// The CUDA kernels' scratch for d_m between tiles, in values of the accumulate type.
inline int64_t discrimination_totals(const DiscriminationLayout& layout) {
  return layout.dims > kDiscriminationSharedTotals ? layout.samples * layout.kernels * layout.dims : 0;
}

void run_on_cpu(const DiscriminationForwardArgs& args, Dtype dtype);
void run_on_cpu(const DiscriminationBackwardArgs& args, Dtype dtype);
void run_on_cpu(const DiscriminationDoubleBackwardArgs& args, Dtype dtype);

void run_on_cuda(const DiscriminationForwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const DiscriminationBackwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const DiscriminationDoubleBackwardArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
