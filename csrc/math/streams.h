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

  GAN_OPS_INLINE void load(int64_t i, A* values) const {
    for (int k = 0; k < F::kInputs; ++k) values[k] = widen(in[k][i]);
  }
  GAN_OPS_INLINE void store(int64_t i, const A* values) const {
    for (int k = 0; k < F::kOutputs; ++k) out[k][i] = narrow<T>(values[k]);
  }
};

}  // namespace gan_ops
