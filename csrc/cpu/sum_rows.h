// The last step of sums over samples and pixels: chunks' partial sums (math/pixel_chunks.h) added in order.
#pragma once

#include <algorithm>
#include <cstdint>

namespace gan_ops::cpu {

/// partial [rows, channels] → total [channels], divided by `divisor`
template <class A>
void sum_rows(const A* partial, A* total, int64_t rows, int64_t channels, A divisor) {
  std::fill_n(total, channels, A(0));
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t c = 0; c < channels; ++c) total[c] += partial[row * channels + c];
  for (int64_t c = 0; c < channels; ++c) total[c] /= divisor;
}

}  // namespace gan_ops::cpu
