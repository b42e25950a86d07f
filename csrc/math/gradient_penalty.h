// The gradient penalty and its derivatives, for one sample.
//
// With n = ‖x‖ over all axes but the first, u = x/n (0 where n = 0) and target t (Gulrajani et al. 2017, eq. 3):
//   forward          p(n) = (n − t)²/t²,  one-sided max(n − t, 0)²/t²,  for t = 0: n²
//   backward         d_x = g p′ u
//   double backward  for a cotangent v of d_x, with a = <v, u>:
//                    d_g = p′ a
//                    d_x = g (p″ a u + p′/n (v − a u))
// For t = 0 that is smooth everywhere: 2 g x, 2 <v, x> and 2 g v, whatever n. Otherwise p has no derivative at n = 0;
// with u = 0 there and the last term left out, the first two count as 0.
//
// Sums and norms are float64: squares of float32 leave its range long before x does, and n − t cancels near the target.
// Elements stay in the accumulate type, with 1/n formed for an n that a power of two has moved near 1.
#pragma once

#include <cmath>

#include "numeric.h"

namespace gan_ops {

/// p and its derivatives as functions of the norm.
struct NormPenalty {
  double target, inverse;
  bool one_sided;

  NormPenalty(double target, bool one_sided) : target(target), inverse(1 / target), one_sided(one_sided) {}

  GAN_OPS_INLINE double excess(double norm) const {
    const double signed_excess = (norm - target) * inverse;
    return one_sided && signed_excess < 0 ? 0 : signed_excess;  // nan stays
  }
  GAN_OPS_INLINE double value(double norm) const {
    const double root = target == 0 ? norm : excess(norm);
    return root * root;
  }
  // From here on t > 0.
  GAN_OPS_INLINE double slope(double norm) const { return 2 * excess(norm) * inverse; }
  GAN_OPS_INLINE double curvature(double norm) const { return one_sided && norm <= target ? 0 : 2 * inverse * inverse; }
  /// Whether no cotangent passes, be it infinite or nan.
  GAN_OPS_INLINE bool is_flat(double norm) const { return norm == 0 || (one_sided && norm <= target); }
  /// d_g from <v, x>, for any t.
  GAN_OPS_INLINE double slope_along(double dot, double norm) const {
    if (target == 0) return 2 * dot;
    return is_flat(norm) ? 0 : slope(norm) * (dot / norm);
  }
};

/// <v, u> from <v, x>.
GAN_OPS_INLINE double along_unit(double dot, double norm) {
  return norm == 0 ? 0 : dot / norm;
}

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
GAN_OPS_INLINE PenaltySlope<A> penalty_slope(const NormPenalty& penalty, double norm, A g) {
  if (penalty.target == 0) return {A(1), A(2) * g};
  if (penalty.is_flat(norm)) return {A(1), A(0)};
  const UnitVector<A> unit = unit_vector<A>(norm);
  return {unit.scale, static_cast<A>(g * penalty.slope(norm) * unit.inverse)};
}

/// The double backward pass of one sample: with u = x · scale · inverse, d_x = along · u + (v − a · u) · lift · across.
/// For t = 0 it is PenaltySlope of v instead.
template <class A>
struct PenaltyCurvature {
  A scale, inverse, a, along, lift, across;
  GAN_OPS_INLINE A operator()(A v, A x) const {
    const A u = x * scale * inverse;
    return along * u + (v - a * u) * lift * across;
  }
};

template <class A>
GAN_OPS_INLINE PenaltyCurvature<A> penalty_curvature(const NormPenalty& penalty, double norm, A g, double a) {
  const UnitVector<A> unit = unit_vector<A>(norm);
  const A passing = penalty.is_flat(norm) ? A(0) : g;
  const A along = static_cast<A>(passing * penalty.curvature(norm) * a);
  const A across = static_cast<A>(passing * penalty.slope(norm) * unit.inverse);
  return {unit.scale, unit.inverse, A(a), along, unit.scale, across};
}

}  // namespace gan_ops
