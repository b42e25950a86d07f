// exp(−d) for distances and activations, and what is near it, in arithmetic that compilers vectorise: no call, no
// branch.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "../math/numeric.h"

namespace gan_ops::cpu {

/// −d = n ln2 + r with |r| ≤ ln2/2, exp(−d) = 2ⁿ p(r). p is 1 + r + … with the coefficients that minimise the largest
/// relative error: 3e-9 in float, 4e-18 in double.
template <class A>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  using Bits = uint32_t;
  static constexpr int kMantissa = 23;
  static constexpr float kBias = 127;
  static constexpr float kLowest = -88.0f;  // the exponential of this and less is taken as 0: n is −127
  static constexpr float kInverseLn2 = 1.44269504f;
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;  // n·kLn2High is exact
  static constexpr float kCoefficients[] = {
      1.38145986e-3f, 8.36871688e-3f, 4.16683880e-2f, 1.66665206e-1f, 4.99999934e-1f, 1.0f, 1.0f};
};

template <>
struct ExpConstants<double> {
  using Bits = uint64_t;
  static constexpr int kMantissa = 52;
  static constexpr double kBias = 1023;
  static constexpr double kLowest = -709.0;
  static constexpr double kInverseLn2 = 1.4426950408889634;
  static constexpr double kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kCoefficients[] = {2.5000060913375838e-8,
                                             2.7630248366114965e-7,
                                             2.7557586375990774e-6,
                                             2.4801493098947544e-5,
                                             1.9841269506576397e-4,
                                             1.388888894363007e-3,
                                             8.3333333334944626e-3,
                                             4.1666666666530159e-2,
                                             1.6666666666666413e-1,
                                             5.0000000000000106e-1,
                                             1.0,
                                             1.0};
};

/// exp(−d) = scale · (p · r + 1), with p as above but for its last coefficient.
template <class A>
struct ExpParts {
  A p, r, scale;
};

template <class A>
GAN_OPS_INLINE ExpParts<A> exp_parts_of_minus(A d) {
  using K = ExpConstants<A>;
  using Bits = typename K::Bits;
  // Adding this leaves n + bias in the last bits: numbers this large have a step of 1.
  constexpr A kRound = A(3) * A(Bits(1) << (K::kMantissa - 1)) + K::kBias;
  const A x = -d < K::kLowest ? K::kLowest : -d;  // nan stays
  const A shifted = x * K::kInverseLn2 + kRound;
  const A n = shifted - kRound;
  const A r = (x - n * K::kLn2High) - n * K::kLn2Low;
  A p = 0;
  for (size_t k = 0; k + 1 < std::size(K::kCoefficients); ++k) p = p * r + K::kCoefficients[k];
  // 2ⁿ from its exponent, 0 for n = −bias
  return {p, r, std::bit_cast<A>(std::bit_cast<Bits>(shifted) << K::kMantissa)};
}

/// exp(−d) for d ≥ 0, within 1 ulp: 1 at 0; 0 at inf, and from about where it would be subnormal on; nan at nan.
template <class A>
GAN_OPS_INLINE A exp_of_minus(A d) {
  const ExpParts<A> e = exp_parts_of_minus(d);
  return (e.p * e.r + A(1)) * e.scale;
}

/// exp(−d) − 1 for d ≥ 0, as accurate near 0.
template <class A>
GAN_OPS_INLINE A expm1_of_minus(A d) {
  const ExpParts<A> e = exp_parts_of_minus(d);
  return e.p * e.r * e.scale + (e.scale - A(1));
}

/// log(1 + e) for e in [0, 1], within some ulp: 2 artanh z with z = e / (2 + e) ≤ 1/3, as z's series to where its terms
/// are below a rounding.
template <class A>
GAN_OPS_INLINE A log1p_of_fraction(A e) {
  constexpr int kTerms = sizeof(A) == 4 ? 8 : 17;
  const A z = e / (A(2) + e), square = z * z;
  A series = 0;
  for (int k = kTerms - 1; k >= 0; --k) series = series * square + A(1) / A(2 * k + 1);
  return 2 * z * series;
}

}  // namespace gan_ops::cpu
