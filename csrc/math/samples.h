// A batch cut into chunks, for ops to which a sample is one long vector: the order of its axes does not matter to them.
#pragma once

#include "numeric.h"

namespace gan_ops {

/// Elements of a sample that are handled in one piece, and summed so, whatever the threads: results repeat. Sums of
/// chunks are added in float64, in order.
constexpr int64_t kSampleChunk = 2048;

/// [N, *] as its memory has it: `samples` runs of `size` adjacent elements.
struct SampleLayout {
  int64_t samples;
  int64_t size;

  GAN_OPS_INLINE int64_t chunks() const { return size == 0 ? 1 : (size + kSampleChunk - 1) / kSampleChunk; }
  GAN_OPS_INLINE int64_t width(int64_t chunk) const {
    const int64_t rest = size - chunk * kSampleChunk;
    return rest < kSampleChunk ? rest : kSampleChunk;
  }
};

}  // namespace gan_ops
