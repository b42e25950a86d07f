// Kernels of scale, bias, leaky ReLU and pixel norm together: arguments, documented once for CPU and CUDA. The formulas
// are in math/bias_act_pixel_norm.h.
#pragma once

#include "kernel_types.h"
#include "math/pixel_chunks.h"

namespace gan_ops {

/// x, y: [outer, channels, inner] in the tensor's dtype. bias: [channels] and r: [outer, inner] in the accumulate type.
struct BiasActPixelNormForwardArgs {
  const void* x;
  const void* bias;
  void* y;
  void* r;
  ChannelLayout layout;
  double slope, eps, scale;
};

/// g: cotangent of y; d_x: gradient of x. d_bias: [channels] in the accumulate type, or null when nobody wants it;
/// partial: scratch of [chunks.count(), channels] for it.
struct BiasActPixelNormBackwardArgs {
  const void* g;
  const void* x;
  const void* bias;
  const void* r;
  void* d_x;
  void* d_bias;
  void* partial;
  PixelChunks chunks;
  ChannelLayout layout;
  double slope, scale;
};

/// v, v_bias: cotangents of the backward pass's d_x and d_bias; d_g, d_x, d_bias: gradients of its g, x and bias.
struct BiasActPixelNormDoubleBackwardArgs {
  const void* v;
  const void* v_bias;
  const void* g;
  const void* x;
  const void* bias;
  const void* r;
  void* d_g;
  void* d_x;
  void* d_bias;
  void* partial;
  PixelChunks chunks;
  ChannelLayout layout;
  double slope, scale;
};

void run_on_cpu(const BiasActPixelNormForwardArgs& args, Dtype dtype);
void run_on_cpu(const BiasActPixelNormBackwardArgs& args, Dtype dtype);
void run_on_cpu(const BiasActPixelNormDoubleBackwardArgs& args, Dtype dtype);

void run_on_cuda(const BiasActPixelNormForwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const BiasActPixelNormBackwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const BiasActPixelNormDoubleBackwardArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
