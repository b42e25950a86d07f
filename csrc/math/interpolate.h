// Interpolation between two samples.
//
//   forward   y = real + w (fake − real), counted from the nearer of the two, so that w = 1 gives `fake` to the bit
//   backward  d_real = (1 − w) g,  d_fake = w g,  d_w = sum of g (fake − real) over the sample
// It is linear in real and fake; its second derivatives are its own forward and products.
#pragma once

#include "numeric.h"

namespace gan_ops {

template <class T>
struct Interpolation {
  const T* near;
  const T* far;
  Accumulate<T> step;  // from the nearer end

  GAN_OPS_INLINE Interpolation(const T* real, const T* fake, Accumulate<T> w)
      : near(w < 0.5f ? real : fake), far(w < 0.5f ? fake : real), step(w < 0.5f ? w : 1 - w) {}
};

template <class A>
GAN_OPS_INLINE A interpolated(A near, A far, A step) {
  return near + step * (far - near);
}

}  // namespace gan_ops
