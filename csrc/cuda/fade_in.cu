// fade_in on CUDA: a thread 16 bytes of new's upper row and what lies beside them in old and in the lower row.
//
// Bytes it must move, for E elements of new of size s: 2.25·E·s either way. At most 4 operations an element, so memory
// sets the pace: at an H200's 4.8 TB/s, 64 images of 256×256 in float32 (50 MB) take 0.024 ms.
#include "../fade_in.h"
#include "vectors.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

/// `fraction`, unless null, is read here, on the device: the host need not know it.
template <class A>
__device__ __forceinline__ Fade<A> fade_of(const A* fraction, A number) {
  return Fade<A>(fraction == nullptr ? number : *fraction);
}

// A thread takes a vector and all that lies over or under it, so that each value is read and written once. Where pixels
// are adjacent (inner 1), that is a vector of new's upper row, the one below it, and half a vector of old; where
// channels are, a vector of an old pixel's channels and the four of new. Divisions, once a vector, find its place.

/// body(first element in new's upper row, in old, elements of new in the row) for this thread's vectors.
template <class T, class Body>
__device__ __forceinline__ void for_pixels(const FadeLayout& s, const Body& body) {
  const int64_t per_row = (2 * s.width + kVector<T> - 1) / kVector<T>;
  for (int64_t unit = int64_t(blockIdx.x) * kThreads + threadIdx.x; unit < s.rows * per_row;
       unit += int64_t(gridDim.x) * kThreads) {
    const int64_t row = unit / per_row, x = (unit - row * per_row) * kVector<T>, rest = 2 * s.width - x;
    body(4 * row * s.width + x, row * s.width + x / 2, rest < kVector<T> ? static_cast<int>(rest) : kVector<T>);
  }
}

/// body(first element in new's upper row, in old, channels) for this thread's vectors.
template <class T, class Body>
__device__ __forceinline__ void for_channels(const FadeLayout& s, const Body& body) {
  const int64_t per_pixel = (s.inner + kVector<T> - 1) / kVector<T>;
  for (int64_t unit = int64_t(blockIdx.x) * kThreads + threadIdx.x; unit < s.rows * s.width * per_pixel;
       unit += int64_t(gridDim.x) * kThreads) {
    const int64_t pixel = unit / per_pixel, c = (unit - pixel * per_pixel) * kVector<T>, rest = s.inner - c;
    const int64_t old = pixel * s.inner + c;
    body(s.first_new(old), old, rest < kVector<T> ? static_cast<int>(rest) : kVector<T>);
  }
}

template <class T, class A>
__device__ __forceinline__ void fade_vector(const T* fresh, T* out, int here, bool by_vector, const Fade<A>& fade,
                                            const A* old) {
  A values[kVector<T>];
  load(fresh, here, by_vector, values);
#pragma unroll
  for (int k = 0; k < kVector<T>; ++k) values[k] = fade(values[k], old[k]);
  store(out, here, by_vector, values);
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    forward_pixels(const T* fresh, const T* old, T* out, const A* fraction, A number, FadeLayout s) {
  const Fade<A> fade = fade_of(fraction, number);
  const bool by_vector = aligned(fresh, out) && s.new_row() % kVector<T> == 0;
  for_pixels<T>(s, [&](int64_t upper, int64_t at, int here) {
    A o[kVector<T>];
#pragma unroll
    for (int k = 0; k < kVector<T>; k += 2) o[k] = o[k + 1] = k < here ? widen(old[at + k / 2]) : A(0);
    fade_vector(fresh + upper, out + upper, here, by_vector, fade, o);
    fade_vector(fresh + upper + s.new_row(), out + upper + s.new_row(), here, by_vector, fade, o);
  });
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    forward_channels(const T* fresh, const T* old, T* out, const A* fraction, A number, FadeLayout s) {
  const Fade<A> fade = fade_of(fraction, number);
  const bool by_vector = aligned(fresh, old, out) && s.inner % kVector<T> == 0;
  for_channels<T>(s, [&](int64_t upper, int64_t at, int here) {
    A o[kVector<T>];
    load(old + at, here, by_vector, o);
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      const int64_t offset = upper + (part % 2) * s.inner + (part / 2) * s.new_row();
      fade_vector(fresh + offset, out + offset, here, by_vector, fade, o);
    }
  });
}

/// d_new of a vector; g stays in `values`.
template <class T, class A>
__device__ __forceinline__ void keep_rest(const T* g, T* d_new, int here, bool by_vector, const Fade<A>& fade,
                                          A* values) {
  load(g, here, by_vector, values);
  A rest[kVector<T>];
#pragma unroll
  for (int k = 0; k < kVector<T>; ++k) rest[k] = fade.rest * values[k];
  store(d_new, here, by_vector, rest);
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    backward_pixels(const T* g, T* d_new, T* d_old, const A* fraction, A number, FadeLayout s) {
  const Fade<A> fade = fade_of(fraction, number);
  const bool by_vector = aligned(g, d_new) && s.new_row() % kVector<T> == 0;
  for_pixels<T>(s, [&](int64_t upper, int64_t at, int here) {
    const int64_t lower = upper + s.new_row();
    A above[kVector<T>], below[kVector<T>];
    keep_rest(g + upper, d_new + upper, here, by_vector, fade, above);
    keep_rest(g + lower, d_new + lower, here, by_vector, fade, below);
#pragma unroll
    for (int k = 0; k < kVector<T>; k += 2)
      if (k < here)
        d_old[at + k / 2] = narrow<T>(fade.fraction * ((above[k] + below[k]) + (above[k + 1] + below[k + 1])));
  });
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    backward_channels(const T* g, T* d_new, T* d_old, const A* fraction, A number, FadeLayout s) {
  const Fade<A> fade = fade_of(fraction, number);
  const bool by_vector = aligned(g, d_new, d_old) && s.inner % kVector<T> == 0;
  for_channels<T>(s, [&](int64_t upper, int64_t at, int here) {
    const int64_t lower = upper + s.new_row();
    A left[kVector<T>], right[kVector<T>], below[kVector<T>];
    const auto add_below = [&](A* values) {
#pragma unroll
      for (int k = 0; k < kVector<T>; ++k) values[k] += below[k];
    };
    keep_rest(g + upper, d_new + upper, here, by_vector, fade, left);
    keep_rest(g + lower, d_new + lower, here, by_vector, fade, below);
    add_below(left);
    keep_rest(g + upper + s.inner, d_new + upper + s.inner, here, by_vector, fade, right);
    keep_rest(g + lower + s.inner, d_new + lower + s.inner, here, by_vector, fade, below);
    add_below(right);
#pragma unroll
    for (int k = 0; k < kVector<T>; ++k) left[k] = fade.fraction * (left[k] + right[k]);
    store(d_old + at, here, by_vector, left);
  });
}

template <class T>
unsigned grid_of(const FadeLayout& s) {
  const int64_t runs = s.inner == 1 ? s.rows : s.rows * s.width, width = s.inner == 1 ? 2 * s.width : s.inner;
  return grid_for((runs * ((width + kVector<T> - 1) / kVector<T>)+kThreads - 1) / kThreads);
}

}  // namespace

void run_on_cuda(const FadeInArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    const auto kernel = a.layout.inner == 1 ? forward_pixels<T, A> : forward_channels<T, A>;
    launch(kernel, grid_of<T>(a.layout), kThreads, stream, static_cast<const T*>(a.fresh), static_cast<const T*>(a.old),
           static_cast<T*>(a.out), static_cast<const A*>(a.fraction), A(a.number), a.layout);
  });
}

void run_on_cuda(const FadeInBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    const auto kernel = a.layout.inner == 1 ? backward_pixels<T, A> : backward_channels<T, A>;
    launch(kernel, grid_of<T>(a.layout), kThreads, stream, static_cast<const T*>(a.g), static_cast<T*>(a.d_new),
           static_cast<T*>(a.d_old), static_cast<const A*>(a.fraction), A(a.number), a.layout);
  });
}

}  // namespace gan_ops
