// Scale, bias and leaky ReLU on the CPU: one walk, with the bias gradient summed on the way in pieces of fixed size.
#include "../bias_act.h"

#include <algorithm>

#include "narrow_types.h"
#include "parallel.h"
#include "sum_rows.h"

namespace gan_ops {
namespace {

using namespace cpu;

/// body.pixel or body.plane for every run of adjacent elements: a pixel, whose channels count up, or what of a
/// channel's plane a chunk has. Both take the run's first element and its width, then the chunk, and the channel of a
/// plane.
template <class Body>
void for_runs(const ChannelLayout& s, const PixelChunks& chunks, const Body& body) {
  if (s.inner == 1) {
    parallel_for(chunks.count(), chunks.width * s.channels, [=](int64_t first, int64_t last) GAN_OPS_LAMBDA_INLINE {
      for (int64_t chunk = first; chunk < last; ++chunk) {
        body.start(chunk);
        for (int64_t pixel = chunks.begin(chunk); pixel < chunks.end(chunk); ++pixel)
          body.pixel(pixel * s.channels, s.channels, chunk);
      }
    });
    return;
  }
  // In the order of memory: a plane's chunks one after another. Counted along, since planes can be as small as 16
  // pixels, which a division takes longer than.
  const int64_t per_plane = chunks.per_sample();
  parallel_for(chunks.count() * s.channels, chunks.width, [=](int64_t first, int64_t last) GAN_OPS_LAMBDA_INLINE {
    int64_t plane = first / per_plane, piece = first % per_plane;
    int64_t sample = plane / s.channels, channel = plane % s.channels;
    for (int64_t run = first; run < last; ++run) {
      const int64_t begin = piece * chunks.width, width = std::min(chunks.width, s.inner - begin);
      body.plane(plane * s.inner + begin, width, sample * per_plane + piece, channel);
      if (++piece < per_plane) continue;
      piece = 0;
      ++plane;
      if (++channel < s.channels) continue;
      channel = 0;
      ++sample;
    }
  });
}

// The loops. What they read besides the arrays is copied into locals first: a store to an array might change members,
// for all the compiler knows, and then nothing is vectorised.

template <class T, class A>
GAN_OPS_INLINE void activate(const T* x, T* y, int64_t width, const A* bias, BiasAct<A> f) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) y[i] = narrow<T>(f.value(f.enter(widen(x[i]), bias[i])));
}
template <class T, class A>
GAN_OPS_INLINE void activate(const T* x, T* y, int64_t width, A bias, BiasAct<A> f) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) y[i] = narrow<T>(f.value(f.enter(widen(x[i]), bias)));
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

  GAN_OPS_INLINE void start(int64_t) const {}
  GAN_OPS_INLINE void pixel(int64_t first, int64_t channels, int64_t) const {
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
  A* partial;  // [chunks, channels], or null
  int64_t channels;
  BiasAct<A> f;

  GAN_OPS_INLINE void start(int64_t chunk) const {
    if (partial != nullptr) std::fill_n(partial + chunk * channels, channels, A(0));
  }
  GAN_OPS_INLINE void pixel(int64_t first, int64_t width, int64_t chunk) const {
    differentiate(g + first, y + first, d_x + first, width, f);
    if (partial != nullptr) add_each(g + first, y + first, partial + chunk * channels, width, f);  // out of cache
  }
  GAN_OPS_INLINE void plane(int64_t first, int64_t width, int64_t chunk, int64_t channel) const {
    differentiate(g + first, y + first, d_x + first, width, f);
    if (partial != nullptr) partial[chunk * channels + channel] = add_all(g + first, y + first, width, f);
  }
};

}  // namespace

void run_on_cpu(const BiasActForwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    for_runs(a.layout, bias_act_chunks(a.layout),
             Forward<T>{static_cast<const T*>(a.x), static_cast<const A*>(a.bias), static_cast<T*>(a.y),
                        make_bias_act<A>(a.slope, a.gain, a.scale)});
  });
}

void run_on_cpu(const BiasActBackwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    A* partial = a.d_bias == nullptr ? nullptr : static_cast<A*>(a.partial);
    for_runs(a.layout, a.chunks,
             Backward<T>{static_cast<const T*>(a.g), static_cast<const T*>(a.y), static_cast<T*>(a.d_x), partial,
                         a.layout.channels, make_bias_act_backward<A>(a.slope, a.gain, a.scale)});
    if (partial != nullptr)
      sum_rows(partial, static_cast<A*>(a.d_bias), a.chunks.count(), a.layout.channels, A(a.scale));
  });
}

}  // namespace gan_ops
