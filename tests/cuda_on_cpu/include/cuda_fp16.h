// Stands in for CUDA's header of this name: float16 as its bits, and its conversions.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

struct __half {
  uint16_t bits;
};

inline float __half2float(__half value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16, exponent = value.bits >> 10 & 31u;
  const uint32_t fraction = value.bits & 0x3ffu;
  if (exponent == 0) return std::copysign(std::ldexp(static_cast<float>(fraction), -24), std::bit_cast<float>(sign));
  const uint32_t wide_exponent = exponent == 31 ? 255 : exponent + (127 - 15);
  return std::bit_cast<float>(sign | wide_exponent << 23 | fraction << 13);
}

/// To nearest, ties to even.
inline __half __float2half_rn(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000u : 0u;
  if (std::isnan(value)) return {0x7fffu};  // the NaN that the hardware makes
  const float size = std::fabs(value);
  if (size >= 65520.0f) return {static_cast<uint16_t>(sign | 0x7c00u)};  // half way from the largest to its successor
  // Below 2^-14 the spacing is fixed, 2^-24; nearbyint rounds ties to even.
  if (size < 0x1p-14f) return {static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(size * 0x1p24f)))};
  const uint32_t wide = std::bit_cast<uint32_t>(size) - (112u << 23);  // from bias 127 to bias 15
  return {static_cast<uint16_t>(sign | (wide + 0xfffu + (wide >> 13 & 1u)) >> 13)};
}
