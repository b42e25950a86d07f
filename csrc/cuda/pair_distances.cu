// Distances of all pairs on CUDA. Sums over features: a block has tiles of kTile × kTile pairs, a thread 4 × 4 of them,
// and features come in chunks through shared memory; where tiles are few, several blocks share one, each some of its
// features. Sums over samples: a block has kOwn samples of one array and meets all of the other; threads side by side
// have neighbouring features, and those of one feature share the other samples out. Every sum has one owner and a
// fixed order.
//
// For P = N·M·D, instructions that must be issued: forward 2·P (l1: subtract, add up |·|; the others: subtract,
// multiply-add), backward 2·P for each gradient (l1: 5·P, with comparison and sign), double backward 3·P (l1: 5·P) and
// 4·P for each gradient of l2, 2·P for squared.
#include <type_traits>

#include "../pair_distances.h"
#include "launch.cuh"
#include "vectors.cuh"

#ifndef GAN_OPS_PAIR_BLOCKS  // tests share a tile sooner
#define GAN_OPS_PAIR_BLOCKS 512
#endif

namespace gan_ops {
namespace {

using namespace cuda;
using Metric = PairMetric;

constexpr int kSide = 4;                    // rows and columns of a thread
constexpr int kAcross = 16;                 // threads side by side
constexpr int kTile = kSide * kAcross;      // rows and columns of a tile
constexpr int kChunk = 16;                  // features in shared memory
constexpr int kStride = kTile + 4;          // between features there
constexpr int kLeastFeatures = 4 * kChunk;  // of a block that shares a tile
static_assert(kAcross * kAcross == kThreads);

/// How many blocks share a tile, each so many features: a multiple of kChunk.
struct Shares {
  int64_t row_tiles, column_tiles, features, count;

  explicit Shares(const PairLayout& s) {
    row_tiles = (s.rows + kTile - 1) / kTile;
    column_tiles = (s.columns + kTile - 1) / kTile;
    const int64_t tiles = row_tiles * column_tiles, wanted = (GAN_OPS_PAIR_BLOCKS + tiles - 1) / tiles;
    features = (s.dims + wanted - 1) / wanted;
    features = (features < kLeastFeatures ? kLeastFeatures : features + kChunk - 1) / kChunk * kChunk;
    count = (s.dims + features - 1) / features;
  }
};

/// d from its sum of terms, or d_g from the tilt.
template <Metric kMetric, bool kTilted, class A>
__device__ __forceinline__ A finished(A sum, const A* distance, int64_t pair) {
  if constexpr (kTilted) return pair_weight<kMetric>(sum, kMetric == Metric::l2 ? distance[pair] : A(1));
  return kMetric == Metric::l2 ? std::sqrt(sum) : sum;
}

/// Blocks that a multiprocessor shall have registers for, as many as none is spilled with: left to itself, the compiler
/// spills some to have more, or takes too many.
template <bool kTilted, class T>
constexpr int kReduceBlocks = kTilted && sizeof(T) == 8 ? 1 : 2;
template <bool kDouble, class T>
constexpr int kPullBlocks = kDouble || sizeof(T) == 8 ? 2 : 3;

template <class T>
struct Samples {
  const T *x, *y;  // whose differences are taken
  const T *a, *b;  // their cotangents
};

/// Sums over features: of the terms of d, or with kTilted of those of u. Where blocks share tiles, into `partial`
/// [shares, N, M].
template <Metric kMetric, bool kTilted, class T>
__global__ void __launch_bounds__(kThreads, kReduceBlocks<kTilted, T>)
    reduce(Samples<T> in, const Accumulate<T>* distance, Accumulate<T>* out, Accumulate<T>* partial, PairLayout s,
           Shares shares) {
  using A = Accumulate<T>;
  constexpr int kSize = kChunk * kStride;
  __align__(16) __shared__ A x_chunk[kSize], y_chunk[kSize];
  __align__(16) __shared__ A a_chunk[kTilted ? kSize : 1], b_chunk[kTilted ? kSize : 1];
  const int64_t tiles = shares.row_tiles * shares.column_tiles;
  const int rows_at = threadIdx.x / kAcross * kSide, columns_at = threadIdx.x % kAcross * kSide;

  for (int64_t task = blockIdx.x; task < tiles * shares.count; task += gridDim.x) {
    const int64_t share = task / tiles, tile = task % tiles;
    const int64_t i = tile / shares.column_tiles * kTile, j = tile % shares.column_tiles * kTile;
    const int64_t begin = share * shares.features;
    const int64_t end = begin + shares.features < s.dims ? begin + shares.features : s.dims;

    A totals[kSide][kSide] = {};
    for (int64_t chunk = begin; chunk < end; chunk += kChunk) {
      const int features = static_cast<int>(end - chunk < kChunk ? end - chunk : kChunk);
      // to[c, n] = from[first + n, chunk + c], zeros outside.
      const auto bring = [&](const T* from, int64_t first, int64_t samples, A* to) {
        const int c = threadIdx.x % kChunk;
#pragma unroll
        for (int n = threadIdx.x / kChunk; n < kTile; n += kThreads / kChunk) {
          const bool there = c < features && first + n < samples;
          to[c * kStride + n] = there ? widen(from[(first + n) * s.dims + chunk + c]) : A(0);
        }
      };
      __syncthreads();  // all have read what was there
      bring(in.x, i, s.rows, x_chunk);
      bring(in.y, j, s.columns, y_chunk);
      if constexpr (kTilted) {
        bring(in.a, i, s.rows, a_chunk);
        bring(in.b, j, s.columns, b_chunk);
      }
      __syncthreads();

      A sums[kSide][kSide] = {};
      const auto add = [&](int c) {
        A x[kSide], y[kSide], a[kSide], b[kSide];
        take(x_chunk + c * kStride + rows_at, x);
        take(y_chunk + c * kStride + columns_at, y);
        if constexpr (kTilted) {
          take(a_chunk + c * kStride + rows_at, a);
          take(b_chunk + c * kStride + columns_at, b);
        }
#pragma unroll
        for (int r = 0; r < kSide; ++r)
#pragma unroll
          for (int k = 0; k < kSide; ++k) {
            const A z = x[r] - y[k];
            if constexpr (kTilted)
              sums[r][k] += pair_slope<kMetric>(z) * (a[r] - b[k]);
            else
              sums[r][k] += pair_term<kMetric>(z);
          }
      };
      if (features == kChunk) {
#pragma unroll
        for (int c = 0; c < kChunk; ++c) add(c);
      } else {
        for (int c = 0; c < features; ++c) add(c);
      }
#pragma unroll
      for (int r = 0; r < kSide; ++r)
#pragma unroll
        for (int k = 0; k < kSide; ++k) totals[r][k] += sums[r][k];
    }

#pragma unroll
    for (int r = 0; r < kSide; ++r)
#pragma unroll
      for (int k = 0; k < kSide; ++k) {
        if (i + rows_at + r >= s.rows || j + columns_at + k >= s.columns) continue;
        const int64_t pair = (i + rows_at + r) * s.columns + (j + columns_at + k);
        if (shares.count == 1)
          out[pair] = finished<kMetric, kTilted>(totals[r][k], distance, pair);
        else
          partial[share * s.pairs() + pair] = totals[r][k];
      }
  }
}

/// Brings the shares of each pair together.
template <Metric kMetric, bool kTilted, class A>
__global__ void __launch_bounds__(kThreads)
    join(const A* partial, const A* distance, A* out, int64_t pairs, int64_t shares) {
  for (int64_t pair = int64_t(blockIdx.x) * kThreads + threadIdx.x; pair < pairs;
       pair += int64_t(gridDim.x) * kThreads) {
    A sum = 0;
    for (int64_t share = 0; share < shares; ++share) sum += partial[share * pairs + pair];
    out[pair] = finished<kMetric, kTilted>(sum, distance, pair);
  }
}

template <Metric kMetric, bool kTilted, class T>
void launch_reduce(const Samples<T>& in, const void* distance, void* out, void* partial, const PairLayout& s,
                   CudaStream stream) {
  using A = Accumulate<T>;
  const Shares shares(s);
  launch(reduce<kMetric, kTilted, T>, grid_for(shares.row_tiles * shares.column_tiles * shares.count), kThreads, stream,
         in, static_cast<const A*>(distance), static_cast<A*>(out), static_cast<A*>(partial), s, shares);
  if (shares.count > 1)
    launch(join<kMetric, kTilted, A>, grid_for((s.pairs() + kThreads - 1) / kThreads), kThreads, stream,
           static_cast<const A*>(partial), static_cast<const A*>(distance), static_cast<A*>(out), s.pairs(),
           shares.count);
}

constexpr int kOwn = 8;       // samples of a block, whose sums threads keep
constexpr int kOthers = 128;  // whose weights are in shared memory at a time

/// What weights are made of, [N, M]: a pair (own, other) lies at own · own_step + other · other_step.
template <class A>
struct Pairs {
  const A *g, *distance, *d_g;
  int64_t own_step, other_step;
};

/// For each of `own` samples and each feature, Σ_other w t(x_own − y_other), or in the double backward
/// Σ_other w (a_own − b_other) + q (x_own − y_other), the latter for l2 alone.
template <Metric kMetric, bool kDouble, class T>
__global__ void __launch_bounds__(kThreads, kPullBlocks<kDouble, T>)
    pull(Samples<T> in, Pairs<Accumulate<T>> pairs, int64_t own, int64_t others, int64_t dims, int across, T* out) {
  using A = Accumulate<T>;
  constexpr bool kBent = kDouble && kMetric == Metric::l2;  // whether there is a q
  __align__(16) __shared__ A weights[kOthers * kOwn], bends[kBent ? kOthers * kOwn : 1];
  __shared__ A sums_of[kThreads * kOwn];
  const int lane = threadIdx.x % across, part = threadIdx.x / across, parts = kThreads / across;
  const int64_t tiles = (own + kOwn - 1) / kOwn, panels = (dims + across - 1) / across;

  for (int64_t task = blockIdx.x; task < tiles * panels; task += gridDim.x) {
    const int64_t i = task % tiles * kOwn, c = task / tiles * across + lane;
    const bool there = c < dims;
    const int rows = static_cast<int>(own - i < kOwn ? own - i : kOwn);
    A x[kOwn], a[kOwn], sums[kOwn] = {};
#pragma unroll
    for (int r = 0; r < kOwn; ++r) {
      const bool valid = there && r < rows;
      if constexpr (!kDouble || kBent) x[r] = valid ? widen(in.x[(i + r) * dims + c]) : A(0);
      if constexpr (kDouble) a[r] = valid ? widen(in.a[(i + r) * dims + c]) : A(0);
    }
    for (int64_t first = 0; first < others; first += kOthers) {
      const int count = static_cast<int>(others - first < kOthers ? others - first : kOthers);
      __syncthreads();  // all have read the weights, and the sums, that were there
      for (int k = threadIdx.x; k < kOwn * count; k += kThreads) {
        // Neighbouring threads read what is adjacent.
        const int r = pairs.own_step == 1 ? k % kOwn : k / count, n = pairs.own_step == 1 ? k / kOwn : k % count;
        A w = 0, q = 0;
        if (r < rows) {
          const int64_t pair = (i + r) * pairs.own_step + (first + n) * pairs.other_step;
          const A distance = kMetric == Metric::l2 ? pairs.distance[pair] : A(1);
          w = pair_weight<kMetric>(pairs.g[pair], distance);
          if constexpr (kBent) q = -over_distance(w * pairs.d_g[pair], distance);
        }
        weights[n * kOwn + r] = w;
        if constexpr (kBent) bends[n * kOwn + r] = q;
      }
      __syncthreads();
      if (there) {
#pragma unroll 4
        for (int n = part; n < count; n += parts) {
          const int64_t at = (first + n) * dims + c;
          A w[kOwn];
          take(weights + n * kOwn, w);
          if constexpr (kDouble) {
            const A b = widen(in.b[at]);
#pragma unroll
            for (int r = 0; r < kOwn; ++r) sums[r] += w[r] * (a[r] - b);
            if constexpr (kBent) {
              const A y = widen(in.y[at]);
              A q[kOwn];
              take(bends + n * kOwn, q);
#pragma unroll
              for (int r = 0; r < kOwn; ++r) sums[r] += q[r] * (x[r] - y);
            }
          } else {
            const A y = widen(in.y[at]);
#pragma unroll
            for (int r = 0; r < kOwn; ++r) sums[r] += w[r] * pair_slope<kMetric>(x[r] - y);
          }
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kOwn; ++r) sums_of[r * kThreads + threadIdx.x] = sums[r];
    __syncthreads();
    for (int k = threadIdx.x; k < rows * across; k += kThreads) {
      const int r = k / across, feature = k % across;
      if (c - lane + feature >= dims) continue;
      A total = 0;
      for (int p = 0; p < parts; ++p) total += sums_of[r * kThreads + p * across + feature];
      out[(i + r) * dims + (c - lane) + feature] = narrow<T>(total);
    }
  }
}

template <Metric kMetric, bool kDouble, class T>
void launch_pull(const Samples<T>& in, const Pairs<Accumulate<T>>& pairs, int64_t own, int64_t others, int64_t dims,
                 void* out, CudaStream stream) {
  int across = 1;
  while (across < kWarp && across < dims) across *= 2;
  const int64_t tasks = (own + kOwn - 1) / kOwn * ((dims + across - 1) / across);
  launch(pull<kMetric, kDouble, T>, grid_for(tasks), kThreads, stream, in, pairs, own, others, dims, across,
         static_cast<T*>(out));
}

/// d_x and d_y, as far as they are wanted.
template <Metric kMetric, bool kDouble, class T, class Args>
void launch_pulls(const Args& args, const Samples<T>& in, const void* d_g, CudaStream stream) {
  using A = Accumulate<T>;
  const PairLayout& s = args.layout;
  const A *g = static_cast<const A*>(args.g), *distance = static_cast<const A*>(args.distance);
  const A* tilt = static_cast<const A*>(d_g);
  if (args.d_x != nullptr)
    launch_pull<kMetric, kDouble>(in, Pairs<A>{g, distance, tilt, s.columns, 1}, s.rows, s.columns, s.dims, args.d_x,
                                  stream);
  if (args.d_y != nullptr)
    launch_pull<kMetric, kDouble>(Samples<T>{in.y, in.x, in.b, in.a}, Pairs<A>{g, distance, tilt, 1, s.columns},
                                  s.columns, s.rows, s.dims, args.d_y, stream);
}

}  // namespace

int64_t pair_shares_on_cuda(const PairLayout& layout) {
  const Shares shares(layout);
  return shares.count > 1 ? shares.count * layout.pairs() : 0;
}

void run_on_cuda(const PairForwardArgs& args, Dtype dtype, CudaStream stream) {
  with_metric(args.metric, [&]<Metric kMetric>() {
    with_type(dtype, [&]<class T>(Type<T>) {
      launch_reduce<kMetric, false>(Samples<T>{static_cast<const T*>(args.x), static_cast<const T*>(args.y)}, nullptr,
                                    args.distance, args.workspace, args.layout, stream);
    });
  });
}

void run_on_cuda(const PairBackwardArgs& args, Dtype dtype, CudaStream stream) {
  with_metric(args.metric, [&]<Metric kMetric>() {
    with_type(dtype, [&]<class T>(Type<T>) {
      launch_pulls<kMetric, false>(args, Samples<T>{static_cast<const T*>(args.x), static_cast<const T*>(args.y)},
                                   nullptr, stream);
    });
  });
}

void run_on_cuda(const PairDoubleBackwardArgs& args, Dtype dtype, CudaStream stream) {
  with_metric(args.metric, [&]<Metric kMetric>() {
    with_type(dtype, [&]<class T>(Type<T>) {
      const Samples<T> in{static_cast<const T*>(args.x), static_cast<const T*>(args.y), static_cast<const T*>(args.v_x),
                          static_cast<const T*>(args.v_y)};
      launch_reduce<kMetric, true>(in, args.distance, args.d_g, args.workspace, args.layout, stream);
      if constexpr (kMetric != Metric::l1) launch_pulls<kMetric, true>(args, in, args.d_g, stream);
    });
  });
}

}  // namespace gan_ops
