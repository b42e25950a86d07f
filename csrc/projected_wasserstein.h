// The sliced Wasserstein distance of two sets of vectors, a ray at a time: arguments of its CPU kernel. Elsewhere it is
// made of torch's own ops.
#pragma once

#include <cstdint>

namespace gan_ops {

constexpr int64_t kProjectedTogether = 64;  // rays whose projections are in memory at a time

/// a, b: [count, size], rows adjacent, count at least 1. rays: [directions, size]. distance: [directions].
/// channels: how many runs of adjacent columns are standardised; 0: none.
/// panels: two sets of [padded_count · size]; projections: two of [kProjectedTogether · projection_stride]; memory to
/// work in.
struct ProjectedWassersteinArgs {
  const float *a, *b, *rays;
  double* distance;
  int64_t count, size, directions, channels;
  float *a_panels, *b_panels, *a_projections, *b_projections;
};

/// Rows come in panels of so many.
constexpr int64_t kPanel = 32;
inline int64_t padded_count(int64_t count) {
  return (count + kPanel - 1) / kPanel * kPanel;
}
/// From one ray's projections to the next's: not a power of two, which would put all of them in the same places of a
/// cache.
inline int64_t projection_stride(int64_t count) {
  return padded_count(count) + kPanel;
}

void run_on_cpu(const ProjectedWassersteinArgs& args);

}  // namespace gan_ops
