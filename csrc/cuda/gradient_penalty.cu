// The gradient penalty on CUDA: a block a chunk of a sample; where samples are longer, a second kernel adds their
// chunks' sums. 16 images of 256×256 are 1536 chunks: enough for 132 multiprocessors.
//
// Bytes it must move, for E elements of size s: forward E·s, backward 2·E·s, double backward 5·E·s (v and x are read
// for <v, u> and once more for the result, then out of L2 where they fit). At most 9 operations an element, so memory
// sets the pace: at an H200's 4.8 TB/s, 64 images of 256×256 in float32 (50 MB) take 0.010, 0.021 and 0.052 ms.
#include "../gradient_penalty.h"
#include "samples.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

/// <a, b> over a chunk, in every thread. float64 is slow on some devices, but two conversions and a product an element
/// are less than what reading it takes.
template <class T>
__device__ __forceinline__ double dot(const T* a, const T* b, int width, double* shared) {
  const bool by_vector = aligned(a, b);
  double sum = 0;
  for_vectors_of_chunk<T>(width, [&](int i, int count) {
    Accumulate<T> ai[kVector<T>], bi[kVector<T>];
    load(a + i, count, by_vector, ai);
    load(b + i, count, by_vector, bi);
#pragma unroll
    for (int k = 0; k < kVector<T>; ++k) sum += static_cast<double>(ai[k]) * static_cast<double>(bi[k]);
  });
  return block_sum(sum, shared);
}

template <class A>
struct FinishForward {
  NormPenalty p;
  A* penalty;
  double* norm;
  __device__ __forceinline__ void operator()(int64_t sample, double square) const {
    norm[sample] = sqrt(square);
    penalty[sample] = static_cast<A>(p.value(sqrt(square)));
  }
};

template <class A>
struct FinishDot {
  NormPenalty p;
  const double* norm;
  A* d_g;
  double* a;  // <v, u>, for the kernel that writes
  __device__ __forceinline__ void operator()(int64_t sample, double dot) const {
    const double n = norm[sample];
    a[sample] = along_unit(dot, n);
    d_g[sample] = static_cast<A>(p.slope_along(dot, n));
  }
};

/// finish(sample, sum) where a sample is one chunk; else the chunks' sums, for finish_samples.
template <class T, class Finish>
__global__ void __launch_bounds__(kThreads)
    sum_chunks(const T* a, const T* b, double* partial, Finish finish, SampleLayout s) {
  __shared__ double shared[kThreads / kWarp];
  const int64_t chunks = s.chunks();
  for_chunks(s, [&](int64_t sample, int64_t chunk, int64_t first, int width) {
    const double sum = dot(a + first, b + first, width, shared);
    if (threadIdx.x != 0) return;
    if (chunks == 1)
      finish(sample, sum);
    else
      partial[sample * chunks + chunk] = sum;
  });
}

/// finish(sample, <a, b>) for all samples.
template <class T, class Finish>
void launch_dots(const T* a, const T* b, double* partial, const Finish& finish, const SampleLayout& s,
                 CudaStream stream) {
  launch(sum_chunks<T, Finish>, grid_of_chunks(s), kThreads, stream, a, b, partial, finish, s);
  if (s.chunks() > 1)
    launch(finish_samples<Finish>, grid_of_samples(s), kThreads, stream, static_cast<const double*>(partial), s,
           finish);
}

template <class T, class A>
__device__ __forceinline__ void scale_chunk(const T* from, T* to, int width, const PenaltySlope<A>& slope) {
  const bool by_vector = aligned(from, to);
  for_vectors_of_chunk<T>(width, [&](int i, int count) {
    A values[kVector<T>];
    load(from + i, count, by_vector, values);
#pragma unroll
    for (int k = 0; k < kVector<T>; ++k) values[k] = slope(values[k]);
    store(to + i, count, by_vector, values);
  });
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    backward(const A* g, const T* x, const double* norm, T* d_x, NormPenalty p, SampleLayout s) {
  for_chunks(s, [&](int64_t sample, int64_t, int64_t first, int width) {
    scale_chunk(x + first, d_x + first, width, penalty_slope(p, norm[sample], g[sample]));
  });
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads) double_backward(const T* v, const A* g, const T* x, const double* norm,
                                                            const double* a, T* d_x, NormPenalty p, SampleLayout s) {
  for_chunks(s, [&](int64_t sample, int64_t, int64_t first, int width) {
    if (p.target == 0) return scale_chunk(v + first, d_x + first, width, penalty_slope(p, norm[sample], g[sample]));
    const PenaltyCurvature<A> curvature = penalty_curvature(p, norm[sample], g[sample], a[sample]);
    const bool by_vector = aligned(v + first, x + first, d_x + first);
    for_vectors_of_chunk<T>(width, [&](int i, int count) {
      A vi[kVector<T>], values[kVector<T>];
      load(v + first + i, count, by_vector, vi);
      load(x + first + i, count, by_vector, values);
#pragma unroll
      for (int k = 0; k < kVector<T>; ++k) values[k] = curvature(vi[k], values[k]);
      store(d_x + first + i, count, by_vector, values);
    });
  });
}

}  // namespace

void run_on_cuda(const PenaltyForwardArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    const T* x = static_cast<const T*>(args.x);
    const FinishForward<A> finish{NormPenalty(args.target, args.one_sided), static_cast<A*>(args.penalty), args.norm};
    launch_dots(x, x, args.partial, finish, args.layout, stream);
  });
}

void run_on_cuda(const PenaltyBackwardArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    launch(backward<T, A>, grid_of_chunks(args.layout), kThreads, stream, static_cast<const A*>(args.g),
           static_cast<const T*>(args.x), args.norm, static_cast<T*>(args.d_x),
           NormPenalty(args.target, args.one_sided), args.layout);
  });
}

void run_on_cuda(const PenaltyDoubleBackwardArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    const T* v = static_cast<const T*>(args.v);
    const T* x = static_cast<const T*>(args.x);
    const NormPenalty p(args.target, args.one_sided);
    const FinishDot<A> finish{p, args.norm, static_cast<A*>(args.d_g), args.along};
    launch_dots(v, x, args.partial, finish, args.layout, stream);
    launch(double_backward<T, A>, grid_of_chunks(args.layout), kThreads, stream, v, static_cast<const A*>(args.g), x,
           args.norm, static_cast<const double*>(args.along), static_cast<T*>(args.d_x), p, args.layout);
  });
}

}  // namespace gan_ops
