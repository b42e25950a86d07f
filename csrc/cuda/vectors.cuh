// Elements in groups of 16 bytes, a thread a group: read and written by one access where the group is whole and lies on
// a 16-byte boundary, else one element after another. Either way a thread has the same elements in the same order, so
// that results are equal to the bit.
#pragma once

#include <cstring>
#include <type_traits>

#include "launch.cuh"

namespace gan_ops::cuda {

/// Elements in 16 bytes.
template <class T>
constexpr int kVector = 16 / sizeof(T);

/// Whether all these addresses are multiples of 16; null ones are.
template <class... T>
__host__ __device__ __forceinline__ bool aligned(const T*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) | ...) & 15) == 0;
}

/// Four bytes, from the elements that begin there. Put together by arithmetic: from a copy of narrow elements nvcc
/// makes several narrow stores.
template <class T>
__device__ __forceinline__ unsigned word_of(const T* elements) {
  if constexpr (sizeof(T) == 2) {
    uint16_t low, high;
    memcpy(&low, elements, sizeof(low));
    memcpy(&high, elements + 1, sizeof(high));
    return low | unsigned(high) << 16;
  } else {
    unsigned word;
    memcpy(&word, elements, sizeof(word));
    return word;
  }
}

/// The vector of these elements, in the bits that memory has them in.
template <class T>
__device__ __forceinline__ uint4 bits_of(const T* elements) {
  if constexpr (sizeof(T) == 8) {
    uint4 bits;
    memcpy(&bits, elements, sizeof(bits));
    return bits;
  } else {
    constexpr int kPerWord = 4 / sizeof(T);
    return make_uint4(word_of(elements), word_of(elements + kPerWord), word_of(elements + 2 * kPerWord),
                      word_of(elements + 3 * kPerWord));
  }
}

/// values[k] = element k of a vector.
template <class T>
__device__ __forceinline__ void unpack(const uint4& bits, Accumulate<T>* values) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {  // the upper halves of floats: one instruction each
    const unsigned words[] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int k = 0; k < kVector<T>; ++k) {
      const unsigned word = k % 2 == 0 ? words[k / 2] << 16 : words[k / 2] & 0xffff0000u;
      memcpy(&values[k], &word, sizeof(word));
    }
    return;
  }
  T elements[kVector<T>];
  memcpy(elements, &bits, sizeof(bits));
#pragma unroll
  for (int k = 0; k < kVector<T>; ++k) values[k] = widen(elements[k]);
}

/// The vector from[0 … count), with zeros behind it; `by_vector`: `from` is aligned. For several loads on their way at
/// once: their values are waited for where they are unpacked, not at the end of the branch that each load is.
template <class T>
__device__ __forceinline__ uint4 load_bits(const T* from, int count, bool by_vector) {
  if (by_vector && count >= kVector<T>) return *reinterpret_cast<const uint4*>(from);
  if (count <= 0) return make_uint4(0, 0, 0, 0);
  T elements[kVector<T>];
#pragma unroll
  for (int k = 0; k < kVector<T>; ++k) elements[k] = k < count ? from[k] : narrow<T>(Accumulate<T>(0));
  return bits_of(elements);
}

/// values[k] = from[k] for k < count, 0 for the rest of the vector. `by_vector`: `from` is aligned.
template <class T>
__device__ __forceinline__ void load(const T* from, int count, bool by_vector, Accumulate<T>* values) {
  unpack<T>(load_bits(from, count, by_vector), values);
}

/// to[k] = values[k] for k < count. `by_vector`: `to` is aligned. Vectors are stored by CUDA's function for that: of an
/// assignment nvcc sometimes makes four.
template <class T>
__device__ __forceinline__ void store(T* to, int count, bool by_vector, const Accumulate<T>* values) {
  if (by_vector && count >= kVector<T>) {
    if constexpr (sizeof(T) == 8) {
      __stwb(reinterpret_cast<double2*>(to), make_double2(values[0], values[1]));
    } else {
      T elements[kVector<T>];
#pragma unroll
      for (int k = 0; k < kVector<T>; ++k) elements[k] = narrow<T>(values[k]);
      __stwb(reinterpret_cast<uint4*>(to), bits_of(elements));
    }
  } else {
#pragma unroll
    for (int k = 0; k < kVector<T>; ++k)
      if (k < count) to[k] = narrow<T>(values[k]);
  }
}

/// kCount adjacent values in shared memory, 16 bytes at a time, or 8 where that is all.
template <int kCount, class A>
__device__ __forceinline__ void take(const A* from, A (&values)[kCount]) {
  using Bits = std::conditional_t<sizeof(values) == 8, uint2, uint4>;
#pragma unroll
  for (int at = 0; at < kCount; at += sizeof(Bits) / sizeof(A)) {
    const Bits bits = *reinterpret_cast<const Bits*>(from + at);
    memcpy(values + at, &bits, sizeof(bits));
  }
}

template <int kCount, class A>
__device__ __forceinline__ void put(A* to, const A (&values)[kCount]) {
  using Bits = std::conditional_t<sizeof(values) == 8, uint2, uint4>;
#pragma unroll
  for (int at = 0; at < kCount; at += sizeof(Bits) / sizeof(A)) {
    Bits bits;
    memcpy(&bits, values + at, sizeof(bits));
    *reinterpret_cast<Bits*>(to + at) = bits;
  }
}

/// body(first element, how many) for the vectors of `width` elements that are the turn of thread `rank` of `threads`.
/// 32-bit indices: a width is a piece of a tensor, whose place the caller knows.
template <class T, class Body>
__device__ __forceinline__ void for_vectors(int width, int rank, int threads, const Body& body) {
  for (int i = rank * kVector<T>; i < width; i += threads * kVector<T>)
    body(i, width - i < kVector<T> ? width - i : kVector<T>);
}

/// The same for a whole tensor, shared by all blocks; body(int64_t, int).
template <class T, class Body>
__device__ __forceinline__ void for_all_vectors(int64_t count, const Body& body) {
  const int64_t step = int64_t(gridDim.x) * kThreads * kVector<T>;
  for (int64_t i = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * kVector<T>; i < count; i += step)
    body(i, count - i < kVector<T> ? static_cast<int>(count - i) : kVector<T>);
}

template <class T>
unsigned grid_of_vectors(int64_t count) {
  constexpr int64_t kPerBlock = kThreads * kVector<T>;
  return grid_for((count + kPerBlock - 1) / kPerBlock);
}

}  // namespace gan_ops::cuda
