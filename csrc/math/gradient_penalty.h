// The gradient penalty and its derivatives, for one sample.
//
// With n = ‖x‖ over all axes but the first, u = x/n (0 where n = 0) and target t (Gulrajani et al. 2017, eq. 3):
//   forward          p(n) = (n − t)²/t²,  one-sided max(n − t, 0)²/t²,  for t = 0: n²
//   backward         d_x = g p′ u
//   double backward  for a cotangent v of d_x, with a = <v, u>:
//                    d_g = p′ a
//                    d_x = g (p″ a u + p′/n (v − a u))
// For t = 0 that is smooth everywhere. Otherwise p has no derivative at n = 0; with u = 0 there and the last term left
// out, the first two count as 0.
//
// Squares of float32 leave its range long before x does: they are added in float32 a chunk at a time, and where a
// chunk's sum is not safely inside, once more in float64. Likewise 1/n is not formed alone but for an n that a power of
// two has moved near 1.
#pragma once

#include <cmath>
#include <type_traits>

#include "numeric.h"

namespace gan_ops {

/// Whether a sum of squares was neither too large for A nor so small that terms have vanished.
template <class A>
GAN_OPS_INLINE bool squares_fit(A sum) {
  if constexpr (std::is_same_v<A, double>) return true;  // there is nothing wider
  return sum > A(1e-27) && sum < A(1e38);
}

/// p and its derivatives as functions of the norm. The norm is float64 and so is n/t − 1, which cancels near the
/// target.
template <class A>
struct NormPenalty {
  double target, inverse;
  bool one_sided;

  NormPenalty(double target, bool one_sided) : target(target), inverse(1 / target), one_sided(one_sided) {}

  GAN_OPS_INLINE double excess(double norm) const {
    const double signed_excess = (norm - target) * inverse;     // 0 at the target to the bit
    return one_sided && signed_excess < 0 ? 0 : signed_excess;  // nan stays
  }
  GAN_OPS_INLINE A value(double norm) const {
    const double root = target == 0 ? norm : excess(norm);
    return static_cast<A>(root * root);
  }
  GAN_OPS_INLINE A slope(double norm) const {
    return static_cast<A>(2 * (target == 0 ? norm : excess(norm) * inverse));
  }
  GAN_OPS_INLINE A curvature(double norm) const {
    if (target == 0) return A(2);
    return one_sided && norm <= target ? A(0) : static_cast<A>(2 * inverse * inverse);
  }
};

/// x/n is x · scale · inverse.
template <class A>
struct UnitVector {
  A scale, inverse;
};

template <class A>
GAN_OPS_INLINE UnitVector<A> unit_vector(double norm) {
  if (norm == 0) return {A(1), A(0)};
  constexpr A kLarge = 18446744073709551616.0, kSmall = A(1) / kLarge;  // 2^64, 2^-64
  const A scale = norm < kSmall ? kLarge : norm > kLarge ? kSmall : A(1);
  return {scale, A(1) / static_cast<A>(norm * scale)};
}

/// The backward pass of one sample: d_x = x · scale · factor.
template <class A>
struct PenaltySlope {
  A scale, factor;
  GAN_OPS_INLINE A operator()(A x) const { return x * scale * factor; }
};

template <class A>
GAN_OPS_INLINE PenaltySlope<A> penalty_slope(const NormPenalty<A>& penalty, double norm, A g) {
  const UnitVector<A> unit = unit_vector<A>(norm);
  return {unit.scale, g * penalty.slope(norm) * unit.inverse};
}

/// The double backward pass of one sample: with u = x · scale · inverse, d_x = along · u + (v − a · u) · lift · across.
template <class A>
struct PenaltyCurvature {
  A scale, inverse, a, along, lift, across;
  GAN_OPS_INLINE A operator()(A v, A x) const {
    const A u = x * scale * inverse;
    return along * u + (v - a * u) * lift * across;
  }
};

template <class A>
GAN_OPS_INLINE PenaltyCurvature<A> penalty_curvature(const NormPenalty<A>& penalty, double norm, A g, A a) {
  const UnitVector<A> unit = unit_vector<A>(norm);
  const A along = g * penalty.curvature(norm) * a;
  if (penalty.target == 0) return {unit.scale, unit.inverse, a, along, A(1), A(2) * g};  // p′/n is 2, also at 0
  return {unit.scale, unit.inverse, a, along, unit.scale, g * penalty.slope(norm) * unit.inverse};
}

}  // namespace gan_ops
