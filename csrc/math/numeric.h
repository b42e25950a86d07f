// Number types on host and device: what sums are taken in, and the way there and back.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define GAN_OPS_INLINE __host__ __device__ __forceinline__
#else
#define GAN_OPS_INLINE inline __attribute__((always_inline))
#endif

namespace gan_ops {

template <class T>
struct AccumulateOf {
  using type = float;
};
template <>
struct AccumulateOf<double> {
  using type = double;
};
/// float64 for float64, float32 for everything narrower.
template <class T>
using Accumulate = typename AccumulateOf<T>::type;

GAN_OPS_INLINE double widen(double value) {
  return value;
}
GAN_OPS_INLINE float widen(float value) {
  return value;
}

/// Rounds to nearest, ties to even. Specialised beside each narrow type (cpu/narrow_types.h, cuda/narrow_types.cuh).
template <class T>
struct Narrow;
template <>
struct Narrow<double> {
  static GAN_OPS_INLINE double from(double value) { return value; }
};
template <>
struct Narrow<float> {
  static GAN_OPS_INLINE float from(float value) { return value; }
};
template <class T, class A>
GAN_OPS_INLINE T narrow(A value) {
  return Narrow<T>::from(value);
}

}  // namespace gan_ops
