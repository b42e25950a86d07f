// How sums over samples and pixels (a bias's gradient) are cut into pieces, so that they repeat to the bit.
#pragma once

#include "../kernel_types.h"
#include "numeric.h"

namespace gan_ops {

/// [outer, channels, inner] as `samples` times `pixels` with all their channels, cut into chunks of at most `width`
/// adjacent pixels. A chunk's sums, one a channel, are a row of the scratch `partial` [count(), channels]; the rows are
/// added in order afterwards. Sizes alone decide on the chunks, never the number of threads.
struct PixelChunks {
  int64_t samples;  // 1 where channels are adjacent: there the pixels of all samples are one row
  int64_t pixels;
  int64_t width;

  GAN_OPS_INLINE int64_t per_sample() const { return (pixels + width - 1) / width; }
  GAN_OPS_INLINE int64_t count() const { return samples * per_sample(); }
  GAN_OPS_INLINE int64_t sample(int64_t chunk) const { return chunk / per_sample(); }
  GAN_OPS_INLINE int64_t begin(int64_t chunk) const { return chunk % per_sample() * width; }
  GAN_OPS_INLINE int64_t end(int64_t chunk) const {
    const int64_t full = begin(chunk) + width;
    return full < pixels ? full : pixels;
  }
};

inline PixelChunks pixel_chunks(const ChannelLayout& layout, int64_t width) {
  const int64_t samples = layout.inner == 1 ? 1 : layout.outer;
  const int64_t pixels = layout.inner == 1 ? layout.outer : layout.inner;
  const int64_t most = width < pixels ? width : pixels;
  return {samples, pixels, most < 1 ? 1 : most};
}

/// The chunks of walks that reduce over each pixel's channels. On the CPU a chunk is what is walked over at once, and
/// its values fit in L2, three inputs staged (64 kB each in float32); the sums of at most 512 pixels side by side stay
/// in L1.
constexpr int64_t kCpuWalkElements = 16384;
constexpr int64_t kCpuWalkMostPixels = 512;

inline PixelChunks cpu_walk_chunks(const ChannelLayout& layout) {
  constexpr int64_t kFewest = 16;  // a cache line of floats
  const int64_t pixels = kCpuWalkElements / layout.channels / kFewest * kFewest;
  return pixel_chunks(layout, pixels < kFewest ? kFewest : pixels < kCpuWalkMostPixels ? pixels : kCpuWalkMostPixels);
}

/// On CUDA a block takes a chunk, tile by tile: one to two thousand chunks where there are pixels enough for that.
/// Where channels are adjacent, a chunk has at least a pixel for as many threads of a block as have eight channels
/// each, at most a warp; else 32 pixels, or 8 where the blocks would be too few for a large GPU.
inline PixelChunks cuda_walk_chunks(const ChannelLayout& layout) {
  constexpr int64_t kChunks = 1024, kFewPixels = 8192, kThreads = 256;
  const int64_t pixels = layout.outer * layout.inner;
  int64_t width = pixels < kFewPixels ? 8 : 32;
  if (layout.inner == 1)
    for (width = 8; width < kThreads && kThreads / width * 8 >= 2 * layout.channels;) width *= 2;
  while (pixels / (2 * width) >= kChunks) width *= 2;
  return pixel_chunks(layout, width);
}

}  // namespace gan_ops
