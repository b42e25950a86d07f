// Historical averaging over lists of tensors, for one element.
//
// With θ the parameters, m the mean of θ[1..t−1] and t the step, the mean with θ_t counted is m + (θ − m)/t, so that
// θ − mean of θ[1..t] = k (θ − m), k = 1 − 1/t (Salimans et al. 2016, section 3.3):
//   forward          distance = k² Σ (θ − m)²
//   backward         d_θ = 2 k² g (θ − m)
//   double backward  for cotangents v of d_θ: d_g = 2 k² Σ v (θ − m),  d_θ = 2 k² g v
//   update           m ← m + (θ − m)/t
// At t = 1 there is no mean yet: whatever m holds, θ − m counts as 0 and the update gives θ.
#pragma once

#include "numeric.h"

namespace gan_ops {

/// t, as a value or, where the host must not wait for it, in the device's memory.
struct HistoricalStep {
  double value;
  const double* on_device;  // or null
  GAN_OPS_INLINE double operator()() const { return on_device == nullptr ? value : *on_device; }
};

/// θ − m, or 0 at the first step, of a parameter of type T and an average of type M.
template <class A, class T, class M>
GAN_OPS_INLINE A historical_gap(T parameter, M average, bool is_first) {
  const A gap = A(widen(parameter)) - A(widen(average));
  return is_first ? A(0) : gap;
}

template <class A>
GAN_OPS_INLINE A historical_mean(A parameter, A average, bool is_first, A share) {
  return is_first ? parameter : average + (parameter - average) * share;
}

/// 2 k², in the order that keeps t = 1 at 0.
GAN_OPS_INLINE double historical_slope(double step) {
  const double k = 1 - 1 / step;
  return 2 * k * k;
}

}  // namespace gan_ops
