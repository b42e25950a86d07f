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
// From the limit on ψ′ = ψ″ = 0, at it too, as in torch. inf and nan spread as by torch's chain, which multiplies, so
// that 0 · inf is nan, but for three choices: of clamp and relu, whose derivatives are 0 whatever they are multiplied
// by, and of r, which is 0 for relu and lrelu. An absent cotangent has no terms.
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
  A gain, limit;  // inf without a clamp,
  A unlimited;    // and 1, else 0
};

/// ψ, and φ's derivatives: where they pass, ψ's are those times the gain.
template <class A>
GAN_OPS_INLINE Derivatives<A> saturate(const Derivatives<A>& of, const Saturation<A>& f) {
  const A y = of.value * f.gain;
  const A above = y > -f.limit ? A(1) : A(0), below = y < f.limit ? A(1) : A(0), within = above * below;
  const A low = y < -f.limit ? -f.limit : y;
  return {low > f.limit ? f.limit : low, of.first, of.second,
          of.passes * (within > f.unlimited ? within : f.unlimited)};
}

/// g's way to φ(t).
template <class A>
GAN_OPS_INLINE A through_gain(A g, A gain, A passes) {
  const A product = g * gain;
  return passes > A(0) ? product : A(0);
}

/// p of the backward pass.
template <class A>
GAN_OPS_INLINE A differentiate(A g, A gain, const Derivatives<A>& at) {
  return at.first * through_gain(g, gain, at.passes);
}

/// Which terms the double backward has: those of cotangents that are there, and r's but for linear; and whether r is
/// not always 0.
struct EpilogueTerms {
  bool of_v, of_scale, of_r, curved;
};

/// The double backward's results for an element, and what it adds to the sums. The cotangents of
/// scale, bias and noise move t by `to_scale` · x + `to_offset`.
template <class A>
struct EpilogueTwice {
  A d_g, d_x, of_scale, of_offset;
};
template <class A, class Terms>
GAN_OPS_INLINE EpilogueTwice<A> differentiate_twice(A v, A g, A x, const Derivatives<A>& at, A gain, A scale,
                                                    A to_scale, A to_offset, const Terms& terms) {
  const A v_moves = v * scale, scale_moves = to_scale * x;
  const A q = (terms.of_v ? v_moves : A(0)) + (terms.of_scale ? scale_moves : A(0)) + to_offset;
  const A m = through_gain(g, gain, at.passes), p = at.first * m;
  const A r_curved = at.second * m * q, r = terms.curved ? r_curved : A(0);
  const A r_scale = r * scale, p_scale = p * to_scale, r_x = r * x, p_v = p * v;
  return {through_gain(at.first * q, gain, at.passes),
          (terms.of_r ? r_scale : A(0)) + (terms.of_scale ? p_scale : A(0)),
          (terms.of_r ? r_x : A(0)) + (terms.of_v ? p_v : A(0)), r};
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

/// On the CPU 2048 lanes, for whose sums there is room in L1, and 32768 elements, which are worth a thread; at least 32
/// rows, so that the scratch is small beside the tensor. Runs of memory are as long as that allows.
constexpr int64_t kCpuEpilogueLanes = 2048;
inline EpilogueChunks cpu_epilogue_chunks(const EpilogueLayout& s) {
  constexpr int64_t kElements = 32768, kFewest = 32;
  const int64_t lanes = std::max<int64_t>(1, std::min(s.lanes(), kCpuEpilogueLanes));
  return epilogue_chunks(s, kCpuEpilogueLanes, std::max(kElements / lanes, kFewest));
}
/// The same for a pass that has no sums.
inline EpilogueChunks cpu_forward_chunks(const EpilogueLayout& s) {
  constexpr int64_t kElements = 32768;
  return epilogue_chunks(s, kElements, kElements / std::max<int64_t>(1, std::min(s.lanes(), kElements)));
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
