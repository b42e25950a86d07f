// Pixel norm on the CPU: two walks over a tile that stays in cache, one for the channel sums, one for the result.
#include "../pixel_norm.h"

#include <algorithm>

#include "../math/pixel_norm.h"
#include "narrow_types.h"
#include "parallel.h"

namespace gan_ops {
namespace {

using namespace cpu;

constexpr int kLanes = 16;  // channels summed side by side when they are adjacent: one 512-bit register of floats

template <class F, class A>
GAN_OPS_INLINE void accumulate_lane(const F& f, int64_t i, A (*sums)[kLanes], int lane) {
  A s[F::kSums];
  for (int k = 0; k < F::kSums; ++k) s[k] = sums[k][lane];
  f.accumulate(i, s);
  for (int k = 0; k < F::kSums; ++k) sums[k][lane] = s[k];
}

/// A pixel whose channels are adjacent (channels_last, latents).
template <class F>
GAN_OPS_INLINE void adjacent_channels(const F& f, int64_t pixel, int64_t channels) {
  using A = typename F::A;
  const int64_t first = pixel * channels;
  A lanes[F::kSums][kLanes] = {};
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) accumulate_lane(f, first + c + lane, lanes, lane);
  for (int lane = 0; c + lane < channels; ++lane) accumulate_lane(f, first + c + lane, lanes, lane);

  A sums[F::kSums];
  for (int k = 0; k < F::kSums; ++k) {
    for (int width = kLanes / 2; width > 0; width /= 2)
      for (int lane = 0; lane < width; ++lane) lanes[k][lane] += lanes[k][lane + width];
    sums[k] = lanes[k][0];
  }
  A coefficients[F::kCoefficients];
  f.coefficients(pixel, sums, A(channels), coefficients);
  f.keep(pixel, coefficients);
#pragma omp simd
  for (int64_t i = first; i < first + channels; ++i) f.write(i, coefficients);
}

constexpr int64_t kPixels =
    64;  // pixels taken together when channels are `inner` apart: 512 channels of them fit in L2

/// Pixels [begin, begin + width) of one sample, channels `inner` apart (contiguous [N, C, H, W]).
template <class F>
GAN_OPS_INLINE void distant_channels(const F& f, int64_t outer, int64_t begin, int64_t width,
                                     const ChannelLayout& layout) {
  using A = typename F::A;
  const int64_t first = outer * layout.channels * layout.inner + begin;
  A sums[F::kSums][kPixels] = {};
  for (int64_t c = 0; c < layout.channels; ++c) {
    const int64_t row = first + c * layout.inner;
#pragma omp simd
    for (int64_t p = 0; p < width; ++p) {
      A s[F::kSums];
      for (int k = 0; k < F::kSums; ++k) s[k] = sums[k][p];
      f.accumulate(row + p, s);
      for (int k = 0; k < F::kSums; ++k) sums[k][p] = s[k];
    }
  }
  A coefficients[F::kCoefficients][kPixels];
  for (int64_t p = 0; p < width; ++p) {
    A s[F::kSums], c[F::kCoefficients];
    for (int k = 0; k < F::kSums; ++k) s[k] = sums[k][p];
    const int64_t pixel = outer * layout.inner + begin + p;
    f.coefficients(pixel, s, A(layout.channels), c);
    f.keep(pixel, c);
    for (int k = 0; k < F::kCoefficients; ++k) coefficients[k][p] = c[k];
  }
  for (int64_t c = 0; c < layout.channels; ++c) {
    const int64_t row = first + c * layout.inner;
#pragma omp simd
    for (int64_t p = 0; p < width; ++p) {
      A of_pixel[F::kCoefficients];
      for (int k = 0; k < F::kCoefficients; ++k) of_pixel[k] = coefficients[k][p];
      f.write(row + p, of_pixel);
    }
  }
}

template <class F>
void walk(const F& f, const ChannelLayout& layout) {
  if (layout.inner == 1) {
    parallel_for(layout.outer, layout.channels, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
      for (int64_t pixel = begin; pixel < end; ++pixel) adjacent_channels(f, pixel, layout.channels);
    });
    return;
  }
  const int64_t tiles = (layout.inner + kPixels - 1) / kPixels;
  parallel_for(layout.outer * tiles, layout.channels * std::min(kPixels, layout.inner),
               [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
                 for (int64_t task = begin; task < end; ++task) {
                   const int64_t start = task % tiles * kPixels;
                   distant_channels(f, task / tiles, start, std::min(kPixels, layout.inner - start), layout);
                 }
               });
}

}  // namespace

void run_on_cpu(const PixelNormForwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    walk(PixelNormForward<T>{static_cast<const T*>(a.x), static_cast<T*>(a.y), static_cast<A*>(a.r), A(a.eps)},
         a.layout);
  });
}

void run_on_cpu(const PixelNormBackwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    walk(PixelNormBackward<T>{static_cast<const T*>(a.g), static_cast<const T*>(a.x), static_cast<const A*>(a.r),
                              static_cast<T*>(a.d_x)},
         a.layout);
  });
}

void run_on_cpu(const PixelNormDoubleBackwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    walk(PixelNormDoubleBackward<T>{static_cast<const T*>(a.v), static_cast<const T*>(a.g), static_cast<const T*>(a.x),
                                    static_cast<const A*>(a.r), static_cast<T*>(a.d_g), static_cast<T*>(a.d_x)},
         a.layout);
  });
}

}  // namespace gan_ops
