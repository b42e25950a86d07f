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

template <class T>
struct Forward {
  using A = Accumulate<T>;
  const T* x;
  const A* bias;
  T* y;
  BiasAct<A> f;

  GAN_OPS_INLINE void pixel(int64_t first, int64_t channels, int64_t, bool) const {
    if (bias == nullptr) return plane(first, channels, 0, 0);
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) y[first + c] = narrow<T>(f.value(widen(x[first + c]) + bias[c]));
  }
  GAN_OPS_INLINE void plane(int64_t first, int64_t width, int64_t, int64_t channel) const {
    const A b = bias == nullptr ? A(0) : bias[channel];
#pragma omp simd
    for (int64_t i = first; i < first + width; ++i) y[i] = narrow<T>(f.value(widen(x[i]) + b));
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
    if (partial == nullptr) return plane(first, width, 0, 0);
    A* sums = partial + chunk * channels;
    if (starts_chunk) std::fill_n(sums, width, A(0));
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) {
      const A d = widen(g[first + c]) * f.derivative(widen(y[first + c]));
      d_x[first + c] = narrow<T>(d);
      sums[c] += d;
    }
  }
  GAN_OPS_INLINE void plane(int64_t first, int64_t width, int64_t sample, int64_t channel) const {
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = first; i < first + width; ++i) {
      const A d = widen(g[i]) * f.derivative(widen(y[i]));
      d_x[i] = narrow<T>(d);
      sum += d;
    }
    if (partial != nullptr) partial[sample * channels + channel] = sum;
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
    for_runs(
        a.layout,
        Forward<T>{
            static_cast<const T*>(a.x), static_cast<const A*>(a.bias), static_cast<T*>(a.y), {A(a.slope), A(a.gain)}});
  });
}

void run_on_cpu(const BiasActBackwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    A* partial = a.d_bias == nullptr ? nullptr : static_cast<A*>(a.partial);
    for_runs(a.layout, Backward<T>{static_cast<const T*>(a.g),
                                   static_cast<const T*>(a.y),
                                   static_cast<T*>(a.d_x),
                                   partial,
                                   a.layout.channels,
                                   {A(a.slope), A(a.gain)}});
    if (partial != nullptr)
      sum_rows(partial, static_cast<A*>(a.d_bias), bias_partial_rows(a.layout), a.layout.channels);
  });
}

}  // namespace gan_ops
