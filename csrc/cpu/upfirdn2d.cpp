// upfirdn2d on the CPU, a tile of the output at a time: its inputs are copied to the cache, padded and polyphase, the
// filter's weighted sums are taken there (fir.h), and their phases are woven together on the way to memory. A separable
// filter goes along columns first, then along rows, and what lies between stays in the cache.
//
// Both layouts are images of pixels of `inner` adjacent values. A tile has all of a pixel's values, or a group of them
// where there are many; of small images it has several. Pixels with as many values as are worth a run of their own need
// no tiles: upfirdn2d_pixels.h.
#include "../upfirdn2d.h"

#include <memory>
#include <type_traits>

#include "fir.h"
#include "narrow_types.h"
#include "parallel.h"
#include "streaming_stores.h"
#include "upfirdn2d_pixels.h"
#include "upfirdn2d_taps.h"

namespace gan_ops {
namespace {

using namespace cpu;

constexpr int64_t kTileValues = 24576;  // inputs, sums and outputs: stay in L2, a row of all in L1
constexpr int64_t kWholePixel = 96;     // values of one that are taken together
constexpr int64_t kLeastGroup = 16;     // a cache line of float32

/// total in parts of nearly equal size, at most `most`.
int64_t even_part(int64_t total, int64_t most) {
  return steps_in(total, steps_in(total, std::clamp<int64_t>(most, 1, total)));
}

/// How large tiles are, and where in the scratch memory their parts begin: planes of `block` values, first those of the
/// input's phases, [vertical, horizontal], then of the sums along columns, then of the output's phases.
struct Tiling {
  Polyphase rows, columns;
  int64_t in_planes, between_planes, out_planes, block;
  int64_t images, height, width;     // of a tile; height and width in steps
  int64_t high, stride, values;      // rows of a block for each image, values of such a row, values of a pixel
  int64_t groups, across, down, of;  // tiles by values, columns, rows and images

  /// from_memory: sums along columns are taken there, and the input has no place of its own.
  Tiling(const Upfirdn2dArgs& a, bool by_axes, bool from_memory) : rows(a.vertical), columns(a.horizontal) {
    in_planes = from_memory ? 0 : rows.in_phases * columns.in_phases;
    between_planes = by_axes ? rows.out_phases() * columns.in_phases : 0;
    out_planes = rows.out_phases() * columns.out_phases();
    const int64_t most = std::max<int64_t>(kTileValues / (in_planes + between_planes + out_planes), 1);
    const int64_t few_rows = std::min(rows.steps, rows.reach + 4) + rows.reach;
    const auto columns_of = [&](int64_t group) { return most / (few_rows * group) - columns.reach; };
    values = a.inner <= kWholePixel ? a.inner : 64;
    while (!from_memory && values > kLeastGroup && columns_of(values) < std::min(columns.steps, 2 * columns.reach + 8))
      values /= 2;
    values = even_part(a.inner, values);
    width = even_part(columns.steps, columns_of(values));
    stride = (width + columns.reach) * values;
    height = even_part(rows.steps, most / stride - rows.reach);
    high = height + rows.reach;
    const bool whole = values == a.inner && width == columns.steps && height == rows.steps;
    // Eight tiles or more, so that threads have their share.
    images = whole ? std::clamp<int64_t>(most / (high * stride), 1, steps_in(a.planes, 8)) : 1;
    block = (images * high * stride + 15) / 16 * 16;
    groups = steps_in(a.inner, values);
    across = steps_in(columns.steps, width);
    down = steps_in(rows.steps, height);
    of = steps_in(a.planes, images);
  }

  int64_t tiles() const { return groups * across * down * of; }
  /// Behind the planes are a row of the output and one of the input.
  int64_t row() const { return (in_planes + between_planes + out_planes) * block; }
  int64_t line() const { return row() + width * columns.outputs * values; }
  int64_t scratch_values() const { return line() + (width + columns.reach) * columns.inputs * values; }
};

/// What one tile has: where it begins, and how much of a whole one it is.
struct Tile {
  int64_t value, values, column, width, row, height, image, images;

  GAN_OPS_INLINE Tile(const Tiling& t, const Upfirdn2dArgs& a, int64_t i) {
    const auto part = [](int64_t index, int64_t size, int64_t total, int64_t& first, int64_t& count) {
      first = index * size;
      count = std::min(size, total - first);
    };
    part(i % t.groups, t.values, a.inner, value, values);
    part(i / t.groups % t.across, t.width, t.columns.steps, column, width);
    part(i / t.groups / t.across % t.down, t.height, t.rows.steps, row, height);
    part(i / t.groups / t.across / t.down, t.images, a.planes, image, images);
  }
};

// ---- The weighted sums ----

/// One plane of a tile as a weighted sum of others.
template <class A>
struct Sum {
  int64_t to;
  int64_t reach;  // columns further than the tile's that it is wanted for
  std::vector<FirTerm<A>> terms;
};

template <class A>
std::vector<Sum<A>> sums_of(const Upfirdn2dArgs& a, const Tiling& t, const Taps<A>& taps) {
  const Polyphase &rows = t.rows, &columns = t.columns;
  const int64_t between = t.in_planes * t.block, out = between + t.between_planes * t.block;
  std::vector<Sum<A>> sums;
  const auto offset = [&](int64_t row, int64_t column) {
    const int64_t plane = rows.plane_of(row) * columns.in_phases + columns.plane_of(column);
    return plane * t.block + rows.step_of(row) * t.stride + columns.step_of(column) * t.values;
  };
  if (!taps.is_square()) {
    for (int64_t p = 0; p < rows.out_phases(); ++p)
      for (int64_t q = 0; q < columns.in_phases; ++q) {
        Sum<A> sum{between + (p * columns.in_phases + q) * t.block, columns.reach, {}};
        for (int64_t k = 0; k < rows.phases[p].count; ++k)
          sum.terms.push_back(
              {offset(rows.phases[p].start + k, q), taps.down[rows.phases[p].first_tap + k * a.vertical.up]});
        sums.push_back(std::move(sum));
      }
    for (int64_t p = 0; p < rows.out_phases(); ++p)
      for (int64_t q = 0; q < columns.out_phases(); ++q) {
        Sum<A> sum{out + (p * columns.out_phases() + q) * t.block, 0, {}};
        const Phase& phase = columns.phases[q];
        for (int64_t k = 0; k < phase.count; ++k) {
          const int64_t plane = p * columns.in_phases + columns.plane_of(phase.start + k);
          sum.terms.push_back({between + plane * t.block + columns.step_of(phase.start + k) * t.values,
                               taps.across[phase.first_tap + k * a.horizontal.up]});
        }
        sums.push_back(std::move(sum));
      }
    return sums;
  }
  for (int64_t p = 0; p < rows.out_phases(); ++p)
    for (int64_t q = 0; q < columns.out_phases(); ++q) {
      Sum<A> sum{out + (p * columns.out_phases() + q) * t.block, 0, {}};
      const Phase &down = rows.phases[p], &across = columns.phases[q];
      for (int64_t k = 0; k < down.count; ++k)
        for (int64_t l = 0; l < across.count; ++l) {
          const int64_t row = down.first_tap + k * a.vertical.up, column = across.first_tap + l * a.horizontal.up;
          sum.terms.push_back(
              {offset(down.start + k, across.start + l), taps.square[row * a.horizontal.taps + column]});
        }
      sums.push_back(std::move(sum));
    }
  return sums;
}

/// Those in [begin, end).
template <class A>
GAN_OPS_INLINE void take_sums(const std::vector<Sum<A>>& sums, int64_t begin, int64_t end, const Tiling& t,
                              const Tile& tile, A* scratch) {
  const int64_t rows = (tile.images - 1) * t.high + tile.height - 1;
  for (int64_t i = begin; i < end; ++i) {
    const Sum<A>& sum = sums[i];
    sum_terms(scratch, sum.terms.data(), static_cast<int64_t>(sum.terms.size()),
              rows * t.stride + (tile.width + sum.reach) * t.values, scratch + sum.to);
  }
}

// ---- To the cache ----

/// `count` pixels of `values`, of every `step`-th pixel [inner] of a row, as a run of pixels [width].
template <class T, class A>
GAN_OPS_INLINE void gather(const T* from, int64_t step, int64_t inner, int64_t count, int64_t values, int64_t width,
                           A* to) {
  if (step == 1 && inner == values && width == values) {
#pragma omp simd
    for (int64_t j = 0; j < count * values; ++j) to[j] = widen(from[j]);
  } else if (step == 2 && inner == 1) {
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) to[j] = widen(from[2 * j]);
  } else if (values < 8) {
    for (int64_t j = 0; j < count; ++j)
      for (int64_t c = 0; c < values; ++c) to[j * width + c] = widen(from[j * step * inner + c]);
  } else {
    for (int64_t j = 0; j < count; ++j)
#pragma omp simd
      for (int64_t c = 0; c < values; ++c) to[j * width + c] = widen(from[j * step * inner + c]);
  }
}

/// The tile's inputs, with zeros where there are none. `cleared`: those at the sides are there from other tiles.
template <class T, class A>
GAN_OPS_INLINE void take_inputs(const Upfirdn2dArgs& a, const Tiling& t, const Tile& tile, A* scratch, bool cleared) {
  const T* const x = static_cast<const T*>(a.x);
  const int64_t steps = tile.width + t.columns.reach, step = t.columns.inputs;
  for (int64_t q = 0; q < t.columns.in_phases; ++q) {
    // Steps [before, behind) of these columns lie in x.
    const int64_t first = step * tile.column + t.columns.first + q;
    const int64_t before = std::min(steps, first < 0 ? (-first + step - 1) / step : 0);
    const int64_t behind = std::clamp((a.horizontal.in - first + step - 1) / step, before, steps);
    for (int64_t p = 0; p < t.rows.in_phases; ++p) {
      A* const plane = scratch + (p * t.columns.in_phases + q) * t.block;
      for (int64_t image = 0; image < tile.images; ++image)
        for (int64_t i = 0; i < tile.height + t.rows.reach; ++i) {
          const int64_t row = t.rows.inputs * (tile.row + i) + t.rows.first + p;
          A* const to = plane + (image * t.high + i) * t.stride;
          if (row < 0 || row >= a.vertical.in || before == behind) {
            std::fill_n(to, steps * t.values, A(0));
            continue;
          }
          const T* const from =
              x + (((tile.image + image) * a.vertical.in + row) * a.horizontal.in + first + before * step) * a.inner +
              tile.value;
          gather(from, step, a.inner, behind - before, tile.values, t.values, to + before * t.values);
          if (cleared) continue;
          std::fill_n(to, before * t.values, A(0));
          std::fill_n(to + behind * t.values, (steps - behind) * t.values, A(0));
        }
    }
  }
}

/// What sums along columns straight from x need beside the filter.
template <class A>
struct ColumnTerms {
  const std::vector<UsedTaps>& used;  // of each row of the output
  FirTerm<A>* terms;                  // room for those of a row
  A* line;                            // and for a row of inputs, where their columns have phases
};

/// The sums along columns, with zeros at the sides, of the tile's rows.
template <class A>
GAN_OPS_INLINE void take_columns(const Upfirdn2dArgs& a, const Tiling& t, const Tile& tile, const Taps<A>& taps,
                                 const ColumnTerms<A>& rows, A* scratch) {
  const int64_t step = t.columns.inputs, steps = tile.width + t.columns.reach, row_values = a.horizontal.in * a.inner;
  // Inputs [before, behind) of a tile's row lie in x.
  const int64_t first = step * tile.column + t.columns.first;
  const int64_t before = std::clamp<int64_t>(-first, 0, steps * step);
  const int64_t behind = std::clamp<int64_t>(a.horizontal.in - first, before, steps * step);
  for (int64_t image = 0; image < tile.images; ++image) {
    const A* const x = static_cast<const A*>(a.x) + (tile.image + image) * a.vertical.in * row_values;
    for (int64_t i = 0; i < tile.height; ++i)
      for (int64_t p = 0; p < t.rows.out_phases(); ++p) {
        const int64_t row = (tile.row + i) * t.rows.outputs + p;
        if (row >= a.vertical.out) break;
        const UsedTaps& used = rows.used[row];
        for (int64_t k = 0; k < used.count; ++k)
          rows.terms[k] = {k * row_values, taps.down[used.tap + k * a.vertical.up]};
        A* const between = scratch + p * t.columns.in_phases * t.block + (image * t.high + i) * t.stride;
        A* const to = step == 1 ? between : rows.line;
        std::fill_n(to, before * a.inner, A(0));
        sum_terms(x + used.input * row_values + (first + before) * a.inner, rows.terms, used.count,
                  (behind - before) * a.inner, to + before * a.inner);
        std::fill_n(to + behind * a.inner, (steps * step - behind) * a.inner, A(0));
        if (step == 1) continue;
        for (int64_t q = 0; q < t.columns.in_phases; ++q)
          gather(to + q * a.inner, step, a.inner, steps, a.inner, a.inner, between + q * t.block);
      }
  }
}

// ---- And to memory ----

/// to[i] = from[i], past the caches if `past`; `buffer` has room for them.
template <class T, class A>
GAN_OPS_INLINE void put_run(const A* from, T* to, int64_t count, bool past, T* buffer) {
  if constexpr (std::is_same_v<T, A>) {
    if (past) return stream(to, from, count);
  }
  T* const target = past ? buffer : to;
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) target[j] = narrow<T>(from[j]);
  if (past) stream(to, buffer, count);
}

/// to[2i] = even[i], to[2i + 1] = odd[i].
template <class T, class A>
GAN_OPS_INLINE void put_pairs(const A* even, const A* odd, T* to, int64_t count, bool past, T* buffer) {
  T* const target = past ? buffer : to;
#pragma omp simd
  for (int64_t j = 0; j < count / 2; ++j) {
    target[2 * j] = narrow<T>(even[j]);
    target[2 * j + 1] = narrow<T>(odd[j]);
  }
  if (count % 2 != 0) target[count - 1] = narrow<T>(even[count / 2]);
  if (past) stream(to, buffer, count);
}

/// Pixels [inner] of the phases' planes in turns.
template <class T, class A>
GAN_OPS_INLINE void put_pixels(const A* from, const Tiling& t, T* to, int64_t inner, int64_t pixels, int64_t values) {
  int64_t q = 0, step = 0;
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    const A* const of_pixel = from + q * t.block + step * t.values;
    T* const target = to + pixel * inner;
    if (values < 8) {
      for (int64_t c = 0; c < values; ++c) target[c] = narrow<T>(of_pixel[c]);
    } else {
#pragma omp simd
      for (int64_t c = 0; c < values; ++c) target[c] = narrow<T>(of_pixel[c]);
    }
    if (++q == t.columns.outputs) {
      q = 0;
      ++step;
    }
  }
}

template <class T, class A>
GAN_OPS_INLINE void put_outputs(const Upfirdn2dArgs& a, const Tiling& t, const Tile& tile, A* scratch, bool past) {
  A* const out = scratch + (t.in_planes + t.between_planes) * t.block;
  T* const buffer = reinterpret_cast<T*>(scratch + t.row());
  const int64_t first = tile.column * t.columns.outputs;
  const int64_t pixels = std::min(tile.width * t.columns.outputs, a.horizontal.out - first);
  const bool whole = tile.values == a.inner && t.values == a.inner;
  for (int64_t image = 0; image < tile.images; ++image)
    for (int64_t i = 0; i < tile.height; ++i)
      for (int64_t p = 0; p < t.rows.out_phases(); ++p) {
        const int64_t row = (tile.row + i) * t.rows.outputs + p;
        if (row >= a.vertical.out) break;
        T* const to = static_cast<T*>(a.y) +
                      (((tile.image + image) * a.vertical.out + row) * a.horizontal.out + first) * a.inner + tile.value;
        const A* const from = out + p * t.columns.out_phases() * t.block + (image * t.high + i) * t.stride;
        if (whole && t.columns.outputs == 1) {
          put_run(from, to, pixels * a.inner, past, buffer);
        } else if (a.inner == 1 && t.columns.outputs == 2 && t.columns.out_phases() == 2) {
          put_pairs(from, from + t.block, to, pixels, past, buffer);
        } else {
          put_pixels(from, t, to, a.inner, pixels, tile.values);
        }
      }
}

/// Whether the last sums can go straight to where y has their rows: those of one phase along rows, or of two that have
/// as many terms and pixels of one value.
template <class A>
bool goes_straight(const std::vector<Sum<A>>& sums, const Upfirdn2dArgs& a, const Tiling& t) {
  constexpr int64_t kLongRow = 48;  // values, for which a row's sum is worth its preparations
  if (t.values != a.inner || t.width * t.columns.outputs * t.values < kLongRow) return false;
  if (t.columns.outputs == 1) return true;
  if (t.columns.out_phases() != 2 || t.columns.outputs != 2 || a.inner != 1) return false;
  for (size_t i = sums.size() - t.out_planes; i < sums.size(); i += 2) {
    const auto terms = int64_t(sums[i].terms.size());
    if (terms < 1 || terms > kMostPairTerms || sums[i + 1].terms.size() != sums[i].terms.size()) return false;
  }
  return true;
}

template <class A>
GAN_OPS_INLINE void put_sums(const std::vector<Sum<A>>& sums, const Upfirdn2dArgs& a, const Tiling& t, const Tile& tile,
                             A* scratch, bool past) {
  const Sum<A>* const last = sums.data() + sums.size() - t.out_planes;
  A* const buffer = scratch + t.row();
  const int64_t first = tile.column * t.columns.outputs;
  const int64_t pixels = std::min(tile.width * t.columns.outputs, a.horizontal.out - first);
  for (int64_t image = 0; image < tile.images; ++image)
    for (int64_t i = 0; i < tile.height; ++i)
      for (int64_t p = 0; p < t.rows.out_phases(); ++p) {
        const int64_t row = (tile.row + i) * t.rows.outputs + p;
        if (row >= a.vertical.out) break;
        A* const to =
            static_cast<A*>(a.y) + (((tile.image + image) * a.vertical.out + row) * a.horizontal.out + first) * a.inner;
        A* const target = past ? buffer : to;
        const A* const from = scratch + (image * t.high + i) * t.stride;
        if (t.columns.outputs == 1) {
          sum_terms(from, last[p].terms.data(), int64_t(last[p].terms.size()), pixels * a.inner, target);
        } else {
          const std::vector<FirTerm<A>>&even = last[2 * p].terms, &odd = last[2 * p + 1].terms;
          sum_pairs(from, even.data(), odd.data(), int64_t(even.size()), pixels / 2, target);
          if (pixels % 2 != 0) {
            A sum = 0;
            for (const FirTerm<A>& term : even) sum += term.tap * from[term.offset + pixels / 2];
            target[pixels - 1] = sum;
          }
        }
        if (past) stream(to, buffer, pixels * a.inner);
      }
}

template <class T>
void run_for(const Upfirdn2dArgs& a) {
  using A = Accumulate<T>;
  constexpr bool kSameType = std::is_same_v<T, A>;
  const Taps<A> taps(a, /*any=*/kSameType && a.inner < kLongPixel && a.horizontal.down > 1);
  if constexpr (kSameType) {
    if (a.inner >= kLongPixel) return by_pixels(a, taps);
  }
  // Where columns have no phases, long runs over all rows of a tile cost less than a copy does.
  const bool from_memory = kSameType && !taps.is_square() && a.horizontal.down > 1;
  const Tiling t(a, !taps.is_square(), from_memory);
  const std::vector<Sum<A>> sums = sums_of<A>(a, t, taps);
  const int64_t written = a.planes * a.vertical.out * a.horizontal.out * a.inner;
  const int64_t read = a.planes * a.vertical.in * a.horizontal.in * a.inner;
  const bool past = beyond_cache((written + read) * int64_t(sizeof(T)));
  const bool direct = kSameType && goes_straight(sums, a, t);
  const int64_t first_sum = from_memory ? t.between_planes : 0;
  const int64_t last_sum = int64_t(sums.size()) - (direct ? t.out_planes : 0);
  std::vector<UsedTaps> rows;
  if (from_memory)
    for (int64_t row = 0; row < a.vertical.out; ++row) rows.emplace_back(a.vertical, row);
  constexpr int64_t kElementsPerThread = 16384;
  const int64_t grain = std::max<int64_t>(1, kElementsPerThread * t.tiles() / std::max<int64_t>(1, written));
  at::parallel_for(0, t.tiles(), grain, [&](int64_t begin, int64_t end) {
    std::unique_ptr<A[]> memory;
    A* scratch = static_cast<A*>(thread_scratch());
    if (t.scratch_values() * int64_t(sizeof(A)) > kScratchBytes) {
      memory.reset(new A[t.scratch_values()]);
      scratch = memory.get();
    }
    std::vector<FirTerm<A>> terms(steps_in(a.vertical.taps, a.vertical.up));
    std::fill_n(scratch, t.in_planes * t.block, A(0));
    for (int64_t i = begin; i < end; ++i) {
      const Tile tile(t, a, i);
      run_best(
          [&](int64_t, int64_t) GAN_OPS_LAMBDA_INLINE {
            if constexpr (kSameType) {
              if (from_memory) return take_columns(a, t, tile, taps, {rows, terms.data(), scratch + t.line()}, scratch);
            }
            take_inputs<T>(a, t, tile, scratch, /*cleared=*/t.across == 1);
          },
          0, 1);
      run_best([&](int64_t, int64_t) GAN_OPS_LAMBDA_INLINE { take_sums(sums, first_sum, last_sum, t, tile, scratch); },
               0, 1);
      if (direct) {
        run_best([&](int64_t, int64_t) GAN_OPS_LAMBDA_INLINE { put_sums(sums, a, t, tile, scratch, past); }, 0, 1);
      } else {
        run_best([&](int64_t, int64_t) GAN_OPS_LAMBDA_INLINE { put_outputs<T>(a, t, tile, scratch, past); }, 0, 1);
      }
    }
    if (past) streams_end();
  });
}

}  // namespace

void run_on_cpu(const Upfirdn2dArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) { run_for<T>(args); });
}

}  // namespace gan_ops
