// Filtered leaky ReLU (Karras et al. 2021, appendix B): upsampling, leaky ReLU with a clamp, downsampling.
//
//   forward   t = upfirdn(x + b; f1, up, padding)         the enlarged images, [N, C, mid, mid']
//             s = clamp(gain · φ(t), ±limit)              φ(t) = t for t > 0, slope · t otherwise
//             y = upfirdn(s; f2, down)
//   backward  d_x = upᵀ(m ⊙ downᵀ(g)), d_b = sum of d_x over samples and pixels
//             m = 0 where s is beyond the limit, else gain · (1 for t > 0, slope otherwise)
// m does not move with x. So both are the same pass, of x or of g, with the filters and factors exchanged and the codes
// of m (two bits a value) read in place of written; the derivative of the backward pass to g is the forward pass with
// m.
//
// Along an axis, with w the filter as it is correlated, `before` zeros ahead of the first pixel, and the images 0
// outside:
//   t[o] = Σ_k w1[k] · (x enlarged by zeros)[o + k − before1]
//   y[q] = Σ_k w2[k] · s[q·down + k − before2]
#pragma once

#include <cstdint>

#include "numeric.h"

namespace gan_ops {

/// The taps of a filter that meet pixels, not zeros, for one enlarged position: first, first + up, …, `count` of them;
/// the pixels are input, input + 1, …, of which some may lie outside the image.
template <class I>
struct TapsOf {
  I first, count, input;
};

/// One axis of a pass, in integers that suit the device (a GPU divides those of 64 bits by a subroutine).
template <class I>
struct FilteredAxisOf {
  I in, mid, out;      // pixels: of the input, enlarged, and of the output
  I up, down;          // factors
  I taps1, taps2;      // lengths of the filters
  I before1, before2;  // zeros ahead of the input and of the enlarged image; negative: cropped pixels

  GAN_OPS_INLINE TapsOf<I> taps_at(I o) const {
    const I distance = before1 - o;
    const I first = ((distance % up) + up) % up;
    return {first, first < taps1 ? (taps1 - first + up - 1) / up : 0, (first - distance) / up};
  }
  /// The enlarged position that the first tap of output q meets.
  GAN_OPS_INLINE I mid_at(I q) const { return q * down - before2; }

  FilteredAxisOf transposed() const {
    return {out, mid, in, down, up, taps2, taps1, taps2 - 1 - before2, taps1 - 1 - before1};
  }
};
using Taps = TapsOf<int64_t>;
using FilteredAxis = FilteredAxisOf<int64_t>;

/// Of enlarged images, and of the planes of a batch; less than what 32 bits hold, by more than filters are long.
constexpr int64_t kMostAlongAxis = int64_t{1} << 30;

/// A forward pass along an axis. The enlarged image ends with the last pixel that the output depends on.
inline FilteredAxis resampled_axis(int64_t in, int64_t up, int64_t down, int64_t taps1, int64_t taps2, int64_t before,
                                   int64_t after) {
  const int64_t room = in * up + before + after - taps1 + 1 - taps2;
  const int64_t out = room < 0 ? 0 : room / down + 1;
  return {in, out == 0 ? 0 : (out - 1) * down + taps2, out, up, down, taps1, taps2, before, 0};
}

// ---- Codes: bit 0 for t ≤ 0 or nan, bit 1 for s beyond the limit or nan; four in a byte, the first lowest ----

constexpr int kCodesPerByte = 4;
constexpr int64_t kPlanesTogether = 16;  // planes are padded to multiples of that: what a CPU takes side by side

struct CodesLayout {
  int64_t planes, rows, bytes;  // codes: [planes, rows, bytes], in an order that each kind of device has of its own
};
inline CodesLayout codes_layout(int64_t planes, const FilteredAxis& rows, const FilteredAxis& columns) {
  return {(planes + kPlanesTogether - 1) / kPlanesTogether * kPlanesTogether, rows.mid,
          (columns.mid + kCodesPerByte - 1) / kCodesPerByte};
}

/// For scalars and for vectors of them.
template <class A>
struct ClampedLrelu {
  A gain, slope, limit;
  bool limited;

  /// Makes s of t, in the order of operations that the definition has.
  template <class V, class Is>
  GAN_OPS_INLINE void apply(V& t, Is& positive, Is& within) const {
    positive = t > A(0);
    const V s = (positive ? t : t * slope) * gain;
    if (limited) {
      const V least = V{} - limit, most = V{} + limit;
      t = s > limit ? most : (s < -limit ? least : s);
      within = t == s;  // nan stays, and is not
    } else {
      within = positive | ~positive;
      t = s;
    }
  }

  /// Makes m · t of t.
  template <class V, class Is>
  GAN_OPS_INLINE void mask(V& t, const Is& positive, const Is& within) const {
    const V s = t * gain;
    t = within ? (positive ? s : s * slope) : V{};
  }
};

}  // namespace gan_ops
