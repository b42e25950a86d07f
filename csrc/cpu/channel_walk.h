// The walk of ops that reduce over each pixel's channels (math/pixel_norm.h says of which parts such an op is made): a
// tile of pixels is read once for the sums and again, out of cache, for the result.
#pragma once

#include <algorithm>
#include <utility>

#include "../math/pixel_chunks.h"
#include "../math/streams.h"
#include "narrow_types.h"
#include "parallel.h"
#include "streaming_stores.h"
#include "sum_rows.h"

namespace gan_ops::cpu {

// What loops marked `omp simd` do lies in functions of its own: arrays that the loop itself declared would be spread
// over its lanes and not become registers, and then nothing is vectorised.

/// body(k) for the constants k = 0 … Count − 1, so that small arrays become registers; a loop that stays one over k
/// keeps the loops around it from being vectorised.
template <int Count, class Body>
GAN_OPS_INLINE void unroll(const Body& body) {
  [&]<int... K>(std::integer_sequence<int, K...>) GAN_OPS_LAMBDA_INLINE {
    (body(std::integral_constant<int, K>{}), ...);
  }(std::make_integer_sequence<int, Count>{});
}

/// Asks for the cache lines of a row that is soon read or written: rows lie too far apart for processors to foresee.
template <class T>
GAN_OPS_INLINE void prefetch(const T* row, int64_t width) {
  for (int64_t i = 0; i < width; i += 64 / sizeof(T)) __builtin_prefetch(row + i);
}

/// Where a row of at most `Most` elements is written, in each output: in place, or in L1 first and streamed from there.
template <class T, class F, int Most>
struct OutputRows {
  alignas(64) T made[F::kOutputs][Most];
  T* to[F::kOutputs];

  GAN_OPS_INLINE void begin(const Streams<T, F>& s, int64_t first, bool streamed) {
    for (int k = 0; k < F::kOutputs; ++k) to[k] = streamed ? made[k] : s.out[k] + first;
  }
  GAN_OPS_INLINE void end(const Streams<T, F>& s, int64_t first, int64_t width, bool streamed) {
    if (streamed)
      for (int k = 0; k < F::kOutputs; ++k) stream(s.out[k] + first, made[k], width);
  }
};

constexpr int kChannelLanes = 32;  // adjacent channels summed side by side: two 512-bit registers of floats

/// A pixel whose channels are adjacent (channels_last, latents). Adds the last output to `totals` [channels] if asked.
template <bool WithTotals, class T, class F>
GAN_OPS_INLINE void adjacent_channels(F f, Streams<T, F> s, int64_t pixel, int64_t channels, bool streamed,
                                      Accumulate<T>* totals) {
  using A = Accumulate<T>;
  const int64_t first = pixel * channels;
  A lanes[F::kSums][kChannelLanes] = {};
  const auto add = [&](int64_t c, int lane) GAN_OPS_LAMBDA_INLINE {
    A in[F::kInputs], sums[F::kSums];
    s.load(first + c, in);
    unroll<F::kSums>([&](auto k) GAN_OPS_LAMBDA_INLINE { sums[k] = lanes[k][lane]; });
    f.accumulate(in, f.channel(c), sums);
    unroll<F::kSums>([&](auto k) GAN_OPS_LAMBDA_INLINE { lanes[k][lane] = sums[k]; });
  };
  int64_t done = 0;
  for (; done + kChannelLanes <= channels; done += kChannelLanes) {
#pragma omp simd
    for (int lane = 0; lane < kChannelLanes; ++lane) add(done + lane, lane);
  }
  for (int lane = 0; done + lane < channels; ++lane) add(done + lane, lane);

  A sums[F::kSums], c[F::kCoefficients];
  for (int k = 0; k < F::kSums; ++k) {
    for (int width = kChannelLanes / 2; width > 0; width /= 2)
      for (int lane = 0; lane < width; ++lane) lanes[k][lane] += lanes[k][lane + width];
    sums[k] = lanes[k][0];
  }
  f.coefficients(f.known(pixel), sums, A(channels), c);
  f.keep(pixel, c);
  constexpr int kMost = 512;
  OutputRows<T, F, kMost> rows;
  for (int64_t begin = 0; begin < channels; begin += kMost) {
    const int64_t width = std::min<int64_t>(kMost, channels - begin);
    rows.begin(s, first + begin, streamed);
    const auto write = [&](int64_t i) GAN_OPS_LAMBDA_INLINE {
      A in[F::kInputs], out[F::kOutputs];
      s.load(first + begin + i, in);
      f.write(in, f.channel(begin + i), c, out);
      unroll<F::kOutputs>([&](auto k) GAN_OPS_LAMBDA_INLINE { rows.to[k][i] = narrow<T>(out[k]); });
      if constexpr (WithTotals) totals[begin + i] += out[F::kOutputs - 1];
    };
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) write(i);
    rows.end(s, first + begin, width, streamed);
  }
}

constexpr int kNarrowPlane = 16;   // pixels of a 4×4 head
constexpr int64_t kRowsAhead = 2;  // more would push one another out of L1 where a power of two lies between rows

/// Pixels [begin, begin + width) of one sample, channels `inner` apart (contiguous [N, C, H, W]). `Width` is the width
/// as a constant, or 0 for any. `Staged`, for a part of the plane: the inputs are kept in `stage`
/// [kInputs][channels][width], since caches hold few rows that a power of two lies between. Writes the last output's
/// sums to `totals` [channels] if asked.
template <int Width, bool WithTotals, bool Staged, class T, class F>
GAN_OPS_INLINE void distant_channels(F f, Streams<T, F> s, ChannelLayout layout, int64_t sample, int64_t begin,
                                     int64_t any_width, bool streamed, Accumulate<T>* stage, Accumulate<T>* totals) {
  using A = Accumulate<T>;
  // A narrow row's sums are ready no sooner than the next row wants them: some rows are summed side by side.
  constexpr int kSide = Width == 0 ? 1 : 4;
  const int64_t width = Width == 0 ? any_width : Width;
  const int64_t first = sample * layout.channels * layout.inner + begin;
  const int64_t staged = layout.channels * width;  // elements of one input
  A sums[kSide][F::kSums][Width == 0 ? kCpuWalkMostPixels : Width];
  for (int side = 0; side < kSide; ++side)
    for (int k = 0; k < F::kSums; ++k) std::fill_n(sums[side][k], width, A(0));
  const auto add_row = [&](int64_t channel, auto side) GAN_OPS_LAMBDA_INLINE {
    const auto of_channel = f.channel(channel);
    const int64_t row = first + channel * layout.inner, kept = channel * width;
    if (Staged && channel + kRowsAhead < layout.channels)
      for (const T* in : s.in) prefetch(in + row + kRowsAhead * layout.inner, width);
    const auto add = [&](int64_t p) GAN_OPS_LAMBDA_INLINE {
      A in[F::kInputs], of_pixel[F::kSums];
      s.load(row + p, in);
      if constexpr (Staged)
        unroll<F::kInputs>([&](auto k) GAN_OPS_LAMBDA_INLINE { stage[k * staged + kept + p] = in[k]; });
      unroll<F::kSums>([&](auto k) GAN_OPS_LAMBDA_INLINE { of_pixel[k] = sums[side][k][p]; });
      f.accumulate(in, of_channel, of_pixel);
      unroll<F::kSums>([&](auto k) GAN_OPS_LAMBDA_INLINE { sums[side][k][p] = of_pixel[k]; });
    };
#pragma omp simd
    for (int64_t p = 0; p < width; ++p) add(p);
  };
  int64_t done = 0;
  for (; done + kSide <= layout.channels; done += kSide)
    unroll<kSide>([&](auto side) GAN_OPS_LAMBDA_INLINE { add_row(done + side, side); });
  for (; done < layout.channels; ++done) add_row(done, std::integral_constant<int, 0>{});
  A coefficients[F::kCoefficients][Width == 0 ? kCpuWalkMostPixels : Width];
  const int64_t first_pixel = sample * layout.inner + begin;
  const auto prepare = [&](int64_t p) GAN_OPS_LAMBDA_INLINE {
    A of_pixel[F::kSums], c[F::kCoefficients];
    unroll<F::kSums>([&](auto k) GAN_OPS_LAMBDA_INLINE {
      of_pixel[k] = sums[0][k][p];
      for (int side = 1; side < kSide; ++side) of_pixel[k] += sums[side][k][p];
    });
    f.coefficients(f.known(first_pixel + p), of_pixel, A(layout.channels), c);
    f.keep(first_pixel + p, c);
    unroll<F::kCoefficients>([&](auto k) GAN_OPS_LAMBDA_INLINE { coefficients[k][p] = c[k]; });
  };
#pragma omp simd
  for (int64_t p = 0; p < width; ++p) prepare(p);
  OutputRows<T, F, Width == 0 ? kCpuWalkMostPixels : Width> rows;
  for (int64_t channel = 0; channel < layout.channels; ++channel) {
    const auto of_channel = f.channel(channel);
    const int64_t row = first + channel * layout.inner, kept = channel * width;
    if (Staged && !streamed && channel + kRowsAhead < layout.channels)
      for (const T* out : s.out) prefetch(out + row + kRowsAhead * layout.inner, width);
    rows.begin(s, row, streamed);
    const auto write = [&](int64_t p) GAN_OPS_LAMBDA_INLINE {
      A in[F::kInputs], c[F::kCoefficients], out[F::kOutputs];
      if constexpr (Staged)
        unroll<F::kInputs>([&](auto k) GAN_OPS_LAMBDA_INLINE { in[k] = stage[k * staged + kept + p]; });
      else
        s.load(row + p, in);
      unroll<F::kCoefficients>([&](auto k) GAN_OPS_LAMBDA_INLINE { c[k] = coefficients[k][p]; });
      f.write(in, of_channel, c, out);
      unroll<F::kOutputs>([&](auto k) GAN_OPS_LAMBDA_INLINE { rows.to[k][p] = narrow<T>(out[k]); });
      return out[F::kOutputs - 1];
    };
    A total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t p = 0; p < width; ++p) total += write(p);
    rows.end(s, row, width, streamed);
    if constexpr (WithTotals) totals[channel] = total;
  }
}

template <bool WithTotals, class T, class F>
void walk_chunks(const F& f, const Streams<T, F>& s, const ChannelLayout& layout, const PixelChunks& chunks,
                 Accumulate<T>* partial) {
  using A = Accumulate<T>;
  static_assert(F::kInputs * kCpuWalkElements * sizeof(A) <= kScratchBytes);
  const int64_t elements = layout.outer * layout.channels * layout.inner;
  const bool streamed = beyond_cache(elements * sizeof(T) * (F::kInputs + F::kOutputs));
  parallel_for(chunks.count(), layout.channels * chunks.width, [=](int64_t first, int64_t last) GAN_OPS_LAMBDA_INLINE {
    for (int64_t chunk = first; chunk < last; ++chunk) {
      const int64_t begin = chunks.begin(chunk), end = chunks.end(chunk);
      A* totals = WithTotals ? partial + chunk * layout.channels : nullptr;
      if (layout.inner == 1) {
        if (WithTotals) std::fill_n(totals, layout.channels, A(0));
        for (int64_t pixel = begin; pixel < end; ++pixel)
          adjacent_channels<WithTotals>(f, s, pixel, layout.channels, streamed, totals);
      } else if (end - begin < layout.inner && (end - begin) * layout.channels <= kCpuWalkElements) {
        distant_channels<0, WithTotals, true>(f, s, layout, chunks.sample(chunk), begin, end - begin, streamed,
                                              static_cast<A*>(thread_scratch()), totals);
      } else if (end - begin == kNarrowPlane) {
        distant_channels<kNarrowPlane, WithTotals, false>(f, s, layout, chunks.sample(chunk), begin, kNarrowPlane,
                                                          streamed, static_cast<A*>(nullptr), totals);
      } else {
        distant_channels<0, WithTotals, false>(f, s, layout, chunks.sample(chunk), begin, end - begin, streamed,
                                               static_cast<A*>(nullptr), totals);
      }
    }
    if (streamed) streams_end();
  });
}

/// f over a whole tensor.
template <class T, class F>
void walk_channels(const F& f, const Streams<T, F>& s, const ChannelLayout& layout) {
  walk_chunks<false>(f, s, layout, cpu_walk_chunks(layout), static_cast<Accumulate<T>*>(nullptr));
}

/// As well, `totals` [channels] receives the sums of the last output over samples and pixels, divided by `divisor`,
/// unless it is null; `partial` [chunks.count(), channels] is scratch for them in any case.
template <class T, class F>
void walk_channels(const F& f, const Streams<T, F>& s, const ChannelLayout& layout, const PixelChunks& chunks,
                   Accumulate<T>* partial, Accumulate<T>* totals, Accumulate<T> divisor) {
  walk_chunks<true>(f, s, layout, chunks, partial);
  if (totals != nullptr) sum_rows(partial, totals, chunks.count(), layout.channels, divisor);
}

}  // namespace gan_ops::cpu
