// What kernels over the chunks of a batch (math/samples.h) share: a block a chunk.
#pragma once

#include "../math/samples.h"
#include "launch.cuh"

namespace gan_ops::cuda {

/// body(sample, chunk, first element, width) for the chunks of this block; all its threads are in the same chunk.
template <class Body>
__device__ __forceinline__ void for_chunks(const SampleLayout& s, const Body& body) {
  const int64_t chunks = s.chunks();
  for (int64_t task = blockIdx.x; task < s.samples * chunks; task += gridDim.x) {
    const int64_t sample = task / chunks, chunk = task % chunks;
    body(sample, chunk, sample * s.size + chunk * kSampleChunk, static_cast<int>(s.width(chunk)));
  }
}

inline unsigned grid_of_chunks(const SampleLayout& s) {
  return grid_for(s.samples * s.chunks());
}

/// The sum of term(i) for i in [0, count) over a block, in every thread.
template <class A, class Term>
__device__ __forceinline__ A sum_over_block(int64_t count, const Term& term, A* shared) {
  A sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += term(i);
  return block_sum(sum, shared);
}

constexpr int kSamplesPerBlock = kThreads / kWarp;

/// finish(sample, sum of its partials), by one thread a sample, for partials [samples, chunks]; a warp a sample.
template <class Finish>
__global__ void __launch_bounds__(kThreads) finish_samples(const double* partial, SampleLayout s, Finish finish) {
  const int lane = threadIdx.x % kWarp;
  const int64_t chunks = s.chunks();
  // The loop's bound is the same for a whole warp, so that every lane takes part in the shuffles.
  for (int64_t sample = int64_t(blockIdx.x) * kSamplesPerBlock + threadIdx.x / kWarp; sample < s.samples;
       sample += int64_t(gridDim.x) * kSamplesPerBlock) {
    double sum = 0;
    for (int64_t chunk = lane; chunk < chunks; chunk += kWarp) sum += partial[sample * chunks + chunk];
    sum = lanes_sum<kWarp>(sum);
    if (lane == 0) finish(sample, sum);
  }
}

inline unsigned grid_of_samples(const SampleLayout& s) {
  return grid_for((s.samples + kSamplesPerBlock - 1) / kSamplesPerBlock);
}

}  // namespace gan_ops::cuda
