// Minibatch stddev on the CPU. A task is one chunk of one (group, feature); inside it, blocks of adjacent positions are
// reduced over the group side by side. Chunks' sums are added in order afterwards.
#include "../minibatch_stddev.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "narrow_types.h"
#include "parallel.h"

namespace gan_ops {
namespace {

using namespace cpu;

constexpr int64_t kBlock = 128;  // positions side by side: a group's runs of them stay in L1

/// A run of at most kBlock adjacent positions of one (group, feature).
struct Block {
  int64_t m, f, row, begin, width;
};

/// body(block) for every block of the chunks in [begin, end); blocks of one chunk come in order.
template <class StartChunk, class Body, class EndChunk>
GAN_OPS_INLINE void for_blocks(const StddevLayout& s, int64_t begin, int64_t end, const StartChunk& start_chunk,
                               const Body& body, const EndChunk& end_chunk) {
  const int64_t chunks = stddev_chunks(s.positions());
  for (int64_t task = begin; task < end; ++task) {
    const int64_t mf = task / chunks, position = task % chunks * kStddevChunk;
    int64_t remaining = std::min(kStddevChunk, s.positions() - position);
    int64_t row = position / s.width, first = position % s.width;
    start_chunk(mf);
    while (remaining > 0) {
      const int64_t width = std::min({kBlock, s.width - first, remaining});
      body(Block{mf / s.features, mf % s.features, row, first, width});
      remaining -= width;
      first += width;
      if (first == s.width) {
        first = 0;
        ++row;
      }
    }
    end_chunk(task);
  }
}

/// Calls `body` with how many of a group's samples its loops take at once, as a constant: they are then read in step,
/// and sums stay in registers between them.
template <class Body>
void with_samples_at_once(int64_t group, const Body& body) {
  if (group % 4 == 0) return body(std::integral_constant<int64_t, 4>{});
  body(std::integral_constant<int64_t, 1>{});
}

/// Mean and deviation over the group at each position of a block; `run` is its first sample's, `stride` leads to the
/// next.
template <int64_t kAtOnce, class T, class A>
GAN_OPS_INLINE void moments(const T* run, int64_t stride, int64_t group, int64_t width, A eps, A* mean, A* sigma) {
  for (int64_t p = 0; p < width; ++p) mean[p] = sigma[p] = A(0);
  for (int64_t member = 0; member < group; member += kAtOnce) {
    const T* from = run + member * stride;
#pragma omp simd
    for (int64_t p = 0; p < width; ++p) {
      A sum = mean[p];
      for (int64_t k = 0; k < kAtOnce; ++k) sum += widen(from[k * stride + p]);
      mean[p] = sum;
    }
  }
  const A share = A(1) / A(group);
#pragma omp simd
  for (int64_t p = 0; p < width; ++p) mean[p] *= share;
  for (int64_t member = 0; member < group; member += kAtOnce) {
    const T* from = run + member * stride;
#pragma omp simd
    for (int64_t p = 0; p < width; ++p) {
      A sum = sigma[p];
      for (int64_t k = 0; k < kAtOnce; ++k) {
        const A d = widen(from[k * stride + p]) - mean[p];
        sum += d * d;
      }
      sigma[p] = sum;
    }
  }
#pragma omp simd
  for (int64_t p = 0; p < width; ++p) sigma[p] = std::sqrt(sigma[p] * share + eps);
}

/// Copies the runs of all samples of a group.
template <class T>
GAN_OPS_INLINE void copy_runs(const T* from, int64_t from_stride, T* to, int64_t to_stride, int64_t group,
                              int64_t width) {
  for (int64_t member = 0; member < group; ++member)
    std::copy_n(from + member * from_stride, width, to + member * to_stride);
}

template <class T>
GAN_OPS_INLINE Accumulate<T> sum_run(const T* values, int64_t width) {
  Accumulate<T> total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t p = 0; p < width; ++p) total += widen(values[p]);
  return total;
}

/// Sums each (group, feature)'s partials, times `scale`, into the first of them.
template <class A>
void gather_partials(const StddevLayout& s, A* partial, int64_t chunks, A scale) {
  for (int64_t mf = 0; mf < s.groups * s.features; ++mf) {
    A total = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partial[mf * chunks + chunk];
    partial[mf * chunks] = total * scale;
  }
}

/// body(task, mf, offset, length) for the runs of map values in every chunk of each (group, feature)'s maps.
template <class Body>
void for_map_runs(const StddevLayout& s, const Body& body) {
  const int64_t positions = s.group * s.map_positions(), chunks = stddev_chunks(positions);
  parallel_for(s.groups * s.features * chunks, kStddevChunk, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t mf = task / chunks, first = task % chunks * kStddevChunk;
      int64_t member = first / s.map_positions(), row = first % s.map_positions() / s.plane, column = first % s.plane;
      for (int64_t remaining = std::min(kStddevChunk, positions - first); remaining > 0;) {
        const int64_t length = std::min(s.plane - column, remaining);
        body(task, mf, s.map_run(s.sample(member, mf / s.features), row, mf % s.features) + column, length);
        remaining -= length;
        column = 0;
        if (++row == s.rows) {
          row = 0;
          ++member;
        }
      }
    }
  });
}

/// Writes the mean over the positions on the maps of every sample.
template <class T, class A>
void fill_maps(const StddevLayout& s, T* out, A* partial) {
  const int64_t chunks = stddev_chunks(s.positions());
  gather_partials(s, partial, chunks, A(1) / A(s.positions()));
  for_map_runs(s, [=](int64_t, int64_t mf, int64_t offset, int64_t length)
                      GAN_OPS_LAMBDA_INLINE { std::fill_n(out + offset, length, narrow<T>(partial[mf * chunks])); });
}

/// K t[m, f]: sums of g over the group's maps by the number of positions, into the first partial of each (m, f).
template <class T, class A>
void sum_maps(const StddevLayout& s, const T* g, A* partial) {
  const int64_t chunks = stddev_chunks(s.group * s.map_positions());
  std::fill_n(partial, s.groups * s.features * chunks, A(0));
  for_map_runs(s, [=](int64_t task, int64_t, int64_t offset, int64_t length)
                      GAN_OPS_LAMBDA_INLINE { partial[task] += sum_run(g + offset, length); });
  gather_partials(s, partial, chunks, A(1) / A(s.positions()));
}

template <int64_t kAtOnce, class T>
void forward(const StddevForwardArgs& a) {
  using A = Accumulate<T>;
  const StddevLayout s = a.layout;
  const T* x = static_cast<const T*>(a.x);
  T* out = static_cast<T*>(a.out);
  A* partial = static_cast<A*>(a.partial);
  const A eps = A(a.eps);
  const int64_t tasks = s.groups * s.features * stddev_chunks(s.positions());
  parallel_for(tasks, kStddevChunk * s.group, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    A total = 0;
    for_blocks(
        s, begin, end, [&](int64_t) GAN_OPS_LAMBDA_INLINE { total = 0; },
        [&](const Block& b) GAN_OPS_LAMBDA_INLINE {
          A mean[kBlock], sigma[kBlock];
          const T* run = x + s.in_run(b.m, b.row, b.f) + b.begin;
          moments<kAtOnce>(run, s.in_stride(), s.group, b.width, eps, mean, sigma);
          total += sum_run(sigma, b.width);
          T* to = out + s.out_run(b.m, b.row, b.f) + b.begin;
          copy_runs(run, s.in_stride(), to, s.out_stride(), s.group, b.width);
        },
        [&](int64_t task) GAN_OPS_LAMBDA_INLINE { partial[task] = total; });
  });
  fill_maps(s, out, partial);
}

template <int64_t kAtOnce, class T>
void backward(const StddevBackwardArgs& a) {
  using A = Accumulate<T>;
  const StddevLayout s = a.layout;
  const T* g = static_cast<const T*>(a.g);
  const T* x = static_cast<const T*>(a.x);
  T* d_x = static_cast<T*>(a.d_x);
  A* partial = static_cast<A*>(a.partial);
  const A eps = A(a.eps);
  sum_maps(s, g, partial);
  const int64_t map_chunks = stddev_chunks(s.group * s.map_positions());
  const int64_t tasks = s.groups * s.features * stddev_chunks(s.positions());
  parallel_for(tasks, kStddevChunk * s.group, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    A t = 0;
    for_blocks(
        s, begin, end, [&](int64_t mf) GAN_OPS_LAMBDA_INLINE { t = partial[mf * map_chunks]; },
        [&](const Block& b) GAN_OPS_LAMBDA_INLINE {
          A mean[kBlock], scale[kBlock];
          const int64_t in = s.in_run(b.m, b.row, b.f) + b.begin, in_stride = s.in_stride();
          const int64_t from = s.out_run(b.m, b.row, b.f) + b.begin, out_stride = s.out_stride();
          moments<kAtOnce>(x + in, in_stride, s.group, b.width, eps, mean, scale);
          const A of_map = t, group = A(s.group);
#pragma omp simd
          for (int64_t p = 0; p < b.width; ++p) scale[p] = of_map * stddev_slope(scale[p], group);
          for (int64_t member = 0; member < s.group; member += kAtOnce) {
            const T* xs = x + in + member * in_stride;
            const T* gs = g + from + member * out_stride;
            T* to = d_x + in + member * in_stride;
#pragma omp simd
            for (int64_t p = 0; p < b.width; ++p)
              for (int64_t k = 0; k < kAtOnce; ++k)
                to[k * in_stride + p] =
                    narrow<T>(widen(gs[k * out_stride + p]) + scale[p] * (widen(xs[k * in_stride + p]) - mean[p]));
          }
        },
        [](int64_t) GAN_OPS_LAMBDA_INLINE {});
  });
}

template <int64_t kAtOnce, class T>
void double_backward(const StddevDoubleBackwardArgs& args) {
  using A = Accumulate<T>;
  const StddevLayout s = args.layout;
  const T* v = static_cast<const T*>(args.v);
  const T* x = static_cast<const T*>(args.x);
  T* d_g = static_cast<T*>(args.d_g);
  T* d_x = static_cast<T*>(args.d_x);
  A* partial = static_cast<A*>(args.partial);
  A* h_partial = static_cast<A*>(args.h_partial);
  const A eps = A(args.eps);
  sum_maps(s, static_cast<const T*>(args.g), partial);
  const int64_t map_chunks = stddev_chunks(s.group * s.map_positions());
  const int64_t tasks = s.groups * s.features * stddev_chunks(s.positions());
  parallel_for(tasks, kStddevChunk * s.group, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    A t = 0, total = 0;
    for_blocks(
        s, begin, end,
        [&](int64_t mf) GAN_OPS_LAMBDA_INLINE {
          t = partial[mf * map_chunks];
          total = 0;
        },
        [&](const Block& b) GAN_OPS_LAMBDA_INLINE {
          A mean[kBlock], slope[kBlock], v_mean[kBlock], a[kBlock];
          const int64_t in = s.in_run(b.m, b.row, b.f) + b.begin, in_stride = s.in_stride();
          const int64_t out = s.out_run(b.m, b.row, b.f) + b.begin;
          moments<kAtOnce>(x + in, in_stride, s.group, b.width, eps, mean, slope);
          copy_runs(v + in, in_stride, d_g + out, s.out_stride(), s.group, b.width);
          const A of_map = t, group = A(s.group), share = A(1) / group;
          for (int64_t p = 0; p < b.width; ++p) v_mean[p] = a[p] = A(0);
          for (int64_t member = 0; member < s.group; member += kAtOnce) {
            const T* xs = x + in + member * in_stride;
            const T* vs = v + in + member * in_stride;
#pragma omp simd
            for (int64_t p = 0; p < b.width; ++p) {
              A sum_v = v_mean[p], sum_a = a[p];
              for (int64_t k = 0; k < kAtOnce; ++k) {
                const A value = widen(vs[k * in_stride + p]);
                sum_v += value;
                sum_a += value * (widen(xs[k * in_stride + p]) - mean[p]);
              }
              v_mean[p] = sum_v;
              a[p] = sum_a;
            }
          }
#pragma omp simd
          for (int64_t p = 0; p < b.width; ++p) {
            slope[p] = stddev_slope(slope[p], group);
            v_mean[p] *= share;
            a[p] *= slope[p];
          }
          total += sum_run(a, b.width);
          for (int64_t member = 0; member < s.group; member += kAtOnce) {
            const T* xs = x + in + member * in_stride;
            const T* vs = v + in + member * in_stride;
            T* to = d_x + in + member * in_stride;
#pragma omp simd
            for (int64_t p = 0; p < b.width; ++p)
              for (int64_t k = 0; k < kAtOnce; ++k) {
                const A v_centred = widen(vs[k * in_stride + p]) - v_mean[p];
                const A d = widen(xs[k * in_stride + p]) - mean[p];
                to[k * in_stride + p] = narrow<T>(of_map * stddev_curvature(v_centred, d, a[p], slope[p], group));
              }
          }
        },
        [&](int64_t task) GAN_OPS_LAMBDA_INLINE { h_partial[task] = total; });
  });
  fill_maps(s, d_g, h_partial);
}

}  // namespace

void run_on_cpu(const StddevForwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    with_samples_at_once(args.layout.group,
                         [&]<int64_t k>(std::integral_constant<int64_t, k>) { forward<k, T>(args); });
  });
}
void run_on_cpu(const StddevBackwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    with_samples_at_once(args.layout.group,
                         [&]<int64_t k>(std::integral_constant<int64_t, k>) { backward<k, T>(args); });
  });
}
void run_on_cpu(const StddevDoubleBackwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    with_samples_at_once(args.layout.group,
                         [&]<int64_t k>(std::integral_constant<int64_t, k>) { double_backward<k, T>(args); });
  });
}

}  // namespace gan_ops
