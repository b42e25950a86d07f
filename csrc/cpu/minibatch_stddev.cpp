// Minibatch stddev on the CPU. A task is one chunk of one (group, feature); inside it, blocks of adjacent positions are
// reduced over the group side by side. Chunks' sums are added in order afterwards.
#include "../minibatch_stddev.h"

#include <algorithm>
#include <cmath>

#include "narrow_types.h"
#include "parallel.h"

namespace gan_ops {
namespace {

using namespace cpu;

constexpr int64_t kBlock = 64;  // positions side by side

/// A run of at most kBlock adjacent positions of one (group, feature).
struct Block {
  int64_t m, f, row, begin, width;
};

/// body(block) for every block of the chunks in [begin, end); returns nothing, blocks of one chunk come in order.
template <class StartChunk, class Body, class EndChunk>
GAN_OPS_INLINE void for_blocks(const StddevLayout& s, int64_t begin, int64_t end, const StartChunk& start_chunk,
                               const Body& body, const EndChunk& end_chunk) {
  const int64_t chunks = stddev_chunks(s.positions());
  for (int64_t task = begin; task < end; ++task) {
    const int64_t mf = task / chunks;
    int64_t position = task % chunks * kStddevChunk;
    const int64_t last = std::min(position + kStddevChunk, s.positions());
    start_chunk();
    while (position < last) {
      const int64_t row = position / s.width, first = position % s.width;
      const int64_t width = std::min({kBlock, s.width - first, last - position});
      body(Block{mf / s.features, mf % s.features, row, first, width});
      position += width;
    }
    end_chunk(task);
  }
}

/// Mean and deviation over the group at each position of a block.
template <class T, class A>
GAN_OPS_INLINE void moments(const StddevLayout& s, const Block& b, const T* x, A eps, A* mean, A* sigma) {
  for (int64_t p = 0; p < b.width; ++p) mean[p] = sigma[p] = A(0);
  for (int64_t member = 0; member < s.group; ++member) {
    const T* run = x + s.in_run(s.sample(member, b.m), b.row, b.f) + b.begin;
#pragma omp simd
    for (int64_t p = 0; p < b.width; ++p) mean[p] += widen(run[p]);
  }
  for (int64_t p = 0; p < b.width; ++p) mean[p] /= A(s.group);
  for (int64_t member = 0; member < s.group; ++member) {
    const T* run = x + s.in_run(s.sample(member, b.m), b.row, b.f) + b.begin;
#pragma omp simd
    for (int64_t p = 0; p < b.width; ++p) {
      const A d = widen(run[p]) - mean[p];
      sigma[p] += d * d;
    }
  }
#pragma omp simd
  for (int64_t p = 0; p < b.width; ++p) sigma[p] = std::sqrt(sigma[p] / A(s.group) + eps);
}

template <class A>
GAN_OPS_INLINE A sum_block(const A* values, int64_t width) {
  A total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t p = 0; p < width; ++p) total += values[p];
  return total;
}

template <class A>
A sum_partials(const A* partial, int64_t chunks) {
  A total = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partial[chunk];
  return total;
}

/// Writes mean over the positions (sum of partials · scale) on the maps of every sample.
template <class T, class A>
void fill_maps(const StddevLayout& s, T* out, const A* partial, A scale) {
  const int64_t chunks = stddev_chunks(s.positions());
  parallel_for(s.groups * s.features, s.group * s.map_positions(), [=](int64_t begin, int64_t end) {
    for (int64_t mf = begin; mf < end; ++mf) {
      const T value = narrow<T>(sum_partials(partial + mf * chunks, chunks) * scale);
      for (int64_t member = 0; member < s.group; ++member)
        for (int64_t row = 0; row < s.rows; ++row)
          std::fill_n(out + s.map_run(s.sample(member, mf / s.features), row, mf % s.features), s.plane, value);
    }
  });
}

/// t[m, f]: sums of g over the group's maps, into the first partial of each (m, f).
template <class T, class A>
void sum_maps(const StddevLayout& s, const T* g, A* partial) {
  const int64_t chunks = stddev_chunks(s.group * s.map_positions());
  parallel_for(s.groups * s.features, s.group * s.map_positions(), [=](int64_t begin, int64_t end) {
    for (int64_t mf = begin; mf < end; ++mf) {
      A total = 0;
      for (int64_t member = 0; member < s.group; ++member)
        for (int64_t row = 0; row < s.rows; ++row) {
          const T* run = g + s.map_run(s.sample(member, mf / s.features), row, mf % s.features);
          A of_run = 0;
          for (int64_t k = 0; k < s.plane; ++k) of_run += widen(run[k]);
          total += of_run;
        }
      partial[mf * chunks] = total;
    }
  });
}

template <class T>
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
        s, begin, end, [&]() GAN_OPS_LAMBDA_INLINE { total = 0; },
        [&](const Block& b) GAN_OPS_LAMBDA_INLINE {
          A mean[kBlock], sigma[kBlock];
          moments(s, b, x, eps, mean, sigma);
          total += sum_block(sigma, b.width);
          for (int64_t member = 0; member < s.group; ++member) {
            const int64_t n = s.sample(member, b.m);
            std::copy_n(x + s.in_run(n, b.row, b.f) + b.begin, b.width, out + s.out_run(n, b.row, b.f) + b.begin);
          }
        },
        [&](int64_t task) GAN_OPS_LAMBDA_INLINE { partial[task] = total; });
  });
  fill_maps(s, out, partial, A(1) / A(s.positions()));
}

template <class T>
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
    for_blocks(
        s, begin, end, []() GAN_OPS_LAMBDA_INLINE {},
        [&](const Block& b) GAN_OPS_LAMBDA_INLINE {
          A mean[kBlock], sigma[kBlock];
          moments(s, b, x, eps, mean, sigma);
          const A t = partial[(b.m * s.features + b.f) * map_chunks] / A(s.positions());
          for (int64_t member = 0; member < s.group; ++member) {
            const int64_t n = s.sample(member, b.m);
            const int64_t in = s.in_run(n, b.row, b.f) + b.begin, from = s.out_run(n, b.row, b.f) + b.begin;
#pragma omp simd
            for (int64_t p = 0; p < b.width; ++p) {
              const A slope = stddev_slope(widen(x[in + p]) - mean[p], sigma[p], A(s.group));
              d_x[in + p] = narrow<T>(widen(g[from + p]) + t * slope);
            }
          }
        },
        [](int64_t) GAN_OPS_LAMBDA_INLINE {});
  });
}

template <class T>
void double_backward(const StddevDoubleBackwardArgs& args) {
  using A = Accumulate<T>;
  const StddevLayout s = args.layout;
  const T* v = static_cast<const T*>(args.v);
  const T* g = static_cast<const T*>(args.g);
  const T* x = static_cast<const T*>(args.x);
  T* d_g = static_cast<T*>(args.d_g);
  T* d_x = static_cast<T*>(args.d_x);
  A* partial = static_cast<A*>(args.partial);
  A* h_partial = static_cast<A*>(args.h_partial);
  const A eps = A(args.eps);
  sum_maps(s, g, partial);
  const int64_t map_chunks = stddev_chunks(s.group * s.map_positions());
  const int64_t tasks = s.groups * s.features * stddev_chunks(s.positions());
  parallel_for(tasks, kStddevChunk * s.group, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    A total = 0;
    for_blocks(
        s, begin, end, [&]() GAN_OPS_LAMBDA_INLINE { total = 0; },
        [&](const Block& b) GAN_OPS_LAMBDA_INLINE {
          A mean[kBlock], sigma[kBlock], v_mean[kBlock] = {}, a[kBlock] = {};
          moments(s, b, x, eps, mean, sigma);
          for (int64_t member = 0; member < s.group; ++member) {
            const int64_t n = s.sample(member, b.m), in = s.in_run(n, b.row, b.f) + b.begin;
            const int64_t to = s.out_run(n, b.row, b.f) + b.begin;
#pragma omp simd
            for (int64_t p = 0; p < b.width; ++p) {
              const A vi = widen(v[in + p]);
              v_mean[p] += vi;
              a[p] += vi * stddev_slope(widen(x[in + p]) - mean[p], sigma[p], A(s.group));
              d_g[to + p] = v[in + p];
            }
          }
          for (int64_t p = 0; p < b.width; ++p) v_mean[p] /= A(s.group);
          total += sum_block(a, b.width);
          const A t = partial[(b.m * s.features + b.f) * map_chunks] / A(s.positions());
          for (int64_t member = 0; member < s.group; ++member) {
            const int64_t in = s.in_run(s.sample(member, b.m), b.row, b.f) + b.begin;
#pragma omp simd
            for (int64_t p = 0; p < b.width; ++p)
              d_x[in + p] = narrow<T>(t * stddev_curvature(widen(v[in + p]) - v_mean[p], widen(x[in + p]) - mean[p],
                                                           a[p], sigma[p], A(s.group)));
          }
        },
        [&](int64_t task) GAN_OPS_LAMBDA_INLINE { h_partial[task] = total; });
  });
  fill_maps(s, d_g, h_partial, A(1) / A(s.positions()));
}

}  // namespace

void run_on_cpu(const StddevForwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) { forward<T>(args); });
}
void run_on_cpu(const StddevBackwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) { backward<T>(args); });
}
void run_on_cpu(const StddevDoubleBackwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) { double_backward<T>(args); });
}

}  // namespace gan_ops
