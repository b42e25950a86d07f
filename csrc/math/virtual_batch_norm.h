// Virtual batch norm and its derivatives, for one example and channel.
//
// With P pixels, the example's mean m_i and biased variance v_i over them, the reference batch's μ and ν, the example's
// share a = 1/(n + 1) beside n reference examples, b = 1 − a and δ = m_i − μ (Salimans et al. 2016, section 3.5):
//   m = a m_i + b μ,  var = a v_i + b ν + a b δ²,  r = (var + eps)^(-1/2),  x̂ = r (x − m)
//   forward           y = w x̂ + β
//   backward          with s = Σ g and h = Σ g x̂ over the pixels:
//                     d_x = w r (g − (a/P) (s + h x̂))
//                     d_w = Σ_n h,  d_β = Σ_n s,  d_μ = Σ_n b w r (a r δ h − s),  d_ν = −Σ_n b/2 w r² h
//   double backward   for cotangents u of d_x and w′, β′, μ′, ν′ of the others. As changes of x, w, β, μ and ν they
//   move
//                     m by A = (a/P) Σ u + b μ′, r by −r B, B = (a/P) r Σ u x̂ + b r² (ν′/2 − a δ μ′), and with
//                     κ = w′ − w B they move y by d_g:
//                     d_g = w r (u − A) + κ x̂ + β′
//                     With E = r (Σ u g − s A) and R = w (E − 2 h B) + κ h:
//                     d_x = r (κ (g − (a/P) s) − (a/P) (R x̂ + w r h (u − A)))
//                     d_w = Σ_n (E − h B),  d_μ = Σ_n b r (a (r δ R − w r h (μ′ − Σ u / P)) − κ s),
//                     d_ν = −Σ_n b/2 r² R
// Powers of r are formed beside what keeps them in float32's range: r δ, r (x − m), r u.
//
// Each formula has four parts, so that host and device only have to walk memory: `terms` are an element's contributions
// to the sums over pixels; `coefficients` turns the sums of an example's channel into what its elements need and into
// what is kept of it (the statistics, or its part of the sums over n); `write` makes an element of the output. `terms`
// and `write` take an element's place, or the values of its inputs, in the order of `Input`, if the walk has read them
// already; `write` then leaves the results in the order of `Output`.
//
// What a caller lacks (a cotangent, which is 0 then, weight or bias) is a null pointer to formulas that are kNullable.
// Others test no pointers, so that the CPU's loops over channels are vectorised.
#pragma once

#include <cmath>

#include "streams.h"

namespace gan_ops {

/// Where element (n, c, p) of x [N, C, P] lies: channels adjacent (channels_last, features [N, C]) or pixels adjacent.
struct VbnLayout {
  int64_t samples;
  int64_t channels;
  int64_t pixels;
  bool channels_adjacent;

  GAN_OPS_INLINE int64_t rows() const { return samples * channels; }
  GAN_OPS_INLINE int64_t first(int64_t n, int64_t c) const {
    return n * channels * pixels + c * (channels_adjacent ? 1 : pixels);
  }
};

/// Chunks that CUDA sums a channel of an example in: 32 kB of a tensor where 128 bytes of each pixel are a block's, or
/// what float32 has of adjacent pixels. Fixed by the shape, so that results repeat.
GAN_OPS_INLINE int64_t vbn_cuda_chunk(const VbnLayout& s) {
  return s.channels_adjacent ? 256 : 8192;
}
GAN_OPS_INLINE int64_t vbn_cuda_chunks(const VbnLayout& s) {
  return (s.pixels + vbn_cuda_chunk(s) - 1) / vbn_cuda_chunk(s);
}
/// How many values of the accumulate type CUDA needs as scratch for F: the sums of each chunk, the coefficients of each
/// channel, and a counter for each group of channels and one more.
template <class F>
int64_t vbn_cuda_scratch(const VbnLayout& s) {
  const int64_t chunks = vbn_cuda_chunks(s);
  return chunks <= 1 ? 0 : (F::kSums * chunks + F::kCoefficients + 1) * s.rows() + 1;
}

/// A channel's value among `values` [C], or `otherwise` if there are none.
template <bool kNullable, class A>
GAN_OPS_INLINE A channel_value(const A* values, int64_t channel, A otherwise) {
  if constexpr (kNullable)
    if (values == nullptr) return otherwise;
  return values[channel];
}

/// Joins the mean and the sum of squares about it of `more` values to those of `count`.
template <class A>
GAN_OPS_INLINE void join_moments(A& mean, A& squares, A count, A more_mean, A more_squares, A more) {
  const A total = count + more, distance = more_mean - mean;
  mean += distance * (more / total);
  squares += more_squares + distance * distance * (count * more / total);
}

template <class T, bool kNullable = false>
struct VbnForward {
  using A = Accumulate<T>;
  static constexpr bool kInputsMayLack = false;
  static constexpr bool kMoments = true;  // the sums are the mean and Σ (x − mean)²
  static constexpr int kSums = 2;
  static constexpr int kCoefficients = 3;
  static constexpr int kKept = 2;
  using Element = T;
  enum Input { kX, kInputs };
  enum Output { kY, kOutputs };
  const T* x;
  T* y;
  A* kept[kKept];  // mean and r, [N, C]
  const A* reference_mean;
  const A* reference_var;
  const A* weight;
  const A* bias;  // all [C]
  A own, reference, pixels, eps;

  GAN_OPS_INLINE Streams<T, VbnForward> streams() const { return {{x}, {y}}; }
  GAN_OPS_INLINE A element(int64_t i) const { return widen(x[i]); }
  GAN_OPS_INLINE bool keeps() const { return true; }
  GAN_OPS_INLINE bool writes() const { return true; }
  GAN_OPS_INLINE void coefficients(int64_t /*row*/, int64_t channel, const A* sums, A* out, A* keep) const {
    const A delta = sums[0] - reference_mean[channel];
    const A variance = own * (sums[1] / pixels) + reference * (reference_var[channel] + own * delta * delta);
    const A r = A(1) / std::sqrt(variance + eps);
    out[0] = reference_mean[channel] + own * delta;  // m
    out[1] = channel_value<kNullable>(weight, channel, A(1)) * r;
    out[2] = channel_value<kNullable>(bias, channel, A(0));
    keep[0] = sums[0];
    keep[1] = r;
  }
  GAN_OPS_INLINE void write(const A* in, const A* c, A* out) const { out[kY] = (in[kX] - c[0]) * c[1] + c[2]; }
  GAN_OPS_INLINE void write(int64_t i, const A* c) const {
    const A in[kInputs] = {widen(x[i])};
    A out[kOutputs];
    write(in, c, out);
    y[i] = narrow<T>(out[kY]);
  }
};

template <class T, bool kNullable = false>
struct VbnBackward {
  using A = Accumulate<T>;
  static constexpr bool kInputsMayLack = false;
  static constexpr bool kMoments = false;
  static constexpr int kSums = 2;
  static constexpr int kCoefficients = 5;
  static constexpr int kKept = 4;
  using Element = T;
  enum Input { kG, kX, kInputs };
  enum Output { kDX, kOutputs };
  const T* g;
  const T* x;
  T* d_x;          // null when nobody wants it
  A* kept[kKept];  // each example's part of d_w, d_β, d_μ and d_ν, [N, C]; null when nobody wants them
  const A* mean;
  const A* rstd;  // [N, C]
  const A* reference_mean;
  const A* weight;  // [C]
  A own, reference, pixels;

  GAN_OPS_INLINE Streams<T, VbnBackward> streams() const { return {{g, x}, {d_x}}; }
  GAN_OPS_INLINE bool keeps() const { return kept[0] != nullptr; }
  GAN_OPS_INLINE bool writes() const { return d_x != nullptr; }
  GAN_OPS_INLINE A centre(int64_t row, int64_t channel) const {
    return reference_mean[channel] + own * (mean[row] - reference_mean[channel]);
  }
  GAN_OPS_INLINE void terms(const A* in, A m, A* out) const {
    out[0] = in[kG];
    out[1] = in[kG] * (in[kX] - m);
  }
  GAN_OPS_INLINE void terms(int64_t i, A m, A* out) const {
    const A in[kInputs] = {widen(g[i]), widen(x[i])};
    terms(in, m, out);
  }
  GAN_OPS_INLINE void coefficients(int64_t row, int64_t channel, const A* sums, A* out, A* keep) const {
    const A r = rstd[row], wr = channel_value<kNullable>(weight, channel, A(1)) * r;
    const A r_delta = r * (mean[row] - reference_mean[channel]);
    const A s = sums[0], h = r * sums[1];
    out[0] = centre(row, channel);
    out[1] = r;
    out[2] = wr;
    out[3] = own / pixels * s;
    out[4] = own / pixels * h;
    keep[0] = h;
    keep[1] = s;
    keep[2] = reference * wr * (own * r_delta * h - s);
    keep[3] = A(-0.5) * reference * wr * r * h;
  }
  GAN_OPS_INLINE void write(const A* in, const A* c, A* out) const {
    const A xi = (in[kX] - c[0]) * c[1];
    out[kDX] = c[2] * (in[kG] - c[3] - c[4] * xi);
  }
  GAN_OPS_INLINE void write(int64_t i, const A* c) const {
    const A in[kInputs] = {widen(g[i]), widen(x[i])};
    A out[kOutputs];
    write(in, c, out);
    d_x[i] = narrow<T>(out[kDX]);
  }
};

/// Without kWithU, u is null, and elements are read by their places.
template <class T, bool kNullable = false, bool kWithU = true>
struct VbnDoubleBackward {
  using A = Accumulate<T>;
  static constexpr bool kInputsMayLack = kNullable;
  static constexpr bool kMoments = false;
  static constexpr int kSums = 5;
  static constexpr int kCoefficients = 9;
  static constexpr int kKept = 3;
  using Element = T;
  enum Input { kU, kG, kX, kInputs };
  enum Output { kDG, kDX, kOutputs };
  const T* u;
  const T* g;
  const T* x;
  T* d_g;
  T* d_x;
  A* kept[kKept];  // each example's part of d_w, d_μ and d_ν, [N, C]; null when nobody wants them
  const A* mean;
  const A* rstd;  // [N, C]
  const A* reference_mean;
  const A* weight;
  const A* u_weight;
  const A* u_bias;
  const A* u_reference_mean;
  const A* u_reference_var;  // all [C]
  A own, reference, pixels;

  GAN_OPS_INLINE Streams<T, VbnDoubleBackward> streams() const { return {{u, g, x}, {d_g, d_x}}; }
  GAN_OPS_INLINE A element_of_u(int64_t i) const {
    if constexpr (kWithU)
      return widen(u[i]);
    else
      return A(0);
  }
  GAN_OPS_INLINE bool keeps() const { return kept[0] != nullptr; }
  GAN_OPS_INLINE bool writes() const { return true; }
  GAN_OPS_INLINE A centre(int64_t row, int64_t channel) const {
    return reference_mean[channel] + own * (mean[row] - reference_mean[channel]);
  }
  GAN_OPS_INLINE void terms(const A* in, A m, A* out) const {
    const A xi = in[kX] - m;
    out[0] = in[kG];
    out[1] = in[kG] * xi;
    out[2] = in[kU];
    out[3] = in[kU] * xi;
    out[4] = in[kU] * in[kG];
  }
  GAN_OPS_INLINE void terms(int64_t i, A m, A* out) const {
    const A in[kInputs] = {element_of_u(i), widen(g[i]), widen(x[i])};
    terms(in, m, out);
  }
  GAN_OPS_INLINE void coefficients(int64_t row, int64_t channel, const A* sums, A* out, A* keep) const {
    const A w = channel_value<kNullable>(weight, channel, A(1));
    const A w_move = channel_value<kNullable>(u_weight, channel, A(0));
    const A bias_move = channel_value<kNullable>(u_bias, channel, A(0));
    const A mean_move = channel_value<kNullable>(u_reference_mean, channel, A(0));
    const A var_move = channel_value<kNullable>(u_reference_var, channel, A(0));
    const A r = rstd[row], wr = w * r, share = own / pixels;
    const A r_delta = r * (mean[row] - reference_mean[channel]);
    const A s = sums[0], h = r * sums[1], mean_u = sums[2] / pixels;
    const A moved_mean = own * mean_u + reference * mean_move;
    const A shrink = share * r * (r * sums[3]) + reference * r * (A(0.5) * r * var_move - own * r_delta * mean_move);
    const A kappa = w_move - w * shrink;
    const A e = r * (sums[4] - s * moved_mean);
    const A big_r = w * (e - A(2) * h * shrink) + kappa * h;
    out[0] = centre(row, channel);
    out[1] = r;
    out[2] = wr;
    out[3] = kappa;
    out[4] = bias_move - wr * moved_mean;
    out[5] = r * kappa;
    out[6] = -share * r * (wr * h);
    out[7] = -share * r * big_r;
    out[8] = -share * r * (kappa * s - wr * h * moved_mean);
    keep[0] = e - h * shrink;
    keep[1] = reference * r * (own * (r_delta * big_r - wr * h * (mean_move - mean_u)) - kappa * s);
    keep[2] = A(-0.5) * reference * r * (r * big_r);
  }
  GAN_OPS_INLINE void write(const A* in, const A* c, A* out) const {
    const A xi = (in[kX] - c[0]) * c[1];
    out[kDG] = c[2] * in[kU] + c[3] * xi + c[4];
    out[kDX] = c[5] * in[kG] + c[6] * in[kU] + c[7] * xi + c[8];
  }
  GAN_OPS_INLINE void write(int64_t i, const A* c) const {
    const A in[kInputs] = {element_of_u(i), widen(g[i]), widen(x[i])};
    A out[kOutputs];
    write(in, c, out);
    d_g[i] = narrow<T>(out[kDG]);
    d_x[i] = narrow<T>(out[kDX]);
  }
};

}  // namespace gan_ops
