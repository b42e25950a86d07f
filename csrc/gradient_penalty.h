// Gradient penalty kernels: arguments, documented once for CPU and CUDA. The formulas are in math/gradient_penalty.h.
#pragma once

#include "kernel_types.h"
#include "math/gradient_penalty.h"
#include "math/samples.h"

namespace gan_ops {

/// x: [samples, size] in the tensor's dtype. penalty: [samples] in the accumulate type; norm: [samples] in float64.
/// partial: scratch of [samples, chunks] in float64.
struct PenaltyForwardArgs {
  const void* x;
  void* penalty;
  double* norm;
  double* partial;
  SampleLayout layout;
  double target;
  bool one_sided;
};

/// g: cotangent of penalty; d_x: gradient of x.
struct PenaltyBackwardArgs {
  const void* g;
  const void* x;
  const double* norm;
  void* d_x;
  SampleLayout layout;
  double target;
  bool one_sided;
};

/// v: cotangent of the backward pass's d_x; d_g, d_x: gradients of its g and x.
/// along, partial: scratch of [samples] and [samples, chunks] in float64.
struct PenaltyDoubleBackwardArgs {
  const void* v;
  const void* g;
  const void* x;
  const double* norm;
  void* d_g;
  void* d_x;
  double* along;
  double* partial;
  SampleLayout layout;
  double target;
  bool one_sided;
};

void run_on_cpu(const PenaltyForwardArgs& args, Dtype dtype);
void run_on_cpu(const PenaltyBackwardArgs& args, Dtype dtype);
void run_on_cpu(const PenaltyDoubleBackwardArgs& args, Dtype dtype);

void run_on_cuda(const PenaltyForwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const PenaltyBackwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const PenaltyDoubleBackwardArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
