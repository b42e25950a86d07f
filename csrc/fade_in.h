// Kernels of fade_in: arguments, documented once for CPU and CUDA. The formulas are in math/fade_in.h.
#pragma once

#include "kernel_types.h"
#include "math/fade_in.h"

namespace gan_ops {

/// fresh (the new image), out: 4·E elements for E of old, in the tensor's dtype. fraction: one value in the accumulate
/// type on the kernel's device; null where `number` says it.
struct FadeInArgs {
  const void* fresh;
  const void* old;
  void* out;
  const void* fraction;
  double number;
  FadeLayout layout;
};

/// g: cotangent of out.
struct FadeInBackwardArgs {
  const void* g;
  void* d_new;
  void* d_old;
  const void* fraction;
  double number;
  FadeLayout layout;
};

void run_on_cpu(const FadeInArgs& args, Dtype dtype);
void run_on_cpu(const FadeInBackwardArgs& args, Dtype dtype);
void run_on_cuda(const FadeInArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const FadeInBackwardArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
