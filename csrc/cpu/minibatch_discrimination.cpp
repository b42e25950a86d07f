// Minibatch discrimination on the CPU. A task is one kernel b: its features are packed to [C, N], so that samples j lie
// along the lanes of a register, while rows i come a few at a time. A pair is visited once, for i < j, and counted
// for both; nothing is kept of it but a strip of weights for the rows at hand.
#include "../minibatch_discrimination.h"

#include <algorithm>
#include <cmath>

#include "exp.h"
#include "narrow_types.h"
#include "parallel.h"

namespace gan_ops {
namespace {

using namespace cpu;
using Pass = DiscriminationPass;

constexpr int kLanes = 16;    // columns of a tile: one 512-bit register of floats
constexpr int kTileRows = 4;  // rows of a tile, whose distances stay in registers
constexpr int kRows = 8;      // rows that share a strip of weights; divides kLanes

int64_t padded(int64_t samples) {
  return (samples + kLanes - 1) / kLanes * kLanes;
}

/// What one thread has of one kernel b. Samples are adjacent and followed by zeros up to `stride`, a multiple of
/// kLanes.
template <class A>
struct Slice {
  int64_t samples, dims, stride;
  A *m, *v, *d_m;  // [dims, stride]
  A *g, *sums;     // [stride]; sums: o or d_g
  A* weights;      // [kRows, stride]

  static int64_t size(const DiscriminationLayout& s) { return padded(s.samples) * (3 * s.dims + 2 + kRows); }

  GAN_OPS_INLINE Slice(const DiscriminationLayout& s, int64_t padded_samples, A* memory)
      : samples(s.samples), dims(s.dims), stride(padded_samples) {
    m = memory;
    v = m + dims * stride;
    d_m = v + dims * stride;
    g = d_m + dims * stride;
    sums = g + stride;
    weights = sums + stride;
  }
};

/// to[c, n] = from[n · step + c].
template <class T, class A>
GAN_OPS_INLINE void pack(const T* from, int64_t step, int64_t samples, int64_t dims, int64_t stride, A* to) {
  for (int64_t n = 0; n < stride; n += kLanes) {
    const int valid = static_cast<int>(std::min<int64_t>(kLanes, samples - n));
    for (int64_t c = 0; c < dims; ++c) {
      const T* column = from + n * step + c;
      A* row = to + c * stride + n;
      for (int lane = 0; lane < valid; ++lane) row[lane] = widen(column[lane * step]);
      for (int lane = valid; lane < kLanes; ++lane) row[lane] = A(0);
    }
  }
}

/// to[n · step + c] = from[c, n].
template <class T, class A>
GAN_OPS_INLINE void unpack(const A* from, int64_t step, int64_t samples, int64_t dims, int64_t stride, T* to) {
  for (int64_t n = 0; n < samples; n += kLanes) {
    const int valid = static_cast<int>(std::min<int64_t>(kLanes, samples - n));
    for (int64_t c = 0; c < dims; ++c) {
      const A* row = from + c * stride + n;
      T* column = to + n * step + c;
      for (int lane = 0; lane < valid; ++lane) column[lane * step] = narrow<T>(row[lane]);
    }
  }
}

template <class A>
GAN_OPS_INLINE A sum_lanes(const A* lanes) {
  A quarter[kLanes / 4];
  for (int k = 0; k < kLanes / 4; ++k) quarter[k] = (lanes[k] + lanes[k + 4]) + (lanes[k + 8] + lanes[k + 12]);
  return (quarter[0] + quarter[1]) + (quarter[2] + quarter[3]);
}

/// Values and weights of the pairs of rows [i, i + kTileRows) and columns [j, j + kLanes). Values are added to both
/// samples' sums, the rows' lane by lane; weights are written for pull(). kMasked: only pairs of samples with i < j.
template <Pass kPass, bool kMasked, class A>
GAN_OPS_INLINE void pair_tile(const Slice<A>& s, int64_t i, int64_t j, A (*row_sums)[kLanes], A* weights) {
  const int64_t stride = s.stride, dims = s.dims;
  A distance[kTileRows][kLanes] = {}, tilt[kTileRows][kLanes] = {};  // d, u
  for (int64_t block = 0; block < dims; block += kDiscriminationBlock) {
    const int64_t block_end = std::min(block + kDiscriminationBlock, dims);
    A block_distance[kTileRows][kLanes] = {}, block_tilt[kTileRows][kLanes] = {};
    for (int64_t c = block; c < block_end; ++c) {
      const A *m = s.m + c * stride, *v = s.v + c * stride;
      const A *m_columns = m + j, *v_columns = v + j;
      for (int r = 0; r < kTileRows; ++r) {
        const A m_row = m[i + r];
        if constexpr (kPass == Pass::double_backward) {
          const A v_row = v[i + r];
#pragma omp simd
          for (int lane = 0; lane < kLanes; ++lane) {
            const A difference = m_row - m_columns[lane];
            block_distance[r][lane] += std::fabs(difference);
            block_tilt[r][lane] += sign(difference) * (v_row - v_columns[lane]);
          }
        } else {
#pragma omp simd
          for (int lane = 0; lane < kLanes; ++lane) block_distance[r][lane] += std::fabs(m_row - m_columns[lane]);
        }
      }
    }
    for (int r = 0; r < kTileRows; ++r) {
#pragma omp simd
      for (int lane = 0; lane < kLanes; ++lane) {
        distance[r][lane] += block_distance[r][lane];
        if constexpr (kPass == Pass::double_backward) tilt[r][lane] += block_tilt[r][lane];
      }
    }
  }

  const A* g_columns = s.g + j;
  A column_sums[kLanes] = {};
  for (int r = 0; r < kTileRows; ++r) {
    const int above = static_cast<int>(i + r - j), end = static_cast<int>(std::min<int64_t>(kLanes, s.samples - j));
    const A g_row = kHasWeights<kPass> ? s.g[i + r] : A(0);
    A *row_sum = row_sums[r], *row_weights = weights + r * stride + j;
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) {
      const bool counts = !kMasked || ((lane > above) & (lane < end));
      A value = exp_of_minus(distance[r][lane]);
      if constexpr (kPass == Pass::double_backward) value *= -tilt[r][lane];
      if constexpr (kHasSums<kPass>) {
        const A counted = counts ? value : A(0);
        row_sum[lane] += counted;
        column_sums[lane] += counted;
      }
      if constexpr (kHasWeights<kPass>) {
        const A weight = -(g_row + g_columns[lane]) * value;
        row_weights[lane] = counts ? weight : A(0);
      }
    }
  }
  if constexpr (kHasSums<kPass>) {
    A* sums = s.sums + j;
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] += column_sums[lane];
  }
}

/// Adds weight · sign of the pairs of rows [i, i + kRows) and columns [begin, stride) to both samples' d_m of one
/// feature.
template <class A>
GAN_OPS_INLINE void pull(const A* m, const A* weights, int64_t i, int64_t begin, int64_t stride, A* d_m) {
  A rows[kRows][kLanes] = {};
  for (int64_t j = begin; j < stride; j += kLanes) {
    A columns[kLanes] = {};
    for (int r = 0; r < kRows; ++r) {
      const A m_row = m[i + r];
      const A* row_weights = weights + r * stride;
#pragma omp simd
      for (int lane = 0; lane < kLanes; ++lane) {
        const A force = row_weights[j + lane] * sign(m_row - m[j + lane]);
        rows[r][lane] += force;
        columns[lane] += force;
      }
    }
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) d_m[j + lane] -= columns[lane];
  }
  for (int r = 0; r < kRows; ++r) d_m[i + r] += sum_lanes(rows[r]);
}

/// Fills sums and d_m, as far as the pass has them.
template <Pass kPass, class A>
GAN_OPS_INLINE void walk_pairs(const Slice<A>& s) {
  const int64_t stride = s.stride;
  if constexpr (kHasSums<kPass>) std::fill_n(s.sums, stride, A(0));
  if constexpr (kHasWeights<kPass>) std::fill_n(s.d_m, s.dims * stride, A(0));
  for (int64_t i = 0; i < s.samples; i += kRows) {
    const int64_t begin = i / kLanes * kLanes;
    A row_sums[kRows][kLanes] = {};
    for (int r = 0; r < kRows; r += kTileRows)
      for (int64_t j = begin; j < stride; j += kLanes) {
        if (j == begin || j + kLanes > s.samples)
          pair_tile<kPass, true>(s, i + r, j, row_sums + r, s.weights + r * stride);
        else
          pair_tile<kPass, false>(s, i + r, j, row_sums + r, s.weights + r * stride);
      }
    if constexpr (kHasSums<kPass>)
      for (int r = 0; r < kRows; ++r) s.sums[i + r] += sum_lanes(row_sums[r]);
    if constexpr (kHasWeights<kPass>)
      for (int64_t c = 0; c < s.dims; ++c) pull(s.m + c * stride, s.weights, i, begin, stride, s.d_m + c * stride);
  }
}

/// body(slice, b) for every kernel b, with a slice of the workspace for each thread.
template <class A, class Body>
void for_kernels(const DiscriminationLayout& s, void* workspace, const Body& body) {
  const int64_t stride = padded(s.samples), size = Slice<A>::size(s);
  A* memory = static_cast<A*>(workspace);
  const int64_t elements = s.samples * s.samples * s.dims / 8;  // as many as a pair's feature takes time
  parallel_for(s.kernels, elements, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    const Slice<A> slice(s, stride, memory + at::get_thread_num() * size);
    for (int64_t b = begin; b < end; ++b) body(slice, b);
  });
}

template <class T>
void forward(const DiscriminationForwardArgs& args) {
  using A = Accumulate<T>;
  const T* m = static_cast<const T*>(args.m);
  T* out = static_cast<T*>(args.out);
  const int64_t kernels = args.layout.kernels, features = kernels * args.layout.dims;
  const bool include_self = args.include_self;
  for_kernels<A>(args.layout, args.workspace, [=](const Slice<A>& s, int64_t b) GAN_OPS_LAMBDA_INLINE {
    pack(m + b * s.dims, features, s.samples, s.dims, s.stride, s.m);
    walk_pairs<Pass::forward>(s);
    if (include_self)
      for (int64_t i = 0; i < s.samples; ++i) s.sums[i] += self_term(s.m + i, s.stride, s.dims);
    unpack(s.sums, kernels, s.samples, 1, s.stride, out + b);
  });
}

template <class T>
void backward(const DiscriminationBackwardArgs& args) {
  using A = Accumulate<T>;
  const T* g = static_cast<const T*>(args.g);
  const T* m = static_cast<const T*>(args.m);
  T* d_m = static_cast<T*>(args.d_m);
  const int64_t kernels = args.layout.kernels, features = kernels * args.layout.dims;
  for_kernels<A>(args.layout, args.workspace, [=](const Slice<A>& s, int64_t b) GAN_OPS_LAMBDA_INLINE {
    pack(m + b * s.dims, features, s.samples, s.dims, s.stride, s.m);
    pack(g + b, kernels, s.samples, 1, s.stride, s.g);
    walk_pairs<Pass::backward>(s);
    unpack(s.d_m, features, s.samples, s.dims, s.stride, d_m + b * s.dims);
  });
}

template <class T>
void double_backward(const DiscriminationDoubleBackwardArgs& args) {
  using A = Accumulate<T>;
  const T* v = static_cast<const T*>(args.v);
  const T* g = static_cast<const T*>(args.g);
  const T* m = static_cast<const T*>(args.m);
  T* d_g = static_cast<T*>(args.d_g);
  T* d_m = static_cast<T*>(args.d_m);
  const int64_t kernels = args.layout.kernels, features = kernels * args.layout.dims;
  for_kernels<A>(args.layout, args.workspace, [=](const Slice<A>& s, int64_t b) GAN_OPS_LAMBDA_INLINE {
    pack(m + b * s.dims, features, s.samples, s.dims, s.stride, s.m);
    pack(v + b * s.dims, features, s.samples, s.dims, s.stride, s.v);
    pack(g + b, kernels, s.samples, 1, s.stride, s.g);
    walk_pairs<Pass::double_backward>(s);
    unpack(s.sums, kernels, s.samples, 1, s.stride, d_g + b);
    unpack(s.d_m, features, s.samples, s.dims, s.stride, d_m + b * s.dims);
  });
}

}  // namespace

int64_t discrimination_workspace(const DiscriminationLayout& layout, int64_t threads) {
  return std::min(threads, layout.kernels) * Slice<float>::size(layout);
}

void run_on_cpu(const DiscriminationForwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) { forward<T>(args); });
}
void run_on_cpu(const DiscriminationBackwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) { backward<T>(args); });
}
void run_on_cpu(const DiscriminationDoubleBackwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) { double_backward<T>(args); });
}

}  // namespace gan_ops
