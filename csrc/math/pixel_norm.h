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
// Each formula has parts, so that host and device only have to walk memory. `in` and `out` are the values of one
// element in the streams that the kInputs and kOutputs enumerate, `channel(c)` is what is known of its channel (here
// nothing), and `known(pixel)` what is of its pixel before there are sums. `accumulate` adds an element's products to
// the channel sums, nothing if inputs and channel are zeros; `coefficients` turns a pixel's sums into what the elements
// need, `write` makes the element's outputs. `keep` is called once a pixel. A formula that knows something of a channel
// also says in which kParameters arrays `parameter(k)` it lies, for who reads several channels at once, and
// `of_parameters` makes of their values what `channel` gives.
#pragma once

#include <cmath>

#include "numeric.h"

namespace gan_ops {

struct NoChannel {};

template <class A>
struct PixelNormForward {
  using Wide = A;
  enum Input { kX, kInputs };
  enum Output { kY, kOutputs };
  static constexpr int kSums = 1, kCoefficients = 1;
  A* r;  // [outer, inner]
  A eps;

  GAN_OPS_INLINE NoChannel channel(int64_t) const { return {}; }
  GAN_OPS_INLINE A known(int64_t) const { return 0; }
  GAN_OPS_INLINE void accumulate(const A* in, NoChannel, A* sums) const { sums[0] += in[kX] * in[kX]; }
  GAN_OPS_INLINE void coefficients(A /*known*/, const A* sums, A channels, A* c) const {
    c[0] = A(1) / std::sqrt(sums[0] / channels + eps);
  }
  GAN_OPS_INLINE void keep(int64_t pixel, const A* c) const { r[pixel] = c[0]; }
  GAN_OPS_INLINE void write(const A* in, NoChannel, const A* c, A* out) const { out[kY] = in[kX] * c[0]; }
};

template <class A>
struct PixelNormBackward {
  using Wide = A;
  enum Input { kG, kX, kInputs };
  enum Output { kDX, kOutputs };
  static constexpr int kSums = 1, kCoefficients = 2;
  const A* r;

  GAN_OPS_INLINE NoChannel channel(int64_t) const { return {}; }
  GAN_OPS_INLINE A known(int64_t pixel) const { return r[pixel]; }
  GAN_OPS_INLINE void accumulate(const A* in, NoChannel, A* sums) const { sums[0] += in[kX] * in[kG]; }
  GAN_OPS_INLINE void coefficients(A factor, const A* sums, A channels, A* c) const {
    c[0] = factor;
    c[1] = factor * (sums[0] / channels);  // q
  }
  GAN_OPS_INLINE void keep(int64_t, const A*) const {}
  GAN_OPS_INLINE void write(const A* in, NoChannel, const A* c, A* out) const {
    out[kDX] = c[0] * (in[kG] - in[kX] * c[0] * c[1]);
  }
};

template <class A>
struct PixelNormDoubleBackward {
  using Wide = A;
  enum Input { kV, kG, kX, kInputs };
  enum Output { kDG, kDX, kOutputs };
  static constexpr int kSums = 3, kCoefficients = 4;
  const A* r;

  GAN_OPS_INLINE NoChannel channel(int64_t) const { return {}; }
  GAN_OPS_INLINE A known(int64_t pixel) const { return r[pixel]; }
  GAN_OPS_INLINE void accumulate(const A* in, NoChannel, A* sums) const {
    sums[0] += in[kX] * in[kV];
    sums[1] += in[kX] * in[kG];
    sums[2] += in[kV] * in[kG];
  }
  GAN_OPS_INLINE void coefficients(A factor, const A* sums, A channels, A* c) const {
    const A p = factor * (sums[0] / channels);
    const A q = factor * (sums[1] / channels);
    c[0] = factor;
    c[1] = p;
    c[2] = q;
    c[3] = sums[2] / channels - A(3) * p * q;
  }
  GAN_OPS_INLINE void keep(int64_t, const A*) const {}
  GAN_OPS_INLINE void write(const A* in, NoChannel, const A* c, A* out) const {
    const A y = in[kX] * c[0];
    out[kDG] = c[0] * (in[kV] - y * c[1]);
    out[kDX] = -c[0] * c[0] * (y * c[3] + in[kV] * c[2] + in[kG] * c[1]);
  }
};

}  // namespace gan_ops
