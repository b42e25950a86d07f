// float16 and bfloat16 on the host: torch's own types.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <bit>

#include "../kernel_types.h"
#include "../math/numeric.h"

namespace gan_ops {

// As c10's conversions to the bit, but made of selections alone: with their branches loops do not vectorise.
template <>
struct Convert<c10::Half> {
  static GAN_OPS_INLINE float widen(c10::Half value) {
    const uint32_t magnitude = value.x & 0x7fffu;
    const uint32_t normal = (magnitude << 13) + (112u << 23);  // the exponents' offsets are 15 and 127
    const uint32_t infinite_or_nan = (magnitude << 13) | 0x7f800000u;
    // Subnormal numbers are multiples of 2^-24, as is the distance of float32 numbers from 0.5 on.
    const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(0x3f000000u | magnitude) - 0.5f);
    const uint32_t finite = magnitude < 0x400u ? subnormal : normal;
    const uint32_t sign = static_cast<uint32_t>(value.x & 0x8000u) << 16;
    return std::bit_cast<float>(sign | (magnitude < 0x7c00u ? finite : infinite_or_nan));
  }
  static GAN_OPS_INLINE c10::Half narrow(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t magnitude = bits & 0x7fffffffu;
    const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
    const uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;   // below 2^-14
    const uint32_t in_range = magnitude < 0x477ff000u ? finite : 0x7c00u;   // 65520 rounds to infinity
    const uint32_t rounded = magnitude > 0x7f800000u ? 0x7e00u : in_range;  // NaN
    return c10::Half(static_cast<uint16_t>(((bits >> 16) & 0x8000u) | rounded), c10::Half::from_bits());
  }
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
