// Minibatch stddev and its derivatives, for one group.
//
// x [N, C, *] with groups of G samples (sample n belongs to group n mod M, M = N/G) and F maps. For every group,
// channel and pixel, with μ and σ = sqrt(mean_n (x_n − μ)² + eps) taken over the group's samples (Karras et al. 2018,
// section 3):
//   forward           stat[m, f] = mean of σ over the channels and pixels of f; out = concat(x, stat on every pixel)
//   backward          d_x_n = g_n + K t (x_n − μ)/(G σ),  t[m, f] = sum of g over the group's map, K = 1/(C/F · pixels)
//   double backward   for a cotangent v of d_x, with a = Σ_n v_n (x_n − μ)/(G σ):
//                     d_g = concat(v, h on every pixel),  h[m, f] = K · sum of a over the channels and pixels of f
//                     d_x_n = K t ((v_n − mean v)/σ − a (x_n − μ)/σ²)/G
#pragma once

#include "numeric.h"

namespace gan_ops {

/// Where the elements lie. A sample is `rows` runs of F·width adjacent values, f slowest; the output's runs have
/// F·plane map values behind them. Contiguous: one row, width C/F · pixels, plane = pixels. channels_last: a row a
/// pixel, width C/F, plane 1.
struct StddevLayout {
  int64_t group;     // G
  int64_t groups;    // M
  int64_t features;  // F
  int64_t rows;
  int64_t width;
  int64_t plane;

  GAN_OPS_INLINE int64_t positions() const { return rows * width; }      // channels · pixels behind one stat
  GAN_OPS_INLINE int64_t map_positions() const { return rows * plane; }  // pixels
  GAN_OPS_INLINE int64_t sample(int64_t member, int64_t m) const { return member * groups + m; }
  /// From one of the group's samples to the next, in x and in the output.
  GAN_OPS_INLINE int64_t in_stride() const { return groups * rows * features * width; }
  GAN_OPS_INLINE int64_t out_stride() const { return groups * rows * features * (width + plane); }
  GAN_OPS_INLINE int64_t in_run(int64_t n, int64_t row, int64_t f) const {
    return (n * rows + row) * features * width + f * width;
  }
  GAN_OPS_INLINE int64_t out_run(int64_t n, int64_t row, int64_t f) const {
    return (n * rows + row) * features * (width + plane) + f * width;
  }
  GAN_OPS_INLINE int64_t map_run(int64_t n, int64_t row, int64_t f) const {
    return (n * rows + row) * features * (width + plane) + features * width + f * plane;
  }
};

/// Positions are summed in chunks of this many, whatever the threads, so that results repeat; a chunk's sum is a
/// `partial`.
constexpr int64_t kStddevChunk = 512;

GAN_OPS_INLINE int64_t stddev_chunks(int64_t positions) {
  return (positions + kStddevChunk - 1) / kStddevChunk;
}

/// 1/(G σ): σ's derivative by x_n is x_n − μ times this.
template <class A>
GAN_OPS_INLINE A stddev_slope(A sigma, A group) {
  return A(1) / (group * sigma);
}

/// ∂a/∂x_n for a = Σ v ∂σ/∂x, d = x_n − μ, v_centred = v_n − mean v and slope = 1/(G σ).
template <class A>
GAN_OPS_INLINE A stddev_curvature(A v_centred, A d, A a, A slope, A group) {
  return slope * (v_centred - group * slope * a * d);
}

}  // namespace gan_ops
