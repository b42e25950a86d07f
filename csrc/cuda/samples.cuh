// What kernels over the chunks of a batch (math/samples.h) share: a block a chunk.
#pragma once

#include "../math/samples.h"
#include "vectors.cuh"

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

/// body(first element, how many) for this thread's vectors of a chunk.
template <class T, class Body>
__device__ __forceinline__ void for_vectors_of_chunk(int width, const Body& body) {
  for_vectors<T>(width, threadIdx.x, kThreads, body);
}

constexpr int kSamplesPerBlock = kThreads / kWarp;

/// finish(sample, sum of its partials), by one thread a sample, for partials [samples, chunks]; a warp a sample. Reads
/// 8 bytes for each chunk, 1/1000 of what the kernel before it read in float32.
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
