// Loops over the chunks of a batch (math/samples.h).
#pragma once

#include <algorithm>

#include "../math/samples.h"
#include "parallel.h"

namespace gan_ops::cpu {

/// body(sample, chunk, first element, width) for all chunks of all samples; always_inline, as parallel_for's.
template <class Body>
void for_chunks(const SampleLayout& s, const Body& body) {
  const int64_t chunks = s.chunks();
  parallel_for(s.samples * chunks, std::min(s.size, kSampleChunk),
               [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
                 for (int64_t task = begin; task < end; ++task) {
                   const int64_t sample = task / chunks, chunk = task % chunks;
                   body(sample, chunk, sample * s.size + chunk * kSampleChunk, s.width(chunk));
                 }
               });
}

}  // namespace gan_ops::cpu
