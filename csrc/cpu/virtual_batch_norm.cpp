// Virtual batch norm on the CPU: two walks over a tile, a few channels of one example, the second mostly out of cache;
// between them the algebra of the tile's channels side by side.
#include "../virtual_batch_norm.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "narrow_types.h"
#include "parallel.h"

namespace gan_ops {
namespace {

using namespace cpu;

constexpr int kTile = 64;            // channels of a tile, at most
constexpr int kFewChannels = 16;     // channels of a tile when there are few of them for the threads: one cache line
constexpr int64_t kElements = 2048;  // of a tile of planes: three tensors of them fit in L1
constexpr int64_t kSmallPlane = 16;  // 4×4, where GANs start: loops of known length are worth a version of their own
constexpr int64_t kChunk = 2048;     // pixels whose moments are taken together, while they are in L1

template <class F>
using Sums = typename F::A[F::kSums][kTile];
template <class F>
using Coefficients = typename F::A[F::kCoefficients][kTile];

// ---- Pixels adjacent: a channel of an example is a plane ----

template <int kLanes, class A>
GAN_OPS_INLINE A sum_pairwise(const A* lanes) {
  constexpr int kHalf = kLanes / 2;
  A halves[kHalf];
  for (int lane = 0; lane < kHalf; ++lane) halves[lane] = lanes[lane] + lanes[lane + kHalf];
  if constexpr (kHalf == 1)
    return halves[0];
  else
    return sum_pairwise<kHalf>(halves);
}

/// values(i, out) for i in [0, count), summed in `kLanes` lanes and then pairwise.
template <int kSums, int kLanes, class A, class Values>
GAN_OPS_INLINE void sum_lanes(int64_t count, A* sums, const Values& values) {
  A lanes[kSums][kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) {
      A out[kSums];
      values(i + lane, out);
      for (int k = 0; k < kSums; ++k) lanes[k][lane] += out[k];
    }
  for (int lane = 0; i + lane < count; ++lane) {
    A out[kSums];
    values(i + lane, out);
    for (int k = 0; k < kSums; ++k) lanes[k][lane] += out[k];
  }
  for (int k = 0; k < kSums; ++k) sums[k] = sum_pairwise<kLanes>(lanes[k]);
}

template <int kSums, class A, class Values>
GAN_OPS_INLINE void sum_values(int64_t count, A* sums, const Values& values) {
  if (count >= 256) return sum_lanes<kSums, 32>(count, sums, values);
  // One sum after the other: gcc would lay the last steps of several side by side, which takes longer than the sums.
  [&]<int... k>(std::integer_sequence<int, k...>) GAN_OPS_LAMBDA_INLINE {
    (sum_lanes<1, 16>(count, sums + k,
                      [&](int64_t i, A* out) GAN_OPS_LAMBDA_INLINE {
                        A all[kSums];
                        values(i, all);
                        out[0] = all[k];
                      }),
     ...);
  }(std::make_integer_sequence<int, kSums>{});
}

/// The mean of `count` elements and the sum of their squares about it.
template <class F, class A>
GAN_OPS_INLINE void take_moments(const F f, int64_t first, int64_t count, A& mean, A& squares) {
  A total;
  sum_values<1>(count, &total, [=](int64_t i, A* out) GAN_OPS_LAMBDA_INLINE { out[0] = f.element(first + i); });
  const A centre = total / A(count);
  sum_values<1>(count, &squares, [=](int64_t i, A* out) GAN_OPS_LAMBDA_INLINE {
    const A distance = f.element(first + i) - centre;
    out[0] = distance * distance;
  });
  mean = centre;
}

template <class F>
GAN_OPS_INLINE void sum_plane(const F f, int64_t first, int64_t pixels, int64_t row, int64_t channel,
                              typename F::A* sums) {
  using A = typename F::A;
  if constexpr (F::kMoments) {
    take_moments(f, first, std::min(kChunk, pixels), sums[0], sums[1]);
    for (int64_t begin = kChunk; begin < pixels; begin += kChunk) {
      const int64_t count = std::min(kChunk, pixels - begin);
      A mean, squares;
      take_moments(f, first + begin, count, mean, squares);
      join_moments(sums[0], sums[1], A(begin), mean, squares, A(count));
    }
  } else {
    const A centre = f.centre(row, channel);
    sum_values<F::kSums>(pixels, sums,
                         [=](int64_t i, A* out) GAN_OPS_LAMBDA_INLINE { f.terms(first + i, centre, out); });
  }
}

template <class F>
GAN_OPS_INLINE void sum_planes(const F f, int64_t first, int64_t pixels, int64_t width, int64_t row, int64_t channel,
                               Sums<F>& sums) {
  for (int64_t lane = 0; lane < width; ++lane) {
    typename F::A own[F::kSums];
    sum_plane(f, first + lane * pixels, pixels, row + lane, channel + lane, own);
    for (int k = 0; k < F::kSums; ++k) sums[k][lane] = own[k];
  }
}

template <class F>
GAN_OPS_INLINE void write_planes(const F f, int64_t first, int64_t pixels, int64_t width,
                                 const Coefficients<F>& coefficients) {
  for (int64_t lane = 0; lane < width; ++lane) {
    typename F::A own[F::kCoefficients];
    for (int k = 0; k < F::kCoefficients; ++k) own[k] = coefficients[k][lane];
#pragma GCC ivdep
    for (int64_t p = 0; p < pixels; ++p) f.write(first + lane * pixels + p, own);
  }
}

// ---- Channels adjacent: a pixel of a tile is a run of `width` channels, the next one lies `stride` behind it ----

template <class F>
GAN_OPS_INLINE void sum_runs(const F f, int64_t first, int64_t stride, int64_t pixels, int64_t width, int64_t row,
                             int64_t channel, Sums<F>& sums) {
  using A = typename F::A;
  for (int k = 0; k < F::kSums; ++k) std::fill_n(sums[k], width, A(0));
  if constexpr (F::kMoments) {
    const int64_t rows_per_chunk = kChunk / kFewChannels;
    for (int64_t begin = 0; begin < pixels; begin += rows_per_chunk) {
      const int64_t end = std::min(pixels, begin + rows_per_chunk);
      A mean[kTile] = {}, squares[kTile] = {};
      for (int64_t p = begin; p < end; ++p)
#pragma GCC ivdep
        for (int64_t lane = 0; lane < width; ++lane) mean[lane] += f.element(first + p * stride + lane);
      for (int64_t lane = 0; lane < width; ++lane) mean[lane] /= A(end - begin);
      for (int64_t p = begin; p < end; ++p)
#pragma GCC ivdep
        for (int64_t lane = 0; lane < width; ++lane) {
          const A distance = f.element(first + p * stride + lane) - mean[lane];
          squares[lane] += distance * distance;
        }
#pragma GCC ivdep
      for (int64_t lane = 0; lane < width; ++lane)
        join_moments(sums[0][lane], sums[1][lane], A(begin), mean[lane], squares[lane], A(end - begin));
    }
  } else {
    A centre[kTile];
    for (int64_t lane = 0; lane < width; ++lane) centre[lane] = f.centre(row + lane, channel + lane);
    for (int64_t p = 0; p < pixels; ++p)
#pragma GCC ivdep
      for (int64_t lane = 0; lane < width; ++lane) {
        A out[F::kSums];
        f.terms(first + p * stride + lane, centre[lane], out);
        for (int k = 0; k < F::kSums; ++k) sums[k][lane] += out[k];
      }
  }
}

template <class F>
GAN_OPS_INLINE void write_runs(const F f, int64_t first, int64_t stride, int64_t pixels, int64_t width,
                               const Coefficients<F>& coefficients) {
  for (int64_t p = 0; p < pixels; ++p)
#pragma GCC ivdep
    for (int64_t lane = 0; lane < width; ++lane) {
      typename F::A own[F::kCoefficients];
      for (int k = 0; k < F::kCoefficients; ++k) own[k] = coefficients[k][lane];
      f.write(first + p * stride + lane, own);
    }
}

// ---- Tiles ----

/// Channels [channel, channel + width) of example n.
template <class F>
GAN_OPS_INLINE void run_tile(const F f, const VbnLayout s, int64_t n, int64_t channel, int64_t width) {
  using A = typename F::A;
  const int64_t row = n * s.channels + channel, first = s.first(n, channel);
  Sums<F> sums;
  if (s.channels_adjacent)
    sum_runs(f, first, s.channels, s.pixels, width, row, channel, sums);
  else if (s.pixels == kSmallPlane)
    sum_planes(f, first, kSmallPlane, width, row, channel, sums);
  else
    sum_planes(f, first, s.pixels, width, row, channel, sums);

  Coefficients<F> coefficients;
  A kept[F::kKept][kTile];
#pragma GCC ivdep
  for (int64_t lane = 0; lane < width; ++lane) {
    A own_sums[F::kSums], out[F::kCoefficients], keep[F::kKept];
    for (int k = 0; k < F::kSums; ++k) own_sums[k] = sums[k][lane];
    f.coefficients(row + lane, channel + lane, own_sums, out, keep);
    for (int k = 0; k < F::kCoefficients; ++k) coefficients[k][lane] = out[k];
    for (int k = 0; k < F::kKept; ++k) kept[k][lane] = keep[k];
  }
  if (f.keeps())
    for (int k = 0; k < F::kKept; ++k) std::copy_n(kept[k], width, f.kept[k] + row);

  if (!f.writes()) return;
  if (s.channels_adjacent) return write_runs(f, first, s.channels, s.pixels, width, coefficients);
  if (s.pixels == kSmallPlane) return write_planes(f, first, kSmallPlane, width, coefficients);
  write_planes(f, first, s.pixels, width, coefficients);
}

/// Channels of a tile. Sums are a channel's own, so that this changes no result.
int64_t tile_width(const VbnLayout& s) {
  if (!s.channels_adjacent) return std::clamp<int64_t>(kElements / s.pixels, 1, kTile);
  const int64_t tiles = s.samples * ((s.channels + kTile - 1) / kTile);
  return tiles < 2 * at::get_num_threads() ? kFewChannels : kTile;
}

template <class F>
void walk(const F& f, const VbnLayout& s) {
  const int64_t width = tile_width(s), tiles = (s.channels + width - 1) / width;
  parallel_for(s.samples * tiles, std::min(width, s.channels) * s.pixels,
               [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
                 for (int64_t task = begin; task < end; ++task) {
                   const int64_t channel = task % tiles * width;
                   run_tile(f, s, task / tiles, channel, std::min(width, s.channels - channel));
                 }
               });
}

/// kept[k]: [N, C] → totals[k]: [C], in the order of the examples.
template <class F>
void sum_examples(const F& f, const VbnLayout& s, void* const (&totals)[F::kKept]) {
  using A = typename F::A;
  if (!f.keeps()) return;
  const int64_t strips = (s.channels + kTile - 1) / kTile;
  parallel_for(F::kKept * strips, s.samples * kTile, [=, &totals](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t channel = task % strips * kTile, width = std::min<int64_t>(kTile, s.channels - channel);
      const A* kept = f.kept[task / strips] + channel;
      A sums[kTile] = {};
      for (int64_t n = 0; n < s.samples; ++n)
#pragma GCC ivdep
        for (int64_t lane = 0; lane < width; ++lane) sums[lane] += kept[n * s.channels + lane];
      std::copy_n(sums, width, static_cast<A*>(totals[task / strips]) + channel);
    }
  });
}

/// Where `values` [C] is null, makes it point to what this returns: C times `otherwise`.
template <class A>
std::vector<A> stand_in(const void*& values, const VbnLayout& s, A otherwise) {
  if (values != nullptr) return {};
  std::vector<A> made(s.channels, otherwise);
  values = made.data();
  return made;
}

}  // namespace

void run_on_cpu(const VbnForwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    VbnForwardArgs a = args;
    const auto weight = stand_in<A>(a.weight, a.layout, 1), bias = stand_in<A>(a.bias, a.layout, 0);
    walk(make_forward<T>(a), a.layout);
  });
}

void run_on_cpu(const VbnBackwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    VbnBackwardArgs a = args;
    const auto weight = stand_in<A>(a.weight, a.layout, 1);
    const auto f = make_backward<T>(a);
    walk(f, a.layout);
    sum_examples(f, a.layout, {a.d_weight, a.d_bias, a.d_reference_mean, a.d_reference_var});
  });
}

void run_on_cpu(const VbnDoubleBackwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    VbnDoubleBackwardArgs a = args;
    const auto weight = stand_in<A>(a.weight, a.layout, 1), u_weight = stand_in<A>(a.u_weight, a.layout, 0),
               u_bias = stand_in<A>(a.u_bias, a.layout, 0), u_mean = stand_in<A>(a.u_reference_mean, a.layout, 0),
               u_var = stand_in<A>(a.u_reference_var, a.layout, 0);
    const auto run = [&](const auto& f) {
      walk(f, a.layout);
      sum_examples(f, a.layout, {a.d_weight, a.d_reference_mean, a.d_reference_var});
    };
    if (a.u != nullptr)
      run(make_double_backward<T>(a));
    else
      run(make_double_backward<T, false, false>(a));
  });
}

}  // namespace gan_ops
