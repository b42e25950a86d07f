// Filtered leaky ReLU on CUDA: a block a tile of a plane, with the tile's part of the enlarged image in shared memory.
//
// Bytes it must move, for X elements in, Y elements out of size s, and M enlarged values: forward (X + Y)·s, and M/4
// more where it is recorded; every other pass (X + Y)·s + M/4. Operations, with filters of K1 and K2 taps, factors u
// and d, separable: per enlarged value K1/u² + K1/u + K2/d + K2/d² multiply-adds. At StyleGAN3's u = d = 2, K1 = K2 =
// 12 these are 18. So for x [32, 256, 148, 148] in bfloat16 (359 MB, 730 million enlarged values) an H200 needs 0.18 ms
// for its memory, 0.04 ms for the codes, and 0.39 ms for 26 TFLOP at 67 TFLOP/s: arithmetic sets the pace, and tiles
// add a third to it (a tile of 32×32 makes 74×74 enlarged values where 64×64 are its own).
//
// Filters too long for any tile's shared memory take a way without: each thread sums over both filters, which repeats
// the enlargement for every tap. It is right for any length, and slow.
#include "../filtered_lrelu.h"
#include "launch.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

#ifndef GAN_OPS_FILTER_SHARED_BYTES  // tests have less, so that filters need not be long to be too long
#define GAN_OPS_FILTER_SHARED_BYTES (40 << 10)
#endif
constexpr int kSharedBytes = GAN_OPS_FILTER_SHARED_BYTES;  // of the 48 kB that a block may have; five blocks an SM
template <class A>
constexpr int kShared = kSharedBytes / sizeof(A);

using Axis = FilteredAxisOf<int>;
using TapsHere = TapsOf<int>;

Axis narrowed(const FilteredAxis& axis) {
  const auto as_int = [](int64_t value) { return static_cast<int>(value); };
  return {as_int(axis.in),    as_int(axis.mid),   as_int(axis.out),     as_int(axis.up),     as_int(axis.down),
          as_int(axis.taps1), as_int(axis.taps2), as_int(axis.before1), as_int(axis.before2)};
}

/// The arguments as kernels take them.
template <class T>
struct Pass {
  using A = Accumulate<T>;
  const T* x;
  const A* bias;
  T* y;
  uint8_t* codes;
  A* sums;
  const A *taps1, *taps2;
  FilterArgs filter1, filter2;
  Axis rows, columns;
  int planes, channels;
  bool channels_last;
  Codes use;
  ClampedLrelu<A> lrelu;
  int high, wide, across, tiles;  // of an output tile; how many are side by side, and in a plane
  int code_bytes;                 // of a row

  /// Where a plane of a tensor with `pixels` begins; its pixels are `step()` elements apart.
  __device__ __forceinline__ int64_t start(int plane, int64_t pixels) const {
    return channels_last ? plane / channels * pixels * channels + plane % channels : plane * pixels;
  }
  __device__ __forceinline__ int64_t step() const { return channels_last ? channels : 1; }

  __device__ __forceinline__ A tap1(int k, int count) const {
    return taps1[filter1.reversed ? count - 1 - k : k] * A(filter1.gain);
  }
  __device__ __forceinline__ A tap2(int k, int count) const {
    return taps2[filter2.reversed ? count - 1 - k : k] * A(filter2.gain);
  }

  /// A pixel of the input with its bias; 0 outside.
  __device__ __forceinline__ A input(int plane, int row, int column) const {
    if (row < 0 || row >= rows.in || column < 0 || column >= columns.in) return A(0);
    const A value =
        widen(x[start(plane, int64_t{rows.in} * columns.in) + (int64_t{row} * columns.in + column) * step()]);
    return bias == nullptr ? value : value + bias[plane % channels];
  }
  __device__ __forceinline__ void output(int plane, int row, int column, A value) const {
    y[start(plane, int64_t{rows.out} * columns.out) + (int64_t{row} * columns.out + column) * step()] =
        narrow<T>(value);
  }

  __device__ __forceinline__ uint8_t* codes_at(int plane, int m, int byte) const {
    return codes + (int64_t{plane} * rows.mid + m) * code_bytes + byte;
  }
  /// s of t; its code is added to `codes_of_four` as the `place`-th, or read there.
  __device__ __forceinline__ A activated(A t, int place, unsigned& codes_of_four) const {
    bool positive, within;
    if (use == Codes::read) {
      const unsigned code = codes_of_four >> (2 * place);
      positive = (code & 1u) == 0;
      within = (code & 2u) == 0;
      lrelu.mask(t, positive, within);
    } else {
      lrelu.apply(t, positive, within);
      codes_of_four |= ((positive ? 0u : 1u) | (within ? 0u : 2u)) << (2 * place);
    }
    return t;
  }
};

/// Rows and columns of a tile's buffers, at most (those at the edges have fewer), and where they lie in shared memory:
/// taps; the input and, where its columns are enlarged apart from its rows, the enlarged image in the same place; the
/// image that is enlarged, or reduced, along its rows alone.
template <class I>
struct Buffers {
  I in_high, in_wide, mid_high, mid_wide;
  I taps1, taps2;
  I first, second, count;

  GAN_OPS_INLINE Buffers(const FilteredAxisOf<I>& rows, const FilteredAxisOf<I>& columns, bool separable1,
                         bool separable2, I high, I wide)
      : mid_high((high - 1) * rows.down + rows.taps2),
        mid_wide((wide - 1) * columns.down + columns.taps2),
        taps1(separable1 ? columns.taps1 : rows.taps1 * columns.taps1),
        taps2(separable2 ? columns.taps2 : rows.taps2 * columns.taps2) {
    in_high = (mid_high + rows.taps1 - 2) / rows.up + 2;
    in_wide = (mid_wide + columns.taps1 - 2) / columns.up + 2;
    first = taps1 + taps2;
    const I input = in_high * in_wide, mid = mid_high * mid_wide;
    const I half1 = in_high * mid_wide, half2 = separable2 ? mid_high * wide : 0;
    second = first + (separable1 && input > mid ? input : mid);
    const I other = separable1 ? half1 : input;
    count = second + (half2 > other ? half2 : other);
  }
};

/// body(row, column) for the threads of a block over a rectangle.
template <class Body>
__device__ __forceinline__ void for_rectangle(int high, int wide, const Body& body) {
  for (int i = threadIdx.x; i < high * wide; i += kThreads) body(i / wide, i % wide);
}

template <class T>
__global__ void __launch_bounds__(kThreads,
                                  sizeof(T) == 8 ? 1 : 3)  // aiming at more blocks, the compiler spills registers
    by_tiles(Pass<T> pass) {
  using A = Accumulate<T>;
  __shared__ A shared[kShared<A>];
  __shared__ A of_warps[kThreads / kWarp];
  const Axis &rows = pass.rows, &columns = pass.columns;
  const bool apart1 = pass.filter1.separable, apart2 = pass.filter2.separable;
  const Buffers<int> b(rows, columns, apart1, apart2, pass.high, pass.wide);
  const int in_wide = b.in_wide, mid_wide = b.mid_wide, wide = pass.wide;
  A *w1 = shared, *w2 = shared + b.taps1;
  A* first = shared + b.first;
  A* second = shared + b.second;
  A* input = apart1 ? first : second;
  A* half1 = second;
  A* mid = first;
  A* half2 = second;

  for (int k = threadIdx.x; k < b.taps1; k += kThreads) w1[k] = pass.tap1(k, b.taps1);
  for (int k = threadIdx.x; k < b.taps2; k += kThreads) w2[k] = pass.tap2(k, b.taps2);

  // Block by block over all tiles of all planes, without a long division.
  const int step_planes = static_cast<int>(gridDim.x) / pass.tiles,
            step_tiles = static_cast<int>(gridDim.x) % pass.tiles;
  int plane = static_cast<int>(blockIdx.x) / pass.tiles, tile = static_cast<int>(blockIdx.x) % pass.tiles;
  for (; plane < pass.planes; plane += step_planes, tile += step_tiles) {
    if (tile >= pass.tiles) {
      tile -= pass.tiles;
      if (++plane >= pass.planes) break;
    }
    const int q_row = tile / pass.across * pass.high, q_column = tile % pass.across * wide;
    const int high_now = rows.out - q_row < pass.high ? rows.out - q_row : pass.high;
    const int wide_now = columns.out - q_column < wide ? columns.out - q_column : wide;
    // Enlarged positions that the tile's filter covers; those outside the image stay 0.
    const int m_row = rows.mid_at(q_row), m_column = columns.mid_at(q_column);
    const int m_high = (high_now - 1) * rows.down + rows.taps2;
    const int m_wide = (wide_now - 1) * columns.down + columns.taps2;
    const int i_row = rows.taps_at(m_row).input, i_column = columns.taps_at(m_column).input;

    __syncthreads();
    for_rectangle(b.in_high, b.in_wide, [&](int row, int column) {
      input[row * in_wide + column] = pass.input(plane, i_row + row, i_column + column);
    });
    __syncthreads();

    if (apart1) {
      for_rectangle(b.in_high, m_wide, [&](int row, int column) {
        const TapsHere t = columns.taps_at(m_column + column);
        const A* from = input + row * in_wide + (t.input - i_column);
        A sum = 0;
        for (int j = 0; j < t.count; ++j) sum += w1[t.first + j * columns.up] * from[j];
        half1[row * mid_wide + column] = sum;
      });
      __syncthreads();
    }

    // Four columns, of one byte of codes, a thread. What a byte has beside the tile's columns is for its neighbour.
    const int byte_begin = (m_column > 0 ? m_column : 0) / kCodesPerByte;
    const int m_end = m_column + m_wide < columns.mid ? m_column + m_wide : columns.mid;
    const int byte_end = m_end <= 0 ? byte_begin : (m_end + kCodesPerByte - 1) / kCodesPerByte;
    const int owned_rows = q_row + high_now == rows.out ? rows.mid : (q_row + high_now) * rows.down;
    const int owned_columns = q_column + wide_now == columns.out ? columns.mid : (q_column + wide_now) * columns.down;
    for_rectangle(m_high, m_wide, [&](int row, int column) {
      const int m = m_row + row, o = m_column + column;
      if (m < 0 || m >= rows.mid || o < 0 || o >= columns.mid) mid[row * mid_wide + column] = 0;
    });
    for_rectangle(m_high, byte_end > byte_begin ? byte_end - byte_begin : 0, [&](int row, int byte) {
      const int m = m_row + row, begin = (byte_begin + byte) * kCodesPerByte;
      if (m < 0 || m >= rows.mid) return;
      const TapsHere vertical = rows.taps_at(m);
      unsigned four = pass.use == Codes::read ? *pass.codes_at(plane, m, byte_begin + byte) : 0u;
      for (int place = 0; place < kCodesPerByte; ++place) {
        const int o = begin + place;
        if (o < m_column || o >= m_end) continue;
        const int column = o - m_column;
        A t = 0;
        if (apart1) {
          const A* from = half1 + (vertical.input - i_row) * mid_wide + column;
          for (int j = 0; j < vertical.count; ++j) t += w1[vertical.first + j * rows.up] * from[j * mid_wide];
        } else {
          const TapsHere across = columns.taps_at(o);
          for (int j = 0; j < vertical.count; ++j) {
            const A* from = input + (vertical.input - i_row + j) * in_wide + (across.input - i_column);
            const A* taps = w1 + (vertical.first + j * rows.up) * columns.taps1 + across.first;
            for (int k = 0; k < across.count; ++k) t += taps[k * columns.up] * from[k];
          }
        }
        mid[row * mid_wide + column] = pass.activated(t, place, four);
      }
      if (pass.use == Codes::written && m < owned_rows && begin < owned_columns)
        *pass.codes_at(plane, m, byte_begin + byte) = static_cast<uint8_t>(four);
    });
    __syncthreads();

    if (apart2) {
      for_rectangle(m_high, wide_now, [&](int row, int column) {
        const A* from = mid + row * mid_wide + column * columns.down;
        A sum = 0;
        for (int k = 0; k < columns.taps2; ++k) sum += w2[k] * from[k];
        half2[row * wide + column] = sum;
      });
      __syncthreads();
    }
    A total = 0;
    for_rectangle(high_now, wide_now, [&](int row, int column) {
      A sum = 0;
      if (apart2) {
        const A* from = half2 + row * rows.down * wide + column;
        for (int k = 0; k < rows.taps2; ++k) sum += w2[k] * from[k * wide];
      } else {
        const A* from = mid + row * rows.down * mid_wide + column * columns.down;
        for (int j = 0; j < rows.taps2; ++j)
          for (int k = 0; k < columns.taps2; ++k) sum += w2[j * columns.taps2 + k] * from[j * mid_wide + k];
      }
      pass.output(plane, q_row + row, q_column + column, sum);
      total += sum;
    });
    if (pass.sums != nullptr) {
      total = block_sum(total, of_warps);
      if (threadIdx.x == 0) pass.sums[int64_t{tile} * pass.planes + plane] = total;
    }
  }
}

// ---- Without shared memory: a thread an output, or a byte of codes ----

/// A filter's tap for two axes.
template <class A>
__device__ __forceinline__ A weight(const A* taps, const FilterArgs& filter, int row, int column, int high, int wide) {
  if (!filter.separable) {
    const int k = row * wide + column;
    return taps[filter.reversed ? high * wide - 1 - k : k] * A(filter.gain);
  }
  const A of_row = taps[filter.reversed ? high - 1 - row : row],
          of_column = taps[filter.reversed ? wide - 1 - column : column];
  return of_row * of_column * A(filter.gain) * A(filter.gain);
}

/// t at a place of the enlarged image.
template <class T>
__device__ __forceinline__ Accumulate<T> enlarged(const Pass<T>& pass, int plane, int m, int o) {
  const Axis &rows = pass.rows, &columns = pass.columns;
  const TapsHere vertical = rows.taps_at(m), across = columns.taps_at(o);
  Accumulate<T> t = 0;
#pragma unroll 1
  for (int j = 0; j < vertical.count; ++j)
#pragma unroll 1
    for (int k = 0; k < across.count; ++k)
      t += weight(pass.taps1, pass.filter1, vertical.first + j * rows.up, across.first + k * columns.up, rows.taps1,
                  columns.taps1) *
           pass.input(plane, vertical.input + j, across.input + k);
  return t;
}

/// body(row, column) over an image that may have more pixels than 32 bits hold.
template <class Body>
__device__ __forceinline__ void for_pixels(int high, int wide, const Body& body) {
  int row = 0;
  for (int64_t column = threadIdx.x; row < high; column += kThreads) {
    for (; row < high && column >= wide; column -= wide) ++row;
    if (row < high) body(row, static_cast<int>(column));
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1) directly(Pass<T> pass) {
  using A = Accumulate<T>;
  __shared__ A of_warps[kThreads / kWarp];
  const Axis &rows = pass.rows, &columns = pass.columns;
  for (int plane = blockIdx.x; plane < pass.planes; plane += gridDim.x) {
    A total = 0;
    for_pixels(rows.out, columns.out, [&](int q_row, int q_column) {
      A y = 0;
#pragma unroll 1
      for (int j = 0; j < rows.taps2; ++j)
#pragma unroll 1
        for (int k = 0; k < columns.taps2; ++k) {
          const int m = rows.mid_at(q_row) + j, o = columns.mid_at(q_column) + k;
          if (m < 0 || m >= rows.mid || o < 0 || o >= columns.mid) continue;
          unsigned four = pass.use == Codes::read ? *pass.codes_at(plane, m, o / kCodesPerByte) : 0u;
          const A s = pass.activated(enlarged(pass, plane, m, o), o % kCodesPerByte, four);
          y += weight(pass.taps2, pass.filter2, j, k, rows.taps2, columns.taps2) * s;
        }
      pass.output(plane, q_row, q_column, y);
      total += y;
    });
    if (pass.sums != nullptr) {
      total = block_sum(total, of_warps);
      if (threadIdx.x == 0) pass.sums[plane] = total;
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1) write_codes(Pass<T> pass) {
  for (int plane = blockIdx.x; plane < pass.planes; plane += gridDim.x)
    for_pixels(pass.rows.mid, pass.code_bytes, [&](int m, int byte) {
      unsigned four = 0;
#pragma unroll 1
      for (int place = 0; place < kCodesPerByte; ++place) {
        const int o = byte * kCodesPerByte + place;
        if (o < pass.columns.mid) pass.activated(enlarged(pass, plane, m, o), place, four);
      }
      *pass.codes_at(plane, m, byte) = static_cast<uint8_t>(four);
    });
}

}  // namespace

OutputTiles tiles_on_cuda(const FilteredLreluArgs& args, Dtype dtype) {
  const int64_t room = kSharedBytes / (dtype == Dtype::float64 ? sizeof(double) : sizeof(float));
  // Widths are multiples of four, so that no byte of codes belongs to two tiles.
  constexpr int64_t kSizes[][2] = {{32, 32}, {16, 32}, {16, 16}, {8, 16}, {8, 8}, {4, 8}, {4, 4}, {1, 4}};
  for (const auto& size : kSizes) {
    const Buffers<int64_t> b(args.rows, args.columns, args.filter1.separable, args.filter2.separable, size[0], size[1]);
    if (b.count <= room) return output_tiles(args.rows, args.columns, size[0], size[1]);
  }
  return {0, 0, 1, 1};
}

void run_on_cuda(const FilteredLreluArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    const Pass<T> pass{static_cast<const T*>(args.x),
                       static_cast<const A*>(args.bias),
                       static_cast<T*>(args.y),
                       args.codes,
                       static_cast<A*>(args.sums),
                       static_cast<const A*>(args.filter1.taps),
                       static_cast<const A*>(args.filter2.taps),
                       args.filter1,
                       args.filter2,
                       narrowed(args.rows),
                       narrowed(args.columns),
                       static_cast<int>(args.samples * args.channels),
                       static_cast<int>(args.channels),
                       args.channels_last,
                       args.use,
                       {A(args.gain), A(args.slope), A(args.limit), args.limit >= 0},
                       static_cast<int>(args.tiles.high),
                       static_cast<int>(args.tiles.wide),
                       static_cast<int>(args.tiles.across),
                       static_cast<int>(args.tiles.count()),
                       static_cast<int>(codes_layout(1, args.rows, args.columns).bytes)};
    const int64_t planes = args.samples * args.channels;
    if (args.tiles.high > 0) {
      launch(by_tiles<T>, grid_for(planes * args.tiles.count()), kThreads, stream, pass);
      return;
    }
    if (args.use == Codes::written) launch(write_codes<T>, grid_for(planes), kThreads, stream, pass);
    launch(directly<T>, grid_for(planes), kThreads, stream, pass);
  });
}

}  // namespace gan_ops
