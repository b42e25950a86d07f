// Zeros between pixels, padding, a FIR filter, decimation: along an axis, with c the filter as it correlates,
//
//   y[o] = Σ_i c[i·up + pad − o·down] · x[i]        (c is 0 outside of its taps)
//
// that is Σ_t c[t] · z[o·down + t] for z with x[i] at i·up + pad and zeros elsewhere. The adjoint exchanges i and o:
//
//   dx[i] = Σ_o c[i·up + pad − o·down] · g[o] = Σ_o c'[o·down + pad' − i·up] · g[o]
//
// with c'[t] = c[taps − 1 − t] and pad' = taps − 1 − pad. So the op with up and down exchanged, the other flip and this
// padding is its own derivative of every order.
//
// Only every up-th tap meets a pixel. Output o uses the taps first_tap(o), first_tap(o) + up, … on the adjacent inputs
// from first_input(o) on; both repeat after up / gcd(up, down) outputs, which are down / gcd inputs further.
#pragma once

#include "numeric.h"

namespace gan_ops {

struct ResampledAxis {
  int64_t in;   // pixels of x
  int64_t out;  // and of y
  int64_t taps;
  int64_t up;
  int64_t down;
  int64_t pad;  // before the first pixel, in enlarged pixels; negative crops

  GAN_OPS_INLINE int64_t first_tap(int64_t o) const {
    const int64_t rest = (pad - o * down) % up;
    return rest < 0 ? rest + up : rest;
  }
  /// May lie outside of x.
  GAN_OPS_INLINE int64_t first_input(int64_t o) const { return (o * down + first_tap(o) - pad) / up; }
  /// How many taps it uses.
  GAN_OPS_INLINE int64_t used_taps(int64_t o) const {
    const int64_t first = first_tap(o);
    return first < taps ? (taps - first + up - 1) / up : 0;
  }
};

}  // namespace gan_ops
