// float16 and bfloat16 on the host: torch's own types.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <bit>

#include "../kernel_types.h"
#include "../math/numeric.h"

namespace gan_ops {

template <>
struct Convert<c10::Half> {
  static GAN_OPS_INLINE float widen(c10::Half value) { return static_cast<float>(value); }
  static GAN_OPS_INLINE c10::Half narrow(float value) { return c10::Half(value); }
};
template <>
struct Convert<c10::BFloat16> {
  static GAN_OPS_INLINE float widen(c10::BFloat16 value) { return static_cast<float>(value); }
  // As c10's own rounding, but without its branch for NaN, behind which compilers hide the store and do not vectorise.
  static GAN_OPS_INLINE c10::BFloat16 narrow(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const uint32_t if_nan = -static_cast<uint32_t>((bits & 0x7fffffffu) > 0x7f800000u);
    return c10::BFloat16(static_cast<uint16_t>((rounded & ~if_nan) | (0x7fc0u & if_nan)), c10::BFloat16::from_bits());
  }
};

namespace cpu {

/// Calls `body` with a Type<T> for the host type of `dtype`.
template <class Body>
void with_type(Dtype dtype, const Body& body) {
  with_type_among<c10::Half, c10::BFloat16>(dtype, body);
}

}  // namespace cpu
}  // namespace gan_ops
