// grid_sample on the CPU. 16 channels (float64: 8) of a sample at a time are copied, pixel by pixel a register of them,
// and a zero pixel behind them, which stands for all that is not in the image. So a point's corners are a few registers
// wherever they lie, each multiplied by a weight that all channels share. Weights are made for a block of points.
//
// Where samples and channels are too few for the threads, points are shared out too: a gather's in parts, and in a
// scatter each thread takes all points, but only for a part of the pixels. So every pixel's sum is taken in the order
// of the points, whatever the number of threads.
#include "../grid_sample.h"

#include <algorithm>
#include <memory>

#include "planes.h"

namespace gan_ops {
namespace {

using namespace cpu;

constexpr int kPoints = 64;  // of a block: their weights stay in L1

/// Coordinates of a block of points, and what moves them.
template <class A>
struct Coordinates {
  A of[kMostGridAxes][kPoints];
};

/// What a block of points sums its corners by. `still` and `moving`: weights for y, and then those for d_grid by axis.
template <class A, int kCorners>
struct Weights {
  int64_t pixel[kCorners][kPoints];
  A still[1 + kMostGridAxes][kCorners][kPoints];
  A moving[1 + kMostGridAxes][kCorners][kPoints];
  A slope[kMostGridAxes][kPoints];  // 0 also where no corner is in the image
};

/// `moves` is null where nothing moves; `outside` is the pixel for corners that are not in the image.
template <class A, int kAxes>
GAN_OPS_INLINE void weigh(const Coordinates<A>& grid, const Coordinates<A>* moves, int count, const GridLayout& layout,
                          const GridOptions& options, Weights<A, 1 << kAxes>& to) {
  const int64_t outside = layout.pixels();
  const GridSize size = layout.size;
#pragma omp simd
  for (int p = 0; p < count; ++p) {
    GridPoint<A, kAxes> point;
    A q[kAxes];
#pragma GCC unroll 3
    for (int a = 0; a < kAxes; ++a) {
      point.at[a] = place_in_grid(grid.of[a][p], GridAxis<A>(size.pixels[a], options));
      q[a] = moves == nullptr ? A(0) : times_slope(point.at[a].slope, moves->of[a][p]);
    }
    bool any = false;
#pragma GCC unroll 8
    for (int k = 0; k < 1 << kAxes; ++k) {
      const bool inside = point.inside(k);
      const auto masked = [&](A weight) { return inside ? weight : A(0); };
      any = any | inside;
      to.pixel[k][p] = inside ? point.pixel(k, size) : outside;
      to.still[0][k][p] = masked(point.weight(k));
      to.moving[0][k][p] = masked(point.moved_weight(k, q));
#pragma GCC unroll 3
      for (int a = 0; a < kAxes; ++a) {
        to.still[1 + a][k][p] = masked(point.weight(k, a));
        to.moving[1 + a][k][p] = masked(point.moved_weight(k, q, a));
      }
    }
#pragma GCC unroll 3
    for (int a = 0; a < kAxes; ++a) to.slope[a][p] = any ? point.at[a].slope : A(0);
  }
}

/// The mode "nearest", of any number of axes.
template <class A>
GAN_OPS_INLINE void find_nearest(const Coordinates<A>& grid, int count, const GridLayout& layout,
                                 const GridOptions& options, Weights<A, 1>& to) {
  const int64_t outside = layout.pixels();
  for (int p = 0; p < count; ++p) {
    int64_t pixel = 0;
    bool inside = true;
    for (int a = layout.size.axes - 1; a >= 0; --a) {
      const GridPlace<A> place = place_in_grid(grid.of[a][p], GridAxis<A>(layout.size.pixels[a], options));
      pixel = pixel * layout.size.pixels[a] + place.base;
      inside = inside & place.inside[0];
    }
    to.pixel[0][p] = inside ? pixel : outside;
    to.still[0][0][p] = inside ? A(1) : A(0);
  }
}

template <class A, int kCorners>
GAN_OPS_INLINE void weigh_all(const Coordinates<A>& grid, const Coordinates<A>* moves, int count,
                              const GridLayout& layout, const GridOptions& options, Weights<A, kCorners>& to) {
  if constexpr (kCorners == 1)
    find_nearest(grid, count, layout, options, to);
  else
    weigh<A, kCorners == 4 ? 2 : 3>(grid, moves, count, layout, options, to);
}

template <class A>
GAN_OPS_INLINE A sum_of_lanes(const Lanes<A>& lanes) {
  A values[kLanes<A>];
  std::memcpy(values, &lanes, sizeof values);
#pragma GCC unroll 4
  for (int half = kLanes<A> / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) values[i] += values[i + half];
  return values[0];
}

/// How tensors of one type are read and written.
template <class A>
struct Access {
  void (*load)(const void*, const PlaneBlock&, int64_t, int64_t, int64_t, Lanes<A>*);
  void (*store)(const Lanes<A>*, const PlaneBlock&, int64_t, int64_t, int64_t, void*);
  void (*load_grid)(const void*, int64_t, int, int, Coordinates<A>&);
  void (*store_grid)(const A*, int64_t, int64_t, void*);
};

/// Those of points [first, first + count), in the order of the tensor.
template <class T>
void load_grid(const void* grid, int64_t first, int count, int axes, Coordinates<Accumulate<T>>& to) {
  const T* from = static_cast<const T*>(grid) + first * axes;
  const auto body = [=, &to](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    for (int a = 0; a < axes; ++a)
      for (int64_t p = begin; p < end; ++p) to.of[a][p] = widen(from[p * axes + a]);
  };
  run_best(body, 0, count);
}

/// partial [parts, count] → their sums, in order.
template <class T>
void store_grid(const Accumulate<T>* partial, int64_t parts, int64_t count, void* to) {
  parallel_for(count, parts, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    for (int64_t i = begin; i < end; ++i) {
      Accumulate<T> sum = partial[i];
      for (int64_t part = 1; part < parts; ++part) sum += partial[part * count + i];
      static_cast<T*>(to)[i] = narrow<T>(sum);
    }
  });
}

/// How the work is shared out: by samples, blocks of channels, and parts of the points or pixels.
struct Tasks {
  int64_t blocks, parts, count;

  Tasks(const GridLayout& layout, int lanes, int64_t shared) : blocks((layout.channels + lanes - 1) / lanes) {
    const int64_t whole = layout.samples * blocks;
    parts = std::clamp<int64_t>(at::get_num_threads() / whole, 1, std::max<int64_t>(shared / 1024, 1));
    count = whole * parts;
  }
};

struct Task {
  int64_t sample, block, part;
  PlaneBlock pixels, points;
  int64_t begin, end;  // of what is shared out

  GAN_OPS_INLINE Task(const Tasks& tasks, const GridLayout& layout, int lanes, int64_t shared, int64_t index)
      : sample(index / tasks.parts / tasks.blocks),
        block(index / tasks.parts % tasks.blocks),
        part(index % tasks.parts),
        pixels{sample * layout.channels + block * lanes,
               std::min<int64_t>(lanes, layout.channels - block * lanes),
               layout.channels,
               1,
               layout.pixels(),
               layout.channels_last},
        points{pixels.first, pixels.count, layout.channels, 1, layout.points, layout.channels_last},
        begin(shared * part / tasks.parts),
        end(shared * (part + 1) / tasks.parts) {}
};

template <class A>
std::unique_ptr<Lanes<A>[]> memory_for(int64_t lanes) {
  return std::make_unique_for_overwrite<Lanes<A>[]>(lanes);
}

template <class A>
GAN_OPS_INLINE Lanes<A> all_lanes(A value) {
  return Lanes<A>{} + value;
}

/// A point's corners of an image, summed by weights of y and of d_grid, if wanted, and added to `sums`.
template <class A, int kCorners, int kRows>
GAN_OPS_INLINE void add_corners(const Lanes<A>* image, const int64_t (&pixel)[kCorners][kPoints],
                                const A (&weights)[1 + kMostGridAxes][kCorners][kPoints], int p, bool of_y,
                                bool of_slopes, Lanes<A> (&sums)[kRows]) {
  Lanes<A> corners[kCorners];
#pragma GCC unroll 8
  for (int k = 0; k < kCorners; ++k) corners[k] = image[pixel[k][p]];
#pragma GCC unroll 4
  for (int row = 0; row < kRows; ++row)
    if (row == 0 ? of_y : of_slopes)
#pragma GCC unroll 8
      for (int k = 0; k < kCorners; ++k) sums[row] += corners[k] * all_lanes(weights[row][k][p]);
}

template <class A, int kCorners>
void gather(const GridGatherArgs& args, const Access<A>& access) {
  constexpr int kAll = kLanes<A>, kRows = kCorners == 1 ? 1 : kCorners == 4 ? 3 : 4;
  const GridLayout& layout = args.layout;
  const int axes = layout.size.axes;
  const int64_t pixels = layout.pixels(), points = layout.points;
  const bool of_y = args.y != nullptr, of_slopes = args.d_grid != nullptr;
  const Tasks tasks(layout, kAll, points);
  // d_grid's sums over each block of channels: [blocks, N, points, axes].
  const int64_t coordinates = layout.samples * points * axes;
  const auto partial = std::make_unique_for_overwrite<A[]>(args.d_grid == nullptr ? 0 : tasks.blocks * coordinates);
  A* const partial_sums = partial.get();
  const auto body = [=, &access](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    const auto memory = memory_for<A>(2 * (pixels + 1));
    Lanes<A>* const still = memory.get();
    Lanes<A>* const moving = still + pixels + 1;
    still[pixels] = moving[pixels] = Lanes<A>{};
    Coordinates<A> grid, moves;
    Weights<A, kCorners> weights;
    alignas(64) Lanes<A> g[kPoints], y[kPoints];
    for (int64_t index = begin; index < end; ++index) {
      const Task task(tasks, layout, kAll, points, index);
      if (args.still != nullptr) access.load(args.still, task.pixels, 0, 0, pixels, still);
      if (args.moving != nullptr) access.load(args.moving, task.pixels, 0, 0, pixels, moving);
      for (int64_t first = task.begin; first < task.end; first += kPoints) {
        const int count = static_cast<int>(std::min<int64_t>(kPoints, task.end - first));
        access.load_grid(args.grid, task.sample * points + first, count, axes, grid);
        if (args.moves != nullptr) access.load_grid(args.moves, task.sample * points + first, count, axes, moves);
        weigh_all(grid, args.moves == nullptr ? nullptr : &moves, count, layout, args.options, weights);
        if (of_slopes) access.load(args.g, task.points, 0, first, count, g);
        for (int p = 0; p < count; ++p) {
          Lanes<A> sums[kRows] = {};
          if (args.still != nullptr) add_corners(still, weights.pixel, weights.still, p, of_y, of_slopes, sums);
          if (args.moving != nullptr) add_corners(moving, weights.pixel, weights.moving, p, of_y, of_slopes, sums);
          if (of_y) y[p] = sums[0];
          if (of_slopes) {
            A* const to = partial_sums + task.block * coordinates + (task.sample * points + first + p) * axes;
#pragma GCC unroll 3
            for (int a = 0; a + 1 < kRows; ++a)
              to[a] = times_slope(weights.slope[a][p], sum_of_lanes<A>(sums[1 + a] * g[p]));
          }
        }
        if (of_y) access.store(y, task.points, 0, first, count, args.y);
      }
    }
  };
  parallel_for(tasks.count, (points / tasks.parts + pixels) * kAll, body);
  if (args.d_grid != nullptr) access.store_grid(partial_sums, tasks.blocks, coordinates, args.d_grid);
}

template <class A, int kCorners>
void scatter(const GridScatterArgs& args, const Access<A>& access) {
  constexpr int kAll = kLanes<A>;
  const GridLayout& layout = args.layout;
  const int axes = layout.size.axes;
  const int64_t pixels = layout.pixels(), points = layout.points;
  const Tasks tasks(layout, kAll, pixels);
  const auto body = [=, &access](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    const auto memory = memory_for<A>(pixels / tasks.parts + 2);
    Lanes<A>* const d_x = memory.get();
    Coordinates<A> grid, moves;
    Weights<A, kCorners> weights;
    const auto& by = args.moves == nullptr ? weights.still[0] : weights.moving[0];
    alignas(64) Lanes<A> g[kPoints];
    for (int64_t index = begin; index < end; ++index) {
      const Task task(tasks, layout, kAll, pixels, index);
      const int64_t own = task.end - task.begin;  // and behind them what nobody wants
      std::fill_n(d_x, own, Lanes<A>{});
      for (int64_t first = 0; first < points; first += kPoints) {
        const int count = static_cast<int>(std::min<int64_t>(kPoints, points - first));
        access.load_grid(args.grid, task.sample * points + first, count, axes, grid);
        if (args.moves != nullptr) access.load_grid(args.moves, task.sample * points + first, count, axes, moves);
        weigh_all(grid, args.moves == nullptr ? nullptr : &moves, count, layout, args.options, weights);
        access.load(args.g, task.points, 0, first, count, g);
        for (int p = 0; p < count; ++p)
#pragma GCC unroll 8
          for (int k = 0; k < kCorners; ++k) {
            const uint64_t pixel = static_cast<uint64_t>(weights.pixel[k][p] - task.begin);
            d_x[std::min<uint64_t>(pixel, own)] += g[p] * all_lanes(by[k][p]);
          }
      }
      access.store(d_x, task.pixels, 0, task.begin, own, args.d_x);
    }
  };
  parallel_for(tasks.count, (points + pixels / tasks.parts) * kAll, body);
}

template <class T>
constexpr Access<Accumulate<T>> kAccess = {load_pixels<T>, store_pixels<T>, load_grid<T>, store_grid<T>};

/// run(a template's arguments: the accumulate type and the number of corners; and the access).
template <class Run>
void with_corners(Dtype dtype, const GridLayout& layout, const GridOptions& options, const Run& run) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    const auto corners = [&]<int kCorners>() { run.template operator()<A, kCorners>(kAccess<T>); };
    if (options.nearest)
      corners.template operator()<1>();
    else if (layout.size.axes == 2)
      corners.template operator()<4>();
    else
      corners.template operator()<8>();
  });
}

}  // namespace

void run_on_cpu(const GridGatherArgs& args, Dtype dtype) {
  with_corners(dtype, args.layout, args.options,
               [&]<class A, int kCorners>(const Access<A>& access) { gather<A, kCorners>(args, access); });
}

void run_on_cpu(const GridScatterArgs& args, Dtype dtype) {
  with_corners(dtype, args.layout, args.options,
               [&]<class A, int kCorners>(const Access<A>& access) { scatter<A, kCorners>(args, access); });
}

}  // namespace gan_ops
