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

/// bits[K] = the vector of input K that begins at element i.
template <int K = 0, class T, class F>
__device__ __forceinline__ void load_stream_bits(const Streams<T, F>& s, int64_t i, int count, bool by_vector,
                                                 uint4* bits) {
  bits[K] = load_bits(s.in[K] + i, count, by_vector);
  if constexpr (K + 1 < F::kInputs) load_stream_bits<K + 1>(s, i, count, by_vector, bits);
}
/// in[k] = the inputs of element k of these vectors.
template <class T, class F, int K = 0, class A>
__device__ __forceinline__ void unpack_streams(const uint4* bits, A (*in)[F::kInputs]) {
  A values[kVector<T>];
  unpack<T>(bits[K], values);
#pragma unroll
  for (int k = 0; k < kVector<T>; ++k) in[k][K] = values[k];
  if constexpr (K + 1 < F::kInputs) unpack_streams<T, F, K + 1>(bits, in);
}
/// in[k] = the inputs of element i + k of a vector.
template <class T, class F, class A>
__device__ __forceinline__ void load_streams(const Streams<T, F>& s, int64_t i, int count, bool by_vector,
                                             A (*in)[F::kInputs]) {
  uint4 bits[F::kInputs];
  load_stream_bits(s, i, count, by_vector, bits);
  unpack_streams<T, F>(bits, in);
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
