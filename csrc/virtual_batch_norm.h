// Virtual batch norm kernels: arguments, documented once for CPU and CUDA. The formulas are in
// math/virtual_batch_norm.h.
#pragma once

#include "kernel_types.h"
#include "math/virtual_batch_norm.h"

namespace gan_ops {

// x, y, g, u and their gradients lie as `layout` says, in the tensor's dtype; all else is in the accumulate type.
// weight and bias are null where there are none. `own` is the example's share, 1 / (n + 1). `scratch`: of
// vbn_cuda_scratch values for CUDA, which sums a channel of many pixels in chunks; null on the CPU.

/// mean, rstd: [N, C], what the derivatives need again.
struct VbnForwardArgs {
  const void* x;
  const void* reference_mean;
  const void* reference_var;
  const void* weight;
  const void* bias;
  void* y;
  void* mean;
  void* rstd;
  void* scratch;
  VbnLayout layout;
  double own, eps;
};

/// g: cotangent of y. d_x is null when nobody wants it, and so are the four gradients [C] and their scratch `kept`
/// [4, N, C].
struct VbnBackwardArgs {
  const void* g;
  const void* x;
  const void* mean;
  const void* rstd;
  const void* reference_mean;
  const void* weight;
  void* d_x;
  void* d_weight;
  void* d_bias;
  void* d_reference_mean;
  void* d_reference_var;
  void* kept;
  void* scratch;
  VbnLayout layout;
  double own;
};

/// u, u_weight, …: cotangents of the backward pass's d_x, d_weight, …, null where they are zero. The three gradients
/// [C] and their scratch `kept` [3, N, C] are null when nobody wants them.
struct VbnDoubleBackwardArgs {
  const void* u;
  const void* u_weight;
  const void* u_bias;
  const void* u_reference_mean;
  const void* u_reference_var;
  const void* g;
  const void* x;
  const void* mean;
  const void* rstd;
  const void* reference_mean;
  const void* weight;
  void* d_g;
  void* d_x;
  void* d_weight;
  void* d_reference_mean;
  void* d_reference_var;
  void* kept;
  void* scratch;
  VbnLayout layout;
  double own;
};

// The formulas for T, with their pointers in place.

template <class T, bool kNullable = false>
VbnForward<T, kNullable> make_forward(const VbnForwardArgs& a) {
  using A = Accumulate<T>;
  return {.x = static_cast<const T*>(a.x),
          .y = static_cast<T*>(a.y),
          .kept = {static_cast<A*>(a.mean), static_cast<A*>(a.rstd)},
          .reference_mean = static_cast<const A*>(a.reference_mean),
          .reference_var = static_cast<const A*>(a.reference_var),
          .weight = static_cast<const A*>(a.weight),
          .bias = static_cast<const A*>(a.bias),
          .own = A(a.own),
          .reference = A(1 - a.own),
          .pixels = A(a.layout.pixels),
          .eps = A(a.eps)};
}

/// Part k of the scratch [*, N, C], or null without scratch.
template <class A>
A* part_of(void* kept, int64_t k, const VbnLayout& layout) {
  return kept == nullptr ? nullptr : static_cast<A*>(kept) + k * layout.rows();
}

template <class T, bool kNullable = false>
VbnBackward<T, kNullable> make_backward(const VbnBackwardArgs& a) {
  using A = Accumulate<T>;
  return {.g = static_cast<const T*>(a.g),
          .x = static_cast<const T*>(a.x),
          .d_x = static_cast<T*>(a.d_x),
          .kept = {part_of<A>(a.kept, 0, a.layout), part_of<A>(a.kept, 1, a.layout), part_of<A>(a.kept, 2, a.layout),
                   part_of<A>(a.kept, 3, a.layout)},
          .mean = static_cast<const A*>(a.mean),
          .rstd = static_cast<const A*>(a.rstd),
          .reference_mean = static_cast<const A*>(a.reference_mean),
          .weight = static_cast<const A*>(a.weight),
          .own = A(a.own),
          .reference = A(1 - a.own),
          .pixels = A(a.layout.pixels)};
}

template <class T, bool kNullable = false, bool kWithU = true>
VbnDoubleBackward<T, kNullable, kWithU> make_double_backward(const VbnDoubleBackwardArgs& a) {
  using A = Accumulate<T>;
  return {.u = static_cast<const T*>(a.u),
          .g = static_cast<const T*>(a.g),
          .x = static_cast<const T*>(a.x),
          .d_g = static_cast<T*>(a.d_g),
          .d_x = static_cast<T*>(a.d_x),
          .kept = {part_of<A>(a.kept, 0, a.layout), part_of<A>(a.kept, 1, a.layout), part_of<A>(a.kept, 2, a.layout)},
          .mean = static_cast<const A*>(a.mean),
          .rstd = static_cast<const A*>(a.rstd),
          .reference_mean = static_cast<const A*>(a.reference_mean),
          .weight = static_cast<const A*>(a.weight),
          .u_weight = static_cast<const A*>(a.u_weight),
          .u_bias = static_cast<const A*>(a.u_bias),
          .u_reference_mean = static_cast<const A*>(a.u_reference_mean),
          .u_reference_var = static_cast<const A*>(a.u_reference_var),
          .own = A(a.own),
          .reference = A(1 - a.own),
          .pixels = A(a.layout.pixels)};
}

void run_on_cpu(const VbnForwardArgs& args, Dtype dtype);
void run_on_cpu(const VbnBackwardArgs& args, Dtype dtype);
void run_on_cpu(const VbnDoubleBackwardArgs& args, Dtype dtype);

void run_on_cuda(const VbnForwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const VbnBackwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const VbnDoubleBackwardArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
