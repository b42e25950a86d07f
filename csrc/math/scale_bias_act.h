// The epilogue of a demodulated convolution and its derivatives, for one element.
//
// With the activation φ (activation.h) and ψ(t) = clamp(gain · φ(t), ±limit):
//   forward          y = ψ(t),  t = x s[n, c] + b[c] + m[n, p]
//   backward         with p = g ψ′(t):
//                    d_x = p s,  d_s = Σ_p p x,  d_b = Σ_n Σ_p p,  d_m = Σ_c p
//   double backward  for cotangents v, s′, b′, m′ of these four; as changes of x, s, b and m they move t by
//                    q = v s + x s′ + b′ + m′, and with r = g q ψ″(t):
//                    d_g = ψ′(t) q,  d_x = r s + p s′,  d_s = Σ_p (r x + p v),  d_b = Σ_n Σ_p r,  d_m = Σ_c r
// All are made of x, from which t is computed again: d_s needs x in any case, and then nothing else is kept.
//
// From the limit on ψ′ = ψ″ = 0, at it too, as in torch. Where ψ′ or ψ″ is 0, so is the product with it, even
// that of inf: torch's derivatives of relu and clamp choose, and do not multiply.
//
// The sums: a tensor lies as [N, rows, lanes], where lanes are the adjacent axis: pixels, or in channels_last the
// channels. Both axes are cut into chunks; a chunk's sums along the one axis and along the other go to scratch and are
// added afterwards, in order.
#pragma once

#include <algorithm>

#include "activation.h"

namespace gan_ops {

template <class A>
struct Saturation {
  A gain, limit;
  bool limited;
};

/// ψ and its derivatives from φ's.
template <class A>
GAN_OPS_INLINE Derivatives<A> saturate(const Derivatives<A>& of, const Saturation<A>& f) {
  const A y = of.value * f.gain;
  const bool passes = (!f.limited) | ((y > -f.limit) & (y < f.limit));
  const A low = y < -f.limit ? -f.limit : y, limited = low > f.limit ? f.limit : low;
  return {f.limited ? limited : y, passes ? of.first * f.gain : A(0), passes ? of.second * f.gain : A(0)};
}

/// factor · value, but 0 for a factor of 0.
template <class A>
GAN_OPS_INLINE A times_or_zero(A factor, A value) {
  const A product = factor * value;
  return factor == A(0) ? A(0) : product;
}

/// The double backward's results for an element, and what it adds to the sums. The cotangents of
/// scale, bias and noise move t by `to_scale` · x + `to_offset`.
template <class A>
struct EpilogueTwice {
  A d_g, d_x, of_scale, of_offset;
};
template <class A>
GAN_OPS_INLINE EpilogueTwice<A> differentiate_twice(A v, A g, A x, A first, A second, A scale, A to_scale,
                                                    A to_offset) {
  // An absent cotangent is a 0 that even inf does not turn into nan.
  const A q = times_or_zero(v, scale) + times_or_zero(to_scale, x) + to_offset;
  const A p = times_or_zero(first, g), r = times_or_zero(second, g * q);
  return {times_or_zero(first, q), times_or_zero(r, scale) + times_or_zero(to_scale, p),
          times_or_zero(r, x) + times_or_zero(v, p), r};
}

struct EpilogueLayout {
  int64_t samples, channels, pixels;
  bool channels_adjacent;

  GAN_OPS_INLINE int64_t lanes() const { return channels_adjacent ? channels : pixels; }
  GAN_OPS_INLINE int64_t rows() const { return channels_adjacent ? pixels : channels; }
};

/// How many lanes and rows a chunk has. Fixed by the shape, so that sums repeat to the bit.
struct EpilogueChunks {
  int64_t lanes, rows;        // of a chunk
  int64_t of_lanes, of_rows;  // chunks along each axis

  GAN_OPS_INLINE int64_t per_sample() const { return of_lanes * of_rows; }
};

inline EpilogueChunks epilogue_chunks(const EpilogueLayout& s, int64_t lanes, int64_t rows) {
  const auto within = [](int64_t wish, int64_t size) { return std::max<int64_t>(1, std::min(wish, size)); };
  lanes = within(lanes, s.lanes()), rows = within(rows, s.rows());
  return {lanes, rows, (s.lanes() + lanes - 1) / lanes, (s.rows() + rows - 1) / rows};
}

/// On the CPU 512 lanes, for whose sums there is room in L1, and 32768 elements, which are worth a thread.
inline EpilogueChunks cpu_epilogue_chunks(const EpilogueLayout& s) {
  constexpr int64_t kLanes = 512, kElements = 32768;
  return epilogue_chunks(s, kLanes, kElements / std::max<int64_t>(1, std::min(s.lanes(), kLanes)));
}

/// On CUDA a warp takes a chunk, 16 bytes of lanes a thread, and 64 rows, or fewer where there would be too few warps
/// for a large GPU; at least 8, so that the scratch is small beside the tensor.
inline EpilogueChunks cuda_epilogue_chunks(const EpilogueLayout& s, int64_t element_size) {
  constexpr int64_t kWarp = 32, kMost = 64, kFewest = 8, kWarps = 132 * 32;
  const int64_t lanes = kWarp * 16 / element_size;
  const int64_t strips = s.samples * ((s.lanes() + lanes - 1) / lanes);
  int64_t rows = kMost;
  while (rows > kFewest && strips * ((s.rows() + rows - 1) / rows) < kWarps) rows /= 2;
  return epilogue_chunks(s, lanes, rows);
}

}  // namespace gan_ops
