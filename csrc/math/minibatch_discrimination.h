// Minibatch discrimination and its derivatives.
//
// For m [N, B, C] with d_ijb = Σ_c |m_ibc − m_jbc|, e_ijb = exp(−d_ijb) and s_ijbc = sign(m_ibc − m_jbc), sign(0) = 0
// (Salimans et al. 2016, section 3.2):
//   forward           o_ib = Σ_j e_ijb, with or without j = i
//   backward          d_m_ibc = −Σ_j (g_ib + g_jb) e_ijb s_ijbc
//   double backward   for a cotangent v of d_m, with u_ijb = Σ_c s_ijbc (v_ibc − v_jbc):
//                     d_g_ib = −Σ_j e_ijb u_ijb
//                     d_m_ibc = Σ_j (g_ib + g_jb) e_ijb u_ijb s_ijbc
// e and u are symmetric in i and j, s is antisymmetric; a sample's pair with itself has s = 0 and no part in
// derivatives.
//
// All three have one shape. With value = e in the forward and backward pass and −e u in the double backward, the sums
// o and d_g add up values, and d_m adds up weight · s with weight = −(g_i + g_j) · value.
#pragma once

#include <cmath>

#include "numeric.h"

namespace gan_ops {

/// m is [samples, kernels, dims], contiguous.
struct DiscriminationLayout {
  int64_t samples;  // N
  int64_t kernels;  // B
  int64_t dims;     // C
};

enum class DiscriminationPass { forward, backward, double_backward };

/// Whether a pass adds up values (o, d_g), and whether it adds up weights (d_m).
template <DiscriminationPass kPass>
constexpr bool kHasSums = kPass != DiscriminationPass::backward;
template <DiscriminationPass kPass>
constexpr bool kHasWeights = kPass != DiscriminationPass::forward;

/// d and u are added up in blocks of this many features: a large d leaves no more of e's digits than its rounding
/// error.
constexpr int kDiscriminationBlock = 8;

template <class A>
GAN_OPS_INLINE A sign(A x) {
  return x == A(0) ? A(0) : std::copysign(A(1), x);
}

/// e of a sample's pair with itself: 1, or nan where m is not finite.
template <class A>
GAN_OPS_INLINE A self_term(const A* m, int64_t stride, int64_t dims) {
  A distance = 0;
  for (int64_t c = 0; c < dims; ++c) distance += m[c * stride] - m[c * stride];
  return A(1) - distance;
}

}  // namespace gan_ops
