// The walk of ops that reduce over each pixel's channels (math/pixel_norm.h says of which parts such an op is made).
// The kernels differ in where a pixel's channels lie and in whether the last output is summed over pixels too. Where
// channels are adjacent and at most 512 (128 in float64), a tensor is read once and its values stay in registers; else
// there is one reading for the sums, and one, out of cache, for the result.
//
// A thread takes 16 bytes at a time in each tensor (vectors.cuh), and of parameters too. Divisions and 64-bit products
// find a block's place, a pixel or a channel; within it, elements are counted on from there.
#pragma once

#include <type_traits>
#include <utility>

#include "../math/pixel_chunks.h"
#include "columns.cuh"
#include "stream_vectors.cuh"
#include "sum_rows.cuh"

namespace gan_ops::cuda {

/// Blocks that keep a large GPU (132 multiprocessors) busy; few in tests, so that they see tiles of all widths.
constexpr int64_t kEnoughBlocks = GAN_OPS_MOST_BLOCKS < 264 ? GAN_OPS_MOST_BLOCKS : 264;

/// Runs of pixels, one a block, whose threads keep the parameters of their channels from one pixel to the next: some
/// eight times as many as such a GPU has under way at once, so that it is not half idle for long at the end.
constexpr int64_t kMostRuns = GAN_OPS_MOST_BLOCKS < 4096 ? 2 * GAN_OPS_MOST_BLOCKS : 4096;

/// Blocks a multiprocessor at least: by itself the compiler spills registers to have more. A thread with fewer
/// companions has more bytes on their way instead: a vector of each input.
template <class F>
constexpr int kBlocks = F::kInputs == 1   ? 4
                        : F::kInputs == 2 ? 3
                                          : 2;

/// Of `channels`, those from `channel` on that a vector has; 0 or less behind the last one.
template <class T>
__device__ __forceinline__ int channels_here(int64_t channels, int64_t channel) {
  return channels - channel < kVector<T> ? static_cast<int>(channels - channel) : kVector<T>;
}

/// What is known of a channel.
template <class F>
using Channel = decltype(std::declval<F>().channel(0));

template <class F>
__device__ __forceinline__ bool aligned_parameters(const F& f) {
  bool all = true;
  if constexpr (requires { F::kParameters; }) {
#pragma unroll
    for (int k = 0; k < F::kParameters; ++k) all = all && aligned(f.parameter(k));
  }
  return all;
}

/// of[k] = what is known of channel + k, for a vector of T of which `here` are channels; zeros for the rest.
/// `by_vector`: the parameters are aligned.
template <class T, class F>
__device__ __forceinline__ void load_channels(const F& f, int64_t channel, int here, bool by_vector, Channel<F>* of) {
  if constexpr (requires { F::kParameters; }) {
    using A = Accumulate<T>;
    A values[F::kParameters][kVector<T>];
#pragma unroll
    for (int k = 0; k < F::kParameters; ++k)
#pragma unroll
      for (int i = 0; i < kVector<T>; i += kVector<A>)
        load(f.parameter(k) + channel + i, here - i, by_vector, values[k] + i);
#pragma unroll
    for (int i = 0; i < kVector<T>; ++i) {
      A of_one[F::kParameters];
#pragma unroll
      for (int k = 0; k < F::kParameters; ++k) of_one[k] = values[k][i];
      of[i] = F::of_parameters(of_one);
    }
  }
}

/// How many values of a pixel a thread keeps, and the blocks a multiprocessor that leave registers enough for them, for
/// parameters and for sums: where they leave few, more bytes are on their way to each thread.
template <int kHeld, class T, class F>
constexpr int kKept = kHeld * kVector<T> * F::kInputs;
template <int kHeld, class T, class F>
constexpr int kHeldBlocks = sizeof(T) == 8             ? 2
                            : kKept<kHeld, T, F> <= 16 ? 4
                            : kKept<kHeld, T, F> <= 24 ? 3
                                                       : 2;

/// Whether a thread keeps its channels' parameters too, or else reads them again, from L1, for each pixel.
template <int kHeld, class T, class F>
constexpr bool kKeepsParameters = kKept<kHeld, T, F> <= 32;

/// Pixels that a thread has under way at once where it keeps their values: as many as make two vectors, so that enough
/// bytes are on their way to it.
template <int kHeld, class F>
constexpr int kPixels = kHeld * F::kInputs == 1 ? 2 : 1;

/// Channels adjacent (channels_last, latents) and few enough for the registers: `lanes` neighbouring threads of a warp
/// share a pixel, each has up to `kHeld` vectors of it, which it reads once, and the same channels in all its pixels,
/// whose parameters it keeps. A block takes runs of `width` pixels; `partial` receives the sums of the
/// last output over each if asked.
template <bool WithTotals, int kHeld, class T, class F>
__global__ void __launch_bounds__(kThreads, kHeldBlocks<kHeld, T, F>)
    held_channels(F f, Streams<T, F> s, ChannelLayout layout, int64_t width, int lanes, Accumulate<T>* partial) {
  using A = Accumulate<T>;
  constexpr int kV = kVector<T>, kP = kPixels<kHeld, F>;
  const int column = threadIdx.x % lanes, row = threadIdx.x / lanes, rows = kThreads / lanes;
  const int stride = lanes * kV;  // channels from one vector of a thread to the next
  const bool by_vector = aligned_streams(s) && layout.channels % kV == 0;
  const bool parameters_by_vector = aligned_parameters(f);
  int here[kHeld];
  Channel<F> channels[kHeld][kV];
  const auto load_channels_of = [&](int h) {
    load_channels<T>(f, h * stride + column * kV, here[h], parameters_by_vector, channels[h]);
  };
#pragma unroll
  for (int h = 0; h < kHeld; ++h) {
    here[h] = channels_here<T>(layout.channels, h * stride + column * kV);
    if constexpr (kKeepsParameters<kHeld, T, F>) load_channels_of(h);
  }
  for (int64_t run = blockIdx.x; run * width < layout.outer; run += gridDim.x) {
    const int64_t begin = run * width, end = layout.outer - begin < width ? layout.outer : begin + width;
    A totals[kHeld][kV] = {};
    // The loop's bound is the same for a whole block, so that every lane of a warp takes part in the shuffles.
    for (int64_t first = begin; first < end; first += kP * rows) {
      uint4 bits[kP][kHeld][F::kInputs];
      A known[kP];
#pragma unroll
      for (int p = 0; p < kP; ++p) {
        const int64_t pixel = first + p * rows + row;
        const bool inside = pixel < end;
#pragma unroll
        for (int h = 0; h < kHeld; ++h)
          load_stream_bits(s, pixel * layout.channels + h * stride + column * kV, inside ? here[h] : 0, by_vector,
                           bits[p][h]);
        known[p] = inside ? f.known(pixel) : A(0);
      }
      A in[kP][kHeld][kV][F::kInputs], sums[kP][F::kSums] = {};
#pragma unroll
      for (int p = 0; p < kP; ++p)
#pragma unroll
        for (int h = 0; h < kHeld; ++h) {
          if constexpr (!kKeepsParameters<kHeld, T, F>) load_channels_of(h);
          unpack_streams<T, F>(bits[p][h], in[p][h]);
#pragma unroll
          for (int k = 0; k < kV; ++k) f.accumulate(in[p][h][k], channels[h][k], sums[p]);
        }
#pragma unroll
      for (int p = 0; p < kP; ++p) lanes_sums<F::kSums>(sums[p], lanes);
#pragma unroll
      for (int p = 0; p < kP; ++p) {
        const int64_t pixel = first + p * rows + row;
        if (pixel >= end) break;
        A c[F::kCoefficients];
        f.coefficients(known[p], sums[p], A(layout.channels), c);
        if (column == 0) f.keep(pixel, c);
#pragma unroll
        for (int h = 0; h < kHeld; ++h) {
          if constexpr (!kKeepsParameters<kHeld, T, F> && kHeld > 2) load_channels_of(h);  // or registers are spilled
          A out[kV][F::kOutputs];
#pragma unroll
          for (int k = 0; k < kV; ++k) {
            f.write(in[p][h][k], channels[h][k], c, out[k]);
            if constexpr (WithTotals) totals[h][k] += out[k][F::kOutputs - 1];
          }
          store_streams(s, pixel * layout.channels + h * stride + column * kV, here[h], by_vector, out);
        }
      }
    }
    if constexpr (WithTotals) {
      __shared__ A shared[kWarps][kWarp * kV];
#pragma unroll
      for (int h = 0; h < kHeld; ++h)
        put_column_sums<kV>(totals[h], lanes, shared, [&](int i, A sum) {
          const int64_t channel = h * stride + i;
          if (channel < layout.channels) partial[run * layout.channels + channel] = sum;
        });
    }
  }
}

/// A pixel's coefficients from adjacent channels, in each of the `lanes` threads that share it; not `inside`, a thread
/// only keeps its warp whole.
template <class T, class F>
__device__ __forceinline__ void coefficients_of(const F& f, const Streams<T, F>& s, int64_t pixel, int64_t channels,
                                                int lanes, bool by_vector, bool inside, Accumulate<T>* c) {
  using A = Accumulate<T>;
  const int lane = threadIdx.x % lanes;
  const bool parameters_by_vector = aligned_parameters(f);
  const A known = inside ? f.known(pixel) : A(0);
  A sums[F::kSums] = {};
  if (inside)
    for (int64_t channel = lane * kVector<T>; channel < channels; channel += lanes * kVector<T>) {
      const int here = channels_here<T>(channels, channel);
      A in[kVector<T>][F::kInputs];
      Channel<F> of[kVector<T>];
      load_channels<T>(f, channel, here, parameters_by_vector, of);
      load_streams(s, pixel * channels + channel, here, by_vector, in);
#pragma unroll
      for (int k = 0; k < kVector<T>; ++k) f.accumulate(in[k], of[k], sums);
    }
  lanes_sums<F::kSums>(sums, lanes);
  if (!inside) return;
  f.coefficients(known, sums, A(channels), c);
  if (lane == 0) f.keep(pixel, c);
}

/// Writes the outputs of a vector of a pixel's channels; `last`: the last output of each, to be summed.
template <class T, class F>
__device__ __forceinline__ void write_channels(const F& f, const Streams<T, F>& s, int64_t pixel, int64_t channels,
                                               int64_t channel, bool by_vector, const Accumulate<T>* c,
                                               Accumulate<T>* last) {
  using A = Accumulate<T>;
  const int here = channels_here<T>(channels, channel);
  A in[kVector<T>][F::kInputs], out[kVector<T>][F::kOutputs];
  Channel<F> of[kVector<T>];
  load_channels<T>(f, channel, here, aligned_parameters(f), of);
  load_streams(s, pixel * channels + channel, here, by_vector, in);
#pragma unroll
  for (int k = 0; k < kVector<T>; ++k) {
    f.write(in[k], of[k], c, out[k]);
    last[k] = out[k][F::kOutputs - 1];
  }
  store_streams(s, pixel * channels + channel, here, by_vector, out);
}

/// Channels adjacent and of any number: `lanes` neighbouring threads of a warp (columns_for the vectors of a pixel)
/// share a pixel.
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

/// As well, with sums of the last output over each chunk's pixels. A tile is a pixel for every `lanes`
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
          f.coefficients(f.known(pixel + k), sums[k], A(layout.channels), c[k]);
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

/// Calls body(std::integral_constant<int, vectors of a pixel that a thread keeps>) where the pixels' channels are few
/// enough for that; returns whether they are.
template <class T, class Body>
bool if_held(const ChannelLayout& layout, int lanes, const Body& body) {
  const int64_t vectors = (vectors_of<T>(layout.channels) + lanes - 1) / lanes;
  if (vectors <= 1) {
    body(std::integral_constant<int, 1>{});
    return true;
  }
  if (vectors <= 2) {
    body(std::integral_constant<int, 2>{});
    return true;
  }
  if constexpr (sizeof(T) == 4)
    if (vectors <= 4) {
      body(std::integral_constant<int, 4>{});
      return true;
    }
  return false;
}

/// f over a whole tensor.
template <class T, class F>
void walk_channels(const F& f, const Streams<T, F>& s, const ChannelLayout& layout, CudaStream stream) {
  if (layout.inner == 1) {
    const int lanes = columns_for(vectors_of<T>(layout.channels)), pixels = kThreads / lanes;
    const bool held = if_held<T>(layout, lanes, [&]<int kHeld>(std::integral_constant<int, kHeld>) {
      const int64_t tile = kPixels<kHeld, F> * pixels, tiles = (layout.outer + tile - 1) / tile;
      const int64_t width = (tiles + kMostRuns - 1) / kMostRuns * tile;
      launch(held_channels<false, kHeld, T, F>, grid_for((layout.outer + width - 1) / width), kThreads, stream, f, s,
             layout, width, lanes, static_cast<Accumulate<T>*>(nullptr));
    });
    if (!held)
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
  if (layout.inner == 1) {
    const int lanes = columns_for(vectors_of<T>(layout.channels));
    const bool held = if_held<T>(layout, lanes, [&]<int kHeld>(std::integral_constant<int, kHeld>) {
      launch(held_channels<true, kHeld, T, F>, grid_for(chunks.count()), kThreads, stream, f, s, layout, chunks.width,
             lanes, partial);
    });
    if (!held)
      launch(adjacent_channels_and_totals<T, F>, grid_for(chunks.count()), kThreads, stream, f, s, layout, chunks,
             lanes, partial);
  } else {
    launch(distant_channels<true, T, F>, grid_for(chunks.count()), kThreads, stream, f, s, layout, chunks,
           tile_columns<T, F>(layout, chunks.width), partial);
  }
  launch_sum_rows<Accumulate<T>>(partial, totals, chunks.count(), layout.channels, divisor, stream);
}

}  // namespace gan_ops::cuda
