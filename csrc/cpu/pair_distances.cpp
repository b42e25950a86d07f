// Distances of all pairs on the CPU. For sums over c, samples j of y lie along the lanes of a register; for sums over
// samples, features c do. Either way the arrays are packed into panels of kLanes first, and a panel that is in the
// cache meets a few rows at a time, whose sums stay in registers. What is [N, M] is gone through in groups of rows, or
// of columns, since its lines may lie a power of two apart.
#include "../pair_distances.h"

#include <algorithm>

#include "narrow_types.h"
#include "parallel.h"

namespace gan_ops {
namespace {

using namespace cpu;
using Metric = PairMetric;

constexpr int kLanes = 16;   // one 512-bit register of floats
constexpr int kRows = 4;     // rows of a tile
constexpr int kGroup = 16;   // rows that go along a panel together: a line of the cache has as many floats
constexpr int kBlock = 64;   // terms added up in one go: a long sum leaves no more of a short one than its rounding
constexpr int kChunk = 256;  // features of a panel at a time: 16 kB of floats

int64_t panels_of(int64_t count) {
  return (count + kLanes - 1) / kLanes;
}
int64_t groups_of(int64_t count) {
  return (count + kGroup - 1) / kGroup;
}
int64_t padded(int64_t count) {
  return panels_of(count) * kLanes;
}

/// Samples along lanes: to[(n / kLanes · dims + c) · kLanes + n % kLanes] = from[n, c], zeros behind the last.
template <class T, class A>
void pack_samples(const T* from, int64_t samples, int64_t dims, A* to) {
  parallel_for(panels_of(samples), kLanes * dims, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t first = panel * kLanes;
      const int valid = static_cast<int>(std::min<int64_t>(kLanes, samples - first));
      A* out = to + first * dims;
      for (int64_t c = 0; c < dims; ++c, out += kLanes) {
        for (int lane = 0; lane < valid; ++lane) out[lane] = widen(from[(first + lane) * dims + c]);
        for (int lane = valid; lane < kLanes; ++lane) out[lane] = A(0);
      }
    }
  });
}

/// Features along lanes: to[(c / kLanes · samples + n) · kLanes + c % kLanes] = from[n, c], zeros behind the last.
template <class T, class A>
void pack_features(const T* from, int64_t samples, int64_t dims, A* to) {
  parallel_for(samples, dims, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    for (int64_t n = begin; n < end; ++n) {
      const T* row = from + n * dims;
      for (int64_t c = 0; c < dims; c += kLanes) {
        const int valid = static_cast<int>(std::min<int64_t>(kLanes, dims - c));
        A* out = to + (c * samples + n * kLanes);
        for (int lane = 0; lane < valid; ++lane) out[lane] = widen(row[c + lane]);
        for (int lane = valid; lane < kLanes; ++lane) out[lane] = A(0);
      }
    }
  });
}

/// The rows in the accumulate type: themselves, or a copy.
template <class T, class A>
const A* widened(const T* from, int64_t count, A*& memory) {
  if constexpr (std::is_same_v<T, A>) {
    return from;
  } else {
    A* to = memory;
    memory += count;
    parallel_for(count, 1, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) to[i] = widen(from[i]);
    });
    return to;
  }
}

template <class A>
struct Lanes {
  A of[kRows][kLanes];
};

/// Adds to `totals` the terms of d, or with kTilted those of u, of features [begin, end) of a panel and kRows rows.
template <Metric kMetric, bool kTilted, class A>
GAN_OPS_INLINE void add_terms(const A* const (&x)[kRows], const A* const (&a)[kRows], const A* y, const A* b,
                              int64_t begin, int64_t end, Lanes<A>& totals) {
  for (int64_t block = begin; block < end; block += kBlock) {
    const int64_t block_end = std::min(block + kBlock, end);
    Lanes<A> sums = {};
    for (int64_t c = block; c < block_end; ++c) {
      const A *y_lanes = y + c * kLanes, *b_lanes = b + c * kLanes;
      for (int r = 0; r < kRows; ++r) {
        const A x_row = x[r][c];
        if constexpr (kTilted) {
          const A a_row = a[r][c];
#pragma omp simd
          for (int lane = 0; lane < kLanes; ++lane)
            sums.of[r][lane] += pair_slope<kMetric>(x_row - y_lanes[lane]) * (a_row - b_lanes[lane]);
        } else {
#pragma omp simd
          for (int lane = 0; lane < kLanes; ++lane) sums.of[r][lane] += pair_term<kMetric>(x_row - y_lanes[lane]);
        }
      }
    }
    for (int r = 0; r < kRows; ++r)
#pragma omp simd
      for (int lane = 0; lane < kLanes; ++lane) totals.of[r][lane] += sums.of[r][lane];
  }
}

/// d from its sum of terms, or d_g from the tilt.
template <Metric kMetric, bool kTilted, class A>
GAN_OPS_INLINE A finished(A sum, const A* distance, int64_t pair) {
  if constexpr (kTilted) return pair_weight<kMetric>(sum, kMetric == Metric::l2 ? distance[pair] : A(1));
  return kMetric == Metric::l2 ? std::sqrt(sum) : sum;
}

/// d, or with kTilted d_g; x and a are rows, y and b are packed by pack_samples.
template <Metric kMetric, bool kTilted, class A>
void reduce(const A* x, const A* a, const A* y, const A* b, const A* distance, A* out, const PairLayout& s) {
  parallel_for(groups_of(s.rows), kGroup * s.columns * s.dims / 8,
               [=](int64_t first, int64_t last) GAN_OPS_LAMBDA_INLINE {
                 for (int64_t chunk = 0; chunk < s.dims; chunk += kChunk) {
                   const int64_t chunk_end = std::min(chunk + kChunk, s.dims);
                   for (int64_t group = first; group < last; ++group) {
                     const int64_t group_end = std::min((group + 1) * kGroup, s.rows);
                     for (int64_t j = 0; j < s.columns; j += kLanes) {
                       const int valid = static_cast<int>(std::min<int64_t>(kLanes, s.columns - j));
                       for (int64_t i = group * kGroup; i < group_end; i += kRows) {
                         const int rows = static_cast<int>(std::min<int64_t>(kRows, group_end - i));
                         const A *x_rows[kRows], *a_rows[kRows];
                         for (int r = 0; r < kRows; ++r) {
                           const int64_t row = i + std::min(r, rows - 1);
                           x_rows[r] = x + row * s.dims;
                           a_rows[r] = kTilted ? a + row * s.dims : nullptr;
                         }
                         Lanes<A> totals = {};
                         add_terms<kMetric, kTilted>(x_rows, a_rows, y + j * s.dims, kTilted ? b + j * s.dims : y,
                                                     chunk, chunk_end, totals);
                         for (int r = 0; r < rows; ++r) {
                           const int64_t at = (i + r) * s.columns + j;
                           if (chunk > 0)
                             for (int lane = 0; lane < valid; ++lane) totals.of[r][lane] += out[at + lane];
                           if (chunk_end < s.dims)
                             for (int lane = 0; lane < valid; ++lane) out[at + lane] = totals.of[r][lane];
                           else
                             for (int lane = 0; lane < valid; ++lane)
                               out[at + lane] = finished<kMetric, kTilted>(totals.of[r][lane], distance, at + lane);
                         }
                       }
                     }
                   }
                 }
               });
}

/// What weights are made of, [N, M]: a pair (own, other) lies at own · own_step + other · other_step, and one of the
/// steps is 1.
template <class A>
struct Pairs {
  const A *g, *distance, *d_g;
  int64_t own_step, other_step;
};

/// The weights w and q of a group's samples and kBlock others, at own · own_step + other · other_step.
template <Metric kMetric, bool kBent, class A>
struct Weights {
  A w[kBlock * kGroup], q[kBent ? kBlock * kGroup : 1];
  int64_t own_step, other_step;

  /// Those of `own` samples from i on and of the others in [begin, end).
  GAN_OPS_INLINE void bring(const Pairs<A>& pairs, int64_t i, int64_t own, int64_t begin, int64_t end) {
    const bool by_other = pairs.own_step == 1;  // a line of memory for each other sample, or for each own
    own_step = by_other ? 1 : kBlock;
    other_step = by_other ? kGroup : 1;
    const int64_t lines = by_other ? end - begin : own, length = by_other ? own : end - begin;
    const int64_t step = by_other ? pairs.other_step : pairs.own_step, to_step = by_other ? kGroup : kBlock;
    const int64_t origin = i * pairs.own_step + begin * pairs.other_step;
    for (int64_t line = 0; line < lines; ++line) {
      const int64_t from = origin + line * step, to = line * to_step;
      const A* g = pairs.g + from;
      const A* distance = kMetric == Metric::l2 ? pairs.distance + from : g;
      const A* d_g = kBent ? pairs.d_g + from : g;
#pragma omp simd
      for (int64_t k = 0; k < length; ++k) {
        const A weight = pair_weight<kMetric>(g[k], distance[k]);
        w[to + k] = weight;
        if constexpr (kBent) q[to + k] = -over_distance(weight * d_g[k], distance[k]);
      }
    }
  }
};

constexpr int kPanels = 4;  // that weights are brought for

/// For each of `own` samples and each feature, Σ_other w t(x_own − y_other), or in the double backward
/// Σ_other w (a_own − b_other) + q (x_own − y_other), the latter for l2 alone; x, y, a and b are packed by
/// pack_features.
template <Metric kMetric, bool kDouble, class T, class A>
void pull(const Pairs<A>& pairs, const A* x, const A* y, const A* a, const A* b, int64_t own, int64_t others,
          int64_t dims, T* out) {
  constexpr bool kBent = kDouble && kMetric == Metric::l2;  // whether there is a q
  constexpr Metric kSlope = kDouble ? Metric::squared : kMetric;
  const A *straight = kDouble ? a : x, *straight_others = kDouble ? b : y;  // what w belongs to
  const int64_t groups = groups_of(own), panels = panels_of(dims), runs = (panels + kPanels - 1) / kPanels;
  parallel_for(runs * groups, kGroup * others * 2, [=](int64_t first, int64_t last) GAN_OPS_LAMBDA_INLINE {
    Weights<kMetric, kBent, A> weights;
    for (int64_t task = first; task < last; ++task) {
      const int64_t first_panel = task / groups * kPanels, i = task % groups * kGroup;
      const int64_t in_group = std::min<int64_t>(kGroup, own - i);
      const int64_t in_run = std::min<int64_t>(kPanels, panels - first_panel);
      Lanes<A> totals[kPanels][kGroup / kRows] = {};
      for (int64_t begin = 0; begin < others; begin += kBlock) {
        const int64_t end = std::min(begin + kBlock, others);
        weights.bring(pairs, i, in_group, begin, end);
        const int64_t own_step = weights.own_step, other_step = weights.other_step;
        for (int64_t panel = 0; panel < in_run; ++panel) {
          const int64_t c = (first_panel + panel) * kLanes;
          const A *of_others = straight_others + (c * others + begin * kLanes), *of_own = straight + c * own;
          const A *y_others = y + (c * others + begin * kLanes), *x_own = x + c * own;
          for (int64_t k = 0; k < in_group; k += kRows) {
            const A *z_rows[kRows], *x_rows[kRows], *w_rows[kRows], *q_rows[kRows];
            for (int r = 0; r < kRows; ++r) {
              const int64_t row = std::min(k + r, in_group - 1);
              z_rows[r] = of_own + (i + row) * kLanes;
              x_rows[r] = kBent ? x_own + (i + row) * kLanes : nullptr;
              w_rows[r] = weights.w + row * own_step;
              q_rows[r] = kBent ? weights.q + row * own_step : nullptr;
            }
            Lanes<A> sums = {};
            for (int64_t j = 0; j < end - begin; ++j) {
              const A *z_lanes = of_others + j * kLanes, *y_lanes = kBent ? y_others + j * kLanes : nullptr;
              for (int r = 0; r < kRows; ++r) {
                const A w = w_rows[r][j * other_step];
                const A* own_lanes = z_rows[r];
#pragma omp simd
                for (int lane = 0; lane < kLanes; ++lane)
                  sums.of[r][lane] += w * pair_slope<kSlope>(own_lanes[lane] - z_lanes[lane]);
                if constexpr (kBent) {
                  const A q = q_rows[r][j * other_step];
                  const A* x_lanes = x_rows[r];
#pragma omp simd
                  for (int lane = 0; lane < kLanes; ++lane) sums.of[r][lane] += q * (x_lanes[lane] - y_lanes[lane]);
                }
              }
            }
            for (int r = 0; r < kRows; ++r)
#pragma omp simd
              for (int lane = 0; lane < kLanes; ++lane) totals[panel][k / kRows].of[r][lane] += sums.of[r][lane];
          }
        }
      }
      for (int64_t panel = 0; panel < in_run; ++panel) {
        const int64_t c = (first_panel + panel) * kLanes;
        const int valid = static_cast<int>(std::min<int64_t>(kLanes, dims - c));
        for (int64_t k = 0; k < in_group; ++k)
          for (int lane = 0; lane < valid; ++lane)
            out[(i + k) * dims + c + lane] = narrow<T>(totals[panel][k / kRows].of[k % kRows][lane]);
      }
    }
  });
}

template <Metric kMetric, class T>
void forward(const PairForwardArgs& args) {
  using A = Accumulate<T>;
  const PairLayout s = args.layout;
  A* memory = static_cast<A*>(args.workspace);
  A* y = memory;
  memory += padded(s.columns) * s.dims;
  pack_samples(static_cast<const T*>(args.y), s.columns, s.dims, y);
  const A* x = widened(static_cast<const T*>(args.x), s.rows * s.dims, memory);
  reduce<kMetric, false, A>(x, nullptr, y, nullptr, nullptr, static_cast<A*>(args.distance), s);
}

template <Metric kMetric, class T>
void backward(const PairBackwardArgs& args) {
  using A = Accumulate<T>;
  const PairLayout s = args.layout;
  A* x = static_cast<A*>(args.workspace);
  A* y = x + s.rows * padded(s.dims);
  pack_features(static_cast<const T*>(args.x), s.rows, s.dims, x);
  pack_features(static_cast<const T*>(args.y), s.columns, s.dims, y);
  const A *g = static_cast<const A*>(args.g), *distance = static_cast<const A*>(args.distance), *none = nullptr;
  if (args.d_x != nullptr)
    pull<kMetric, false>(Pairs<A>{g, distance, none, s.columns, 1}, x, y, none, none, s.rows, s.columns, s.dims,
                         static_cast<T*>(args.d_x));
  if (args.d_y != nullptr)
    pull<kMetric, false>(Pairs<A>{g, distance, none, 1, s.columns}, y, x, none, none, s.columns, s.rows, s.dims,
                         static_cast<T*>(args.d_y));
}

template <Metric kMetric, class T>
void double_backward(const PairDoubleBackwardArgs& args) {
  using A = Accumulate<T>;
  const PairLayout s = args.layout;
  const T *x_in = static_cast<const T*>(args.x), *y_in = static_cast<const T*>(args.y);
  const T *a_in = static_cast<const T*>(args.v_x), *b_in = static_cast<const T*>(args.v_y);
  const A *g = static_cast<const A*>(args.g), *distance = static_cast<const A*>(args.distance);
  A* d_g = static_cast<A*>(args.d_g);
  A* memory = static_cast<A*>(args.workspace);
  A *y = memory, *b = y + padded(s.columns) * s.dims;
  memory = b + padded(s.columns) * s.dims;
  pack_samples(y_in, s.columns, s.dims, y);
  pack_samples(b_in, s.columns, s.dims, b);
  const A *x = widened(x_in, s.rows * s.dims, memory), *a = widened(a_in, s.rows * s.dims, memory);
  reduce<kMetric, true, A>(x, a, y, b, distance, d_g, s);
  if constexpr (kMetric != Metric::l1) {
    A* x_panels = static_cast<A*>(args.workspace);
    A *y_panels = x_panels + s.rows * padded(s.dims), *a_panels = y_panels + s.columns * padded(s.dims);
    A* b_panels = a_panels + s.rows * padded(s.dims);
    pack_features(a_in, s.rows, s.dims, a_panels);
    pack_features(b_in, s.columns, s.dims, b_panels);
    if constexpr (kMetric == Metric::l2) {
      pack_features(x_in, s.rows, s.dims, x_panels);
      pack_features(y_in, s.columns, s.dims, y_panels);
    }
    if (args.d_x != nullptr)
      pull<kMetric, true>(Pairs<A>{g, distance, d_g, s.columns, 1}, x_panels, y_panels, a_panels, b_panels, s.rows,
                          s.columns, s.dims, static_cast<T*>(args.d_x));
    if (args.d_y != nullptr)
      pull<kMetric, true>(Pairs<A>{g, distance, d_g, 1, s.columns}, y_panels, x_panels, b_panels, a_panels, s.columns,
                          s.rows, s.dims, static_cast<T*>(args.d_y));
  }
}

}  // namespace

int64_t pair_workspace_on_cpu(const PairForwardArgs& args, bool narrow) {
  const PairLayout& s = args.layout;
  return padded(s.columns) * s.dims + (narrow ? s.rows * s.dims : 0);
}
int64_t pair_workspace_on_cpu(const PairBackwardArgs& args, bool) {
  const PairLayout& s = args.layout;
  return (s.rows + s.columns) * padded(s.dims);
}
int64_t pair_workspace_on_cpu(const PairDoubleBackwardArgs& args, bool narrow) {
  const PairLayout& s = args.layout;
  const int64_t tilt = 2 * (padded(s.columns) + (narrow ? s.rows : 0)) * s.dims;
  const int64_t pulls = 2 * (s.rows + s.columns) * padded(s.dims);
  return args.metric == Metric::l1 ? tilt : std::max(tilt, pulls);
}

void run_on_cpu(const PairForwardArgs& args, Dtype dtype) {
  with_metric(args.metric,
              [&]<Metric kMetric>() { with_type(dtype, [&]<class T>(Type<T>) { forward<kMetric, T>(args); }); });
}
void run_on_cpu(const PairBackwardArgs& args, Dtype dtype) {
  with_metric(args.metric,
              [&]<Metric kMetric>() { with_type(dtype, [&]<class T>(Type<T>) { backward<kMetric, T>(args); }); });
}
void run_on_cpu(const PairDoubleBackwardArgs& args, Dtype dtype) {
  with_metric(args.metric, [&]<Metric kMetric>() {
    with_type(dtype, [&]<class T>(Type<T>) { double_backward<kMetric, T>(args); });
  });
}

}  // namespace gan_ops
