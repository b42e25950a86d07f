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

/// The way from T to its accumulate type and back, rounding to nearest with ties to even. Specialised beside each
/// narrow type (cpu/narrow_types.h, cuda/launch.cuh).
template <class T>
struct Convert {
  static GAN_OPS_INLINE T widen(T value) { return value; }
  static GAN_OPS_INLINE T narrow(T value) { return value; }
};

template <class T>
GAN_OPS_INLINE Accumulate<T> widen(T value) {
  return Convert<T>::widen(value);
}
template <class T>
GAN_OPS_INLINE T narrow(Accumulate<T> value) {
  return Convert<T>::narrow(value);
}

}  // namespace gan_ops
