// Kernels of upfirdn2d: arguments, documented once for CPU and CUDA. The formulas are in math/upfirdn2d.h.
#pragma once

#include "kernel_types.h"
#include "math/upfirdn2d.h"

namespace gan_ops {

/// x: `planes` images of [y.in, x.in] pixels of `inner` adjacent values each; y: the same with [y.out, x.out].
/// Contiguous: N·C planes, inner 1. channels_last: N planes, inner C.
/// filter: in the accumulate type, on the kernel's device, as it is given (not turned): [taps] for both axes if
/// separable, else [y.taps, x.taps]; null stands for one tap of 1.
struct Upfirdn2dArgs {
  const void* x;
  const void* filter;
  void* y;
  int64_t planes;
  int64_t inner;
  ResampledAxis horizontal;
  ResampledAxis vertical;
  bool separable;
  bool flip;  // whether the filter correlates; else it is turned around first
  double gain;
};

void run_on_cpu(const Upfirdn2dArgs& args, Dtype dtype);
void run_on_cuda(const Upfirdn2dArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
