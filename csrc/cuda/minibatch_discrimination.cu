// Minibatch discrimination on CUDA. A block owns kTileRows samples of one kernel b and goes through all others in tiles
// of kTileColumns, features in chunks through shared memory. Both samples of a pair compute it, each for itself:
// nothing is scattered, every sum has one owner and a fixed order. N = 64 and B = 100 are 200 blocks, enough for 132
// multiprocessors.
//
// Bytes it must move, for E = N·B·C values of size s: forward E·s, backward 2·E·s, double backward 3·E·s (what is [N,
// B] is 1/C of that). Operations it does, for P = N²·B·C: forward 3·P, backward 8·P, double backward 13·P, and N²·B
// exponentials; each byte of m takes part in more than N/2 of them, so arithmetic sets the pace. An H200 does 30·10¹²
// operations and 3.7·10¹² exponentials a second: N = 256, B = 100, C = 5 takes 3.3 µs and 1.8 µs for the exponentials
// forward, 8.7 + 1.8 µs backward and 14.2 + 1.8 µs in the double backward; the bytes, 0.5 MB each, 0.1 to 0.3 µs.
#include <algorithm>
#include <type_traits>

#include "../minibatch_discrimination.h"
#include "launch.cuh"

namespace gan_ops {
namespace {

using namespace cuda;
using Pass = DiscriminationPass;

constexpr int kTileRows = 32, kTileColumns = 64;
// To compute pairs, the threads are a square; each has every 16th row and column of a tile.
constexpr int kSide = 16;
constexpr int kRowsPerThread = kTileRows / kSide, kColumnsPerThread = kTileColumns / kSide;
// To add up weights, kLanesPerRow threads share a row and take kGroup features at a time.
constexpr int kLanesPerRow = kThreads / kTileRows;
constexpr int kGroup = 4;
static_assert(kSide * kSide == kThreads);

/// Features in shared memory at a time: all arrays of a double backward stay below 48 kB.
template <class A>
constexpr int kChunk = sizeof(A) == 8 ? 16 : 32;

/// to[c][k] = from[(first + k) · step + c], zeros behind the last sample and up to a whole group of features.
template <int kCount, class T, class A>
__device__ __forceinline__ void load_tile(const T* from, int64_t step, int64_t first, int64_t samples, int dims,
                                          A (*to)[kCount + 1]) {
  const int padded = (dims + kGroup - 1) / kGroup * kGroup;
  // Neighbouring threads take neighbouring features. One division, then steps: one for each value would take as long as
  // the pairs that it is for.
  const int step_k = kThreads / padded, step_c = kThreads - step_k * padded;
  int k = threadIdx.x / padded, c = threadIdx.x - k * padded;
  while (k < kCount) {
    to[c][k] = first + k < samples && c < dims ? widen(from[(first + k) * step + c]) : A(0);
    k += step_k;
    c += step_c;
    if (c >= padded) {
      c -= padded;
      ++k;
    }
  }
}

/// What the three passes have, each as far as it goes: null where a pass has none.
template <class T>
struct Problem {
  const T *m, *g, *v;
  T* sums;  // o or d_g
  T* d_m;
  Accumulate<T>* totals;  // [N, B, C]: d_m between tiles
  DiscriminationLayout layout;
  bool include_self;
};

// Two blocks a multiprocessor at least: left to itself, the compiler spills registers to have eight.
template <Pass kPass, class T>
__global__ void __launch_bounds__(kThreads, 2) walk_pairs(Problem<T> p, int64_t row_tiles) {
  using A = Accumulate<T>;
  constexpr bool kTilted = kPass == Pass::double_backward;
  constexpr int kDims = kChunk<A>;
  __shared__ A m_rows[kDims][kTileRows + 1], m_columns[kDims][kTileColumns + 1];
  __shared__ A v_rows[kTilted ? kDims : 1][kTileRows + 1], v_columns[kTilted ? kDims : 1][kTileColumns + 1];
  __shared__ A weights[kHasWeights<kPass> ? kTileRows : 1][kTileColumns + kLanesPerRow];  // no two lanes in one bank

  const int64_t samples = p.layout.samples, kernels = p.layout.kernels, all_dims = p.layout.dims;
  const int64_t features = kernels * all_dims;
  const int ty = threadIdx.x / kSide, tx = threadIdx.x % kSide;
  for (int64_t task = blockIdx.x; task < kernels * row_tiles; task += gridDim.x) {
    const int64_t b = task / row_tiles, first_row = task % row_tiles * kTileRows;
    A row_sums[kRowsPerThread] = {};
    for (int64_t first_column = 0; first_column < samples; first_column += kTileColumns) {
      A distance[kRowsPerThread][kColumnsPerThread] = {}, tilt[kRowsPerThread][kColumnsPerThread] = {};  // d, u
      for (int64_t first_dim = 0; first_dim < all_dims; first_dim += kDims) {
        const int dims = static_cast<int>(all_dims - first_dim < kDims ? all_dims - first_dim : kDims);
        const int64_t offset = b * all_dims + first_dim;
        load_tile<kTileRows>(p.m + offset, features, first_row, samples, dims, m_rows);
        load_tile<kTileColumns>(p.m + offset, features, first_column, samples, dims, m_columns);
        if constexpr (kTilted) {
          load_tile<kTileRows>(p.v + offset, features, first_row, samples, dims, v_rows);
          load_tile<kTileColumns>(p.v + offset, features, first_column, samples, dims, v_columns);
        }
        __syncthreads();
        for (int block = 0; block < dims; block += kDiscriminationBlock) {
          const int block_end = block + kDiscriminationBlock < dims ? block + kDiscriminationBlock : dims;
          A block_distance[kRowsPerThread][kColumnsPerThread] = {}, block_tilt[kRowsPerThread][kColumnsPerThread] = {};
          for (int c = block; c < block_end; ++c) {
#pragma unroll
            for (int r = 0; r < kRowsPerThread; ++r) {
              const int row = ty + r * kSide;
#pragma unroll
              for (int k = 0; k < kColumnsPerThread; ++k) {
                const int column = tx + k * kSide;
                const A difference = m_rows[c][row] - m_columns[c][column];
                block_distance[r][k] += std::fabs(difference);
                if constexpr (kTilted) block_tilt[r][k] += sign(difference) * (v_rows[c][row] - v_columns[c][column]);
              }
            }
          }
#pragma unroll
          for (int r = 0; r < kRowsPerThread; ++r)
#pragma unroll
            for (int k = 0; k < kColumnsPerThread; ++k) {
              distance[r][k] += block_distance[r][k];
              if constexpr (kTilted) tilt[r][k] += block_tilt[r][k];
            }
        }
        __syncthreads();
      }

#pragma unroll
      for (int r = 0; r < kRowsPerThread; ++r) {
        const int64_t i = first_row + ty + r * kSide;
#pragma unroll
        for (int k = 0; k < kColumnsPerThread; ++k) {
          const int64_t j = first_column + tx + k * kSide;
          const bool counts = i < samples && j < samples && (i != j || p.include_self);
          A value = std::exp(-distance[r][k]);
          if constexpr (kTilted) value *= -tilt[r][k];
          if constexpr (kHasSums<kPass>) row_sums[r] += counts ? value : A(0);
          if constexpr (kHasWeights<kPass>)
            weights[ty + r * kSide][tx + k * kSide] =
                counts ? -(widen(p.g[i * kernels + b]) + widen(p.g[j * kernels + b])) * value : A(0);
        }
      }

      if constexpr (kHasWeights<kPass>) {
        const int row = threadIdx.x / kLanesPerRow, lane = threadIdx.x % kLanesPerRow;
        const int64_t i = first_row + row;
        const bool last = first_column + kTileColumns >= samples;
        for (int64_t first_dim = 0; first_dim < all_dims; first_dim += kDims) {
          const int dims = static_cast<int>(all_dims - first_dim < kDims ? all_dims - first_dim : kDims);
          const int64_t offset = b * all_dims + first_dim;
          if (all_dims > kDims) {  // else the tiles are still there
            load_tile<kTileRows>(p.m + offset, features, first_row, samples, dims, m_rows);
            load_tile<kTileColumns>(p.m + offset, features, first_column, samples, dims, m_columns);
          }
          __syncthreads();
          for (int group = 0; group < dims; group += kGroup) {
            A force[kGroup] = {};
            for (int column = lane; column < kTileColumns; column += kLanesPerRow) {
              const A weight = weights[row][column];
#pragma unroll
              for (int f = 0; f < kGroup; ++f)
                force[f] += weight * sign(m_rows[group + f][row] - m_columns[group + f][column]);
            }
#pragma unroll
            for (int f = 0; f < kGroup; ++f) {
#pragma unroll
              for (int lanes = kLanesPerRow / 2; lanes > 0; lanes /= 2)
                force[f] += __shfl_xor_sync(kAllLanes, force[f], lanes);
              if (lane == f && i < samples && group + f < dims) {
                const int64_t at = i * features + offset + group + f;
                const A total = first_column > 0 ? p.totals[at] + force[f] : force[f];
                if (last)
                  p.d_m[at] = narrow<T>(total);
                else
                  p.totals[at] = total;
              }
            }
          }
          __syncthreads();
        }
      }
    }

    if constexpr (kHasSums<kPass>) {
#pragma unroll
      for (int r = 0; r < kRowsPerThread; ++r) {
#pragma unroll
        for (int lanes = kSide / 2; lanes > 0; lanes /= 2)
          row_sums[r] += __shfl_xor_sync(kAllLanes, row_sums[r], lanes);
        const int64_t i = first_row + ty + r * kSide;
        if (tx == 0 && i < samples) p.sums[i * kernels + b] = narrow<T>(row_sums[r]);
      }
    }
  }
}

template <Pass kPass, class T>
void launch_walk(const Problem<T>& p, CudaStream stream) {
  const int64_t row_tiles = (p.layout.samples + kTileRows - 1) / kTileRows;
  launch(walk_pairs<kPass, T>, grid_for(p.layout.kernels * row_tiles), kThreads, stream, p, row_tiles);
}

/// Where d_m is added up between tiles: in place if it is wide enough.
template <class T>
Accumulate<T>* totals_in(void* d_m, void* workspace) {
  return static_cast<Accumulate<T>*>(std::is_same_v<T, Accumulate<T>> ? d_m : workspace);
}

}  // namespace

void run_on_cuda(const DiscriminationForwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    launch_walk<Pass::forward>(Problem<T>{static_cast<const T*>(a.m), nullptr, nullptr, static_cast<T*>(a.out), nullptr,
                                          nullptr, a.layout, a.include_self},
                               stream);
  });
}

void run_on_cuda(const DiscriminationBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    launch_walk<Pass::backward>(
        Problem<T>{static_cast<const T*>(a.m), static_cast<const T*>(a.g), nullptr, nullptr, static_cast<T*>(a.d_m),
                   totals_in<T>(a.d_m, a.workspace), a.layout, /*include_self=*/false},
        stream);
  });
}

void run_on_cuda(const DiscriminationDoubleBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    launch_walk<Pass::double_backward>(
        Problem<T>{static_cast<const T*>(a.m), static_cast<const T*>(a.g), static_cast<const T*>(a.v),
                   static_cast<T*>(a.d_g), static_cast<T*>(a.d_m), totals_in<T>(a.d_m, a.workspace), a.layout,
                   /*include_self=*/false},
        stream);
  });
}

}  // namespace gan_ops
