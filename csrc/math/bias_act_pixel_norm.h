// Scale, bias, leaky ReLU and pixel norm together: pixel norm and its derivatives (math/pixel_norm.h) taken at
// t = φ(scale · x + b).
//
//   forward           y = pixel_norm(t)
//   backward          d_x = scale φ′ d_t for pixel norm's backward d_t at t,  d_b = sum of d_x over samples and pixels,
//                     divided by the scale
//   double backward   for cotangents v of d_x and v_b of d_b, pixel norm's double backward at t for its cotangent
//                     φ′ (scale v + v_b) gives d_g and d_t; then d_x = scale φ′ d_t and d_b as before
#pragma once

#include "bias_act.h"
#include "pixel_norm.h"

namespace gan_ops {

/// `Norm` is one of pixel norm's three formulas; this has the same parts.
template <class Norm>
struct Activated {
  using A = typename Norm::Wide;
  using Wide = A;
  static constexpr int kInputs = Norm::kInputs, kOutputs = Norm::kOutputs;
  static constexpr int kSums = Norm::kSums, kCoefficients = Norm::kCoefficients;
  static constexpr bool kDifferentiates = requires { Norm::kDX; };
  static constexpr bool kTwice = requires { Norm::kV; };
  struct Channel {
    A bias, v_bias;
  };
  Norm norm;
  BiasAct<A> act;
  const A* bias;    // [channels]
  const A* v_bias;  // [channels], the cotangent of d_bias; read by the double backward alone

  static constexpr int kParameters = kTwice ? 2 : 1;
  GAN_OPS_INLINE const A* parameter(int k) const { return k == 0 ? bias : v_bias; }
  static GAN_OPS_INLINE Channel of_parameters(const A* values) {
    if constexpr (kTwice)
      return {values[0], values[1]};
    else
      return {values[0], A(0)};
  }
  GAN_OPS_INLINE Channel channel(int64_t c) const {
    if constexpr (kTwice)
      return {bias[c], v_bias[c]};
    else
      return {bias[c], A(0)};
  }
  GAN_OPS_INLINE A known(int64_t pixel) const { return norm.known(pixel); }
  GAN_OPS_INLINE void accumulate(const A* in, Channel channel, A* sums) const {
    A at_t[kInputs];
    enter(in, channel, at_t);
    norm.accumulate(at_t, {}, sums);
  }
  GAN_OPS_INLINE void coefficients(A known, const A* sums, A channels, A* c) const {
    norm.coefficients(known, sums, channels, c);
  }
  GAN_OPS_INLINE void keep(int64_t pixel, const A* c) const { norm.keep(pixel, c); }
  GAN_OPS_INLINE void write(const A* in, Channel channel, const A* c, A* out) const {
    A at_t[kInputs];
    enter(in, channel, at_t);
    norm.write(at_t, {}, c, out);
    if constexpr (kDifferentiates) out[Norm::kDX] *= act.derivative(at_t[Norm::kX]) * act.scale;
  }

 private:
  GAN_OPS_INLINE void enter(const A* in, Channel channel, A* at_t) const {
    at_t[Norm::kX] = act.value(act.enter(in[Norm::kX], channel.bias));
    if constexpr (kDifferentiates) at_t[Norm::kG] = in[Norm::kG];
    if constexpr (kTwice) at_t[Norm::kV] = act.derivative(at_t[Norm::kX]) * act.enter(in[Norm::kV], channel.v_bias);
  }
};

}  // namespace gan_ops
