// Bias, leaky ReLU and gain, for one element.
//
//   forward   y = gain · φ(x + b),  φ(t) = t for t > 0, slope · t otherwise
//   backward  d_x = g · φ′ · gain,  d_b = sum of d_x over samples and pixels; φ′ is told from the sign of y
// φ′ is constant almost everywhere, so the double backward to g is the backward again and that to y is zero.
#pragma once

#include "numeric.h"

namespace gan_ops {

template <class A>
struct BiasAct {
  A slope, gain;
  GAN_OPS_INLINE A value(A t) const { return gain * (t > A(0) ? t : slope * t); }
  GAN_OPS_INLINE A derivative(A y) const { return y > A(0) ? gain : gain * slope; }
};

/// Adjacent pixels whose bias gradient is summed in one piece when channels are adjacent; fixed, so that results
/// repeat.
GAN_OPS_INLINE int64_t bias_rows_per_chunk(int64_t channels) {
  return channels < 8192 ? 8192 / channels : 1;
}

}  // namespace gan_ops
