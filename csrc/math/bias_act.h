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
  A above, below;  // the derivative above and below zero: gain, gain · slope
  /// Of t or of y, whose signs are the same.
  GAN_OPS_INLINE A derivative(A t) const { return t > A(0) ? above : below; }
  // A choice between constants, not between products: compilers vectorise it.
  GAN_OPS_INLINE A value(A t) const { return t * derivative(t); }
};

template <class A>
GAN_OPS_INLINE BiasAct<A> make_bias_act(double slope, double gain) {
  return {A(gain), A(gain * slope)};
}

}  // namespace gan_ops
