// The epilogue of a demodulated convolution on the CPU: chunk by chunk, and in these some 512 elements at a time, whose
// pre-activations are computed, then what is needed of φ at them, then the results, all out of L1. So the formulas of
// the activations exist once a number type, whatever the tensors' type, layout and pass.
#include "../scale_bias_act.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "exp.h"
#include "narrow_types.h"
#include "parallel.h"
#include "streaming_stores.h"
#include "sum_rows.h"

namespace gan_ops {
namespace {

using namespace cpu;

constexpr int64_t kTile = 512;  // elements whose pre-activations are computed before any is used

// ---- Activations ----

struct Exponentials {
  template <class A>
  static GAN_OPS_INLINE A exp_of_minus(A d) {
    return cpu::exp_of_minus(d);
  }
  template <class A>
  static GAN_OPS_INLINE A expm1_of_minus(A d) {
    return cpu::expm1_of_minus(d);
  }
  template <class A>
  static GAN_OPS_INLINE A log1p_of_fraction(A e) {
    return cpu::log1p_of_fraction(e);
  }
};

// What loops marked `omp simd` do with structs lies in functions of its own: structs that the loop itself declared
// would be spread over its lanes and not become registers, and then nothing is vectorised.

/// Derivatives at a tile's elements.
template <class A>
struct Slopes {
  A* first;
  A* second;
  A* passes;  // 1 or 0
};

/// ψ at each t of a tile (order 0), or φ′ (1), or φ′ and φ″ (2), and where they pass.
template <int kOrder, class A, class Phi>
GAN_OPS_INLINE void activate(const A* t, A* value, Slopes<A> slopes, int64_t begin, int64_t end, Phi phi,
                             Saturation<A> limits) {
  const auto each = [&](int64_t i) GAN_OPS_LAMBDA_INLINE {
    const Derivatives<A> at = saturate(phi(t[i]), limits);
    if constexpr (kOrder == 0) value[i] = at.value;
    if constexpr (kOrder > 0) slopes.first[i] = at.first, slopes.passes[i] = at.passes;
    if constexpr (kOrder == 2) slopes.second[i] = at.second;
  };
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) each(i);
}
template <int kOrder, class A>
__attribute__((noinline)) void activate(const EpilogueOptions& options, const A* t, A* value, Slopes<A> slopes,
                                        int64_t count) {
  const Saturation<A> limits = saturation<A>(options);
  with_activation<Exponentials, A>(options.act, options.alpha, [&](const auto& phi) {
    run_best([=](int64_t begin, int64_t end)
                 GAN_OPS_LAMBDA_INLINE { activate<kOrder>(t, value, slopes, begin, end, phi, limits); },
             0, count);
  });
}

/// φ and φ′ of linear, relu and lrelu, so short a formula that passes over rows have it in themselves.
template <class A>
struct Straight {
  PiecewiseLinear<A> phi;
  A below, lowest;  // relu is linear, but for where it passes, and for its lowest value
  Saturation<A> limits;

  explicit Straight(const EpilogueOptions& options)
      : phi{A(options.act == Activation::lrelu ? options.alpha : 1.0)},
        below(options.act == Activation::relu ? 0 : 1),
        lowest(options.act == Activation::relu ? 0 : -std::numeric_limits<A>::infinity()),
        limits(saturation<A>(options)) {}

  GAN_OPS_INLINE Derivatives<A> at(A t) const {
    Derivatives<A> of_t = phi(t);
    of_t.value = of_t.value < lowest ? lowest : of_t.value;
    of_t.passes = t <= A(0) ? below : A(1);
    return saturate(of_t, limits);
  }
};

// ---- Rows ----

/// What stands for parameters that are absent.
template <class A>
struct Constant {
  A values[kTile];
  explicit Constant(A value) { std::fill_n(values, kTile, value); }
};
template <class A>
const A* zeros() {
  static const Constant<A> zero(0);
  return zero.values;
}
template <class A>
const A* ones() {
  static const Constant<A> one(1);
  return one.values;
}

/// x · scale + offset along a row's lanes. Of the two numbers that an offset is the sum of, one is the row's.
template <class A, bool kAdjacent>
struct Affine {
  const A* lane_scale;  // where channels are lanes
  const A* lane_offset;
  A row_scale, row_offset;

  GAN_OPS_INLINE A scale(int64_t i) const {
    if constexpr (kAdjacent)
      return lane_scale[i];
    else
      return row_scale;
  }
  GAN_OPS_INLINE A offset(int64_t i) const { return lane_offset[i] + row_offset; }
};

template <class A, bool kAdjacent>
struct Parameters {
  const A* scale;
  const A* bias;
  const A* noise;
  int64_t channels, noise_step;
  const A* no_scale;  // what an absent scale is

  Parameters(const EpilogueParameters& of, const EpilogueLayout& s, const A* otherwise)
      : scale(static_cast<const A*>(of.scale)),
        bias(static_cast<const A*>(of.bias)),
        noise(static_cast<const A*>(of.noise)),
        channels(s.channels),
        noise_step(of.noise_step(s)),
        no_scale(otherwise) {}

  GAN_OPS_INLINE Affine<A, kAdjacent> at(int64_t sample, int64_t row, int64_t lane, const A* zeros) const {
    const A* scales = scale == nullptr ? nullptr : scale + sample * channels;
    const A* noises = noise == nullptr ? nullptr : noise + sample * noise_step;
    if constexpr (kAdjacent)
      return {scales == nullptr ? no_scale : scales + lane, bias == nullptr ? zeros : bias + lane, A(0),
              noises == nullptr ? A(0) : noises[row]};
    else
      return {nullptr, noises == nullptr ? zeros : noises + lane, scales == nullptr ? no_scale[0] : scales[row],
              bias == nullptr ? A(0) : bias[row]};
  }
};

template <class T, class A>
GAN_OPS_INLINE const A* widened(const T* from, A* room, int64_t width) {
  if constexpr (std::is_same_v<T, A>) {
    return from;
  } else {
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) room[i] = widen(from[i]);
    return room;
  }
}

/// Where a row of results is made: in place, or in `room`, for put_row to bring it there.
template <class T, class A>
GAN_OPS_INLINE A* row_of(T* to, A* room, bool streamed) {
  if constexpr (std::is_same_v<T, A>) return streamed || to == nullptr ? room : to;
  return room;
}
template <class T, class A>
GAN_OPS_INLINE void put_row(T* to, const A* made, int64_t width, bool streamed) {
  if (to == nullptr) return;
  if constexpr (std::is_same_v<T, A>) {
    if (streamed) stream(to, made, width);
  } else {
    alignas(64) T narrowed[kTile];
    T* const at = streamed ? narrowed : to;
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) at[i] = narrow<T>(made[i]);
    if (streamed) stream(to, narrowed, width);
  }
}

template <class A, bool kAdjacent>
GAN_OPS_INLINE void pre_activations(const A* x, A* t, int64_t width, Affine<A, kAdjacent> of) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) t[i] = x[i] * of.scale(i) + of.offset(i);
}

// ---- Derivatives of φ in a row, by place ----

template <class A>
struct Stored {
  const A* first;
  const A* second;
  const A* passes;

  GAN_OPS_INLINE Derivatives<A> operator()(int64_t i) const { return {A(0), first[i], second[i], passes[i]}; }
};

template <class A, bool kAdjacent>
struct Computed {
  Straight<A> phi;
  Affine<A, kAdjacent> of;
  const A* x;

  GAN_OPS_INLINE Derivatives<A> operator()(int64_t i) const { return phi.at(x[i] * of.scale(i) + of.offset(i)); }
};

// ---- Sums ----

/// Some rows of a chunk, as many as fit in a tile, or a part of one row.
struct Tile {
  int64_t sample, lane, width, row, rows;  // from this lane and row on
  int64_t lane_chunk, place;               // of the chunk, and the lane less its first
};

/// The sums of a row over its lanes: of what the scale's gradient is made of, and of what bias's and noise's are.
template <class A>
struct RowSums {
  A of_scale, of_offset;
};

template <class A, bool kAdjacent>
GAN_OPS_INLINE RowSums<A> add_up(const A* to_scale, const A* to_offset, A* lane_scale, A* lane_offset, int64_t width) {
  A of_scale = 0, of_offset = 0;
#pragma omp simd reduction(+ : of_scale, of_offset)
  for (int64_t i = 0; i < width; ++i) {
    if constexpr (kAdjacent)
      lane_scale[i] += to_scale[i];
    else
      of_scale += to_scale[i];
    lane_offset[i] += to_offset[i];
    of_offset += to_offset[i];
  }
  return {of_scale, of_offset};
}

/// Sums of a chunk along its rows, and where they and the rows' go.
template <class A, bool kAdjacent>
struct ChunkSums {
  A* lane_scale;  // [kCpuEpilogueLanes] each
  A* lane_offset;
  const EpilogueSums& to;
  const EpilogueLayout& s;
  const EpilogueChunks& chunks;

  GAN_OPS_INLINE void start(int64_t width) const {
    std::fill_n(lane_scale, width, A(0));
    std::fill_n(lane_offset, width, A(0));
  }
  static GAN_OPS_INLINE void put(void* partial, int64_t i, A sum, bool adds) {
    if (partial == nullptr) return;
    A& at = static_cast<A*>(partial)[i];
    at = adds ? at + sum : sum;
  }
  /// Those of a tile's row; of a row in several tiles they are added up.
  GAN_OPS_INLINE void put_row_sums(const Tile& tile, int64_t row, RowSums<A> sums) const {
    const int64_t i = (tile.sample * chunks.of_lanes + tile.lane_chunk) * s.rows() + row;
    if constexpr (kAdjacent) {
      put(to.partial_noise, i, sums.of_offset, tile.place > 0);
    } else {
      put(to.partial_scale, i, sums.of_scale, tile.place > 0);
      put(to.partial_bias, i, sums.of_offset, tile.place > 0);
    }
  }
  static GAN_OPS_INLINE void put_all(void* partial, int64_t first, const A* sums, int64_t width) {
    if (partial != nullptr) std::copy_n(sums, width, static_cast<A*>(partial) + first);
  }
  GAN_OPS_INLINE void put_lane_sums(int64_t sample, int64_t row_chunk, int64_t lane, int64_t width) const {
    const int64_t first = (sample * chunks.of_rows + row_chunk) * s.lanes() + lane;
    if constexpr (kAdjacent) {
      put_all(to.partial_scale, first, lane_scale, width);
      put_all(to.partial_bias, first, lane_offset, width);
    } else {
      put_all(to.partial_noise, first, lane_offset, width);
    }
  }
};

/// partial [groups, rows, width] → total [groups, width], in order
template <class A>
void sum_middle(const void* partial, void* total, int64_t groups, int64_t rows, int64_t width) {
  if (total == nullptr) return;
  const A* from = static_cast<const A*>(partial);
  A* to = static_cast<A*>(total);
  for (int64_t group = 0; group < groups; ++group, from += rows * width, to += width)
    sum_rows(from, to, rows, width, /*divisor=*/A(1));
}

template <class A>
void finish(const EpilogueSums& sums, const EpilogueLayout& s, const EpilogueChunks& chunks, bool noise_of_each) {
  const int64_t of_pixels = s.channels_adjacent ? chunks.of_rows : chunks.of_lanes;
  const int64_t of_channels = s.channels_adjacent ? chunks.of_lanes : chunks.of_rows;
  sum_middle<A>(sums.partial_scale, sums.scale, s.samples, of_pixels, s.channels);
  sum_middle<A>(sums.partial_bias, sums.bias, 1, s.samples * of_pixels, s.channels);
  if (noise_of_each)
    sum_middle<A>(sums.partial_noise, sums.noise, s.samples, of_channels, s.pixels);
  else
    sum_middle<A>(sums.partial_noise, sums.noise, 1, s.samples * of_channels, s.pixels);
}

// ---- The walk ----

/// body.tile(tile) for all tiles of a chunk, between body.start and body.end.
template <class Body>
void for_chunks(const EpilogueLayout& s, const EpilogueChunks& chunks, bool streamed, const Body& body) {
  parallel_for(s.samples * chunks.per_sample(), chunks.lanes * chunks.rows,
               [=, &body](int64_t first, int64_t last) GAN_OPS_LAMBDA_INLINE {
                 for (int64_t chunk = first; chunk < last; ++chunk) {
                   const int64_t sample = chunk / chunks.per_sample(), of_sample = chunk % chunks.per_sample();
                   const int64_t row_chunk = of_sample / chunks.of_lanes, lane_chunk = of_sample % chunks.of_lanes;
                   const int64_t lane = lane_chunk * chunks.lanes, width = std::min(chunks.lanes, s.lanes() - lane);
                   const int64_t row = row_chunk * chunks.rows, end = std::min(row + chunks.rows, s.rows());
                   const int64_t at_once = std::max<int64_t>(1, kTile / width);
                   body.chunk(sample, row_chunk, lane, width, [&](const auto& tile) GAN_OPS_LAMBDA_INLINE {
                     for (int64_t at = row; at < end; at += at_once)
                       for (int64_t place = 0; place < width; place += kTile)
                         tile(Tile{sample, lane + place, std::min(kTile, width - place), at,
                                   std::min(at_once, end - at), lane_chunk, place});
                   });
                 }
                 if (streamed) streams_end();
               });
}

GAN_OPS_INLINE int64_t place(const EpilogueLayout& s, const Tile& tile, int64_t row) {
  return (tile.sample * s.rows() + tile.row + row) * s.lanes() + tile.lane;
}

/// t of a tile [rows, width], and x in `room` where it has another type.
template <class T, class A, bool kAdjacent>
GAN_OPS_INLINE void tile_pre_activations(const T* x, const EpilogueLayout& s, const Parameters<A, kAdjacent>& of,
                                         const Tile& tile, const A* zero, A* room, A* t) {
  for (int64_t r = 0; r < tile.rows; ++r) {
    const int64_t at = r * tile.width;
    pre_activations(widened(x + place(s, tile, r), room + at, tile.width), t + at, tile.width,
                    of.at(tile.sample, tile.row + r, tile.lane, zero));
  }
}

/// A row of results of linear, relu and lrelu.
template <class T, class A, bool kAdjacent>
GAN_OPS_INLINE void straight_row(const T* x, T* y, int64_t width, Straight<A> phi, Affine<A, kAdjacent> of) {
  const auto value = [&](int64_t i)
                         GAN_OPS_LAMBDA_INLINE { return phi.at(widen(x[i]) * of.scale(i) + of.offset(i)).value; };
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) y[i] = narrow<T>(value(i));
}

template <class T, bool kAdjacent>
struct Forward {
  using A = Accumulate<T>;
  const T* x;
  T* y;
  Parameters<A, kAdjacent> of;
  EpilogueLayout s;
  EpilogueOptions options;
  bool streamed;
  const A* zero = zeros<A>();

  template <class ForTiles>
  GAN_OPS_INLINE void chunk(int64_t, int64_t, int64_t, int64_t, const ForTiles& for_tiles) const {
    if (is_curved(options.act))
      for_tiles([&](const Tile& tile) GAN_OPS_LAMBDA_INLINE { curved(tile); });
    else
      for_tiles([&, phi = Straight<A>(options)](const Tile& tile) GAN_OPS_LAMBDA_INLINE { straight(tile, phi); });
  }

  GAN_OPS_INLINE void curved(const Tile& tile) const {
    alignas(64) A t[kTile], room[kTile];
    const int64_t width = tile.width;
    tile_pre_activations(x, s, of, tile, zero, room, t);
    if (tile.rows == 1 || width == s.lanes()) {  // adjacent in memory
      T* const to = y + place(s, tile, 0);
      A* const made = row_of(to, t, streamed);
      activate<0, A>(options, t, made, {}, tile.rows * width);
      return put_row(to, made, tile.rows * width, streamed);
    }
    activate<0, A>(options, t, t, {}, tile.rows * width);
    for (int64_t r = 0; r < tile.rows; ++r) {
      T* const to = y + place(s, tile, r);
      if constexpr (std::is_same_v<T, A>)
        std::copy_n(t + r * width, width, to);
      else
        put_row(to, t + r * width, width, false);
    }
  }

  GAN_OPS_INLINE void straight(const Tile& tile, const Straight<A>& phi) const {
    alignas(64) T made[kTile];
    const int64_t width = tile.width;
    const bool gathers = streamed && (tile.rows == 1 || width == s.lanes());  // adjacent in memory
    for (int64_t r = 0; r < tile.rows; ++r)
      straight_row(x + place(s, tile, r), gathers ? made + r * width : y + place(s, tile, r), width, phi,
                   of.at(tile.sample, tile.row + r, tile.lane, zero));
    if (gathers) stream(y + place(s, tile, 0), made, tile.rows * width);
  }
};

/// d_x of a row, and its sums, with the derivatives of φ at each place and t.
template <class A, bool kAdjacent, class Phi>
GAN_OPS_INLINE RowSums<A> differentiate_row(const A* g, const A* x, Phi phi, A gain, A* d_x, A* lane_scale,
                                            A* lane_offset, int64_t width, Affine<A, kAdjacent> of) {
  const auto p_at = [&](int64_t i) GAN_OPS_LAMBDA_INLINE { return differentiate(g[i], gain, phi(i)); };
  A of_scale = 0, of_offset = 0;
#pragma omp simd reduction(+ : of_scale, of_offset)
  for (int64_t i = 0; i < width; ++i) {
    const A p = p_at(i);
    if constexpr (kAdjacent)
      lane_scale[i] += p * x[i];
    else
      of_scale += p * x[i];
    lane_offset[i] += p;
    of_offset += p;
    d_x[i] = p * of.scale(i);
  }
  return {of_scale, of_offset};
}

template <class T, bool kAdjacent>
struct Backward {
  using A = Accumulate<T>;
  const T* g;
  const T* x;
  T* d_x;
  Parameters<A, kAdjacent> of;
  EpilogueSums sums;
  EpilogueChunks chunks;
  EpilogueLayout s;
  EpilogueOptions options;
  bool streamed;
  const A* zero = zeros<A>();

  template <class ForTiles>
  GAN_OPS_INLINE void chunk(int64_t sample, int64_t row_chunk, int64_t lane, int64_t width,
                            const ForTiles& for_tiles) const {
    alignas(64) A first[kTile], passes[kTile], x_room[kTile], g_room[kTile], room[kTile];
    alignas(64) A lane_scale[kCpuEpilogueLanes], lane_offset[kCpuEpilogueLanes];
    const ChunkSums<A, kAdjacent> chunk_sums{lane_scale, lane_offset, sums, s, chunks};
    chunk_sums.start(width);
    const bool curved = is_curved(options.act);
    const Straight<A> straight(options);
    const A gain(options.gain);
    for_tiles([&](const Tile& tile) GAN_OPS_LAMBDA_INLINE {
      const int64_t width = tile.width;
      A *const scale_sums = lane_scale + tile.place, *const offset_sums = lane_offset + tile.place;
      if (curved) {
        tile_pre_activations(x, s, of, tile, zero, x_room, first);
        activate<1, A>(options, first, nullptr, {first, nullptr, passes}, tile.rows * width);
      }
      for (int64_t r = 0; r < tile.rows; ++r) {
        const int64_t at = place(s, tile, r);
        T* const to = d_x == nullptr ? nullptr : d_x + at;
        A* const made = row_of(to, room, streamed);
        const A* const gs = widened(g + at, g_room, width);
        const auto affine = of.at(sample, tile.row + r, tile.lane, zero);
        const auto row_sums = [&](const A* xs, auto phi) GAN_OPS_LAMBDA_INLINE {
          return differentiate_row(gs, xs, phi, gain, made, scale_sums, offset_sums, width, affine);
        };
        RowSums<A> found;
        if (curved) {
          const A* xs = x_room + r * width;
          if constexpr (std::is_same_v<T, A>) xs = x + at;
          found = row_sums(xs, Stored<A>{first + r * width, first + r * width, passes + r * width});
        } else {
          const A* const xs = widened(x + at, x_room, width);
          found = row_sums(xs, Computed<A, kAdjacent>{straight, affine, xs});
        }
        put_row(to, made, width, streamed);
        chunk_sums.put_row_sums(tile, tile.row + r, found);
      }
    });
    chunk_sums.put_lane_sums(sample, row_chunk, lane, width);
  }
};

/// Terms known in advance: gcc does not vectorise loops that ask.
template <bool kScale, bool kR, bool kCurved>
struct KnownTerms {
  static constexpr bool of_v = true, of_scale = kScale, of_r = kR, curved = kCurved;
};
/// body(terms), known in advance but where v is absent, which is rare.
template <bool kCurved, class Body>
GAN_OPS_INLINE void with_terms(const EpilogueTerms& terms, const Body& body) {
  if (!terms.of_v) return body(EpilogueTerms{false, terms.of_scale, terms.of_r, kCurved});
  if constexpr (!kCurved)
    if (!terms.of_r)
      return terms.of_scale ? body(KnownTerms<true, false, false>{}) : body(KnownTerms<false, false, false>{});
  return terms.of_scale ? body(KnownTerms<true, true, kCurved>{}) : body(KnownTerms<false, true, kCurved>{});
}

/// d_g and d_x of a row, and its sums, of curved activations.
template <class Terms, class A, bool kAdjacent>
GAN_OPS_INLINE RowSums<A> differentiate_row_twice(const A* v, const A* g, const A* x, Stored<A> phi, A gain, A* d_g,
                                                  A* d_x, A* lane_scale, A* lane_offset, int64_t width,
                                                  Affine<A, kAdjacent> of, Affine<A, kAdjacent> to, Terms terms) {
  alignas(64) A to_scale[kTile], to_offset[kTile];
  const auto each = [&](int64_t i) GAN_OPS_LAMBDA_INLINE {
    const EpilogueTwice<A> at =
        differentiate_twice(v[i], g[i], x[i], phi(i), gain, of.scale(i), to.scale(i), to.offset(i), terms);
    d_g[i] = at.d_g;
    d_x[i] = at.d_x;
    to_scale[i] = at.of_scale;
    to_offset[i] = at.of_offset;
  };
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) each(i);
  return add_up<A, kAdjacent>(to_scale, to_offset, lane_scale, lane_offset, width);
}

/// The same of linear, relu and lrelu, of which nothing is added to the sums of bias and noise.
template <class Terms, class A, bool kAdjacent>
GAN_OPS_INLINE RowSums<A> differentiate_row_twice(const A* v, const A* g, const A* x, Computed<A, kAdjacent> phi,
                                                  A gain, A* d_g, A* d_x, A* lane_scale, int64_t width,
                                                  Affine<A, kAdjacent> of, Affine<A, kAdjacent> to, Terms terms) {
  const auto each = [&](int64_t i) GAN_OPS_LAMBDA_INLINE {
    const EpilogueTwice<A> at =
        differentiate_twice(v[i], g[i], x[i], phi(i), gain, of.scale(i), to.scale(i), to.offset(i), terms);
    d_g[i] = at.d_g;
    d_x[i] = at.d_x;
    return at.of_scale;
  };
  A of_scale = 0;
#pragma omp simd reduction(+ : of_scale)
  for (int64_t i = 0; i < width; ++i) {
    const A to_scale = each(i);
    if constexpr (kAdjacent)
      lane_scale[i] += to_scale;
    else
      of_scale += to_scale;
  }
  return {of_scale, A(0)};
}

template <class T, bool kAdjacent>
struct DoubleBackward {
  using A = Accumulate<T>;
  const T* v;
  const T* g;
  const T* x;
  T* d_g;
  T* d_x;
  Parameters<A, kAdjacent> of, to;
  EpilogueTerms terms;
  EpilogueSums sums;
  EpilogueChunks chunks;
  EpilogueLayout s;
  EpilogueOptions options;
  bool streamed;
  const A* zero = zeros<A>();

  template <class ForTiles>
  GAN_OPS_INLINE void chunk(int64_t sample, int64_t row_chunk, int64_t lane, int64_t width,
                            const ForTiles& for_tiles) const {
    alignas(64) A first[kTile], second[kTile], passes[kTile], x_room[kTile], g_room[kTile], v_room[kTile];
    alignas(64) A d_g_room[kTile], d_x_room[kTile];
    alignas(64) A lane_scale[kCpuEpilogueLanes], lane_offset[kCpuEpilogueLanes];
    const ChunkSums<A, kAdjacent> chunk_sums{lane_scale, lane_offset, sums, s, chunks};
    chunk_sums.start(width);
    const Straight<A> straight(options);
    const A gain(options.gain);
    for_tiles([&](const Tile& tile) GAN_OPS_LAMBDA_INLINE {
      const int64_t width = tile.width;
      A *const scale_sums = lane_scale + tile.place, *const offset_sums = lane_offset + tile.place;
      if (terms.curved) {
        tile_pre_activations(x, s, of, tile, zero, x_room, first);
        activate<2, A>(options, first, nullptr, {first, second, passes}, tile.rows * width);
      }
      for (int64_t r = 0; r < tile.rows; ++r) {
        const int64_t at = place(s, tile, r);
        T* const to_g = d_g == nullptr ? nullptr : d_g + at;
        T* const to_x = d_x == nullptr ? nullptr : d_x + at;
        A *const made_g = row_of(to_g, d_g_room, streamed), *const made_x = row_of(to_x, d_x_room, streamed);
        const A* const vs = v == nullptr ? zero : widened(v + at, v_room, width);
        const A* const gs = widened(g + at, g_room, width);
        const auto affine = of.at(sample, tile.row + r, tile.lane, zero),
                   moved = to.at(sample, tile.row + r, tile.lane, zero);
        RowSums<A> found;
        if (terms.curved) {
          const A* xs = x_room + r * width;
          if constexpr (std::is_same_v<T, A>) xs = x + at;
          const Stored<A> phi{first + r * width, second + r * width, passes + r * width};
          with_terms<true>(terms, [&](auto with) GAN_OPS_LAMBDA_INLINE {
            found = differentiate_row_twice(vs, gs, xs, phi, gain, made_g, made_x, scale_sums, offset_sums, width,
                                            affine, moved, with);
          });
        } else {
          const A* const xs = widened(x + at, x_room, width);
          const Computed<A, kAdjacent> phi{straight, affine, xs};
          with_terms<false>(terms, [&](auto with) GAN_OPS_LAMBDA_INLINE {
            found =
                differentiate_row_twice(vs, gs, xs, phi, gain, made_g, made_x, scale_sums, width, affine, moved, with);
          });
        }
        put_row(to_g, made_g, width, streamed);
        put_row(to_x, made_x, width, streamed);
        chunk_sums.put_row_sums(tile, tile.row + r, found);
      }
    });
    chunk_sums.put_lane_sums(sample, row_chunk, lane, width);
  }
};

/// Whether this many tensors of a layout are better not kept in caches.
template <class T>
bool streams_past(const EpilogueLayout& s, int64_t tensors) {
  return beyond_cache(tensors * s.samples * s.channels * s.pixels * sizeof(T));
}

template <class Body>
void with_layout(const EpilogueLayout& s, const Body& body) {
  if (s.channels_adjacent)
    body(std::true_type{});
  else
    body(std::false_type{});
}

}  // namespace

void run_on_cpu(const ScaleBiasActForwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    with_layout(a.layout, [&]<bool kAdjacent>(std::bool_constant<kAdjacent>) {
      const bool streamed = streams_past<T>(a.layout, 2);
      for_chunks(a.layout, cpu_forward_chunks(a.layout), streamed,
                 Forward<T, kAdjacent>{static_cast<const T*>(a.x),
                                       static_cast<T*>(a.y),
                                       {a.of, a.layout, ones<A>()},
                                       a.layout,
                                       a.options,
                                       streamed});
    });
  });
}

void run_on_cpu(const ScaleBiasActBackwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    with_layout(a.layout, [&]<bool kAdjacent>(std::bool_constant<kAdjacent>) {
      const bool streamed = streams_past<T>(a.layout, 3);
      for_chunks(a.layout, a.chunks, streamed,
                 Backward<T, kAdjacent>{static_cast<const T*>(a.g),
                                        static_cast<const T*>(a.x),
                                        static_cast<T*>(a.d_x),
                                        {a.of, a.layout, ones<A>()},
                                        a.sums,
                                        a.chunks,
                                        a.layout,
                                        a.options,
                                        streamed});
    });
    finish<A>(a.sums, a.layout, a.chunks, a.of.noise_of_each);
  });
}

void run_on_cpu(const ScaleBiasActDoubleBackwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    with_layout(a.layout, [&]<bool kAdjacent>(std::bool_constant<kAdjacent>) {
      const bool streamed = streams_past<T>(a.layout, 5);
      for_chunks(a.layout, a.chunks, streamed,
                 DoubleBackward<T, kAdjacent>{static_cast<const T*>(a.v),
                                              static_cast<const T*>(a.g),
                                              static_cast<const T*>(a.x),
                                              static_cast<T*>(a.d_g),
                                              static_cast<T*>(a.d_x),
                                              {a.of, a.layout, ones<A>()},
                                              {a.to, a.layout, zeros<A>()},
                                              terms_of(a),
                                              a.sums,
                                              a.chunks,
                                              a.layout,
                                              a.options,
                                              streamed});
    });
    finish<A>(a.sums, a.layout, a.chunks, a.of.noise_of_each);
  });
}

}  // namespace gan_ops
