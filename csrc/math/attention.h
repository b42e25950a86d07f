// Softmax attention and its derivatives.
//
// For queries Q [N, E], keys K [M, E], values V [M, F], a scale s and a bias B [N, M], with products of matrices, ∘ the
// product element by element, and ⟨X, Y⟩ = the sums of X∘Y over rows, [N]:
//   scores            S = s Q Kᵀ + B                                                        [N, M]
//   forward           ℓ = log of the sums of exp(S) over rows, P = exp(S − ℓ), O = P V       [N], [N, M], [N, F]
//   backward          for a cotangent G of O, with A = G Vᵀ (that of P) and D = ⟨P, A⟩:
//                     dS = P∘(A − D),  d_Q = s dS K,  d_K = s dSᵀ Q,  d_V = Pᵀ G,  d_B = dS
//   double backward   for cotangents Q', K', V', B' of these four, which are those of dS and, beside it, of P:
//                     W = s (Q' Kᵀ + Q K'ᵀ) + B',  U = G V'ᵀ
//     to A            X = P∘(W − w)  with w = ⟨P, W⟩
//     to P            R = A∘(W − w) − D∘W + U, or up to a constant of each row, which softmax's derivative takes away,
//                     R = (A − D)∘(W − w) + U
//     to S            T = P∘(R − ⟨P, R⟩)
//                     d_G = X V + P V',  d_Q = s (T K + dS K'),  d_K = s (Tᵀ Q + dSᵀ Q'),  d_V = Xᵀ G,  d_B = T
// So all that is [N, M] is needed in blocks of some rows, one after another, and nothing but Q, K, V, B and ℓ is kept.
//
// A row whose scores are all −inf has P = 0 (as in torch's attention): its ℓ is kept as +inf.
#pragma once

#include <cstdint>

#include "numeric.h"

namespace gan_ops {

/// A block of scores: the same `rows` rows, from `first_row` on, of each of outer·inner matrices; contiguous
/// [outer, inner, rows, columns].
struct ScoreBlock {
  int64_t outer, inner, rows, columns;
  int64_t first_row, all_rows;  // all_rows: of a matrix
  bool causal;                  // whether row i sees no column beyond i

  GAN_OPS_INLINE int64_t row_count() const { return outer * inner * rows; }
  /// The number of columns, from the first on, that the block's row `r` sees.
  GAN_OPS_INLINE int64_t seen(int64_t r) const {
    const int64_t last = first_row + r % rows;
    return causal && last + 1 < columns ? last + 1 : columns;
  }
  /// Where the block's row `r` has its ℓ, for a pointer to that of row 0 of the block's first matrix.
  GAN_OPS_INLINE int64_t place_of_row(int64_t r) const { return r / rows * all_rows + first_row + r % rows; }
};

/// A bias, or its cotangent, in the accumulate type: null if there is none, else with the strides of an axis that it is
/// shared along being 0.
struct ScoreBias {
  const void* data;
  int64_t outer, inner, row, column;  // strides; column is 0 or 1

  /// The first element for the block's row `r`; data points to that of the block's first.
  template <class A>
  GAN_OPS_INLINE const A* of_row(const ScoreBlock& b, int64_t r) const {
    const int64_t matrix = r / b.rows;
    return static_cast<const A*>(data) + matrix / b.inner * outer + matrix % b.inner * inner + r % b.rows * row;
  }
};

/// R, of one element.
template <class A>
GAN_OPS_INLINE A attention_slope(A a_less_d, A w_less_mean, A u) {
  return a_less_d * w_less_mean + u;
}

}  // namespace gan_ops
