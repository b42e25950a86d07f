// grid_sample on the CPU. Some channels of a sample at a time are copied, pixel by pixel a register of them; where they
// lie so in memory already, they are taken from there. So a point's corners are a few registers wherever they are, each
// multiplied by a weight that all channels share. Weights are made for a block of points.
//
// Where samples and channels are too few for the threads, points are shared out too: a gather's in parts, and in a
// scatter each thread takes all points, but only for a part of the pixels. So every pixel's sum is taken in the order
// of the points, whatever the number of threads.
#include "../grid_sample.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <type_traits>

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

/// Where a block of points lies along an axis, and how it moves. Masks are as wide as values: so loops vectorise.
template <class A>
struct Places {
  using Mask = std::conditional_t<sizeof(A) == 8, int64_t, int32_t>;
  int base[kPoints];
  Mask inside[2][kPoints];
  A weight[2][kPoints];
  A slope[kPoints], move[kPoints];
};

/// `moves` is null where nothing moves.
template <class A>
void place_all(const A* coordinates, const A* moves, int count, int64_t pixels, const GridOptions& options,
               Places<A>& to) {
  const GridAxis<A> axis(pixels, options.align_corners);
  const auto place = [&](auto padding, auto nearest) {
    const auto body = [&](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
#pragma omp simd
      for (int64_t p = begin; p < end; ++p) {
        const GridPlace<A> place = place_in_grid(coordinates[p], axis, padding(), nearest());
        to.base[p] = place.base;
        to.inside[0][p] = place.inside[0];
        to.inside[1][p] = place.inside[1];
        to.weight[0][p] = place.weight[0];
        to.weight[1][p] = place.weight[1];
        to.slope[p] = place.slope;
      }
      if (moves != nullptr)
#pragma omp simd
        for (int64_t p = begin; p < end; ++p) to.move[p] = times_slope(to.slope[p], moves[p]);
    };
    run_best(body, 0, count);
  };
  const auto with_padding = [&](auto nearest) {
    switch (options.padding) {
      case GridPadding::zeros:
        return place(std::integral_constant<GridPadding, GridPadding::zeros>(), nearest);
      case GridPadding::border:
        return place(std::integral_constant<GridPadding, GridPadding::border>(), nearest);
      case GridPadding::reflection:
        return place(std::integral_constant<GridPadding, GridPadding::reflection>(), nearest);
    }
  };
  options.nearest ? with_padding(std::true_type()) : with_padding(std::false_type());
}

/// Weights of corner k, of `still` if kStill and of `moving` if kMoving, and those for d_grid if kSlopes.
template <bool kStill, bool kMoving, bool kSlopes, class A, int kAxes>
void weigh_corner(int k, const Places<A> (&places)[kAxes], int count, const GridLayout& layout,
                  Weights<A, 1 << kAxes>& to) {
  const int64_t outside = layout.pixels();
  const GridSize size = layout.size;
  int side[kAxes];
  for (int a = 0; a < kAxes; ++a) side[a] = side_of_corner(k, a);
  const auto body = [&](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    for (int64_t p = begin; p < end; ++p) {
      int64_t pixel = 0;
      for (int a = kAxes - 1; a >= 0; --a) pixel = pixel * size.pixels[a] + places[a].base[p] + side[a];
      to.pixel[k][p] = pixel;
    }
    typename Places<A>::Mask inside[kPoints];
    for (int64_t p = begin; p < end; ++p) {
      inside[p] = 1;
      for (int a = 0; a < kAxes; ++a) inside[p] &= places[a].inside[side[a]][p];
      if (inside[p] == 0) to.pixel[k][p] = outside;
    }
#pragma omp simd
    for (int64_t p = begin; p < end; ++p) {
      GridCorner<A, kAxes> corner;
      A moves[kAxes];
#pragma GCC unroll 3
      for (int a = 0; a < kAxes; ++a) {
        corner.weight[a] = places[a].weight[side[a]][p];
        corner.slope[a] = A(2 * side[a] - 1);
        moves[a] = kMoving ? places[a].move[p] : A(0);
      }
#pragma GCC unroll 4
      for (int row = 0; row < (kSlopes ? 1 + kAxes : 1); ++row) {
        const A still = corner.product(row - 1), moving = corner.moved(moves, row - 1);
        if (kStill) to.still[row][k][p] = inside[p] != 0 ? still : A(0);
        if (kMoving) to.moving[row][k][p] = inside[p] != 0 ? moving : A(0);
      }
    }
  };
  run_best(body, 0, count);
}

template <bool kStill, bool kMoving, bool kSlopes, class A, int kAxes>
void weigh(const Coordinates<A>& grid, const Coordinates<A>& moves, int count, const GridLayout& layout,
           const GridOptions& options, Weights<A, 1 << kAxes>& to) {
  Places<A> places[kAxes];
  for (int a = 0; a < kAxes; ++a)
    place_all(grid.of[a], kMoving ? moves.of[a] : nullptr, count, layout.size.pixels[a], options, places[a]);
  for (int k = 0; k < 1 << kAxes; ++k) weigh_corner<kStill, kMoving, kSlopes>(k, places, count, layout, to);
  if (!kSlopes) return;
  for (int p = 0; p < count; ++p) {
    bool near = true;
    for (const Places<A>& along : places) near = near && (along.inside[0][p] | along.inside[1][p]) != 0;
    for (int a = 0; a < kAxes; ++a) to.slope[a][p] = near ? places[a].slope[p] : A(0);
  }
}

/// The mode "nearest", of any number of axes.
template <class A>
void find_nearest(const Coordinates<A>& grid, const Coordinates<A>&, int count, const GridLayout& layout,
                  const GridOptions& options, Weights<A, 1>& to) {
  const int64_t outside = layout.pixels();
  std::fill_n(to.pixel[0], count, 0);
  Places<A> places;
  for (int a = layout.size.axes - 1; a >= 0; --a) {
    place_all<A>(grid.of[a], nullptr, count, layout.size.pixels[a], options, places);
    for (int p = 0; p < count; ++p) {
      const bool inside = to.pixel[0][p] != outside && places.inside[0][p] != 0;
      to.pixel[0][p] = inside ? to.pixel[0][p] * layout.size.pixels[a] + places.base[p] : outside;
    }
  }
  for (int p = 0; p < count; ++p) to.still[0][0][p] = to.pixel[0][p] == outside ? A(0) : A(1);
}

template <class A, int kCorners>
using Weigh = void (*)(const Coordinates<A>&, const Coordinates<A>&, int, const GridLayout&, const GridOptions&,
                       Weights<A, kCorners>&);

template <bool kStill, bool kMoving, bool kSlopes, class A, int kCorners>
constexpr Weigh<A, kCorners> weigh_by() {
  if constexpr (kCorners == 1)
    return find_nearest<A>;
  else
    return weigh<kStill, kMoving, kSlopes, A, (kCorners == 4 ? 2 : 3)>;
}

// ---- Registers of channels ----

/// Of float64 too: 3 channels, of images, are as quick.
constexpr int kFew = 4;

template <class A, int kCount>
struct VectorOf {
  typedef A type __attribute__((vector_size(kCount * sizeof(A))));
};
template <class A, int kCount>
using Vector = typename VectorOf<A, kCount>::type;

/// planes.h's load_pixels and store_pixels for few channels.
template <class T>
void load_few(const void* x, const PlaneBlock& planes, int64_t, int64_t column, int64_t count,
              Vector<Accumulate<T>, kFew>* to) {
  static const T zero = narrow<T>(0);
  const T* lanes[kFew];
  int64_t steps[kFew];
  for (int lane = 0; lane < kFew; ++lane) {
    const bool there = lane < planes.count;
    steps[lane] = there ? planes.column_stride() : 0;
    lanes[lane] = there ? static_cast<const T*>(x) + planes.start(lane) + column * steps[lane] : &zero;
  }
  const auto body = [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    for (int64_t i = begin; i < end; ++i)
      to[i] = Vector<Accumulate<T>, kFew>{widen(lanes[0][i * steps[0]]), widen(lanes[1][i * steps[1]]),
                                          widen(lanes[2][i * steps[2]]), widen(lanes[3][i * steps[3]])};
  };
  run_best(body, 0, count);
}
template <class T>
void store_few(const Vector<Accumulate<T>, kFew>* from, const PlaneBlock& planes, int64_t, int64_t column,
               int64_t count, void* y) {
  const int64_t stride = planes.column_stride();
  const Accumulate<T>* const values = reinterpret_cast<const Accumulate<T>*>(from);
  for (int lane = 0; lane < planes.count; ++lane) {
    T* const own = static_cast<T*>(y) + planes.start(lane) + column * stride;
    const auto body = [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
      if (stride == 1)  // which vectorises
        for (int64_t i = begin; i < end; ++i) own[i] = narrow<T>(values[i * kFew + lane]);
      else
        for (int64_t i = begin; i < end; ++i) own[i * stride] = narrow<T>(values[i * kFew + lane]);
    };
    run_best(body, 0, count);
  }
}

/// By halves.
template <class A, int kCount>
GAN_OPS_INLINE A sum_of(const Vector<A, kCount>& vector) {
  if constexpr (kCount == 2) {
    return vector[0] + vector[1];
  } else {
    Vector<A, kCount / 2> low, high;
    std::memcpy(&low, &vector, sizeof low);
    std::memcpy(&high, reinterpret_cast<const char*>(&vector) + sizeof low, sizeof high);
    return sum_of<A, kCount / 2>(low + high);
  }
}

// ---- Tensors of one type ----

template <class A, int kCount>
struct Access {
  bool as_in_memory;  // whether whole registers of channels that are adjacent are what memory has
  void (*load)(const void*, const PlaneBlock&, int64_t, int64_t, int64_t, Vector<A, kCount>*);
  void (*store)(const Vector<A, kCount>*, const PlaneBlock&, int64_t, int64_t, int64_t, void*);
  void (*load_grid)(const void*, int64_t, int, int, Coordinates<A>&);
  void (*store_grid)(const A*, int64_t, int64_t, void*);
};

/// Those of points [first, first + count), in the order of the tensor.
template <class T>
void load_grid(const void* grid, int64_t first, int count, int axes, Coordinates<Accumulate<T>>& to) {
  const T* const from = static_cast<const T*>(grid) + first * axes;
  const auto body = [=, &to](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    const auto of_axes = [&](auto known_axes) GAN_OPS_LAMBDA_INLINE {
      for (int a = 0; a < known_axes(); ++a)
        for (int64_t p = begin; p < end; ++p) to.of[a][p] = widen(from[p * known_axes() + a]);
    };
    axes == 2 ? of_axes(std::integral_constant<int, 2>()) : of_axes(std::integral_constant<int, 3>());
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

template <class T, int kCount>
constexpr Access<Accumulate<T>, kCount> access_of() {
  if constexpr (kCount == kFew)
    return {false, load_few<T>, store_few<T>, load_grid<T>, store_grid<T>};
  else
    return {std::is_same_v<T, Accumulate<T>>, load_pixels<T>, store_pixels<T>, load_grid<T>, store_grid<T>};
}

// ---- Work ----

/// How it is shared out: by samples, blocks of `lanes` channels, of which a task has one or all, and parts of `shared`,
/// the points or the pixels.
struct Tasks {
  int64_t lanes, shared, blocks, together, parts, count;

  Tasks(const GridLayout& layout, int64_t lanes, int64_t shared, bool all_together)
      : lanes(lanes),
        shared(shared),
        blocks((layout.channels + lanes - 1) / lanes),
        together(all_together ? blocks : 1) {
    const int64_t whole = layout.samples * (blocks / together);
    parts = std::clamp<int64_t>(at::get_num_threads() / whole, 1, std::max<int64_t>(shared / 1024, 1));
    count = whole * parts;
  }
};

struct Task {
  int64_t sample, first_block, last_block;
  int64_t begin, end;  // of what is shared out

  Task(const Tasks& tasks, int64_t index) {
    const int64_t part = index % tasks.parts, group = index / tasks.parts, groups = tasks.blocks / tasks.together;
    sample = group / groups;
    first_block = group % groups * tasks.together;
    last_block = first_block + tasks.together - 1;
    begin = tasks.shared * part / tasks.parts;
    end = tasks.shared * (part + 1) / tasks.parts;
  }
};

/// A block's channels of `width` pixels or points.
inline PlaneBlock planes_of(const Tasks& tasks, const GridLayout& layout, int64_t sample, int64_t block,
                            int64_t width) {
  const int64_t first = block * tasks.lanes;
  return {sample * layout.channels + first,
          std::min(tasks.lanes, layout.channels - first),
          layout.channels,
          1,
          width,
          layout.channels_last};
}

template <class A, int kCount>
bool lies_in_registers(const Access<A, kCount>& access, const GridLayout& layout,
                       std::initializer_list<const void*> images) {
  bool aligned = true;
  for (const void* image : images)
    aligned = aligned && reinterpret_cast<uintptr_t>(image) % sizeof(Vector<A, kCount>) == 0;
  return access.as_in_memory && aligned && layout.channels_last && layout.channels % kCount == 0;
}

/// An image's pixels, `stride` registers apart, and one of zeros for all that is not in it.
template <class V>
struct Image {
  const V* pixels;
  int64_t stride, count;
  const V* zero;

  GAN_OPS_INLINE const V& operator[](int64_t pixel) const { return *(pixel == count ? zero : pixels + pixel * stride); }
};

/// A point's corners of an image, summed by weights of y and of d_grid, if wanted, and added to `sums`.
template <class V, class A, int kCorners, int kRows>
GAN_OPS_INLINE void add_corners(const Image<V>& image, const int64_t (&pixel)[kCorners][kPoints],
                                const A (&weights)[1 + kMostGridAxes][kCorners][kPoints], int p, bool of_y,
                                bool of_slopes, V (&sums)[kRows]) {
  V corners[kCorners];
#pragma GCC unroll 8
  for (int k = 0; k < kCorners; ++k) corners[k] = image[pixel[k][p]];
#pragma GCC unroll 4
  for (int row = 0; row < kRows; ++row)
    if (row == 0 ? of_y : of_slopes)
#pragma GCC unroll 8
      for (int k = 0; k < kCorners; ++k) sums[row] += corners[k] * weights[row][k][p];
}

template <class A, int kCorners, int kCount>
void gather(const GridGatherArgs& args, const Access<A, kCount>& access) {
  using V = Vector<A, kCount>;
  constexpr int kRows = kCorners == 1 ? 1 : kCorners == 4 ? 3 : 4;
  const GridLayout& layout = args.layout;
  const int axes = layout.size.axes;
  const int64_t pixels = layout.pixels(), points = layout.points;
  const bool of_y = args.y != nullptr, of_slopes = args.d_grid != nullptr;
  const Weigh<A, kCorners> weigh = args.moving != nullptr ? weigh_by<true, true, true, A, kCorners>()
                                   : of_slopes            ? weigh_by<true, false, true, A, kCorners>()
                                                          : weigh_by<true, false, false, A, kCorners>();
  const bool in_place = lies_in_registers(access, layout, {args.still, args.moving});
  const Tasks tasks(layout, kCount, points, in_place);
  // d_grid's sums over each block of channels: [blocks, N, points, axes].
  const int64_t coordinates = layout.samples * points * axes;
  const auto partial = std::make_unique_for_overwrite<A[]>(of_slopes ? tasks.blocks * coordinates : 0);
  A* const partial_sums = partial.get();
  const auto body = [=, &access](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    const auto memory = std::make_unique_for_overwrite<V[]>(in_place ? 0 : 2 * pixels);
    const V zero = {};
    Coordinates<A> grid, moves;
    Weights<A, kCorners> weights;
    V g[kPoints], y[kPoints];
    for (int64_t index = begin; index < end; ++index) {
      const Task task(tasks, index);
      // Of the task's first block; those of the next are one register further.
      const auto image = [&](const void* tensor, V* copy) -> Image<V> {
        if (in_place) {
          const V* const first = static_cast<const V*>(tensor) + task.sample * pixels * tasks.blocks;
          return {first, tasks.blocks, pixels, &zero};
        }
        if (tensor != nullptr)
          access.load(tensor, planes_of(tasks, layout, task.sample, task.first_block, pixels), 0, 0, pixels, copy);
        return {copy, 1, pixels, &zero};
      };
      const Image<V> still = image(args.still, memory.get()), moving = image(args.moving, memory.get() + pixels);
      for (int64_t first = task.begin; first < task.end; first += kPoints) {
        const int count = static_cast<int>(std::min<int64_t>(kPoints, task.end - first));
        access.load_grid(args.grid, task.sample * points + first, count, axes, grid);
        if (args.moves != nullptr) access.load_grid(args.moves, task.sample * points + first, count, axes, moves);
        weigh(grid, moves, count, layout, args.options, weights);
        for (int64_t block = task.first_block; block <= task.last_block; ++block) {
          const PlaneBlock planes = planes_of(tasks, layout, task.sample, block, points);
          const int64_t further = block - task.first_block;
          const Image<V> of_still = {still.pixels + further, still.stride, pixels, &zero};
          const Image<V> of_moving = {moving.pixels + further, moving.stride, pixels, &zero};
          if (of_slopes) access.load(args.g, planes, 0, first, count, g);
          for (int p = 0; p < count; ++p) {
            V sums[kRows] = {};
            if (args.still != nullptr) add_corners(of_still, weights.pixel, weights.still, p, of_y, of_slopes, sums);
            if (args.moving != nullptr) add_corners(of_moving, weights.pixel, weights.moving, p, of_y, of_slopes, sums);
            if (of_y) y[p] = sums[0];
            if (of_slopes) {
              A* const to = partial_sums + block * coordinates + (task.sample * points + first + p) * axes;
#pragma GCC unroll 3
              for (int a = 0; a + 1 < kRows; ++a)
                to[a] = times_slope(weights.slope[a][p], sum_of<A, kCount>(sums[1 + a] * g[p]));
            }
          }
          if (of_y) access.store(y, planes, 0, first, count, args.y);
        }
      }
    }
  };
  parallel_for(tasks.count, (points / tasks.parts + pixels) * kCount, body);
  if (of_slopes) access.store_grid(partial_sums, tasks.blocks, coordinates, args.d_grid);
}

template <class A, int kCorners, int kCount>
void scatter(const GridScatterArgs& args, const Access<A, kCount>& access) {
  using V = Vector<A, kCount>;
  const GridLayout& layout = args.layout;
  const int axes = layout.size.axes;
  const int64_t pixels = layout.pixels(), points = layout.points;
  const Weigh<A, kCorners> weigh =
      args.moves != nullptr ? weigh_by<false, true, false, A, kCorners>() : weigh_by<true, false, false, A, kCorners>();
  const bool in_place = lies_in_registers(access, layout, {args.d_x});
  const Tasks tasks(layout, kCount, pixels, in_place);
  const auto body = [=, &access](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    const auto memory = std::make_unique_for_overwrite<V[]>(in_place ? 0 : pixels / tasks.parts + 1);
    V nowhere = {};  // what the task's pixels have no part in
    Coordinates<A> grid, moves;
    Weights<A, kCorners> weights;
    const auto& by = args.moves != nullptr ? weights.moving[0] : weights.still[0];
    V g[kPoints];
    for (int64_t index = begin; index < end; ++index) {
      const Task task(tasks, index);
      const uint64_t own = task.end - task.begin;
      const int64_t stride = tasks.together;
      V* const d_x = in_place ? static_cast<V*>(args.d_x) + (task.sample * pixels + task.begin) * stride : memory.get();
      std::fill_n(d_x, own * stride, V{});
      for (int64_t first = 0; first < points; first += kPoints) {
        const int count = static_cast<int>(std::min<int64_t>(kPoints, points - first));
        access.load_grid(args.grid, task.sample * points + first, count, axes, grid);
        if (args.moves != nullptr) access.load_grid(args.moves, task.sample * points + first, count, axes, moves);
        weigh(grid, moves, count, layout, args.options, weights);
        for (int64_t block = task.first_block; block <= task.last_block; ++block) {
          access.load(args.g, planes_of(tasks, layout, task.sample, block, points), 0, first, count, g);
          V* const of_block = d_x + (block - task.first_block);
          for (int p = 0; p < count; ++p)
#pragma GCC unroll 8
            for (int k = 0; k < kCorners; ++k) {
              const uint64_t pixel = static_cast<uint64_t>(weights.pixel[k][p] - task.begin);
              *(pixel < own ? of_block + pixel * stride : &nowhere) += g[p] * by[k][p];
            }
        }
      }
      if (!in_place) {
        const PlaneBlock planes = planes_of(tasks, layout, task.sample, task.first_block, pixels);
        access.store(d_x, planes, 0, task.begin, own, args.d_x);
      }
    }
  };
  parallel_for(tasks.count, (points + pixels / tasks.parts) * kCount, body);
}

/// Calls run.operator()<the accumulate type, the number of corners, channels in a register>(access).
template <class Run>
void choose(Dtype dtype, const GridLayout& layout, const GridOptions& options, const Run& run) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    const auto with_corners = [&]<int kCount>() {
      constexpr Access<A, kCount> access = access_of<T, kCount>();
      if (options.nearest)
        run.template operator()<A, 1, kCount>(access);
      else if (layout.size.axes == 2)
        run.template operator()<A, 4, kCount>(access);
      else
        run.template operator()<A, 8, kCount>(access);
    };
    if (layout.channels <= kFew)
      with_corners.template operator()<kFew>();
    else
      with_corners.template operator()<kLanes<A>>();
  });
}

}  // namespace

void run_on_cpu(const GridGatherArgs& args, Dtype dtype) {
  choose(dtype, args.layout, args.options, [&]<class A, int kCorners, int kCount>(const Access<A, kCount>& access) {
    gather<A, kCorners>(args, access);
  });
}

void run_on_cpu(const GridScatterArgs& args, Dtype dtype) {
  choose(dtype, args.layout, args.options, [&]<class A, int kCorners, int kCount>(const Access<A, kCount>& access) {
    scatter<A, kCorners>(args, access);
  });
}

}  // namespace gan_ops
