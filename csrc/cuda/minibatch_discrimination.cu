// Minibatch discrimination on CUDA. A block owns kTileRows samples of one kernel b and goes through all others in tiles
// of kTileColumns, features in chunks through shared memory. Both samples of a pair compute it, each for itself:
// nothing is scattered, every sum has one owner and a fixed order.
//
// Bytes it must move, for E = N·B·C values of size s: forward E·s, backward 2·E·s, double backward 3·E·s (what is [N,
// B] is 1/C of that). Instructions it must issue, for P = N²·B·C: forward 2·P (subtract, add up |·|), backward 6·P
// (then subtract once more, compare with 0, take the sign, multiply and add), double backward 10·P (as many for the
// tilt, and v's difference, less the difference that is there), and N²·B exponentials of 8 instructions. Each byte of m
// takes part in more than N/2 of them, so they set the pace. An H200 issues 33·10¹² a second: N = 256, B = 100, C = 5
// takes 3.5 µs forward, 7.4 µs backward and 11.3 µs in the double backward; the bytes, 0.5 MB each, 0.1 to 0.3 µs. With
// what the loops have beside that, reads of shared memory above all, sm_90 issues 2.4·P, 7.9·P and 12.3·P where a
// thread has 4 × 4 pairs.
#include <cstring>
#include <type_traits>

#include "../minibatch_discrimination.h"
#include "launch.cuh"
#include "vectors.cuh"

#ifndef GAN_OPS_MANY_BLOCKS  // tests call fewer blocks many
#define GAN_OPS_MANY_BLOCKS 512
#endif

namespace gan_ops {
namespace {

using namespace cuda;
using Pass = DiscriminationPass;

constexpr int kTileRows = 32, kTileColumns = 64;
// To compute pairs, a thread has some adjacent rows and four adjacent columns, a warp all columns of its rows.
constexpr int kColumns = 4;
constexpr int kAcross = kTileColumns / kColumns, kDown = kWarp / kAcross;

/// What depends on how many rows a thread has. The more, the less is read from shared memory for each pair; the fewer,
/// the more threads share a tile.
template <int kRows>
struct Tile {
  static constexpr int threads = kTileRows / kRows * kAcross;
  static constexpr int warp_rows = kDown * kRows;
  /// To add up weights, so many threads share a row. A thread has every so manieth group of four columns.
  static constexpr int parts = kWarp / warp_rows;
  static constexpr int groups = kTileColumns / kColumns / parts;
  /// A row of weights in shared memory: eight threads that write or read 16 bytes each meet all banks.
  static constexpr int weight_stride = kTileColumns + 16 / kRows;
};

/// With 4 × 4 pairs a thread from so many blocks on: four a multiprocessor, a warp for each of its schedulers.
constexpr int64_t kManyBlocks = GAN_OPS_MANY_BLOCKS;

/// Features in shared memory at a time: all arrays of a double backward stay below 48 kB.
template <Pass kPass, class A>
constexpr int kChunk = (kPass == Pass::double_backward ? 64 : 128) / sizeof(A);

// Features in shared memory are [c][k], samples k behind one another, so that those of a thread are read 16 bytes at a
// time. Four more keep most of what neighbouring threads write out of one another's banks.
constexpr int kRowStride = kTileRows + 4, kColumnStride = kTileColumns + 4;
constexpr int kMostColumns = 4 * kTileColumns;

/// How many columns are loaded at a time: several tiles where features are few.
template <int kDims>
__device__ __forceinline__ int columns_at_once(int dims) {
  const int tiles = (kDims * kColumnStride / dims - 4) / kTileColumns * kTileColumns;
  return tiles < kMostColumns ? tiles : kMostColumns;
}

/// sign(x) of a difference, in two instructions: 0 or 1 from a comparison, then x's sign.
template <class A>
__device__ __forceinline__ A slope(A x) {
  return std::copysign(x == A(0) ? A(0) : A(1), x);
}

/// to[c · stride + k] = from[k · step + c] for k < samples and c < dims, by kThreads threads, kWidth features at a
/// time.
template <int kThreads, int kWidth, class T, class A>
__device__ __forceinline__ void load_features(const T* from, int64_t step, int samples, int dims, A* to, int stride) {
  using Unit = std::conditional_t<kWidth == 1, T, uint4>;
  constexpr int kAtOnce = kWidth == 1 ? 4 : 2;  // loads under way
  const int units = dims / kWidth, end = samples * units;
  // Neighbouring threads take neighbouring features. One division, then steps: one for each value would take as long as
  // the pairs that it is for. A step that leaves a sample goes on with the next one.
  const int step_k = kThreads / units, step_u = kThreads - step_k * units;
  const int k = threadIdx.x / units;
  int u = threadIdx.x - k * units, place = u * kWidth * stride + k;
  from += k * step + u * kWidth;
  const int64_t from_step = step_k * step + step_u * kWidth, from_next = step - dims;
  const int place_step = step_u * kWidth * stride + step_k, place_next = 1 - dims * stride;
#pragma unroll 1
  for (int i = threadIdx.x; i < end; i += kAtOnce * kThreads) {
    Unit loaded[kAtOnce];
    int places[kAtOnce];
#pragma unroll
    for (int n = 0; n < kAtOnce; ++n) {
      if (i + n * kThreads < end) loaded[n] = *reinterpret_cast<const Unit*>(from);
      places[n] = place;
      u += step_u;
      from += from_step;
      place += place_step;
      if (u >= units) {
        u -= units;
        from += from_next;
        place += place_next;
      }
    }
#pragma unroll
    for (int n = 0; n < kAtOnce; ++n) {
      if (i + n * kThreads >= end) break;
      T values[kWidth];
      memcpy(values, &loaded[n], sizeof(values));
#pragma unroll
      for (int c = 0; c < kWidth; ++c) to[places[n] + c * stride] = widen(values[c]);
    }
  }
}

/// What the three passes have, each as far as it goes: null where a pass has none.
template <class T>
struct Problem {
  const T *m, *g, *v;
  T* sums;  // o or d_g
  T* d_m;
  Accumulate<T>* totals;  // [N, B, C]: d_m between tiles, where a kernel has too many features for shared memory
  DiscriminationLayout layout;
  bool include_self;
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000  // adds pairs of registers, for which the compiler takes more
constexpr bool kAddsPairs = true;
#else
constexpr bool kAddsPairs = false;
#endif

/// Blocks that a multiprocessor shall have registers for, as many as none is spilled with: left to itself, the compiler
/// spills some to have more.
template <Pass kPass, int kRows, class T>
constexpr int kLeastBlocks = kRows == 4                                                       ? (kAddsPairs ? 3 : 4)
                             : kAddsPairs || kPass == Pass::double_backward || sizeof(T) == 8 ? 2
                                                                                              : 3;

template <Pass kPass, int kRows, class T>
__global__ void __launch_bounds__(Tile<kRows>::threads, kLeastBlocks<kPass, kRows, T>)
    walk_pairs(Problem<T> p, int64_t row_tiles) {
  using A = Accumulate<T>;
  using Tile = Tile<kRows>;
  constexpr bool kTilted = kPass == Pass::double_backward, kWeighs = kHasWeights<kPass>;
  constexpr int kDims = kChunk<kPass, A>, kSharedTotals = kDiscriminationSharedTotals;
  __align__(16) __shared__ A m_rows[kDims * kRowStride], m_columns[kDims * kColumnStride];
  __align__(16) __shared__ A v_rows[kTilted ? kDims * kRowStride : 1], v_columns[kTilted ? kDims * kColumnStride : 1];
  __align__(16) __shared__ A g_rows[kWeighs ? kTileRows : 1], g_columns[kWeighs ? kMostColumns : 1];
  __align__(16) __shared__ A weights[kWeighs ? kTileRows * Tile::weight_stride : 1];
  __shared__ A totals[kWeighs ? kSharedTotals * kTileRows : 1];

  const int64_t samples = p.layout.samples, kernels = p.layout.kernels, all_dims = p.layout.dims;
  const int64_t features = kernels * all_dims;
  const bool by_vector = all_dims % kVector<T> == 0 && aligned(p.m, p.v);
  const int chunks = static_cast<int>((all_dims - 1) / kDims + 1);
  const int last_dims = static_cast<int>((all_dims - 1) % kDims + 1);
  const bool one_chunk = chunks == 1, in_shared = all_dims <= kSharedTotals;
  const int at_once = one_chunk ? columns_at_once<kDims>(last_dims) : kTileColumns;
  const int stride = at_once + 4;

  // Pairs lie so in a warp that lanes 1 apart share their columns and lanes 2 apart their rows: of such lanes' reads of
  // 16 bytes the hardware makes one.
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int rows_at = (warp * kDown + lane % kDown) * kRows, columns_at = lane / kDown * kColumns;
  // To add up weights.
  const int row = warp * Tile::warp_rows + lane % Tile::warp_rows, part = lane / Tile::warp_rows;

  for (int64_t task = blockIdx.x; task < kernels * row_tiles; task += gridDim.x) {
    const int64_t b = task / row_tiles, first_row = task % row_tiles * kTileRows;
    A row_sums[kRows] = {};
    int64_t group = 0;                        // the first of the columns that are loaded together
    int rows_there = -1, columns_there = -1;  // the chunks that are in shared memory

    /// Sees to it that a chunk is in shared memory; v's only for distances.
    const auto bring = [&](int chunk, int dims, bool for_distances) {
      const bool new_v = kTilted && for_distances && !one_chunk;
      const bool new_rows = rows_there != chunk, new_columns = columns_there != chunk;
      if (!new_rows && !new_columns && !new_v) return;
      __syncthreads();  // all have read what was there
#pragma unroll 1
      for (int array = 0; array < (kTilted && for_distances ? 4 : 2); ++array) {
        const bool of_rows = array % 2 == 0, of_v = array >= 2;
        if (!(of_rows ? new_rows : new_columns) && !(of_v && new_v)) continue;
        const int64_t first = of_rows ? first_row : group;
        const int most = of_rows ? kTileRows : at_once;
        const int count = static_cast<int>(samples - first < most ? samples - first : most);
        const T* from = (of_v ? p.v : p.m) + (first * features + b * all_dims + chunk * int64_t{kDims});
        A* to = of_v ? (of_rows ? v_rows : v_columns) : of_rows ? m_rows : m_columns;
        const int to_stride = of_rows ? kRowStride : stride;
        if (by_vector)
          load_features<Tile::threads, kVector<T>>(from, features, count, dims, to, to_stride);
        else
          load_features<Tile::threads, 1>(from, features, count, dims, to, to_stride);
        if constexpr (kWeighs) {
          if (for_distances && chunk == 0 && !of_v)
            for (int k = threadIdx.x; k < count; k += Tile::threads)
              (of_rows ? g_rows : g_columns)[k] = widen(p.g[(first + k) * kernels + b]);
        }
      }
      rows_there = columns_there = chunk;
      __syncthreads();
    };

    for (int64_t first_column = 0; first_column < samples; first_column += kTileColumns) {
      if (first_column == 0 || first_column == group + at_once) {
        group = first_column;
        columns_there = -1;
      }
      const int in_group = static_cast<int>(first_column - group);
      const int columns_left =
          static_cast<int>(samples - first_column < kTileColumns ? samples - first_column : kTileColumns);

      A distance[kRows][kColumns] = {}, tilt[kRows][kColumns] = {};  // d, u
      for (int chunk = 0; chunk < chunks; ++chunk) {
        const int dims = chunk < chunks - 1 ? kDims : last_dims;
        bring(chunk, dims, /*for_distances=*/true);
        const auto add = [&](int begin, int end, A(&d)[kRows][kColumns], A(&u)[kRows][kColumns]) {
          int row_place = begin * kRowStride + rows_at, column_place = begin * stride + in_group + columns_at;
          for (int c = begin; c < end; ++c) {
            A m_row[kRows], m_column[kColumns], v_row[kRows], v_column[kColumns];
            take(m_rows + row_place, m_row);
            take(m_columns + column_place, m_column);
            if constexpr (kTilted) {
              take(v_rows + row_place, v_row);
              take(v_columns + column_place, v_column);
            }
            row_place += kRowStride;
            column_place += stride;
#pragma unroll
            for (int r = 0; r < kRows; ++r)
#pragma unroll
              for (int k = 0; k < kColumns; ++k) {
                const A difference = m_row[r] - m_column[k];
                d[r][k] += std::fabs(difference);
                if constexpr (kTilted) u[r][k] += slope(difference) * (v_row[r] - v_column[k]);
              }
          }
        };
        for (int block = 0; block < dims; block += kDiscriminationBlock) {
          const int block_end = block + kDiscriminationBlock < dims ? block + kDiscriminationBlock : dims;
          if (chunk == 0 && block == 0) {
            add(block, block_end, distance, tilt);
          } else {
            A block_distance[kRows][kColumns] = {}, block_tilt[kRows][kColumns] = {};
            add(block, block_end, block_distance, block_tilt);
#pragma unroll
            for (int r = 0; r < kRows; ++r)
#pragma unroll
              for (int k = 0; k < kColumns; ++k) {
                distance[r][k] += block_distance[r][k];
                if constexpr (kTilted) tilt[r][k] += block_tilt[r][k];
              }
          }
        }
      }

      A value[kRows][kColumns], weight[kRows][kColumns];
#pragma unroll
      for (int r = 0; r < kRows; ++r)
#pragma unroll
        for (int k = 0; k < kColumns; ++k) {
          value[r][k] = std::exp(-distance[r][k]);
          if constexpr (kTilted) value[r][k] *= -tilt[r][k];
        }
      if constexpr (kWeighs) {
        A g_row[kRows], g_column[kColumns];
        take(g_rows + rows_at, g_row);
        take(g_columns + in_group + columns_at, g_column);
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
          for (int k = 0; k < kColumns; ++k) weight[r][k] = -(g_row[r] + g_column[k]) * value[r][k];
      }
      // Few tiles have pairs that do not count.
      const int64_t ahead = first_row - first_column;
      const bool has_self = ahead >= 0 && ahead < kTileColumns && !p.include_self;
      if (has_self || columns_left < kTileColumns) {
        const int self = has_self ? static_cast<int>(ahead) : kTileColumns;  // the column of row 0
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
          for (int k = 0; k < kColumns; ++k)
            if (columns_at + k >= columns_left || columns_at + k == rows_at + r + self) value[r][k] = weight[r][k] = 0;
      }
      if constexpr (kHasSums<kPass>) {
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
          for (int k = 0; k < kColumns; ++k) row_sums[r] += value[r][k];
      }

      if constexpr (kWeighs) {
        // A warp has weights of its own rows only, and threads keep theirs for all features.
        __syncwarp();  // those of the tile before have been read
#pragma unroll
        for (int r = 0; r < kRows; ++r) put(weights + (rows_at + r) * Tile::weight_stride + columns_at, weight[r]);
        __syncwarp();
        A mine[Tile::groups][kColumns];
#pragma unroll
        for (int n = 0; n < Tile::groups; ++n)
          take(weights + row * Tile::weight_stride + (n * Tile::parts + part) * kColumns, mine[n]);

        const bool first = first_column == 0, last = first_column + kTileColumns >= samples;
        const bool writes = part == 0 && first_row + row < samples;
        // From the last chunk, which is there, to the first, which the next tile begins with.
        for (int chunk = chunks - 1; chunk >= 0; --chunk) {
          const int dims = chunk < chunks - 1 ? kDims : last_dims;
          bring(chunk, dims, /*for_distances=*/false);
          A* total = totals + (in_shared ? chunk * kDims : 0) * kTileRows + row;
          const int64_t in_d_m = (first_row + row) * features + b * all_dims + chunk * int64_t{kDims};
          if (writes && (first || !in_shared))
#pragma unroll 4
            for (int c = 0; c < dims; ++c) total[c * kTileRows] = first ? A(0) : p.totals[in_d_m + c];
          int row_place = row, column_place = in_group + part * kColumns;
          for (int c = 0; c < dims; ++c) {
            const A m_row = m_rows[row_place];
            A force = 0;
#pragma unroll
            for (int n = 0; n < Tile::groups; ++n) {
              A m_column[kColumns];
              take(m_columns + column_place + n * Tile::parts * kColumns, m_column);
#pragma unroll
              for (int k = 0; k < kColumns; ++k) force += mine[n][k] * slope(m_row - m_column[k]);
            }
#pragma unroll
            for (int lanes = Tile::warp_rows; lanes < kWarp; lanes *= 2)
              force += __shfl_xor_sync(kAllLanes, force, lanes);
            if (writes) total[c * kTileRows] += force;
            row_place += kRowStride;
            column_place += stride;
          }
          if (writes && (last || !in_shared))
#pragma unroll 1
            for (int c = 0; c < dims; ++c) {
              if (last)
                p.d_m[in_d_m + c] = narrow<T>(total[c * kTileRows]);
              else
                p.totals[in_d_m + c] = total[c * kTileRows];
            }
        }
      }
    }

    if constexpr (kHasSums<kPass>) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int lanes = kDown; lanes < kWarp; lanes *= 2)
          row_sums[r] += __shfl_xor_sync(kAllLanes, row_sums[r], lanes);
        const int64_t i = first_row + rows_at + r;
        if (lane < kDown && i < samples) p.sums[i * kernels + b] = narrow<T>(row_sums[r]);
      }
    }
  }
}

template <Pass kPass, int kRows, class T>
void launch_tiles(const Problem<T>& p, int64_t row_tiles, CudaStream stream) {
  launch(walk_pairs<kPass, kRows, T>, grid_for(p.layout.kernels * row_tiles), Tile<kRows>::threads, stream, p,
         row_tiles);
}

template <Pass kPass, class T>
void launch_walk(const Problem<T>& p, CudaStream stream) {
  const int64_t row_tiles = (p.layout.samples + kTileRows - 1) / kTileRows;
  if constexpr (sizeof(Accumulate<T>) == 4) {  // 16 pairs of float64 need too many registers
    if (p.layout.kernels * row_tiles >= kManyBlocks) return launch_tiles<kPass, 4>(p, row_tiles, stream);
  }
  launch_tiles<kPass, 2>(p, row_tiles, stream);
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
