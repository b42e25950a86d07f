// upfirdn2d on CUDA: a block a tile of the output. Its inputs go to shared memory, widened, with zeros around them; a
// separable filter then goes along columns from there to shared memory, and along rows to the output.
//
// Bytes it must move, for E elements of x of size s and F of y: (E + F)·s. A filter of K×K taps takes K²/(up_x·up_y)
// multiply-adds for an element of y, a separable one (K/up_y)·(down_x/up_x) + K/up_x. For 4 taps and up 2 that is 4, so
// memory sets the pace: at an H200's 4.8 TB/s, 16x512 images of 32×32 enlarged to 64×64 in float32 (168 MB) take
// 0.035 ms. Each multiply-add reads shared memory once or twice: 16 of them an element (4×4 taps, same size) are at the
// limit of that, 0.025 ms for 8 million elements, where memory would take 0.014.
#include "../upfirdn2d.h"
#include "vectors.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

// Of static shared memory: 45 kB.
constexpr int kInputBytes = 24576, kBetweenBytes = 16384, kMostTaps = 512;
constexpr int kMostSpan = 1 << 28;  // of positions in a tile: int arithmetic

template <class A>
constexpr int kMostInputs = kInputBytes / sizeof(A);
template <class A>
constexpr int kMostBetween = kBetweenBytes / sizeof(A);

/// An axis of a tile: of its output d, relative to the tile's first, the first tap and the first input, relative to
/// `first_input`. kUp: the factor, or 0 for any.
template <int kUp>
struct TileAxis {
  int any_up, down, taps;
  int64_t first_input;
  int rest;    // position of first_input less that of output 0
  int before;  // inputs that the tile has in front of first_input

  __device__ __forceinline__ TileAxis(const ResampledAxis& axis, int64_t first_output)
      : any_up(static_cast<int>(axis.up)),
        down(static_cast<int>(axis.down)),
        taps(static_cast<int>(axis.taps)),
        first_input(axis.first_input(first_output)),
        rest(static_cast<int>(axis.first_tap(first_output))),
        before(0) {}

  __device__ __forceinline__ int up() const { return kUp == 0 ? any_up : kUp; }
  /// Without `before`.
  __device__ __forceinline__ int input(int d) const { return (d * down - rest + up() - 1) / up(); }
  __device__ __forceinline__ int tap(int d, int input) const { return input * up() - (d * down - rest); }
  __device__ __forceinline__ int used(int tap) const { return tap < taps ? (taps - tap + up() - 1) / up() : 0; }
  /// Inputs of outputs [0, count), `before` included.
  __device__ __forceinline__ int inputs(int count) const {
    const int last = (count - 1) * down - rest + taps - 1;
    return before + (last < 0 ? 0 : last / up() + 1);
  }
};

/// Sizes of tiles: `width`×`height` pixels of 2^log_values values.
struct Tiles {
  int width, height, log_values;
  int64_t groups, across, down, count;  // groups of values, tiles side by side, below one another, and all
};

template <class A>
__device__ __forceinline__ void take_taps(const Upfirdn2dArgs& a, A* taps) {
  const int count = static_cast<int>(a.separable ? a.horizontal.taps : a.horizontal.taps * a.vertical.taps);
  const A* const filter = static_cast<const A*>(a.filter);
  for (int k = threadIdx.x; k < count; k += kThreads)
    taps[a.flip ? k : count - 1 - k] = filter == nullptr ? A(1) : filter[k];
}

/// kUp: both factors, or 0 for any; kValues: whether pixels have several values, which threads then have side by side.
template <class T, int kUp, bool kValues>
__global__ void __launch_bounds__(kThreads,
                                  sizeof(T) == 8 ? 2 : 3)  // aiming at more blocks, the compiler spills registers
    by_tiles(Upfirdn2dArgs a, Tiles tiles) {
  using A = Accumulate<T>;
  constexpr int V = kVector<T>;
  __shared__ A inputs[kMostInputs<A>];
  __shared__ A between[kMostBetween<A>];
  __shared__ A taps[kMostTaps];
  const T* const x = static_cast<const T*>(a.x);
  T* const y = static_cast<T*>(a.y);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = kThreads / kWarp;
  const int log_values = kValues ? tiles.log_values : 0, values = 1 << log_values;
  const A gain = A(a.gain);
  // Of the rows of either, whether vectors begin at multiples of 16 bytes.
  const bool load_vectors = aligned(x) && (kValues ? a.inner : a.horizontal.in) % V == 0;
  const bool store_vectors = aligned(y) && (kValues ? a.inner : a.horizontal.out) % V == 0;
  take_taps(a, taps);

  for (int64_t index = blockIdx.x; index < tiles.count; index += gridDim.x) {
    const int64_t group = index % tiles.groups, row_of_tiles = index / tiles.groups / tiles.across;
    const int64_t out_x = index / tiles.groups % tiles.across * tiles.width;
    const int64_t out_y = row_of_tiles % tiles.down * tiles.height, plane = row_of_tiles / tiles.down;
    const int64_t first_value = group << log_values;
    const int width = static_cast<int>(min(int64_t(tiles.width), a.horizontal.out - out_x));
    const int height = static_cast<int>(min(int64_t(tiles.height), a.vertical.out - out_y));
    TileAxis<kUp> across(a.horizontal, out_x);
    const TileAxis<kUp> down(a.vertical, out_y);
    if (!kValues && load_vectors) across.before = static_cast<int>(across.first_input & (V - 1));
    const int64_t first_column = across.first_input - across.before;
    const int columns = kValues ? across.inputs(width) : (across.inputs(width) + V - 1) / V * V;
    const int rows = down.inputs(height);
    const int stride = columns << log_values;

    for (int r = warp; r < rows; r += warps) {
      const int64_t row = down.first_input + r;
      const bool inside = row >= 0 && row < a.vertical.in;
      for (int j = lane * V; j < stride; j += kWarp * V) {
        const int64_t column = first_column + (j >> log_values);
        const int64_t value = first_value + (j & (values - 1));
        const int64_t at = ((plane * a.vertical.in + row) * a.horizontal.in + column) * a.inner + value;
        A found[V];
        if constexpr (kValues) {
          const int64_t rest = inside && column >= 0 && column < a.horizontal.in ? a.inner - value : 0;
          load(x + at, rest < V ? static_cast<int>(rest) : V, load_vectors, found);
        } else if (load_vectors) {  // all of a vector is inside, or nothing
          load(x + at, inside && column >= 0 && column < a.horizontal.in ? V : 0, true, found);
        } else {
#pragma unroll
          for (int k = 0; k < V; ++k)
            found[k] = inside && column + k >= 0 && column + k < a.horizontal.in ? widen(x[at + k]) : A(0);
        }
#pragma unroll
        for (int k = 0; k < V; ++k) inputs[r * stride + j + k] = found[k];
      }
    }
    __syncthreads();

    if (a.separable) {
      for (int r = warp; r < height; r += warps) {
        const int first = down.input(r), tap = down.tap(r, first), used = down.used(tap);
        for (int j = lane; j < stride; j += kWarp) {
          A sum = 0;
          for (int k = 0; k < used; ++k) sum += taps[tap + k * down.up()] * inputs[(first + k) * stride + j];
          between[r * stride + j] = sum;
        }
      }
      __syncthreads();
    }

    for (int r = warp; r < height; r += warps) {
      const int first = down.input(r), tap = down.tap(r, first);
      // A filter of one row, from here on, if the columns are done.
      const A* const from = a.separable ? between + r * stride : inputs + first * stride;
      const A* const row_taps = a.separable ? taps : taps + tap * across.taps;
      const int high = a.separable ? 1 : down.used(tap), next_row = across.taps * down.up();
      for (int j = lane * V; j < width << log_values; j += kWarp * V) {
        const int d = j >> log_values, value = j & (values - 1);
        A sums[V];
#pragma unroll
        for (int k = 0; k < V; ++k) sums[k] = 0;
        if constexpr (kValues || kUp == 1) {  // the same taps for all
          const int column = across.input(d), first_tap = across.tap(d, column), wide = across.used(first_tap);
          const int step = kValues ? 1 : across.down;
          const int start = ((across.before + column) << log_values) + value;
          // Outputs behind the tile's last are computed too, from what there is.
          const int here = kValues ? V : min(V, width - d);
          for (int p = 0; p < high; ++p)
            for (int q = 0; q < wide; ++q) {
              const A factor = row_taps[p * next_row + first_tap + q * across.up()];
              const A* const run = from + p * stride + start + (q << log_values);
#pragma unroll
              for (int k = 0; k < V; ++k)
                if (k < here) sums[k] += factor * run[k * step];
            }
        } else {
#pragma unroll
          for (int k = 0; k < V; ++k) {
            if (d + k >= width) continue;
            const int column = across.input(d + k), first_tap = across.tap(d + k, column);
            const int wide = across.used(first_tap);
            for (int p = 0; p < high; ++p)
              for (int q = 0; q < wide; ++q)
                sums[k] += row_taps[p * next_row + first_tap + q * across.up()] *
                           from[p * stride + across.before + column + q];
          }
        }
#pragma unroll
        for (int k = 0; k < V; ++k) sums[k] *= gain;
        const int64_t rest = kValues ? a.inner - first_value - value : width - d;
        const int64_t at =
            ((plane * a.vertical.out + out_y + r) * a.horizontal.out + out_x + d) * a.inner + first_value + value;
        if (rest > 0) store(y + at, rest < V ? static_cast<int>(rest) : V, store_vectors, sums);
      }
    }
    __syncthreads();
  }
}

/// Any filter and any factors, however large, from memory: a thread an element of y.
template <class T>
__global__ void __launch_bounds__(kThreads) by_elements(Upfirdn2dArgs a, int64_t count) {
  using A = Accumulate<T>;
  const T* const x = static_cast<const T*>(a.x);
  const A* const filter = static_cast<const A*>(a.filter);
  const auto tap = [&](int64_t k, int64_t taps) { return filter[a.flip ? k : taps - 1 - k]; };
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += int64_t(gridDim.x) * kThreads) {
    const int64_t value = i % a.inner, pixel = i / a.inner;
    const int64_t out_x = pixel % a.horizontal.out, row_of_y = pixel / a.horizontal.out;
    const int64_t out_y = row_of_y % a.vertical.out, plane = row_of_y / a.vertical.out;
    A sum = 0;
    for (int64_t p = 0; p < a.vertical.used_taps(out_y); ++p) {
      const int64_t row = a.vertical.first_input(out_y) + p, down = a.vertical.first_tap(out_y) + p * a.vertical.up;
      if (row < 0 || row >= a.vertical.in) continue;
      A of_row = 0;
      for (int64_t q = 0; q < a.horizontal.used_taps(out_x); ++q) {
        const int64_t column = a.horizontal.first_input(out_x) + q;
        if (column < 0 || column >= a.horizontal.in) continue;
        const int64_t along = a.horizontal.first_tap(out_x) + q * a.horizontal.up;
        const A factor = filter == nullptr ? A(1)
                         : a.separable     ? tap(along, a.horizontal.taps)
                                           : tap(down * a.horizontal.taps + along, a.horizontal.taps * a.vertical.taps);
        of_row += factor * widen(x[((plane * a.vertical.in + row) * a.horizontal.in + column) * a.inner + value]);
      }
      sum += a.separable ? tap(down, a.vertical.taps) * of_row : of_row;
    }
    static_cast<T*>(a.y)[i] = narrow<T>(sum * A(a.gain));
  }
}

/// The most inputs that `count` outputs have along an axis, with what vectors add.
inline int64_t most_inputs(const ResampledAxis& axis, int64_t count, int64_t more) {
  return ((count - 1) * axis.down + axis.taps - 1) / axis.up + 1 + more;
}

/// Tiles that fit in shared memory; of width 0 if none do.
template <class T>
Tiles tiles_of(const Upfirdn2dArgs& a) {
  using A = Accumulate<T>;
  constexpr int kMostValues = 16;
  Tiles t = {0, 0, 0, 0, 0, 0, 0};
  const bool several = a.inner > 1;
  while (several && (1 << t.log_values) < kMostValues && (1 << t.log_values) < a.inner) ++t.log_values;
  while (several && (1 << t.log_values) < kVector<T>) ++t.log_values;
  const int64_t values = int64_t(1) << t.log_values;
  const int64_t taps = a.separable ? a.horizontal.taps : a.horizontal.taps * a.vertical.taps;
  // A warp's vectors in a row, and 16 rows, two a warp.
  int64_t width = kWarp * kVector<T> / values, height = 16;
  const auto inputs = [&] { return (most_inputs(a.horizontal, width, several ? 0 : 2 * kVector<T>)) * values; };
  const auto fits = [&] {
    return inputs() * most_inputs(a.vertical, height, 0) <= kMostInputs<A> &&
           (!a.separable || inputs() * height <= kMostBetween<A>);
  };
  const auto small = [](const ResampledAxis& axis) {
    return axis.up < kMostSpan / 64 && axis.down < kMostSpan / 512 && axis.taps < kMostSpan / 64;
  };
  if (taps > kMostTaps || !small(a.horizontal) || !small(a.vertical)) return t;
  while (!fits() && (height > 1 || width > 1)) {
    if (height > 4 || width == 1)
      height /= 2;
    else
      width /= 2;
  }
  if (!fits()) return t;
  t.width = static_cast<int>(width);
  t.height = static_cast<int>(height);
  t.groups = (a.inner + values - 1) / values;
  t.across = (a.horizontal.out + width - 1) / width;
  t.down = (a.vertical.out + height - 1) / height;
  t.count = t.groups * t.across * t.down * a.planes;
  return t;
}

template <class T>
void run(const Upfirdn2dArgs& a, CudaStream stream) {
  const Tiles tiles = tiles_of<T>(a);
  if (tiles.width == 0) {
    const int64_t count = a.planes * a.vertical.out * a.horizontal.out * a.inner;
    return launch(by_elements<T>, grid_for((count + kThreads - 1) / kThreads), kThreads, stream, a, count);
  }
  const bool same = a.horizontal.up == a.vertical.up;
  const auto kernel = [&]() -> void (*)(Upfirdn2dArgs, Tiles) {
    if (same && a.horizontal.up == 1) return a.inner == 1 ? by_tiles<T, 1, false> : by_tiles<T, 1, true>;
    if (same && a.horizontal.up == 2) return a.inner == 1 ? by_tiles<T, 2, false> : by_tiles<T, 2, true>;
    return a.inner == 1 ? by_tiles<T, 0, false> : by_tiles<T, 0, true>;
  }();
  launch(kernel, grid_for(tiles.count), kThreads, stream, a, tiles);
}

}  // namespace

void run_on_cuda(const Upfirdn2dArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) { run<T>(args, stream); });
}

}  // namespace gan_ops
