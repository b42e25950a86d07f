// Minibatch stddev on CUDA: a block a chunk, a thread up to 16 bytes of each of the group's samples; chunks' sums are
// added in order by a second kernel, so that results repeat to the bit.
//
// Bytes it must move, for E elements of x of size s: forward 2·E·s, backward 3·E·s, double backward 4·E·s (the maps are
// F/C of that). A thread reads its G values three times at most, all but the first out of cache. At most 20 operations
// an element, so memory would set the pace: at an H200's 4.8 TB/s, 64×64×128×128 in float32 (268 MB) would take
// 0.11, 0.17 and 0.22 ms. In PGGAN the tensor is 4×4×512, 2 MB at N = 64, 0.4 to 0.9 µs: launches set the pace, and the
// chunks are small, so that there are blocks for 132 multiprocessors.
#include <algorithm>
#include <type_traits>

#include "../minibatch_stddev.h"
#include "vectors.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

// A thread takes kV positions side by side in all samples of its group: as many as 16 bytes have (vectors.cuh) where
// the runs of adjacent values are a multiple of that, else one.

/// Positions of a group: where their elements lie in x and in the output, in the group's first sample.
struct Position {
  int64_t in, out;
};

/// How samples follow each other, and whether their vectors are aligned.
struct Walk {
  int64_t in_stride, out_stride;
  bool in_by_vector, out_by_vector;
};

template <int kV, class T>
__device__ __forceinline__ void load_run(const T* from, bool by_vector, Accumulate<T>* values) {
  if constexpr (kV == 1)
    values[0] = widen(from[0]);
  else
    load(from, kV, by_vector, values);
}
template <int kV, class T>
__device__ __forceinline__ void store_run(T* to, bool by_vector, const Accumulate<T>* values) {
  if constexpr (kV == 1)
    to[0] = narrow<T>(values[0]);
  else
    store(to, kV, by_vector, values);
}

template <int kV, class T>
__device__ __forceinline__ Walk walk_of(const StddevLayout& s, const T* in, const T* also_in, const T* out) {
  return {s.in_stride(), s.out_stride(), aligned(in, also_in), aligned(out) && s.plane * s.features % kV == 0};
}

template <int kV, class A>
struct Moments {
  A mean[kV], sigma[kV];
};

/// visit(sample of the group, values) sees the values on the way.
template <int kV, class T, class A, class Visit>
__device__ __forceinline__ Moments<kV, A> moments(const StddevLayout& s, const Walk& walk, const T* x, A eps,
                                                  const Visit& visit) {
  Moments<kV, A> of = {};
#pragma unroll 4
  for (int64_t member = 0; member < s.group; ++member) {
    A values[kV];
    load_run<kV>(x + member * walk.in_stride, walk.in_by_vector, values);
    visit(member, values);
#pragma unroll
    for (int k = 0; k < kV; ++k) of.mean[k] += values[k];
  }
#pragma unroll
  for (int k = 0; k < kV; ++k) of.mean[k] /= A(s.group);
#pragma unroll 4
  for (int64_t member = 0; member < s.group; ++member) {
    A values[kV];
    load_run<kV>(x + member * walk.in_stride, walk.in_by_vector, values);
#pragma unroll
    for (int k = 0; k < kV; ++k) of.sigma[k] += (values[k] - of.mean[k]) * (values[k] - of.mean[k]);
  }
#pragma unroll
  for (int k = 0; k < kV; ++k) of.sigma[k] = std::sqrt(of.sigma[k] / A(s.group) + eps);
  return of;
}
struct Ignore {
  template <class A>
  __device__ __forceinline__ void operator()(int64_t, const A*) const {}
};

/// body(group and feature, where the positions lie) for the positions of a chunk, kV at a time; the sum of what it
/// returns goes to the chunk's partial unless that is null.
template <int kV, class A, class Body>
__device__ __forceinline__ void for_chunks(const StddevLayout& s, A* partial, const Body& body) {
  __shared__ A shared[kThreads / kWarp];
  const int64_t chunks = stddev_chunks(s.positions());
  for (int64_t task = blockIdx.x; task < s.groups * s.features * chunks; task += gridDim.x) {
    const int64_t mf = task / chunks, m = mf / s.features, f = mf % s.features, begin = task % chunks * kStddevChunk;
    const int64_t end = begin + kStddevChunk < s.positions() ? begin + kStddevChunk : s.positions();
    A sum = 0;
    for (int64_t position = begin + threadIdx.x * kV; position < end; position += kThreads * kV) {
      const int64_t row = position / s.width, offset = position - row * s.width;
      sum += body(mf, Position{s.in_run(m, row, f) + offset, s.out_run(m, row, f) + offset});
    }
    if (partial == nullptr) continue;
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) partial[task] = sum;
  }
}

/// The sum of a (group, feature)'s partials, in every thread of the block.
template <class A>
__device__ __forceinline__ A sum_partials(const A* partial, int64_t chunks, A* shared) {
  A sum = 0;
  for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += kThreads) sum += partial[chunk];
  return block_sum(sum, shared);
}

/// Writes (sum of partials · scale) on the maps of every sample: N·F·pixels values, F/C of x. A block takes
/// kStddevChunk map positions.
template <class T, class A>
__global__ void __launch_bounds__(kThreads) fill_maps(StddevLayout s, T* out, const A* partial, A scale) {
  __shared__ A shared[kThreads / kWarp];
  const int64_t chunks = stddev_chunks(s.positions()), tiles = stddev_chunks(s.group * s.map_positions());
  for (int64_t task = blockIdx.x; task < s.groups * s.features * tiles; task += gridDim.x) {
    const int64_t mf = task / tiles, begin = task % tiles * kStddevChunk;
    const T value = narrow<T>(sum_partials(partial + mf * chunks, chunks, shared) * scale);
    for (int64_t i = begin + threadIdx.x; i < begin + kStddevChunk && i < s.group * s.map_positions(); i += kThreads) {
      const int64_t n = s.sample(i / s.map_positions(), mf / s.features), in_sample = i % s.map_positions();
      out[s.map_run(n, in_sample / s.plane, mf % s.features) + in_sample % s.plane] = value;
    }
  }
}

/// Partial sums of g over the group's maps, N·F·pixels values: t[m, f] in chunks.
template <class T, class A>
__global__ void __launch_bounds__(kThreads) sum_maps(StddevLayout s, const T* g, A* partial) {
  __shared__ A shared[kThreads / kWarp];
  const int64_t tiles = stddev_chunks(s.group * s.map_positions());
  for (int64_t task = blockIdx.x; task < s.groups * s.features * tiles; task += gridDim.x) {
    const int64_t mf = task / tiles, begin = task % tiles * kStddevChunk;
    A sum = 0;
    for (int64_t i = begin + threadIdx.x; i < begin + kStddevChunk && i < s.group * s.map_positions(); i += kThreads) {
      const int64_t n = s.sample(i / s.map_positions(), mf / s.features), in_sample = i % s.map_positions();
      sum += widen(g[s.map_run(n, in_sample / s.plane, mf % s.features) + in_sample % s.plane]);
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) partial[task] = sum;
  }
}

template <int kV, class T, class A>
__global__ void __launch_bounds__(kThreads) forward(StddevLayout s, const T* x, T* out, A* partial, A eps) {
  const Walk walk = walk_of<kV>(s, x, x, out);
  for_chunks<kV>(s, partial, [&](int64_t, Position at) {
    const auto stat = moments<kV>(s, walk, x + at.in, eps, [&](int64_t member, const A* values) {
      store_run<kV>(out + at.out + member * walk.out_stride, walk.out_by_vector, values);
    });
    A sum = 0;
#pragma unroll
    for (int k = 0; k < kV; ++k) sum += stat.sigma[k];
    return sum;
  });
}

/// totals: t[m, f] in its first chunk's place (sum_maps, then gather_totals).
template <int kV, class T, class A>
__global__ void __launch_bounds__(kThreads, 3)
    backward(StddevLayout s, const T* g, const T* x, T* d_x, const A* totals, A eps) {
  const Walk walk = walk_of<kV>(s, x, d_x, g);
  const int64_t map_chunks = stddev_chunks(s.group * s.map_positions());
  for_chunks<kV>(s, static_cast<A*>(nullptr), [&](int64_t mf, Position at) {
    const auto stat = moments<kV>(s, walk, x + at.in, eps, Ignore{});
    const A t = totals[mf * map_chunks] / A(s.positions());
    A scale[kV];
#pragma unroll
    for (int k = 0; k < kV; ++k) scale[k] = t * stddev_slope(stat.sigma[k], A(s.group));
#pragma unroll 2
    for (int64_t member = 0; member < s.group; ++member) {
      A gi[kV], xi[kV];
      load_run<kV>(g + at.out + member * walk.out_stride, walk.out_by_vector, gi);
      load_run<kV>(x + at.in + member * walk.in_stride, walk.in_by_vector, xi);
#pragma unroll
      for (int k = 0; k < kV; ++k) gi[k] += scale[k] * (xi[k] - stat.mean[k]);
      store_run<kV>(d_x + at.in + member * walk.in_stride, walk.in_by_vector, gi);
    }
    return A(0);
  });
}

// Two blocks a multiprocessor at least: left to itself, the compiler spills registers to have more.
template <int kV, class T, class A>
__global__ void __launch_bounds__(kThreads, 2)
    double_backward(StddevLayout s, const T* v, const T* x, T* d_g, T* d_x, const A* totals, A* h_partial, A eps) {
  Walk walk = walk_of<kV>(s, x, v, d_g);
  walk.in_by_vector = walk.in_by_vector && aligned(d_x);
  const int64_t map_chunks = stddev_chunks(s.group * s.map_positions());
  for_chunks<kV>(s, h_partial, [&](int64_t mf, Position at) {
    const auto stat = moments<kV>(s, walk, x + at.in, eps, Ignore{});
    const A t = totals[mf * map_chunks] / A(s.positions());
    A slope[kV], v_mean[kV] = {}, a[kV] = {}, sum = 0;
#pragma unroll 2
    for (int64_t member = 0; member < s.group; ++member) {
      A vi[kV], xi[kV];
      load_run<kV>(v + at.in + member * walk.in_stride, walk.in_by_vector, vi);
      load_run<kV>(x + at.in + member * walk.in_stride, walk.in_by_vector, xi);
#pragma unroll
      for (int k = 0; k < kV; ++k) {
        v_mean[k] += vi[k];
        a[k] += vi[k] * (xi[k] - stat.mean[k]);
      }
      store_run<kV>(d_g + at.out + member * walk.out_stride, walk.out_by_vector, vi);
    }
#pragma unroll
    for (int k = 0; k < kV; ++k) {
      slope[k] = stddev_slope(stat.sigma[k], A(s.group));
      v_mean[k] /= A(s.group);
      a[k] *= slope[k];
      sum += a[k];
    }
#pragma unroll 2
    for (int64_t member = 0; member < s.group; ++member) {
      A vi[kV], xi[kV];
      load_run<kV>(v + at.in + member * walk.in_stride, walk.in_by_vector, vi);
      load_run<kV>(x + at.in + member * walk.in_stride, walk.in_by_vector, xi);
#pragma unroll
      for (int k = 0; k < kV; ++k)
        vi[k] = t * stddev_curvature(vi[k] - v_mean[k], xi[k] - stat.mean[k], a[k], slope[k], A(s.group));
      store_run<kV>(d_x + at.in + member * walk.in_stride, walk.in_by_vector, vi);
    }
    return sum;
  });
}

/// Adds a (group, feature)'s partials into the first of them.
template <class A>
__global__ void __launch_bounds__(kThreads) gather_totals(A* partial, int64_t count, int64_t chunks) {
  __shared__ A shared[kThreads / kWarp];
  for (int64_t mf = blockIdx.x; mf < count; mf += gridDim.x) {
    const A total = sum_partials(partial + mf * chunks, chunks, shared);
    if (threadIdx.x == 0) partial[mf * chunks] = total;
  }
}

template <class T, class A>
void launch_map_totals(const StddevLayout& s, const T* g, A* partial, CudaStream stream) {
  const int64_t tiles = stddev_chunks(s.group * s.map_positions()), count = s.groups * s.features;
  launch(sum_maps<T, A>, grid_for(count * tiles), kThreads, stream, s, g, partial);
  if (tiles > 1) launch(gather_totals<A>, grid_for(count), kThreads, stream, partial, count, tiles);
}

template <class T, class A>
void launch_fill(const StddevLayout& s, T* out, const A* partial, CudaStream stream) {
  const int64_t tiles = stddev_chunks(s.group * s.map_positions());
  launch(fill_maps<T, A>, grid_for(s.groups * s.features * tiles), kThreads, stream, s, out, partial,
         A(1) / A(s.positions()));
}

/// Calls `body` with the number of positions that a thread takes at a time.
template <class T, class Body>
void with_positions(const StddevLayout& s, const Body& body) {
  if (s.width % kVector<T> == 0)
    body(std::integral_constant<int, kVector<T>>{});
  else
    body(std::integral_constant<int, 1>{});
}

unsigned grid_of(const StddevLayout& s) {
  return grid_for(s.groups * s.features * stddev_chunks(s.positions()));
}

}  // namespace

void run_on_cuda(const StddevForwardArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    T* out = static_cast<T*>(args.out);
    A* partial = static_cast<A*>(args.partial);
    with_positions<T>(args.layout, [&]<int kV>(std::integral_constant<int, kV>) {
      launch(forward<kV, T, A>, grid_of(args.layout), kThreads, stream, args.layout, static_cast<const T*>(args.x), out,
             partial, A(args.eps));
    });
    launch_fill(args.layout, out, static_cast<const A*>(partial), stream);
  });
}

void run_on_cuda(const StddevBackwardArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    const T* g = static_cast<const T*>(args.g);
    A* partial = static_cast<A*>(args.partial);
    launch_map_totals(args.layout, g, partial, stream);
    with_positions<T>(args.layout, [&]<int kV>(std::integral_constant<int, kV>) {
      launch(backward<kV, T, A>, grid_of(args.layout), kThreads, stream, args.layout, g, static_cast<const T*>(args.x),
             static_cast<T*>(args.d_x), static_cast<const A*>(partial), A(args.eps));
    });
  });
}

void run_on_cuda(const StddevDoubleBackwardArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    T* d_g = static_cast<T*>(args.d_g);
    A* partial = static_cast<A*>(args.partial);
    A* h_partial = static_cast<A*>(args.h_partial);
    launch_map_totals(args.layout, static_cast<const T*>(args.g), partial, stream);
    with_positions<T>(args.layout, [&]<int kV>(std::integral_constant<int, kV>) {
      launch(double_backward<kV, T, A>, grid_of(args.layout), kThreads, stream, args.layout,
             static_cast<const T*>(args.v), static_cast<const T*>(args.x), d_g, static_cast<T*>(args.d_x),
             static_cast<const A*>(partial), h_partial, A(args.eps));
    });
    launch_fill(args.layout, d_g, static_cast<const A*>(h_partial), stream);
  });
}

}  // namespace gan_ops
