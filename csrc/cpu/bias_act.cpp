// Bias and leaky ReLU on the CPU: one walk, with the bias gradient summed on the way in pieces of fixed size.
#include "../bias_act.h"

#include <algorithm>

#include "narrow_types.h"
#include "parallel.h"

namespace gan_ops {
namespace {

using namespace cpu;

/// body(first element, width, channel of the first, row of partial sums) for every run of adjacent elements. Channels
/// adjacent: a run is a pixel, its channels count up. Otherwise a run is a channel's plane.
template <class Body>
void for_runs(const ChannelLayout& s, const Body& body) {
  if (s.inner == 1) {
    const int64_t rows = bias_rows_per_chunk(s.channels), chunks = (s.outer + rows - 1) / rows;
    parallel_for(chunks, rows * s.channels, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
      for (int64_t chunk = begin; chunk < end; ++chunk)
        for (int64_t row = chunk * rows; row < std::min(s.outer, (chunk + 1) * rows); ++row)
          body.pixel(row * s.channels, s.channels, chunk, row == chunk * rows);
    });
    return;
  }
  parallel_for(s.outer * s.channels, s.inner, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    for (int64_t plane = begin; plane < end; ++plane)
      body.plane(plane * s.inner, s.inner, plane / s.channels, plane % s.channels);
  });
}

// The loops. What they read besides the arrays is copied into locals first: a store to an array might change members,
// for all the compiler knows, and then nothing is vectorised.

template <class T, class A>
GAN_OPS_INLINE void activate(const T* x, T* y, int64_t width, const A* bias, BiasAct<A> f) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) y[i] = narrow<T>(f.value(widen(x[i]) + bias[i]));
}
template <class T, class A>
GAN_OPS_INLINE void activate(const T* x, T* y, int64_t width, A bias, BiasAct<A> f) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) y[i] = narrow<T>(f.value(widen(x[i]) + bias));
}
template <class T, class A>
GAN_OPS_INLINE void differentiate(const T* g, const T* y, T* d_x, int64_t width, BiasAct<A> f) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) d_x[i] = narrow<T>(widen(g[i]) * f.derivative(widen(y[i])));
}
template <class T, class A>
GAN_OPS_INLINE void add_each(const T* g, const T* y, A* sums, int64_t width, BiasAct<A> f) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) sums[i] += widen(g[i]) * f.derivative(widen(y[i]));
}
template <class T, class A>
GAN_OPS_INLINE A add_all(const T* g, const T* y, int64_t width, BiasAct<A> f) {
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < width; ++i) sum += widen(g[i]) * f.derivative(widen(y[i]));
  return sum;
}

template <class T>
struct Forward {
  using A = Accumulate<T>;
  const T* x;
  const A* bias;
  T* y;
  BiasAct<A> f;

  GAN_OPS_INLINE void pixel(int64_t first, int64_t channels, int64_t, bool) const {
    if (bias == nullptr) return activate(x + first, y + first, channels, A(0), f);
    activate(x + first, y + first, channels, bias, f);
  }
  GAN_OPS_INLINE void plane(int64_t first, int64_t width, int64_t, int64_t channel) const {
    activate(x + first, y + first, width, bias == nullptr ? A(0) : bias[channel], f);
  }
};

template <class T>
struct Backward {
  using A = Accumulate<T>;
  const T* g;
  const T* y;
  T* d_x;
  A* partial;  // [rows, channels], or null
  int64_t channels;
  BiasAct<A> f;

  GAN_OPS_INLINE void pixel(int64_t first, int64_t width, int64_t chunk, bool starts_chunk) const {
    differentiate(g + first, y + first, d_x + first, width, f);
    if (partial == nullptr) return;
    A* sums = partial + chunk * channels;
    if (starts_chunk) std::fill_n(sums, width, A(0));
    add_each(g + first, y + first, sums, width, f);  // out of cache
  }
  GAN_OPS_INLINE void plane(int64_t first, int64_t width, int64_t sample, int64_t channel) const {
    differentiate(g + first, y + first, d_x + first, width, f);
    if (partial != nullptr) partial[sample * channels + channel] = add_all(g + first, y + first, width, f);
  }
};

/// [rows, channels] → [channels]
template <class A>
void sum_rows(const A* partial, A* total, int64_t rows, int64_t channels) {
  std::fill_n(total, channels, A(0));
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t c = 0; c < channels; ++c) total[c] += partial[row * channels + c];
}

}  // namespace

void run_on_cpu(const BiasActForwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    for_runs(a.layout, Forward<T>{static_cast<const T*>(a.x), static_cast<const A*>(a.bias), static_cast<T*>(a.y),
                                  make_bias_act<A>(a.slope, a.gain)});
  });
}

void run_on_cpu(const BiasActBackwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    A* partial = a.d_bias == nullptr ? nullptr : static_cast<A*>(a.partial);
    for_runs(a.layout, Backward<T>{static_cast<const T*>(a.g), static_cast<const T*>(a.y), static_cast<T*>(a.d_x),
                                   partial, a.layout.channels, make_bias_act<A>(a.slope, a.gain)});
    if (partial != nullptr)
      sum_rows(partial, static_cast<A*>(a.d_bias), bias_partial_rows(a.layout), a.layout.channels);
  });
}

}  // namespace gan_ops
