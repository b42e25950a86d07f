// The walk of ops that reduce over each pixel's channels (math/pixel_norm.h says of which parts such an op is made):
// one reading for the sums, one, out of cache, for the result. The kernels differ in where a pixel's channels lie and
// in whether the last output is summed over pixels too.
#pragma once

#include "../math/pixel_chunks.h"
#include "../math/streams.h"
#include "launch.cuh"
#include "sum_rows.cuh"

namespace gan_ops::cuda {

/// A pixel's coefficients from adjacent channels, in each of the `Lanes` threads that share it; not `inside`, a thread
/// only keeps its warp whole.
template <int Lanes, class T, class F>
__device__ __forceinline__ void coefficients_of(const F& f, const Streams<T, F>& s, int64_t pixel, int64_t channels,
                                                bool inside, Accumulate<T>* c) {
  using A = Accumulate<T>;
  const int lane = threadIdx.x % Lanes;
  A sums[F::kSums] = {};
  if (inside)
    for (int64_t channel = lane; channel < channels; channel += Lanes) {
      A in[F::kInputs];
      s.load(pixel * channels + channel, in);
      f.accumulate(in, f.channel(channel), sums);
    }
#pragma unroll
  for (int k = 0; k < F::kSums; ++k) sums[k] = lanes_sum<Lanes>(sums[k]);
  if (!inside) return;
  f.coefficients(pixel, sums, A(channels), c);
  if (lane == 0) f.keep(pixel, c);
}

/// Channels adjacent (channels_last, latents): `Lanes` neighbouring threads of a warp share a pixel.
template <int Lanes, class T, class F>
__global__ void __launch_bounds__(kThreads) adjacent_channels(F f, Streams<T, F> s, ChannelLayout layout) {
  using A = Accumulate<T>;
  constexpr int kPixels = kThreads / Lanes;
  // The loop's bound is the same for a whole block, so that every lane of a warp takes part in the shuffles.
  for (int64_t first = int64_t(blockIdx.x) * kPixels; first < layout.outer; first += int64_t(gridDim.x) * kPixels) {
    const int64_t pixel = first + threadIdx.x / Lanes;
    const bool inside = pixel < layout.outer;
    A c[F::kCoefficients];
    coefficients_of<Lanes>(f, s, pixel, layout.channels, inside, c);
    if (!inside) continue;
    for (int64_t channel = threadIdx.x % Lanes; channel < layout.channels; channel += Lanes) {
      A in[F::kInputs], out[F::kOutputs];
      s.load(pixel * layout.channels + channel, in);
      f.write(in, f.channel(channel), c, out);
      s.store(pixel * layout.channels + channel, out);
    }
  }
}

constexpr int kWarps = kThreads / kWarp;

/// Channels adjacent, with sums of the last output over each chunk's pixels. A tile is a pixel a warp; once their
/// coefficients are known, `columns` (a power of two) threads side by side take a channel each, and the block's rows of
/// them share the pixels.
template <class T, class F>
__global__ void __launch_bounds__(kThreads)
    adjacent_channels_and_totals(F f, Streams<T, F> s, ChannelLayout layout, PixelChunks chunks, int columns,
                                 Accumulate<T>* partial) {
  using A = Accumulate<T>;
  __shared__ A coefficients[kWarps][F::kCoefficients];
  __shared__ A sums[kThreads];
  const int warp = threadIdx.x / kWarp, column = threadIdx.x % columns, row = threadIdx.x / columns;
  const int rows = kThreads / columns;
  for (int64_t chunk = blockIdx.x; chunk < chunks.count(); chunk += gridDim.x) {
    const int64_t begin = chunks.begin(chunk), end = chunks.end(chunk);
    for (int64_t tile = begin; tile < end; tile += kWarps) {
      const int pixels = end - tile < kWarps ? int(end - tile) : kWarps;
      A c[F::kCoefficients];
      coefficients_of<kWarp>(f, s, tile + warp, layout.channels, warp < pixels, c);
      if (warp < pixels && threadIdx.x % kWarp == 0)
#pragma unroll
        for (int k = 0; k < F::kCoefficients; ++k) coefficients[warp][k] = c[k];
      __syncthreads();
      for (int64_t first = 0; first < layout.channels; first += columns) {
        const int64_t channel = first + column;
        A sum = 0;
        if (channel < layout.channels)
          for (int p = row; p < pixels; p += rows) {
            A in[F::kInputs], out[F::kOutputs];
            s.load((tile + p) * layout.channels + channel, in);
#pragma unroll
            for (int k = 0; k < F::kCoefficients; ++k) c[k] = coefficients[p][k];
            f.write(in, f.channel(channel), c, out);
            s.store((tile + p) * layout.channels + channel, out);
            sum += out[F::kOutputs - 1];
          }
        sums[threadIdx.x] = sum;
        __syncthreads();
        if (row == 0 && channel < layout.channels) {
          A total = tile == begin ? A(0) : partial[chunk * layout.channels + channel];
          for (int r = 0; r < rows; ++r) total += sums[r * columns + column];
          partial[chunk * layout.channels + channel] = total;
        }
        __syncthreads();
      }
    }
  }
}

/// Channels `inner` apart (contiguous [N, C, H, W]): `Columns` neighbouring threads take a pixel each, and the block's
/// rows of them split the channels. `partial` receives the sums of the last output over each chunk if asked.
template <int Columns, bool WithTotals, class T, class F>
__global__ void __launch_bounds__(kThreads)
    distant_channels(F f, Streams<T, F> s, ChannelLayout layout, PixelChunks chunks, Accumulate<T>* partial) {
  using A = Accumulate<T>;
  constexpr int kRows = kThreads / Columns;
  __shared__ A shared[F::kSums][kRows][Columns];
  const int column = threadIdx.x % Columns, row = threadIdx.x / Columns;
  for (int64_t chunk = blockIdx.x; chunk < chunks.count(); chunk += gridDim.x) {
    const int64_t begin = chunks.begin(chunk), end = chunks.end(chunk), sample = chunks.sample(chunk);
    for (int64_t tile = begin; tile < end; tile += Columns) {
      const int64_t p = tile + column, first = sample * layout.channels * layout.inner + p;
      const bool inside = p < end;
      A sums[F::kSums] = {};
      if (inside)
        for (int64_t channel = row; channel < layout.channels; channel += kRows) {
          A in[F::kInputs];
          s.load(first + channel * layout.inner, in);
          f.accumulate(in, f.channel(channel), sums);
        }
#pragma unroll
      for (int k = 0; k < F::kSums; ++k) shared[k][row][column] = sums[k];
      __syncthreads();
#pragma unroll
      for (int k = 0; k < F::kSums; ++k) {
        sums[k] = 0;
#pragma unroll
        for (int r = 0; r < kRows; ++r) sums[k] += shared[k][r][column];
      }
      __syncthreads();
      A c[F::kCoefficients] = {};
      if (inside) {
        f.coefficients(sample * layout.inner + p, sums, A(layout.channels), c);
        if (row == 0) f.keep(sample * layout.inner + p, c);
      }
      // The bound is the same for a whole block: every lane of a warp takes part in the shuffles.
      for (int64_t base = 0; base < layout.channels; base += kRows) {
        const int64_t channel = base + row;
        A last = 0;
        if (inside && channel < layout.channels) {
          A in[F::kInputs], out[F::kOutputs];
          s.load(first + channel * layout.inner, in);
          f.write(in, f.channel(channel), c, out);
          s.store(first + channel * layout.inner, out);
          last = out[F::kOutputs - 1];
        }
        if constexpr (!WithTotals) continue;
        last = lanes_sum<Columns>(last);
        if (column == 0 && channel < layout.channels) {
          A* total = partial + chunk * layout.channels + channel;
          *total = tile == begin ? last : *total + last;
        }
      }
    }
  }
}

/// f over a whole tensor.
template <class T, class F>
void walk_channels(const F& f, const Streams<T, F>& s, const ChannelLayout& layout, CudaStream stream) {
  constexpr int64_t kFewChannels = 32;  // below, a whole warp would leave lanes idle
  const auto blocks = [](int64_t pixels, int64_t each) { return grid_for((pixels + each - 1) / each); };
  if (layout.inner == 1 && layout.channels < kFewChannels) {
    launch(adjacent_channels<8, T, F>, blocks(layout.outer, kThreads / 8), kThreads, stream, f, s, layout);
  } else if (layout.inner == 1) {
    launch(adjacent_channels<kWarp, T, F>, blocks(layout.outer, kWarps), kThreads, stream, f, s, layout);
  } else {
    const auto kernel = layout.inner <= 16 ? distant_channels<16, false, T, F> : distant_channels<kWarp, false, T, F>;
    const PixelChunks tiles = pixel_chunks(layout, kWarp);
    launch(kernel, grid_for(tiles.count()), kThreads, stream, f, s, layout, tiles,
           static_cast<Accumulate<T>*>(nullptr));
  }
}

/// As well, `totals` [channels] receives the sums of the last output over samples and pixels, unless it is null;
/// `partial` [chunks.count(), channels] is scratch for them.
template <class T, class F>
void walk_channels(const F& f, const Streams<T, F>& s, const ChannelLayout& layout, const PixelChunks& chunks,
                   Accumulate<T>* partial, Accumulate<T>* totals, CudaStream stream) {
  if (totals == nullptr) return walk_channels(f, s, layout, stream);
  if (layout.inner == 1) {
    int columns = kWarp;
    while (columns < kThreads && columns < layout.channels) columns *= 2;
    launch(adjacent_channels_and_totals<T, F>, grid_for(chunks.count()), kThreads, stream, f, s, layout, chunks,
           columns, partial);
  } else {
    const auto kernel = layout.inner <= 16 ? distant_channels<16, true, T, F> : distant_channels<kWarp, true, T, F>;
    launch(kernel, grid_for(chunks.count()), kThreads, stream, f, s, layout, chunks, partial);
  }
  launch_sum_rows<Accumulate<T>>(partial, totals, chunks.count(), layout.channels, stream);
}

}  // namespace gan_ops::cuda
