// Distances of all pairs on the CPU. For sums over c, samples j of y lie along the lanes of a register; for sums over
// samples, features c do. Either way the arrays are packed into panels of kLanes first, and a panel that is in the
// cache meets a few rows at a time, whose sums stay in registers.
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
constexpr int kBlock = 64;   // terms added up in one go: a long sum leaves no more of a short one than its rounding
constexpr int kChunk = 256;  // features of a panel at a time: 16 kB of floats

int64_t panels_of(int64_t count) {
  return (count + kLanes - 1) / kLanes;
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
  const int64_t tiles = (s.rows + kRows - 1) / kRows;
  parallel_for(tiles, kRows * s.columns * s.dims / 8, [=](int64_t first, int64_t last) GAN_OPS_LAMBDA_INLINE {
    for (int64_t chunk = 0; chunk < s.dims; chunk += kChunk) {
      const int64_t chunk_end = std::min(chunk + kChunk, s.dims);
      for (int64_t j = 0; j < s.columns; j += kLanes) {
        const int valid = static_cast<int>(std::min<int64_t>(kLanes, s.columns - j));
        for (int64_t tile = first; tile < last; ++tile) {
          const int64_t i = tile * kRows;
          const int rows = static_cast<int>(std::min<int64_t>(kRows, s.rows - i));
          const A *x_rows[kRows], *a_rows[kRows];
          for (int r = 0; r < kRows; ++r) {
            const int64_t row = i + std::min(r, rows - 1);
            x_rows[r] = x + row * s.dims;
            a_rows[r] = kTilted ? a + row * s.dims : nullptr;
          }
          Lanes<A> totals = {};
          add_terms<kMetric, kTilted>(x_rows, a_rows, y + j * s.dims, kTilted ? b + j * s.dims : y, chunk, chunk_end,
                                      totals);
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
  });
}

/// Weights [own, others] in memory: of rows' sums, or of columns' sums.
template <class A>
struct Weights {
  const A* of;
  int64_t own_step, other_step;
};

/// out[i, c] = Σ_j w_ij t(x_ic − y_jc), and with kTwo also + q_ij (a_ic − b_jc) with the weights q; x, y, a and b are
/// packed by pack_features.
template <Metric kMetric, bool kTwo, class T, class A>
void pull(const Weights<A>& w, const A* x, const A* y, const Weights<A>& q, const A* a, const A* b, int64_t own,
          int64_t others, int64_t dims, T* out) {
  const int64_t tiles = (own + kRows - 1) / kRows;
  parallel_for(panels_of(dims) * tiles, kRows * others * 2, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t panel = task / tiles, i = task % tiles * kRows, c = panel * kLanes;
      const int rows = static_cast<int>(std::min<int64_t>(kRows, own - i));
      const int valid = static_cast<int>(std::min<int64_t>(kLanes, dims - c));
      const A *y_panel = y + c * others, *b_panel = kTwo ? b + c * others : nullptr;
      const A *x_rows[kRows], *a_rows[kRows], *w_rows[kRows], *q_rows[kRows];
      for (int r = 0; r < kRows; ++r) {
        const int64_t row = i + std::min(r, rows - 1);
        x_rows[r] = x + (c * own + row * kLanes);
        w_rows[r] = w.of + row * w.own_step;
        a_rows[r] = kTwo ? a + (c * own + row * kLanes) : nullptr;
        q_rows[r] = kTwo ? q.of + row * q.own_step : nullptr;
      }
      Lanes<A> totals = {};
      for (int64_t block = 0; block < others; block += kBlock) {
        const int64_t block_end = std::min(block + kBlock, others);
        Lanes<A> sums = {};
        for (int64_t j = block; j < block_end; ++j) {
          const A* y_lanes = y_panel + j * kLanes;
          for (int r = 0; r < kRows; ++r) {
            const A weight = w_rows[r][j * w.other_step];
            const A* x_lanes = x_rows[r];
#pragma omp simd
            for (int lane = 0; lane < kLanes; ++lane)
              sums.of[r][lane] += weight * pair_slope<kMetric>(x_lanes[lane] - y_lanes[lane]);
            if constexpr (kTwo) {
              const A other_weight = q_rows[r][j * q.other_step];
              const A *a_lanes = a_rows[r], *b_lanes = b_panel + j * kLanes;
#pragma omp simd
              for (int lane = 0; lane < kLanes; ++lane)
                sums.of[r][lane] += other_weight * (a_lanes[lane] - b_lanes[lane]);
            }
          }
        }
        for (int r = 0; r < kRows; ++r)
#pragma omp simd
          for (int lane = 0; lane < kLanes; ++lane) totals.of[r][lane] += sums.of[r][lane];
      }
      for (int r = 0; r < rows; ++r)
        for (int lane = 0; lane < valid; ++lane) out[(i + r) * dims + c + lane] = narrow<T>(totals.of[r][lane]);
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
  A* memory = static_cast<A*>(args.workspace);
  A *x = memory, *y = x + s.rows * padded(s.dims), *weights = y + s.columns * padded(s.dims);
  pack_features(static_cast<const T*>(args.x), s.rows, s.dims, x);
  pack_features(static_cast<const T*>(args.y), s.columns, s.dims, y);
  const A *g = static_cast<const A*>(args.g), *distance = static_cast<const A*>(args.distance);
  const A* w = g;
  if constexpr (kMetric != Metric::l1) {
    w = weights;
    parallel_for(s.pairs(), 1, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i)
        weights[i] = pair_weight<kMetric>(g[i], kMetric == Metric::l2 ? distance[i] : A(1));
    });
  }
  const Weights<A> of_rows{w, s.columns, 1}, of_columns{w, 1, s.columns}, none{};
  const A* nothing = nullptr;
  if (args.d_x != nullptr)
    pull<kMetric, false>(of_rows, x, y, none, nothing, nothing, s.rows, s.columns, s.dims, static_cast<T*>(args.d_x));
  if (args.d_y != nullptr)
    pull<kMetric, false>(of_columns, y, x, none, nothing, nothing, s.columns, s.rows, s.dims,
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
    memory = static_cast<A*>(args.workspace);
    A *x_panels = memory, *a_panels = x_panels + s.rows * padded(s.dims);
    A *y_panels = a_panels + s.rows * padded(s.dims), *b_panels = y_panels + s.columns * padded(s.dims);
    A *w = b_panels + s.columns * padded(s.dims), *q = w + s.pairs();
    pack_features(a_in, s.rows, s.dims, a_panels);
    pack_features(b_in, s.columns, s.dims, b_panels);
    parallel_for(s.pairs(), 1, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) {
        w[i] = pair_weight<kMetric>(g[i], kMetric == Metric::l2 ? distance[i] : A(1));
        if constexpr (kMetric == Metric::l2) q[i] = -over_distance(w[i] * d_g[i], distance[i]);
      }
    });
    constexpr bool kTwo = kMetric == Metric::l2;
    if constexpr (kTwo) {
      pack_features(x_in, s.rows, s.dims, x_panels);
      pack_features(y_in, s.columns, s.dims, y_panels);
    }
    const Weights<A> w_rows{w, s.columns, 1}, w_columns{w, 1, s.columns};
    const Weights<A> q_rows{q, s.columns, 1}, q_columns{q, 1, s.columns};
    if (args.d_x != nullptr)
      pull<kMetric, kTwo>(w_rows, a_panels, b_panels, q_rows, x_panels, y_panels, s.rows, s.columns, s.dims,
                          static_cast<T*>(args.d_x));
    if (args.d_y != nullptr)
      pull<kMetric, kTwo>(w_columns, b_panels, a_panels, q_columns, y_panels, x_panels, s.columns, s.rows, s.dims,
                          static_cast<T*>(args.d_y));
  }
}

}  // namespace

int64_t pair_workspace_on_cpu(const PairForwardArgs& args, bool narrow) {
  const PairLayout& s = args.layout;
  return padded(s.columns) * s.dims + (narrow ? s.rows * s.dims : 0);
}
int64_t pair_workspace_on_cpu(const PairBackwardArgs& args, bool) {
  const PairLayout& s = args.layout;
  return (s.rows + s.columns) * padded(s.dims) + (args.metric == Metric::l1 ? 0 : s.pairs());
}
int64_t pair_workspace_on_cpu(const PairDoubleBackwardArgs& args, bool narrow) {
  const PairLayout& s = args.layout;
  const int64_t tilt = 2 * (padded(s.columns) + (narrow ? s.rows : 0)) * s.dims;
  const int64_t pulls = 2 * (s.rows + s.columns) * padded(s.dims) + 2 * s.pairs();
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
