// The tensors that a per-element formula reads and writes.
#pragma once

#include "numeric.h"

namespace gan_ops {

/// Where the inputs and outputs of the formula F (math/pixel_norm.h) lie, in the order of its enumerations.
template <class T, class F>
struct Streams {
  using A = Accumulate<T>;
  const T* in[F::kInputs];
  T* out[F::kOutputs];

  // By constants, one after another: a loop over k would keep the values in memory, and loops over i from being
  // vectorised.
  template <int K = 0>
  GAN_OPS_INLINE void load(int64_t i, A* values) const {
    values[K] = widen(in[K][i]);
    if constexpr (K + 1 < F::kInputs) load<K + 1>(i, values);
  }
  template <int K = 0>
  GAN_OPS_INLINE void store(int64_t i, const A* values) const {
    out[K][i] = narrow<T>(values[K]);
    if constexpr (K + 1 < F::kOutputs) store<K + 1>(i, values);
  }
};

}  // namespace gan_ops
