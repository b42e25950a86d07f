// Minibatch stddev on CUDA: a block a chunk, a thread a position of the group; chunks' sums are added in order by a
// second kernel, so that results repeat to the bit.
//
// Bytes it must move, for E elements of x of size s: forward 2·E·s, backward 3·E·s, double backward 4·E·s (the maps are
// F/C of that). A thread reads its G values three times at most, all but the first out of cache. In PGGAN the tensor is
// 4×4×512: launches set the pace.
#include <algorithm>

#include "../minibatch_stddev.h"
#include "launch.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

/// A position of a group: where its elements lie.
struct Position {
  int64_t row, offset;
};

__device__ __forceinline__ Position position_at(const StddevLayout& s, int64_t position) {
  return {position / s.width, position % s.width};
}

template <class A>
struct Moments {
  A mean, sigma;
};

template <class T, class A>
__device__ __forceinline__ Moments<A> moments(const StddevLayout& s, const T* x, int64_t m, int64_t f, Position at,
                                              A eps) {
  A sum = 0;
  for (int64_t member = 0; member < s.group; ++member)
    sum += widen(x[s.in_run(s.sample(member, m), at.row, f) + at.offset]);
  const A mean = sum / A(s.group);
  A squares = 0;
  for (int64_t member = 0; member < s.group; ++member) {
    const A d = widen(x[s.in_run(s.sample(member, m), at.row, f) + at.offset]) - mean;
    squares += d * d;
  }
  return {mean, std::sqrt(squares / A(s.group) + eps)};
}

/// body(m, f, position) for each of a chunk's positions; its sum goes to the chunk's partial unless that is null.
template <class A, class Body>
__device__ __forceinline__ void for_chunks(const StddevLayout& s, A* partial, const Body& body) {
  __shared__ A shared[kThreads / kWarp];
  const int64_t chunks = stddev_chunks(s.positions());
  for (int64_t task = blockIdx.x; task < s.groups * s.features * chunks; task += gridDim.x) {
    const int64_t mf = task / chunks, begin = task % chunks * kStddevChunk;
    const int64_t end = begin + kStddevChunk < s.positions() ? begin + kStddevChunk : s.positions();
    A sum = 0;
    for (int64_t position = begin + threadIdx.x; position < end; position += kThreads)
      sum += body(mf / s.features, mf % s.features, position_at(s, position));
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

/// Writes (sum of partials · scale) on the maps of every sample; a block takes kStddevChunk map positions.
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

/// Partial sums of g over the group's maps: t[m, f] in chunks.
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

template <class T, class A>
__global__ void __launch_bounds__(kThreads) forward(StddevLayout s, const T* x, T* out, A* partial, A eps) {
  for_chunks(s, partial, [=](int64_t m, int64_t f, Position at) {
    for (int64_t member = 0; member < s.group; ++member) {
      const int64_t n = s.sample(member, m);
      out[s.out_run(n, at.row, f) + at.offset] = x[s.in_run(n, at.row, f) + at.offset];
    }
    return moments(s, x, m, f, at, eps).sigma;
  });
}

/// totals: t[m, f] in its first chunk's place (sum_maps, then gather_totals).
template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    backward(StddevLayout s, const T* g, const T* x, T* d_x, const A* totals, A eps) {
  const int64_t map_chunks = stddev_chunks(s.group * s.map_positions());
  for_chunks(s, static_cast<A*>(nullptr), [=](int64_t m, int64_t f, Position at) {
    const Moments<A> stat = moments(s, x, m, f, at, eps);
    const A scale = totals[(m * s.features + f) * map_chunks] / A(s.positions()) * stddev_slope(stat.sigma, A(s.group));
    for (int64_t member = 0; member < s.group; ++member) {
      const int64_t n = s.sample(member, m), i = s.in_run(n, at.row, f) + at.offset;
      d_x[i] = narrow<T>(widen(g[s.out_run(n, at.row, f) + at.offset]) + scale * (widen(x[i]) - stat.mean));
    }
    return A(0);
  });
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    double_backward(StddevLayout s, const T* v, const T* x, T* d_g, T* d_x, const A* totals, A* h_partial, A eps) {
  const int64_t map_chunks = stddev_chunks(s.group * s.map_positions());
  for_chunks(s, h_partial, [=](int64_t m, int64_t f, Position at) {
    const Moments<A> stat = moments(s, x, m, f, at, eps);
    const A t = totals[(m * s.features + f) * map_chunks] / A(s.positions());
    const A slope = stddev_slope(stat.sigma, A(s.group));
    A v_mean = 0, a = 0;
    for (int64_t member = 0; member < s.group; ++member) {
      const int64_t n = s.sample(member, m), i = s.in_run(n, at.row, f) + at.offset;
      v_mean += widen(v[i]);
      a += widen(v[i]) * (widen(x[i]) - stat.mean);
      d_g[s.out_run(n, at.row, f) + at.offset] = v[i];
    }
    v_mean /= A(s.group);
    a *= slope;
    for (int64_t member = 0; member < s.group; ++member) {
      const int64_t i = s.in_run(s.sample(member, m), at.row, f) + at.offset;
      d_x[i] = narrow<T>(t * stddev_curvature(widen(v[i]) - v_mean, widen(x[i]) - stat.mean, a, slope, A(s.group)));
    }
    return a;
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

unsigned grid_of(const StddevLayout& s) {
  return grid_for(s.groups * s.features * stddev_chunks(s.positions()));
}

}  // namespace

void run_on_cuda(const StddevForwardArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    T* out = static_cast<T*>(args.out);
    A* partial = static_cast<A*>(args.partial);
    launch(forward<T, A>, grid_of(args.layout), kThreads, stream, args.layout, static_cast<const T*>(args.x), out,
           partial, A(args.eps));
    launch_fill(args.layout, out, static_cast<const A*>(partial), stream);
  });
}

void run_on_cuda(const StddevBackwardArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    const T* g = static_cast<const T*>(args.g);
    A* partial = static_cast<A*>(args.partial);
    launch_map_totals(args.layout, g, partial, stream);
    launch(backward<T, A>, grid_of(args.layout), kThreads, stream, args.layout, g, static_cast<const T*>(args.x),
           static_cast<T*>(args.d_x), static_cast<const A*>(partial), A(args.eps));
  });
}

void run_on_cuda(const StddevDoubleBackwardArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    T* d_g = static_cast<T*>(args.d_g);
    A* partial = static_cast<A*>(args.partial);
    A* h_partial = static_cast<A*>(args.h_partial);
    launch_map_totals(args.layout, static_cast<const T*>(args.g), partial, stream);
    launch(double_backward<T, A>, grid_of(args.layout), kThreads, stream, args.layout, static_cast<const T*>(args.v),
           static_cast<const T*>(args.x), d_g, static_cast<T*>(args.d_x), static_cast<const A*>(partial), h_partial,
           A(args.eps));
    launch_fill(args.layout, d_g, static_cast<const A*>(h_partial), stream);
  });
}

}  // namespace gan_ops
