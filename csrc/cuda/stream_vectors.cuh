// Vectors (vectors.cuh) of all tensors that a formula reads and writes (math/streams.h).
#pragma once

#include "../math/streams.h"
#include "vectors.cuh"

namespace gan_ops::cuda {

template <class T, class F>
__device__ __forceinline__ bool aligned_streams(const Streams<T, F>& s) {
  bool all = true;
#pragma unroll
  for (int k = 0; k < F::kInputs; ++k) all = all && aligned(s.in[k]);
#pragma unroll
  for (int k = 0; k < F::kOutputs; ++k) all = all && aligned(s.out[k]);
  return all;
}

/// in[k] = the inputs of element i + k of a vector.
template <int K = 0, class T, class F, class A>
__device__ __forceinline__ void load_streams(const Streams<T, F>& s, int64_t i, int count, bool by_vector,
                                             A (*in)[F::kInputs]) {
  A values[kVector<T>];
  load(s.in[K] + i, count, by_vector, values);
#pragma unroll
  for (int k = 0; k < kVector<T>; ++k) in[k][K] = values[k];
  if constexpr (K + 1 < F::kInputs) load_streams<K + 1>(s, i, count, by_vector, in);
}
template <int K = 0, class T, class F, class A>
__device__ __forceinline__ void store_streams(const Streams<T, F>& s, int64_t i, int count, bool by_vector,
                                              const A (*out)[F::kOutputs]) {
  A values[kVector<T>];
#pragma unroll
  for (int k = 0; k < kVector<T>; ++k) values[k] = out[k][K];
  store(s.out[K] + i, count, by_vector, values);
  if constexpr (K + 1 < F::kOutputs) store_streams<K + 1>(s, i, count, by_vector, out);
}

}  // namespace gan_ops::cuda
