// Scale, bias and leaky ReLU kernels: arguments, documented once for CPU and CUDA. The formulas are in math/bias_act.h.
#pragma once

#include <algorithm>

#include "kernel_types.h"
#include "math/bias_act.h"
#include "math/pixel_chunks.h"

namespace gan_ops {

/// x, y: [outer, channels, inner] in the tensor's dtype. bias: [channels] in the accumulate type, or null.
struct BiasActForwardArgs {
  const void* x;
  const void* bias;
  void* y;
  ChannelLayout layout;
  double slope, gain, scale;
};

/// The chunks of the bias gradient: 8192 elements where channels are adjacent, but at least 8 pixels, or their sums
/// would be as many as the elements; else as much of a channel's plane.
inline PixelChunks bias_act_chunks(const ChannelLayout& layout) {
  constexpr int64_t kElements = 8192;
  return pixel_chunks(layout, layout.inner == 1 ? std::max<int64_t>(8, kElements / layout.channels) : kElements);
}

/// g: cotangent of y; d_x: gradient of x. d_bias: [channels] in the accumulate type, or null when nobody wants it;
/// partial: scratch of [chunks.count(), channels] for it.
struct BiasActBackwardArgs {
  const void* g;
  const void* y;
  void* d_x;
  void* d_bias;
  void* partial;
  PixelChunks chunks;
  ChannelLayout layout;
  double slope, gain, scale;
};

void run_on_cpu(const BiasActForwardArgs& args, Dtype dtype);
void run_on_cpu(const BiasActBackwardArgs& args, Dtype dtype);
void run_on_cuda(const BiasActForwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const BiasActBackwardArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
