// Kernels of the epilogue of a demodulated convolution: arguments, documented once for CPU and CUDA. The formulas are
// in math/scale_bias_act.h.
#pragma once

#include <limits>

#include "kernel_types.h"
#include "math/scale_bias_act.h"

namespace gan_ops {

// x, y, g, v and their gradients lie as `layout` says, in the tensor's dtype; all else is in the accumulate type.

struct EpilogueOptions {
  Activation act;
  double alpha, gain, clamp;  // of a clamp below 0 there is none
};

/// scale: [N, C]; bias: [C]; noise: [N, P], or [P] for all samples; each null where there is none.
struct EpilogueParameters {
  const void* scale;
  const void* bias;
  const void* noise;
  bool noise_of_each;  // sample

  /// How far apart two samples' noise lies.
  GAN_OPS_INLINE int64_t noise_step(const EpilogueLayout& s) const { return noise_of_each ? s.pixels : 0; }
};

/// Sums: scale [N, C], bias [C], noise as above; each null when nobody wants it. Each has scratch: its sums over the
/// chunks of pixels, [N, chunks, C] for scale and bias, or over those of channels, [N, chunks, P] for noise.
struct EpilogueSums {
  void* scale;
  void* bias;
  void* noise;
  void* partial_scale;
  void* partial_bias;
  void* partial_noise;
};

struct ScaleBiasActForwardArgs {
  const void* x;
  EpilogueParameters of;
  void* y;
  EpilogueLayout layout;
  EpilogueOptions options;
};

/// g: cotangent of y. d_x is null when nobody wants it.
struct ScaleBiasActBackwardArgs {
  const void* g;
  const void* x;
  EpilogueParameters of;
  void* d_x;
  EpilogueSums sums;
  EpilogueChunks chunks;
  EpilogueLayout layout;
  EpilogueOptions options;
};

/// v and `to` (scale, bias, noise): cotangents of the backward pass's results, null where they are zero. d_g and d_x
/// are null when nobody wants them.
struct ScaleBiasActDoubleBackwardArgs {
  const void* v;
  EpilogueParameters to;
  const void* g;
  const void* x;
  EpilogueParameters of;
  void* d_g;
  void* d_x;
  EpilogueSums sums;
  EpilogueChunks chunks;
  EpilogueLayout layout;
  EpilogueOptions options;
};

template <class A>
Saturation<A> saturation(const EpilogueOptions& options) {
  const bool limited = options.clamp >= 0;
  return {A(options.gain), limited ? A(options.clamp) : std::numeric_limits<A>::infinity(), A(limited ? 0 : 1)};
}

inline EpilogueTerms terms_of(const ScaleBiasActDoubleBackwardArgs& a) {
  return {a.v != nullptr, a.to.scale != nullptr, a.options.act != Activation::linear, is_curved(a.options.act)};
}

void run_on_cpu(const ScaleBiasActForwardArgs& args, Dtype dtype);
void run_on_cpu(const ScaleBiasActBackwardArgs& args, Dtype dtype);
void run_on_cpu(const ScaleBiasActDoubleBackwardArgs& args, Dtype dtype);
void run_on_cuda(const ScaleBiasActForwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const ScaleBiasActBackwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const ScaleBiasActDoubleBackwardArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
