// Scale, bias, leaky ReLU and gain, for one element.
//
//   forward   y = gain · φ(scale · x + b),  φ(t) = t for t > 0, slope · t otherwise
//   backward  d_x = g · φ′ · gain · scale,  d_b = sum of d_x over samples and pixels, divided by the scale;
//             φ′ is told from the sign of y
// φ′ is constant almost everywhere, so the double backward to g is the backward again and that to y is zero.
#pragma once

#include "numeric.h"

namespace gan_ops {

template <class A>
struct BiasAct {
  A above, below;  // the derivative to t above and below zero: gain, gain · slope
  A scale;
  GAN_OPS_INLINE A enter(A x, A bias) const { return scale * x + bias; }  // t
  /// Of t or of y, whose signs are the same.
  GAN_OPS_INLINE A derivative(A t) const { return t > A(0) ? above : below; }
  // A choice between constants, not between products: compilers vectorise it.
  GAN_OPS_INLINE A value(A t) const { return t * derivative(t); }
};

template <class A>
GAN_OPS_INLINE BiasAct<A> make_bias_act(double slope, double gain, double scale) {
  return {A(gain), A(gain * slope), A(scale)};
}
/// What the backward pass needs of it: the derivative to x in place of that to t.
template <class A>
GAN_OPS_INLINE BiasAct<A> make_bias_act_backward(double slope, double gain, double scale) {
  return make_bias_act<A>(slope, gain * scale, 1);
}

}  // namespace gan_ops
