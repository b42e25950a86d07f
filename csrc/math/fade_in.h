// lerp(new, nearest 2× enlargement of old, f), and its adjoint.
//
//   fade_in    out = lerp(new, up(old), f)
//   backward   d_new = (1 − f) g,  d_old = f · sum of g over each 2×2 pixels
// Both are linear: the derivative of each is the other.
#pragma once

#include <cmath>

#include "numeric.h"

namespace gan_ops {

/// Where the elements lie: `rows` rows of `width` old pixels, which are `inner` adjacent values each; new has two rows
/// of 2·width pixels for each. Contiguous: N·C·H rows, inner 1. channels_last: N·H rows, inner C.
struct FadeLayout {
  int64_t rows;
  int64_t width;
  int64_t inner;

  GAN_OPS_INLINE int64_t old_row() const { return width * inner; }
  GAN_OPS_INLINE int64_t new_row() const { return 2 * width * inner; }
  /// The first of the four elements of new that lie on element i of old: the others are `inner`, new_row() and both
  /// further.
  GAN_OPS_INLINE int64_t first_new(int64_t i) const {
    const int64_t row = i / old_row(), in_row = i % old_row(), x = in_row / inner;
    return row * 2 * new_row() + x * inner + in_row;
  }
};

/// torch.lerp's formula, which is exact at both ends: no branch on the data, so loops vectorise.
template <class A>
struct Fade {
  A fraction, rest;
  bool nearer_new;

  GAN_OPS_INLINE explicit Fade(A f) : fraction(f), rest(A(1) - f), nearer_new(std::abs(f) < A(0.5)) {}
  GAN_OPS_INLINE A operator()(A fresh, A old) const {
    const A difference = old - fresh;
    return (nearer_new ? fresh : old) + difference * (nearer_new ? fraction : -rest);
  }
};

}  // namespace gan_ops
