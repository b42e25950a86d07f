// Distances of all pairs and their derivatives.
//
// For x [N, D] and y [M, D], with the difference z_ijc = x_ic − y_jc:
//   l1        d_ij = Σ_c |z|        t(z) = sign(z), sign(0) = 0
//   squared   d_ij = Σ_c z²         t(z) = z
//   l2        d_ij = (Σ_c z²)^½     t(z) = z
//
// Backward, for a cotangent g of d: with weights w_ij = g (l1), 2 g (squared), g / d (l2),
//   d_x_ic = Σ_j w_ij t(z_ijc)      d_y_jc = −Σ_i w_ij t(z_ijc)
// Double backward, for cotangents a of d_x and b of d_y: with u_ij = Σ_c t(z_ijc) (a_ic − b_jc), the tilt,
//   d_g_ij = u (l1), 2 u (squared), u / d (l2)
//   l1        d_x = d_y = 0
//   squared   d_x_ic = Σ_j w_ij (a_ic − b_jc)
//   l2        d_x_ic = Σ_j w_ij (a_ic − b_jc) + q_ij z_ijc with q_ij = −w_ij d_g_ij / d_ij
//   and d_y_jc is the negative of the same summands' sum over i.
// Where x_i = y_j, d of l2 has no derivative: there 1/d counts as 0.
//
// So there are two kinds of sums: over c into [N, M] (d and u), and over the other samples into [N, D] and [M, D].
#pragma once

#include <cmath>

#include "numeric.h"

namespace gan_ops {

enum class PairMetric { l1, l2, squared };

/// Calls `body` with the metric as its template argument.
template <class Body>
void with_metric(PairMetric metric, const Body& body) {
  switch (metric) {
    case PairMetric::l1:
      return body.template operator()<PairMetric::l1>();
    case PairMetric::l2:
      return body.template operator()<PairMetric::l2>();
    case PairMetric::squared:
      return body.template operator()<PairMetric::squared>();
  }
}

/// x is [rows, dims], y is [columns, dims], contiguous.
struct PairLayout {
  int64_t rows;     // N
  int64_t columns;  // M
  int64_t dims;     // D

  GAN_OPS_INLINE int64_t pairs() const { return rows * columns; }
};

/// sign(z) as torch has it: 0 for 0 and for nan.
template <class A>
GAN_OPS_INLINE A pair_sign(A z) {
  return (z < A(0)) | (z > A(0)) ? std::copysign(A(1), z) : A(0);
}

/// t(z).
template <PairMetric kMetric, class A>
GAN_OPS_INLINE A pair_slope(A z) {
  return kMetric == PairMetric::l1 ? pair_sign(z) : z;
}

/// A pair's summand of d, before the root.
template <PairMetric kMetric, class A>
GAN_OPS_INLINE A pair_term(A z) {
  return kMetric == PairMetric::l1 ? std::fabs(z) : z * z;
}

/// f / d with 1/0 = 0.
template <class A>
GAN_OPS_INLINE A over_distance(A f, A distance) {
  return distance == A(0) ? A(0) : f / distance;
}

/// w from g, and d_g from u: the same map.
template <PairMetric kMetric, class A>
GAN_OPS_INLINE A pair_weight(A g, A distance) {
  if constexpr (kMetric == PairMetric::l1) return g;
  if constexpr (kMetric == PairMetric::squared) return 2 * g;
  return over_distance(g, distance);
}

}  // namespace gan_ops
