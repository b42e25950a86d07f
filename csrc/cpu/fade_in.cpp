// fade_in on the CPU, two rows of new with the row of old that they share. Pixels of few values (contiguous images, RGB
// in channels_last) go through a buffer that holds the row as wide as new has it.
#include "../fade_in.h"

#include <algorithm>
#include <type_traits>

#include "narrow_types.h"
#include "parallel.h"

namespace gan_ops {
namespace {

using namespace cpu;

constexpr int64_t kManyValues = 16;      // of a pixel: enough for a loop of their own
constexpr int64_t kBufferValues = 2048;  // stay in L1

// ---- Pixels of many values ----

template <class T, class A>
GAN_OPS_INLINE void fade_pixel(const T* fresh, const T* old, T* out, int64_t inner, int64_t row, Fade<A> fade) {
#pragma omp simd
  for (int64_t c = 0; c < inner; ++c) {
    const A o = widen(old[c]);
    out[c] = narrow<T>(fade(widen(fresh[c]), o));
    out[inner + c] = narrow<T>(fade(widen(fresh[inner + c]), o));
    out[row + c] = narrow<T>(fade(widen(fresh[row + c]), o));
    out[row + inner + c] = narrow<T>(fade(widen(fresh[row + inner + c]), o));
  }
}

template <class T, class A>
GAN_OPS_INLINE void split_pixel(const T* g, T* d_new, T* d_old, int64_t inner, int64_t row, Fade<A> fade) {
  const A of_new = fade.rest, of_old = fade.fraction;
#pragma omp simd
  for (int64_t c = 0; c < inner; ++c) {
    const A g00 = widen(g[c]), g01 = widen(g[inner + c]);
    const A g10 = widen(g[row + c]), g11 = widen(g[row + inner + c]);
    d_new[c] = narrow<T>(of_new * g00);
    d_new[inner + c] = narrow<T>(of_new * g01);
    d_new[row + c] = narrow<T>(of_new * g10);
    d_new[row + inner + c] = narrow<T>(of_new * g11);
    d_old[c] = narrow<T>(of_old * ((g00 + g10) + (g01 + g11)));
  }
}

// ---- Pixels of few values; Inner is their number, or 0 for any ----

/// Writes each of `width` pixels twice.
template <int Inner, class T, class A>
GAN_OPS_INLINE void enlarge(const T* old, A* buffer, int64_t width, int64_t any_inner) {
  const int64_t inner = Inner == 0 ? any_inner : Inner;
#pragma omp simd
  for (int64_t x = 0; x < width; ++x)
    for (int64_t c = 0; c < inner; ++c)
      buffer[2 * x * inner + c] = buffer[(2 * x + 1) * inner + c] = widen(old[x * inner + c]);
}

/// Adds each two pixels of the buffer.
template <int Inner, class T, class A>
GAN_OPS_INLINE void reduce(const A* buffer, T* d_old, int64_t width, int64_t any_inner, A scale) {
  const int64_t inner = Inner == 0 ? any_inner : Inner;
#pragma omp simd
  for (int64_t x = 0; x < width; ++x)
    for (int64_t c = 0; c < inner; ++c)
      d_old[x * inner + c] = narrow<T>(scale * (buffer[2 * x * inner + c] + buffer[(2 * x + 1) * inner + c]));
}

template <class T, class A>
GAN_OPS_INLINE void fade_run(const T* fresh, const A* buffer, T* out, int64_t count, Fade<A> fade) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) out[i] = narrow<T>(fade(widen(fresh[i]), buffer[i]));
}

template <class T, class A>
GAN_OPS_INLINE void split_rows(const T* g, T* d_new, A* buffer, int64_t count, int64_t row, Fade<A> fade) {
  const A of_new = fade.rest;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const A upper = widen(g[i]), lower = widen(g[row + i]);
    d_new[i] = narrow<T>(of_new * upper);
    d_new[row + i] = narrow<T>(of_new * lower);
    buffer[i] = upper + lower;
  }
}

/// body(first element of new, first of old, pixels, inner as a constant or 0) for runs of pixels of old that lie in one
/// row.
template <class Body>
void for_runs(const FadeLayout& s, const Body& body) {
  const int64_t most = std::max<int64_t>(1, kBufferValues / (2 * s.inner));
  const auto walk = [&]<int Inner>(std::integral_constant<int, Inner>) {
    parallel_for(s.rows, 2 * s.new_row(), [=](int64_t first, int64_t last) GAN_OPS_LAMBDA_INLINE {
      for (int64_t row = first; row < last; ++row)
        for (int64_t x = 0; x < s.width; x += most)
          body.template run<Inner>(row * 2 * s.new_row() + 2 * x * s.inner, row * s.old_row() + x * s.inner,
                                   std::min(most, s.width - x));
    });
  };
  if (s.inner == 1)
    walk(std::integral_constant<int, 1>{});
  else if (s.inner == 3)
    walk(std::integral_constant<int, 3>{});
  else
    walk(std::integral_constant<int, 0>{});
}

template <class T>
struct Forward {
  using A = Accumulate<T>;
  const T* fresh;
  const T* old;
  T* out;
  FadeLayout s;
  Fade<A> fade;

  template <int Inner>
  GAN_OPS_INLINE void run(int64_t to, int64_t from, int64_t width) const {
    if (Inner == 0 && s.inner >= kManyValues) {
      for (int64_t x = 0; x < width; ++x)
        fade_pixel(fresh + to + 2 * x * s.inner, old + from + x * s.inner, out + to + 2 * x * s.inner, s.inner,
                   s.new_row(), fade);
      return;
    }
    alignas(64) A buffer[kBufferValues];
    enlarge<Inner>(old + from, buffer, width, s.inner);
    fade_run(fresh + to, buffer, out + to, 2 * width * s.inner, fade);
    fade_run(fresh + to + s.new_row(), buffer, out + to + s.new_row(), 2 * width * s.inner, fade);
  }
};

template <class T>
struct Backward {
  using A = Accumulate<T>;
  const T* g;
  T* d_new;
  T* d_old;
  FadeLayout s;
  Fade<A> fade;

  template <int Inner>
  GAN_OPS_INLINE void run(int64_t from, int64_t to, int64_t width) const {
    if (Inner == 0 && s.inner >= kManyValues) {
      for (int64_t x = 0; x < width; ++x)
        split_pixel(g + from + 2 * x * s.inner, d_new + from + 2 * x * s.inner, d_old + to + x * s.inner, s.inner,
                    s.new_row(), fade);
      return;
    }
    alignas(64) A buffer[kBufferValues];
    split_rows(g + from, d_new + from, buffer, 2 * width * s.inner, s.new_row(), fade);
    reduce<Inner>(buffer, d_old + to, width, s.inner, fade.fraction);
  }
};

template <class A>
Fade<A> fade_of(const void* fraction, double number) {
  return Fade<A>(fraction == nullptr ? A(number) : *static_cast<const A*>(fraction));
}

}  // namespace

void run_on_cpu(const FadeInArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    for_runs(a.layout, Forward<T>{static_cast<const T*>(a.fresh), static_cast<const T*>(a.old), static_cast<T*>(a.out),
                                  a.layout, fade_of<Accumulate<T>>(a.fraction, a.number)});
  });
}

void run_on_cpu(const FadeInBackwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    for_runs(a.layout, Backward<T>{static_cast<const T*>(a.g), static_cast<T*>(a.d_new), static_cast<T*>(a.d_old),
                                   a.layout, fade_of<Accumulate<T>>(a.fraction, a.number)});
  });
}

}  // namespace gan_ops
