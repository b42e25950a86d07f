// The walk of ops that reduce over each pixel's channels (math/pixel_norm.h says of which parts such an op is made):
// one reading for the sums, one, out of cache, for the result. The kernels differ in where a pixel's channels lie and
// in whether the last output is summed over pixels too.
//
// A thread takes 16 bytes at a time in each tensor (vectors.cuh). Divisions and 64-bit products find a block's place, a
// pixel or a channel; within it, elements are counted on from there.
#pragma once

#include "../math/pixel_chunks.h"
#include "columns.cuh"
#include "stream_vectors.cuh"
#include "sum_rows.cuh"

namespace gan_ops::cuda {

/// Blocks that keep a large GPU (132 multiprocessors) busy; few in tests, so that they see tiles of all widths.
constexpr int64_t kEnoughBlocks = GAN_OPS_MOST_BLOCKS < 264 ? GAN_OPS_MOST_BLOCKS : 264;

/// Blocks a multiprocessor at least: by itself the compiler spills registers to have more. A thread with fewer
/// companions has more bytes on their way instead: a vector of each input.
template <class F>
constexpr int kBlocks = F::kInputs == 1   ? 4
                        : F::kInputs == 2 ? 3
                                          : 2;

/// Channels [channel, …) of a pixel whose elements begin at `first`: how many of them a vector from there has.
template <class T>
__device__ __forceinline__ int channels_here(int64_t channels, int64_t channel) {
  return channels - channel < kVector<T> ? static_cast<int>(channels - channel) : kVector<T>;
}

/// A pixel's coefficients from adjacent channels, in each of the `lanes` threads that share it; not `inside`, a thread
/// only keeps its warp whole.
template <class T, class F>
__device__ __forceinline__ void coefficients_of(const F& f, const Streams<T, F>& s, int64_t pixel, int64_t channels,
                                                int lanes, bool by_vector, bool inside, Accumulate<T>* c) {
  using A = Accumulate<T>;
  const int lane = threadIdx.x % lanes;
  A sums[F::kSums] = {};
  if (inside)
    for (int64_t channel = lane * kVector<T>; channel < channels; channel += lanes * kVector<T>) {
      const int here = channels_here<T>(channels, channel);
      A in[kVector<T>][F::kInputs];
      load_streams(s, pixel * channels + channel, here, by_vector, in);
#pragma unroll
      for (int k = 0; k < kVector<T>; ++k)
        if (k < here) f.accumulate(in[k], f.channel(channel + k), sums);
    }
#pragma unroll
  for (int k = 0; k < F::kSums; ++k) sums[k] = lanes_sum(sums[k], lanes);
  if (!inside) return;
  f.coefficients(pixel, sums, A(channels), c);
  if (lane == 0) f.keep(pixel, c);
}

/// Writes the outputs of a vector of a pixel's channels; `last`: the last output of each, to be summed.
template <class T, class F>
__device__ __forceinline__ void write_channels(const F& f, const Streams<T, F>& s, int64_t pixel, int64_t channels,
                                               int64_t channel, bool by_vector, const Accumulate<T>* c,
                                               Accumulate<T>* last) {
  using A = Accumulate<T>;
  const int here = channels_here<T>(channels, channel);
  A in[kVector<T>][F::kInputs], out[kVector<T>][F::kOutputs] = {};
  load_streams(s, pixel * channels + channel, here, by_vector, in);
#pragma unroll
  for (int k = 0; k < kVector<T>; ++k) {
    if (k < here) f.write(in[k], f.channel(channel + k), c, out[k]);
    last[k] = out[k][F::kOutputs - 1];
  }
  store_streams(s, pixel * channels + channel, here, by_vector, out);
}

/// Channels adjacent (channels_last, latents): `lanes` neighbouring threads of a warp (columns_for the vectors of a
/// pixel) share a pixel.
template <class T, class F>
__global__ void __launch_bounds__(kThreads, kBlocks<F>)
    adjacent_channels(F f, Streams<T, F> s, ChannelLayout layout, int lanes) {
  using A = Accumulate<T>;
  const int pixels = kThreads / lanes;
  const bool by_vector = aligned_streams(s) && layout.channels % kVector<T> == 0;
  // The loop's bound is the same for a whole block, so that every lane of a warp takes part in the shuffles.
  for (int64_t first = int64_t(blockIdx.x) * pixels; first < layout.outer; first += int64_t(gridDim.x) * pixels) {
    const int64_t pixel = first + threadIdx.x / lanes;
    const bool inside = pixel < layout.outer;
    A c[F::kCoefficients];
    coefficients_of(f, s, pixel, layout.channels, lanes, by_vector, inside, c);
    if (!inside) continue;
    for (int64_t channel = threadIdx.x % lanes * kVector<T>; channel < layout.channels; channel += lanes * kVector<T>) {
      A last[kVector<T>];
      write_channels(f, s, pixel, layout.channels, channel, by_vector, c, last);
    }
  }
}

/// Channels adjacent, with sums of the last output over each chunk's pixels. A tile is a pixel for every `lanes`
/// threads, but at least kTilePixels; once their coefficients are known, each of the threads that have the same
/// channels takes a share of the pixels.
template <class T, class F>
__global__ void __launch_bounds__(kThreads, kBlocks<F>)
    adjacent_channels_and_totals(F f, Streams<T, F> s, ChannelLayout layout, PixelChunks chunks, int lanes,
                                 Accumulate<T>* partial) {
  using A = Accumulate<T>;
  constexpr int kTilePixels = 16;  // double backward in float32 with 512 channels: 96 kB, so that they stay in L1
  __shared__ A coefficients[kThreads][F::kCoefficients];
  __shared__ A shared[kVector<T>][kWarps][kWarp];
  const int column = threadIdx.x % lanes, row = threadIdx.x / lanes, rows = kThreads / lanes;
  const int most = rows < kTilePixels ? kTilePixels : rows;
  const bool by_vector = aligned_streams(s) && layout.channels % kVector<T> == 0;
  for (int64_t chunk = blockIdx.x; chunk < chunks.count(); chunk += gridDim.x) {
    const int64_t begin = chunks.begin(chunk), end = chunks.end(chunk);
    for (int64_t tile = begin; tile < end; tile += most) {
      const int pixels = end - tile < most ? static_cast<int>(end - tile) : most;
      A c[F::kCoefficients];
      for (int base = 0; base < pixels; base += rows) {
        const int p = base + row;
        coefficients_of(f, s, tile + p, layout.channels, lanes, by_vector, p < pixels, c);
        if (p < pixels && column == 0)
#pragma unroll
          for (int k = 0; k < F::kCoefficients; ++k) coefficients[p][k] = c[k];
      }
      __syncthreads();
      for (int64_t first = 0; first < layout.channels; first += lanes * kVector<T>) {
        const int64_t channel = first + column * kVector<T>;
        A sums[kVector<T>] = {};
        if (channel < layout.channels)
          for (int p = row; p < pixels; p += rows) {
#pragma unroll
            for (int k = 0; k < F::kCoefficients; ++k) c[k] = coefficients[p][k];
            A last[kVector<T>];
            write_channels(f, s, tile + p, layout.channels, channel, by_vector, c, last);
#pragma unroll
            for (int k = 0; k < kVector<T>; ++k) sums[k] += last[k];
          }
        column_sums<kVector<T>>(sums, lanes, shared);
        if (row == 0) {
          A* totals = partial + chunk * layout.channels + channel;
#pragma unroll
          for (int k = 0; k < kVector<T>; ++k)
            if (channel + k < layout.channels) totals[k] = tile == begin ? sums[k] : totals[k] + sums[k];
        }
      }
    }
  }
}

/// Channels `inner` apart (contiguous [N, C, H, W]): `columns` neighbouring threads take a vector of pixels each, and
/// the block's rows of them split the channels. `partial` receives the sums of the last output over each chunk if
/// asked.
template <bool WithTotals, class T, class F>
__global__ void __launch_bounds__(kThreads, kBlocks<F>)
    distant_channels(F f, Streams<T, F> s, ChannelLayout layout, PixelChunks chunks, int columns,
                     Accumulate<T>* partial) {
  using A = Accumulate<T>;
  constexpr int kV = kVector<T>;
  __shared__ A shared[kV][kWarps][kWarp];
  const int column = threadIdx.x % columns, row = threadIdx.x / columns, rows = kThreads / columns;
  const bool by_vector = aligned_streams(s) && layout.inner % kV == 0;
  for (int64_t chunk = blockIdx.x; chunk < chunks.count(); chunk += gridDim.x) {
    const int64_t begin = chunks.begin(chunk), end = chunks.end(chunk), sample = chunks.sample(chunk);
    for (int64_t tile = begin; tile < end; tile += columns * kV) {
      const int64_t p = tile + column * kV, pixel = sample * layout.inner + p;
      const int64_t first = sample * layout.channels * layout.inner + p;
      const int here = end - p < kV ? static_cast<int>(end - p) : kV;  // 0 or less behind the chunk
      A sums[kV][F::kSums] = {};
      if (here > 0)
        for (int64_t channel = row; channel < layout.channels; channel += rows) {
          A in[kV][F::kInputs];
          load_streams(s, first + channel * layout.inner, here, by_vector, in);
          const auto of_channel = f.channel(channel);
#pragma unroll
          for (int k = 0; k < kV; ++k) f.accumulate(in[k], of_channel, sums[k]);
        }
#pragma unroll
      for (int sum = 0; sum < F::kSums; ++sum) {
        A values[kV];
#pragma unroll
        for (int k = 0; k < kV; ++k) values[k] = sums[k][sum];
        column_sums<kV>(values, columns, shared);
#pragma unroll
        for (int k = 0; k < kV; ++k) sums[k][sum] = values[k];
      }
      A c[kV][F::kCoefficients] = {};
#pragma unroll
      for (int k = 0; k < kV; ++k)
        if (k < here) {
          f.coefficients(pixel + k, sums[k], A(layout.channels), c[k]);
          if (row == 0) f.keep(pixel + k, c[k]);
        }
      // The bound is the same for a whole block: every lane of a warp takes part in the shuffles.
      for (int64_t base = 0; base < layout.channels; base += rows) {
        const int64_t channel = base + row;
        A last = 0;
        if (here > 0 && channel < layout.channels) {
          A in[kV][F::kInputs], out[kV][F::kOutputs];
          load_streams(s, first + channel * layout.inner, here, by_vector, in);
          const auto of_channel = f.channel(channel);
#pragma unroll
          for (int k = 0; k < kV; ++k) {
            f.write(in[k], of_channel, c[k], out[k]);
            if (k < here) last += out[k][F::kOutputs - 1];
          }
          store_streams(s, first + channel * layout.inner, here, by_vector, out);
        }
        if constexpr (!WithTotals) continue;
        last = lanes_sum(last, columns);
        if (column == 0 && channel < layout.channels) {
          A* total = partial + chunk * layout.channels + channel;
          *total = tile == begin ? last : *total + last;
        }
      }
    }
  }
}

template <class T>
int64_t vectors_of(int64_t count) {
  return (count + kVector<T> - 1) / kVector<T>;
}

/// Columns of threads for tiles of a chunk of `width` pixels: what the tiles that are under way on a large GPU read,
/// 256 kB a multiprocessor, is to stay in L2 until it is read again; but two threads side by side, who read a whole
/// sector of 32 bytes.
template <class T, class F>
int tile_columns(const ChannelLayout& layout, int64_t width) {
  constexpr int64_t kMostBytes = (256 << 10) / kBlocks<F>;
  int columns = columns_for(vectors_of<T>(width));
  while (columns > 2 && 16 * columns * F::kInputs * layout.channels > kMostBytes) columns /= 2;
  return columns;
}

/// f over a whole tensor.
template <class T, class F>
void walk_channels(const F& f, const Streams<T, F>& s, const ChannelLayout& layout, CudaStream stream) {
  if (layout.inner == 1) {
    const int lanes = columns_for(vectors_of<T>(layout.channels)), pixels = kThreads / lanes;
    launch(adjacent_channels<T, F>, grid_for((layout.outer + pixels - 1) / pixels), kThreads, stream, f, s, layout,
           lanes);
    return;
  }
  int columns = tile_columns<T, F>(layout, layout.inner);
  const auto tiles = [&] { return pixel_chunks(layout, columns * kVector<T>); };
  while (columns > 2 && tiles().count() < kEnoughBlocks) columns /= 2;
  launch(distant_channels<false, T, F>, grid_for(tiles().count()), kThreads, stream, f, s, layout, tiles(), columns,
         static_cast<Accumulate<T>*>(nullptr));
}

/// As well, `totals` [channels] receives the sums of the last output over samples and pixels, divided by `divisor`,
/// unless it is null; `partial` [chunks.count(), channels] is scratch for them.
template <class T, class F>
void walk_channels(const F& f, const Streams<T, F>& s, const ChannelLayout& layout, const PixelChunks& chunks,
                   Accumulate<T>* partial, Accumulate<T>* totals, Accumulate<T> divisor, CudaStream stream) {
  if (totals == nullptr) return walk_channels(f, s, layout, stream);
  if (layout.inner == 1)
    launch(adjacent_channels_and_totals<T, F>, grid_for(chunks.count()), kThreads, stream, f, s, layout, chunks,
           columns_for(vectors_of<T>(layout.channels)), partial);
  else
    launch(distant_channels<true, T, F>, grid_for(chunks.count()), kThreads, stream, f, s, layout, chunks,
           tile_columns<T, F>(layout, chunks.width), partial);
  launch_sum_rows<Accumulate<T>>(partial, totals, chunks.count(), layout.channels, divisor, stream);
}

}  // namespace gan_ops::cuda
