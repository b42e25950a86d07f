// Pixel norm and its derivatives, for one pixel.
//
// With r = (mean_c x² + eps)^(-1/2) and y = r·x (Karras et al. 2018, section 4.2):
//   forward           y   = r x
//   backward          d_x = r (g − y q),                       q = r mean_c(x g)
//   double backward   for a cotangent v of d_x, with p = r mean_c(x v) and w = mean_c(v g):
//                     d_g = r (v − y p)
//                     d_x = −r² (y (w − 3 p q) + v q + g p)
// Products with r are grouped so that no power of r is formed alone: r³ leaves float32's range long before the result
// does.
//
// Each formula has three parts, so that host and device only have to walk memory: `accumulate` adds an element's
// products to the channel sums, `coefficients` turns a pixel's sums into what the elements need, `write` makes an
// element of the output. `keep` is called once a pixel.
#pragma once

#include <cmath>

#include "numeric.h"

namespace gan_ops {

template <class T>
struct PixelNormForward {
  using A = Accumulate<T>;
  static constexpr int kSums = 1;
  static constexpr int kCoefficients = 1;
  const T* x;
  T* y;
  A* r;  // [outer, inner]
  A eps;

  GAN_OPS_INLINE void accumulate(int64_t i, A* sums) const {
    const A xi = widen(x[i]);
    sums[0] += xi * xi;
  }
  GAN_OPS_INLINE void coefficients(int64_t /*pixel*/, const A* sums, A channels, A* out) const {
    out[0] = A(1) / std::sqrt(sums[0] / channels + eps);
  }
  GAN_OPS_INLINE void keep(int64_t pixel, const A* c) const { r[pixel] = c[0]; }
  GAN_OPS_INLINE void write(int64_t i, const A* c) const { y[i] = narrow<T>(widen(x[i]) * c[0]); }
};

template <class T>
struct PixelNormBackward {
  using A = Accumulate<T>;
  static constexpr int kSums = 1;
  static constexpr int kCoefficients = 2;
  const T* g;
  const T* x;
  const A* r;
  T* d_x;

  GAN_OPS_INLINE void accumulate(int64_t i, A* sums) const { sums[0] += widen(x[i]) * widen(g[i]); }
  GAN_OPS_INLINE void coefficients(int64_t pixel, const A* sums, A channels, A* out) const {
    out[0] = r[pixel];
    out[1] = r[pixel] * (sums[0] / channels);  // q
  }
  GAN_OPS_INLINE void keep(int64_t, const A*) const {}
  GAN_OPS_INLINE void write(int64_t i, const A* c) const {
    d_x[i] = narrow<T>(c[0] * (widen(g[i]) - widen(x[i]) * c[0] * c[1]));
  }
};

template <class T>
struct PixelNormDoubleBackward {
  using A = Accumulate<T>;
  static constexpr int kSums = 3;
  static constexpr int kCoefficients = 4;
  const T* v;
  const T* g;
  const T* x;
  const A* r;
  T* d_g;
  T* d_x;

  GAN_OPS_INLINE void accumulate(int64_t i, A* sums) const {
    const A vi = widen(v[i]), gi = widen(g[i]), xi = widen(x[i]);
    sums[0] += xi * vi;
    sums[1] += xi * gi;
    sums[2] += vi * gi;
  }
  GAN_OPS_INLINE void coefficients(int64_t pixel, const A* sums, A channels, A* out) const {
    const A p = r[pixel] * (sums[0] / channels);
    const A q = r[pixel] * (sums[1] / channels);
    out[0] = r[pixel];
    out[1] = p;
    out[2] = q;
    out[3] = sums[2] / channels - A(3) * p * q;
  }
  GAN_OPS_INLINE void keep(int64_t, const A*) const {}
  GAN_OPS_INLINE void write(int64_t i, const A* c) const {
    const A vi = widen(v[i]), gi = widen(g[i]), yi = widen(x[i]) * c[0];
    d_g[i] = narrow<T>(c[0] * (vi - yi * c[1]));
    d_x[i] = narrow<T>(-c[0] * c[0] * (yi * c[3] + vi * c[2] + gi * c[1]));
  }
};

}  // namespace gan_ops
