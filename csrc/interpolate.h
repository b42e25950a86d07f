// Interpolation kernels: arguments, documented once for CPU and CUDA. The formulas are in math/interpolate.h.
#pragma once

#include "kernel_types.h"
#include "math/interpolate.h"
#include "math/samples.h"

namespace gan_ops {

/// real, fake, y: [samples, size] in the tensors' dtype. weight: [samples] in the accumulate type.
struct InterpolateForwardArgs {
  const void* real;
  const void* fake;
  const void* weight;
  void* y;
  SampleLayout layout;
};

/// g: cotangent of y; d_real, d_fake: gradients of real and fake, null where nobody wants them.
struct InterpolateBackwardArgs {
  const void* g;
  const void* weight;
  void* d_real;
  void* d_fake;
  SampleLayout layout;
};

/// d_weight: [samples], gradient of weight, in the accumulate type. partial: scratch of [samples, chunks] in float64.
struct InterpolateWeightGradArgs {
  const void* g;
  const void* real;
  const void* fake;
  void* d_weight;
  double* partial;
  SampleLayout layout;
};

void run_on_cpu(const InterpolateForwardArgs& args, Dtype dtype);
void run_on_cpu(const InterpolateBackwardArgs& args, Dtype dtype);
void run_on_cpu(const InterpolateWeightGradArgs& args, Dtype dtype);

void run_on_cuda(const InterpolateForwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const InterpolateBackwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const InterpolateWeightGradArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
