// Sums and maxima of many terms: fast, accurate and in an order that depends on their number alone.
#pragma once

#include <algorithm>
#include <limits>

#include "../math/numeric.h"
#include "parallel.h"

namespace gan_ops::cpu {

constexpr int kSumLanes = 64;  // terms added side by side: four 512-bit registers of floats hide an addition's latency

/// The sum of term(i) for i in [0, count).
template <class A, class Term>
GAN_OPS_INLINE A sum_in_lanes(int64_t count, const Term& term) {
  A lanes[kSumLanes] = {};
  int64_t i = 0;
  for (; i + kSumLanes <= count; i += kSumLanes)
#pragma omp simd
    for (int lane = 0; lane < kSumLanes; ++lane) lanes[lane] += term(i + lane);
  const int rest = static_cast<int>(count - i);
#pragma omp simd
  for (int lane = 0; lane < rest; ++lane) lanes[lane] += term(i + lane);
  for (int half = kSumLanes / 2; half > 0; half /= 2)
#pragma omp simd
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  return lanes[0];
}

/// The largest term(i) for i in [0, count), −inf of none; terms that are nan are passed over.
template <class A, class Term>
GAN_OPS_INLINE A max_in_lanes(int64_t count, const Term& term) {
  A lanes[kSumLanes];
  std::fill_n(lanes, kSumLanes, -std::numeric_limits<A>::infinity());
  const auto take = [&](int lane, A value)
                        GAN_OPS_LAMBDA_INLINE { lanes[lane] = value > lanes[lane] ? value : lanes[lane]; };
  int64_t i = 0;
  for (; i + kSumLanes <= count; i += kSumLanes)
#pragma omp simd
    for (int lane = 0; lane < kSumLanes; ++lane) take(lane, term(i + lane));
  const int rest = static_cast<int>(count - i);
#pragma omp simd
  for (int lane = 0; lane < rest; ++lane) take(lane, term(i + lane));
  return *std::max_element(lanes, lanes + kSumLanes);
}

/// The sum of chunks' sums.
inline double sum_partials(const double* partial, int64_t chunks) {
  double total = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partial[chunk];
  return total;
}

}  // namespace gan_ops::cpu
