// Activations φ with their first two derivatives, as networks of the StyleGAN family use them.
//
//   linear t · relu max(t, 0) · lrelu t or α·t below 0 · tanh · sigmoid σ(t) · elu t or e^t − 1 below 0 ·
//   selu λ·t or λ·α·(e^t − 1) below 0 (Klambauer et al. 2017) · softplus log(1 + e^t) · swish t·σ(t)
//
// At their kinks they are as in torch: at 0 relu, lrelu, elu and selu have the derivative of the lower side, and
// softplus is t above 20. At nan relu and elu have the derivative of the upper side, as torch's scalar loops and CUDA
// kernels do; of those with one formula it is nan.
//
// Each formula is φ at one t, in exponentials of negative numbers alone, so none overflows. `M` has these three:
// exp_of_minus(d) = e^(−d) and expm1_of_minus(d) = e^(−d) − 1 for d ≥ 0, log1p_of_fraction(e) = log(1 + e) for e in
// [0, 1]. What a caller does not use of value, first and second derivative costs nothing: all is inlined.
#pragma once

#include <cstdint>

#include "numeric.h"

namespace gan_ops {

enum class Activation : int { linear, relu, lrelu, tanh, sigmoid, elu, selu, softplus, swish };

/// Whether its second derivative is not 0 almost everywhere.
GAN_OPS_INLINE bool is_curved(Activation act) {
  return act != Activation::linear && act != Activation::relu && act != Activation::lrelu;
}

template <class A>
struct Derivatives {
  A value, first, second;
  /// 1, or 0: then both derivatives are 0 whatever they are multiplied by, even inf. No bool, or loops that store it
  /// are not vectorised.
  A passes = 1;
};

template <class A>
GAN_OPS_INLINE A magnitude(A t) {
  return t < A(0) ? -t : t;
}

/// linear, relu and lrelu.
template <class A>
struct PiecewiseLinear {
  A below;
  GAN_OPS_INLINE Derivatives<A> operator()(A t) const {
    // Choices with constants, not between products: compilers vectorise them.
    const A high = t < A(0) ? A(0) : t, low = t < A(0) ? t : A(0);
    return {high + low * below, t > A(0) ? A(1) : below, A(0)};
  }
};

template <class A>
struct Relu {
  GAN_OPS_INLINE Derivatives<A> operator()(A t) const {
    return {t <= A(0) ? A(0) : t, A(1), A(0), t <= A(0) ? A(0) : A(1)};  // nan stays
  }
};

/// σ(t), σ(−t) and their product.
template <class A>
struct Sigmoids {
  A of, of_minus, product;
};
template <class M, class A>
GAN_OPS_INLINE Sigmoids<A> sigmoids(A t) {
  const A e = M::exp_of_minus(magnitude(t)), large = A(1) / (A(1) + e), small = e * large;
  return {t >= A(0) ? large : small, t >= A(0) ? small : large, small * large};
}

template <class M, class A>
struct Tanh {
  GAN_OPS_INLINE Derivatives<A> operator()(A t) const {
    const A m = M::expm1_of_minus(2 * magnitude(t)), e = M::exp_of_minus(2 * magnitude(t));
    const A share = A(1) / (A(1) + e), high = -m * share;
    const A value = t < A(0) ? -high : high, first = A(4) * e * share * share;  // 1 − tanh², without a difference
    return {value, first, A(-2) * value * first};
  }
};

template <class M, class A>
struct Sigmoid {
  GAN_OPS_INLINE Derivatives<A> operator()(A t) const {
    const Sigmoids<A> s = sigmoids<M>(t);
    return {s.of, s.product, s.product * (s.of_minus - s.of)};
  }
};

/// elu and selu.
template <class M, class A>
struct Elu {
  A above, below;  // λ, λ·α
  GAN_OPS_INLINE Derivatives<A> operator()(A t) const {
    const A m = M::expm1_of_minus(magnitude(t)), slope = below * M::exp_of_minus(magnitude(t));
    return {t <= A(0) ? below * m : above * t, t <= A(0) ? slope : above, t < A(0) ? slope : A(0)};
  }
};

template <class M, class A>
struct Softplus {
  GAN_OPS_INLINE Derivatives<A> operator()(A t) const {
    const Sigmoids<A> s = sigmoids<M>(t);
    const A log1p = M::log1p_of_fraction(M::exp_of_minus(magnitude(t)));
    const bool is_t = t > A(20);
    return {is_t ? t : (t < A(0) ? A(0) : t) + log1p, is_t ? A(1) : s.of, t >= A(20) ? A(0) : s.product};
  }
};

template <class M, class A>
struct Swish {
  GAN_OPS_INLINE Derivatives<A> operator()(A t) const {
    const Sigmoids<A> s = sigmoids<M>(t);
    return {t * s.of, s.of + t * s.product, s.product * (A(2) + t * (s.of_minus - s.of))};
  }
};

/// body(φ) for the formula φ of `act`.
template <class M, class A, class Body>
GAN_OPS_INLINE void with_activation(Activation act, double alpha, const Body& body) {
  constexpr double kSeluScale = 1.0507009873554804934193349852946, kSeluAlpha = 1.6732632423543772848170429916717;
  const bool is_selu = act == Activation::selu;
  switch (act) {  // a case a formula: each is compiled in each kernel
    case Activation::linear:
    case Activation::lrelu:
      return body(PiecewiseLinear<A>{A(act == Activation::linear ? 1.0 : alpha)});
    case Activation::relu:
      return body(Relu<A>{});
    case Activation::tanh:
      return body(Tanh<M, A>{});
    case Activation::sigmoid:
      return body(Sigmoid<M, A>{});
    case Activation::elu:
    case Activation::selu:
      return body(Elu<M, A>{A(is_selu ? kSeluScale : 1.0), A(is_selu ? kSeluScale * kSeluAlpha : 1.0)});
    case Activation::softplus:
      return body(Softplus<M, A>{});
    case Activation::swish:
      return body(Swish<M, A>{});
  }
}

}  // namespace gan_ops
