// grid_sample on CUDA: a gather has a thread for a point and some channels of it; the scatter for a pixel and some
// channels, which it gathers from the points that have the pixel for a corner.
//
// For that, points are sorted by their cells (csrc/grid_sample.cpp: a stable sort, so those of a cell stay in their
// order), and a pixel adds up the points of its 4 cells, of volumes 8, one after another. So sums repeat to the bit.
// With atomics, as torch adds up, they would not.
//
// Bytes that must be moved, for X elements of images, Y at points and P points of size s: gather (X + Y + 2·P)·s, for
// d_grid 2·P·s more; scatter (X + Y + 2·P)·s, and each element at a point is read 3 times more, mostly from L2.
// Operations: 8 an element at a point, 2 for each corner. So images [16, 64, 64, 64] in float32, sampled at as many
// points (34 MB), take an H200 (4.8 TB/s) 7 µs.
// What the order costs: cells and their numbers, 12 bytes a point, four passes of a radix sort, 24 each, and 8 a cell
// and 16 for finding it: some 130 bytes a point. Beside g's of 64 channels, 256 bytes, half a pass over it, 2 µs here;
// beside 3 channels, 12 bytes, it is nearly all. In place of that, atomics would write d_x's zeros first and then, in
// L2, read and write 4 elements for each of g: 16.8 million here. (Estimates, not measured.) Where very many points
// have one cell, as at a border that far points are clipped to, the threads of its pixels take as long as these points
// are many.
#include "../grid_sample.h"
#include "columns.cuh"
#include "vectors.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

constexpr int kChunk = 64;     // channels of a block, where pixels are adjacent and nothing is summed over them
constexpr int kScattered = 8;  // channels of a thread of the scatter, where pixels are adjacent

/// Where the points of a call are.
template <class T, int kAxes>
struct Points {
  using A = Accumulate<T>;
  const T* grid;
  const T* moves;  // or null
  GridAxis<A> axes[kAxes];
  GridLayout layout;
  GridOptions options;
};

/// A point's places, and how far it moves along each axis.
template <class A, int kAxes>
struct Place {
  GridPlace<A> at[kAxes];
  A moves[kAxes];

  __device__ __forceinline__ bool inside(int k) const {
    bool all = true;
#pragma unroll
    for (int a = 0; a < kAxes; ++a) all = all && at[a].inside[side_of_corner(k, a)];
    return all;
  }
  __device__ __forceinline__ bool near() const {
    bool all = true;
#pragma unroll
    for (int a = 0; a < kAxes; ++a) all = all && (at[a].inside[0] || at[a].inside[1]);
    return all;
  }
  __device__ __forceinline__ GridCorner<A, kAxes> corner(int k) const {
    GridCorner<A, kAxes> corner;
#pragma unroll
    for (int a = 0; a < kAxes; ++a) {
      const int side = side_of_corner(k, a);
      corner.weight[a] = at[a].weight[side];
      corner.slope[a] = A(2 * side - 1);
    }
    return corner;
  }
};

/// Of a point in the order of the tensor, [N, points].
template <class T, int kAxes>
__device__ __forceinline__ Place<Accumulate<T>, kAxes> locate(const Points<T, kAxes>& points, int64_t point) {
  Place<Accumulate<T>, kAxes> place;
#pragma unroll
  for (int a = 0; a < kAxes; ++a) {
    place.at[a] = place_in_grid(widen(points.grid[point * kAxes + a]), points.axes[a], points.options.padding,
                                points.options.nearest);
    place.moves[a] = points.moves == nullptr ? Accumulate<T>(0)
                                             : times_slope(place.at[a].slope, widen(points.moves[point * kAxes + a]));
  }
  return place;
}

template <class T, int kAxes>
Points<T, kAxes> points_of(const void* grid, const void* moves, const GridLayout& layout, const GridOptions& options) {
  const auto axis = [&](int a) { return GridAxis<Accumulate<T>>(layout.size.pixels[a], options.align_corners); };
  const auto with = [&](auto... axes) {
    return Points<T, kAxes>{static_cast<const T*>(grid), static_cast<const T*>(moves), {axes...}, layout, options};
  };
  if constexpr (kAxes == 2)
    return with(axis(0), axis(1));
  else
    return with(axis(0), axis(1), axis(2));
}

/// What a thread of a gather has of its point: where its corners are (−1 for those that are not in the image), what
/// they weigh, and the sums over channels of g times them.
template <class T, int kAxes, bool kSlopes>
struct Corners {
  using A = Accumulate<T>;
  static constexpr int kCount = 1 << kAxes;
  int64_t pixel[kCount];
  A still[kCount], moving[kCount];
  A g_still[kSlopes ? kCount : 1], g_moving[kSlopes ? kCount : 1];

  __device__ __forceinline__ Corners(const Place<A, kAxes>& place, const GridSize& size, bool there) {
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      const auto corner = place.corner(k);
      int64_t index = 0;
#pragma unroll
      for (int a = kAxes - 1; a >= 0; --a) index = index * size.pixels[a] + place.at[a].base + side_of_corner(k, a);
      pixel[k] = there && place.inside(k) ? index : -1;
      still[k] = corner.product();
      moving[k] = corner.moved(place.moves);
    }
#pragma unroll
    for (int k = 0; k < (kSlopes ? kCount : 1); ++k) g_still[k] = g_moving[k] = 0;
  }

  /// Adds to y, and to the sums: kValues channels of an image that begin at `image`, in pixels that lie `step` apart.
  template <int kValues>
  __device__ __forceinline__ void add(const T* image, int64_t step, int count, bool by_vector,
                                      const A (&weights)[kCount], const A* g, A* y, A* sums) const {
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      if (pixel[k] < 0) continue;
      A values[kValues];
      const T* from = image + pixel[k] * step;
      if constexpr (kValues == 1)
        values[0] = widen(*from);
      else
        load(from, count, by_vector, values);
#pragma unroll
      for (int i = 0; i < kValues; ++i) {
        y[i] += weights[k] * values[i];
        if constexpr (kSlopes) sums[k] += g[i] * values[i];
      }
    }
  }

  /// Σ_k (w_k^a Σ_c g still_k + ω_k^a Σ_c g moving_k) for this thread's channels.
  __device__ __forceinline__ A along(int a, const Place<A, kAxes>& place) const {
    A sum = 0;
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      if (pixel[k] < 0) continue;
      const auto corner = place.corner(k);
      sum += corner.product(a) * g_still[k] + corner.moved(place.moves, a) * g_moving[k];
    }
    return sum;
  }
};

template <class T>
struct Tensors {
  const T* still;
  const T* moving;
  const T* g;
  T* y;
  T* d_grid;
};

/// Channels are adjacent: `lanes` neighbouring threads have a point, and each some vectors of its channels.
template <class T, int kAxes, bool kSlopes>
__global__ void __launch_bounds__(kThreads, 1)  // aiming at more blocks, the compiler spills registers
    gather_adjacent(Tensors<T> t, Points<T, kAxes> points, int lanes) {
  using A = Accumulate<T>;
  constexpr int V = kVector<T>;
  const GridLayout& layout = points.layout;
  const int64_t channels = layout.channels, pixels = layout.pixels(), count = layout.samples * layout.points;
  const bool by_vector = channels % V == 0 && aligned(t.still, t.moving, t.g, t.y);
  const int lane = threadIdx.x % lanes, per_block = kThreads / lanes;
  // The bound is the same for a whole block, so that every lane takes part in the shuffles.
  for (int64_t first = int64_t(blockIdx.x) * per_block; first < count; first += int64_t(gridDim.x) * per_block) {
    const int64_t point = first + threadIdx.x / lanes;
    const bool there = point < count;
    const int64_t of_point = there ? point : count - 1;
    const auto place = locate(points, of_point);
    Corners<T, kAxes, kSlopes> corners(place, layout.size, there);
    const int64_t image = of_point / layout.points * pixels * channels;
    for (int64_t c = int64_t(lane) * V; c < channels && there; c += int64_t(lanes) * V) {
      const int here = channels - c < V ? static_cast<int>(channels - c) : V;
      A g[V], y[V];
#pragma unroll
      for (int i = 0; i < V; ++i) y[i] = 0;
      if constexpr (kSlopes) load(t.g + of_point * channels + c, here, by_vector, g);
      if (t.still != nullptr)
        corners.template add<V>(t.still + image + c, channels, here, by_vector, corners.still, g, y, corners.g_still);
      if (t.moving != nullptr)
        corners.template add<V>(t.moving + image + c, channels, here, by_vector, corners.moving, g, y,
                                corners.g_moving);
      if (t.y != nullptr) store(t.y + of_point * channels + c, here, by_vector, y);
    }
    if constexpr (kSlopes) {
      A along[kAxes];
#pragma unroll
      for (int a = 0; a < kAxes; ++a) along[a] = corners.along(a, place);
      lanes_sums<kAxes>(along, lanes);
      if (there && lane == 0)
#pragma unroll
        for (int a = 0; a < kAxes; ++a)
          t.d_grid[point * kAxes + a] = narrow<T>(place.near() ? times_slope(place.at[a].slope, along[a]) : A(0));
    }
  }
}

/// Pixels are adjacent: a block has a warp's points of a sample, and each of its warps every eighth channel.
template <class T, int kAxes, bool kSlopes>
__global__ void __launch_bounds__(kThreads) gather_planes(Tensors<T> t, Points<T, kAxes> points) {
  using A = Accumulate<T>;
  __shared__ A shared[kAxes][kWarps][kWarp];
  const GridLayout& layout = points.layout;
  const int64_t channels = layout.channels, pixels = layout.pixels();
  const int64_t chunk = kSlopes ? channels : kChunk, chunks = (channels + chunk - 1) / chunk;
  const int64_t groups = (layout.points + kWarp - 1) / kWarp, tasks = layout.samples * chunks * groups;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
    const int64_t sample = task / groups / chunks, begin = task / groups % chunks * chunk;
    const int64_t end = begin + chunk < channels ? begin + chunk : channels;
    const int64_t point = task % groups * kWarp + lane;
    const bool there = point < layout.points;
    const int64_t of_point = sample * layout.points + (there ? point : layout.points - 1);
    const auto place = locate(points, of_point);
    Corners<T, kAxes, kSlopes> corners(place, layout.size, there);
    for (int64_t c = begin + warp; c < end && there; c += kWarps) {
      const int64_t plane = sample * channels + c, at = plane * layout.points + point;
      A g[1] = {kSlopes ? widen(t.g[at]) : A(0)}, y[1] = {0};
      if (t.still != nullptr)
        corners.template add<1>(t.still + plane * pixels, 1, 1, false, corners.still, g, y, corners.g_still);
      if (t.moving != nullptr)
        corners.template add<1>(t.moving + plane * pixels, 1, 1, false, corners.moving, g, y, corners.g_moving);
      if (t.y != nullptr) t.y[at] = narrow<T>(y[0]);
    }
    if constexpr (kSlopes) {
#pragma unroll
      for (int a = 0; a < kAxes; ++a) shared[a][warp][lane] = corners.along(a, place);
      __syncthreads();
      if (warp == 0 && there)
#pragma unroll
        for (int a = 0; a < kAxes; ++a) {
          A sum = 0;
#pragma unroll
          for (int w = 0; w < kWarps; ++w) sum += shared[a][w][lane];
          t.d_grid[of_point * kAxes + a] = narrow<T>(place.near() ? times_slope(place.at[a].slope, sum) : A(0));
        }
      __syncthreads();
    }
  }
}

/// A thread a pixel and kAdjacent ? a vector of channels : kScattered channels.
template <class T, int kAxes, bool kAdjacent>
__global__ void __launch_bounds__(kThreads, 2)  // as above
    scatter(const T* g, T* d_x, GridOrder order, Points<T, kAxes> points) {
  using A = Accumulate<T>;
  constexpr int kValues = kAdjacent ? kVector<T> : kScattered;
  const GridLayout& layout = points.layout;
  const int64_t channels = layout.channels, pixels = layout.pixels(), cells = cells_of_sample(layout.size);
  const int64_t groups = (channels + kValues - 1) / kValues, tasks = layout.samples * groups * pixels;
  const bool by_vector = channels % kValues == 0 && aligned(g, d_x);
  for (int64_t task = int64_t(blockIdx.x) * kThreads + threadIdx.x; task < tasks;
       task += int64_t(gridDim.x) * kThreads) {
    const int64_t group = kAdjacent ? task % groups : task / pixels % groups;
    const int64_t pixel = kAdjacent ? task / groups % pixels : task % pixels;
    const int64_t sample = task / groups / pixels, c = group * kValues;
    const int here = channels - c < kValues ? static_cast<int>(channels - c) : kValues;
    A sum[kValues];
#pragma unroll
    for (int i = 0; i < kValues; ++i) sum[i] = 0;
#pragma unroll 1
    for (int k = 0; k < (points.options.nearest ? 1 : 1 << kAxes); ++k) {
      // The cell that has the pixel for its corner k.
      int64_t rest = pixel, at = 0, stride = 1;
#pragma unroll
      for (int a = 0; a < kAxes; ++a) {
        at += (rest % layout.size.pixels[a] + 1 - side_of_corner(k, a)) * stride;
        rest /= layout.size.pixels[a];
        stride *= layout.size.pixels[a] + 1;
      }
      const int64_t cell = sample * cells + at, end = order.starts[cell + 1];
      for (int64_t i = order.starts[cell]; i < end; ++i) {
        const int64_t point = order.points[i];
        const auto place = locate(points, point);
        GridCorner<A, kAxes> corner;
#pragma unroll
        for (int a = 0; a < kAxes; ++a) {
          const bool far = side_of_corner(k, a) != 0;
          corner.weight[a] = far ? place.at[a].weight[1] : place.at[a].weight[0];
          corner.slope[a] = far ? A(1) : A(-1);
        }
        const A weight = points.moves == nullptr ? corner.product() : corner.moved(place.moves);
        A values[kValues];
        if constexpr (kAdjacent) {
          load(g + point * channels + c, here, by_vector, values);
        } else {
          const T* from = g + (sample * channels + c) * layout.points + (point - sample * layout.points);
#pragma unroll
          for (int v = 0; v < kValues; ++v) values[v] = v < here ? widen(from[v * layout.points]) : A(0);
        }
#pragma unroll
        for (int v = 0; v < kValues; ++v) sum[v] += weight * values[v];
      }
    }
    if constexpr (kAdjacent) {
      store(d_x + (sample * pixels + pixel) * channels + c, here, by_vector, sum);
    } else {
#pragma unroll
      for (int v = 0; v < kValues; ++v)
        if (v < here) d_x[(sample * channels + c + v) * pixels + pixel] = narrow<T>(sum[v]);
    }
  }
}

template <class T, int kAxes>
__global__ void __launch_bounds__(kThreads) find_cells(int64_t* cells, Points<T, kAxes> points) {
  const GridLayout& layout = points.layout;
  const int64_t of_sample = cells_of_sample(layout.size), count = layout.samples * layout.points;
  for (int64_t point = int64_t(blockIdx.x) * kThreads + threadIdx.x; point < count;
       point += int64_t(gridDim.x) * kThreads) {
    const auto place = locate(points, point);
    int64_t cell = 0;
#pragma unroll
    for (int a = kAxes - 1; a >= 0; --a) cell = cell * (layout.size.pixels[a] + 1) + place.at[a].base + 1;
    cells[point] = place.near() ? point / layout.points * of_sample + cell : layout.samples * of_sample;
  }
}

/// run.operator()<the type, the number of axes>().
template <class Run>
void choose(Dtype dtype, const GridLayout& layout, const Run& run) {
  with_type(dtype, [&]<class T>(Type<T>) {
    if (layout.size.axes == 2)
      run.template operator()<T, 2>();
    else
      run.template operator()<T, 3>();
  });
}

inline unsigned grid_of_threads(int64_t tasks) {
  return grid_for((tasks + kThreads - 1) / kThreads);
}

template <class T, int kAxes, bool kSlopes>
void gather(const GridGatherArgs& args, CudaStream stream) {
  const GridLayout& layout = args.layout;
  const auto points = points_of<T, kAxes>(args.grid, args.moves, layout, args.options);
  const Tensors<T> tensors{static_cast<const T*>(args.still), static_cast<const T*>(args.moving),
                           static_cast<const T*>(args.g), static_cast<T*>(args.y), static_cast<T*>(args.d_grid)};
  if (layout.channels_last) {
    const int lanes = columns_for((layout.channels + kVector<T> - 1) / kVector<T>), per_block = kThreads / lanes;
    const int64_t count = layout.samples * layout.points;
    launch(gather_adjacent<T, kAxes, kSlopes>, grid_for((count + per_block - 1) / per_block), kThreads, stream, tensors,
           points, lanes);
  } else {
    const int64_t chunks = kSlopes ? 1 : (layout.channels + kChunk - 1) / kChunk;
    launch(gather_planes<T, kAxes, kSlopes>, grid_for(layout.samples * chunks * ((layout.points + kWarp - 1) / kWarp)),
           kThreads, stream, tensors, points);
  }
}

}  // namespace

void run_on_cuda(const GridGatherArgs& args, Dtype dtype, CudaStream stream) {
  choose(dtype, args.layout, [&]<class T, int kAxes>() {
    args.d_grid != nullptr ? gather<T, kAxes, true>(args, stream) : gather<T, kAxes, false>(args, stream);
  });
}

void run_on_cuda(const GridScatterArgs& args, Dtype dtype, CudaStream stream) {
  choose(dtype, args.layout, [&]<class T, int kAxes>() {
    const GridLayout& layout = args.layout;
    const auto points = points_of<T, kAxes>(args.grid, args.moves, layout, args.options);
    const bool adjacent = layout.channels_last;
    const int64_t values = adjacent ? kVector<T> : kScattered, groups = (layout.channels + values - 1) / values;
    launch(adjacent ? scatter<T, kAxes, true> : scatter<T, kAxes, false>,
           grid_of_threads(layout.samples * groups * layout.pixels()), kThreads, stream, static_cast<const T*>(args.g),
           static_cast<T*>(args.d_x), args.order, points);
  });
}

void run_on_cuda(const GridCellsArgs& args, Dtype dtype, CudaStream stream) {
  choose(dtype, args.layout, [&]<class T, int kAxes>() {
    const auto points = points_of<T, kAxes>(args.grid, nullptr, args.layout, args.options);
    launch(find_cells<T, kAxes>, grid_of_threads(args.layout.samples * args.layout.points), kThreads, stream,
           args.cells, points);
  });
}

}  // namespace gan_ops
