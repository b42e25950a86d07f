// The kernels of distances of pairs: arguments, documented once for CPU and CUDA. The formulas are in
// math/pair_distances.h.
#pragma once

#include "kernel_types.h"
#include "math/pair_distances.h"

namespace gan_ops {

// dtype is that of x, y, their cotangents and gradients; what is [N, M] is of its accumulate type, as are workspaces.

/// x: [N, D]; y: [M, D]; distance: [N, M].
struct PairForwardArgs {
  const void *x, *y;
  void* distance;
  void* workspace;
  PairLayout layout;
  PairMetric metric;
};

/// g: cotangent of distance; distance: what forward wrote, for l2 alone; d_x, d_y: gradients, null if not wanted.
struct PairBackwardArgs {
  const void *g, *x, *y, *distance;
  void *d_x, *d_y;
  void* workspace;
  PairLayout layout;
  PairMetric metric;
};

/// v_x, v_y: cotangents of the backward pass's d_x and d_y; d_g, d_x, d_y: gradients of its g, x and y, the latter two
/// null if not wanted (they are zero for l1).
struct PairDoubleBackwardArgs {
  const void *v_x, *v_y, *g, *x, *y, *distance;
  void *d_g, *d_x, *d_y;
  void* workspace;
  PairLayout layout;
  PairMetric metric;
};

/// The CPU kernels' scratch, in values of the accumulate type; `narrow`: whether dtype is another.
int64_t pair_workspace_on_cpu(const PairForwardArgs& args, bool narrow);
int64_t pair_workspace_on_cpu(const PairBackwardArgs& args, bool narrow);
int64_t pair_workspace_on_cpu(const PairDoubleBackwardArgs& args, bool narrow);

/// The same of the CUDA kernels that add up over features, of all passes but the backward.
int64_t pair_shares_on_cuda(const PairLayout& layout);
inline int64_t pair_workspace_on_cuda(const PairForwardArgs& args) {
  return pair_shares_on_cuda(args.layout);
}
inline int64_t pair_workspace_on_cuda(const PairBackwardArgs&) {
  return 0;
}
inline int64_t pair_workspace_on_cuda(const PairDoubleBackwardArgs& args) {
  return pair_shares_on_cuda(args.layout);
}

void run_on_cpu(const PairForwardArgs& args, Dtype dtype);
void run_on_cpu(const PairBackwardArgs& args, Dtype dtype);
void run_on_cpu(const PairDoubleBackwardArgs& args, Dtype dtype);

void run_on_cuda(const PairForwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const PairBackwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const PairDoubleBackwardArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
