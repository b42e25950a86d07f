// Pixel norm kernels: arguments, documented once for CPU and CUDA. The formulas are in math/pixel_norm.h.
#pragma once

#include "kernel_types.h"

namespace gan_ops {

/// x, y: [outer, channels, inner] in the tensor's dtype. r: [outer, inner] in the accumulate type.
struct PixelNormForwardArgs {
  const void* x;
  void* y;
  void* r;
  ChannelLayout layout;
  double eps;
};

/// g: cotangent of y; d_x: gradient of x.
struct PixelNormBackwardArgs {
  const void* g;
  const void* x;
  const void* r;
  void* d_x;
  ChannelLayout layout;
};

/// v: cotangent of the backward pass's d_x; d_g, d_x: gradients of its g and x.
struct PixelNormDoubleBackwardArgs {
  const void* v;
  const void* g;
  const void* x;
  const void* r;
  void* d_g;
  void* d_x;
  ChannelLayout layout;
};

void run_on_cpu(const PixelNormForwardArgs& args, Dtype dtype);
void run_on_cpu(const PixelNormBackwardArgs& args, Dtype dtype);
void run_on_cpu(const PixelNormDoubleBackwardArgs& args, Dtype dtype);

void run_on_cuda(const PixelNormForwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const PixelNormBackwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const PixelNormDoubleBackwardArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
