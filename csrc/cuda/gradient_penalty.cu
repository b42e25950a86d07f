// The gradient penalty on CUDA: a block a chunk of a sample. Samples of one chunk are done by one kernel; for longer
// ones a second kernel adds the chunks' sums.
//
// Bytes it must move, for E elements of size s: forward E·s, backward 2·E·s, double backward 5·E·s where a sample is
// longer than a chunk (v and x are read for <v, u> and once more for the result), else 3·E·s; at most 9 operations an
// element, so memory sets the pace.
#include "../gradient_penalty.h"
#include "samples.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

template <class A>
struct FinishForward {
  NormPenalty<A> p;
  A* penalty;
  double* norm;
  __device__ __forceinline__ void operator()(int64_t sample, double square) const {
    const double n = sqrt(square);
    norm[sample] = n;
    penalty[sample] = p.value(n);
  }
};

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    sum_squares(const T* x, double* partial, FinishForward<A> finish, SampleLayout s) {
  __shared__ A shared[kThreads / kWarp];
  __shared__ double wide_shared[kThreads / kWarp];
  const int64_t chunks = s.chunks();
  for_chunks(s, [&](int64_t sample, int64_t chunk, int64_t first, int width) {
    const A sum = sum_over_block<A>(
        width,
        [&](int64_t i) {
          const A xi = widen(x[first + i]);
          return xi * xi;
        },
        shared);
    double square = sum;
    if (!squares_fit(sum))  // the same in all threads
      square = sum_over_block<double>(
          width,
          [&](int64_t i) {
            const double xi = widen(x[first + i]);
            return xi * xi;
          },
          wide_shared);
    if (threadIdx.x != 0) return;
    if (chunks == 1)
      finish(sample, square);
    else
      partial[sample * chunks + chunk] = square;
  });
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    backward(const A* g, const T* x, const double* norm, T* d_x, NormPenalty<A> p, SampleLayout s) {
  for_chunks(s, [&](int64_t sample, int64_t, int64_t first, int width) {
    const PenaltySlope<A> slope = penalty_slope(p, norm[sample], g[sample]);
    for (int i = threadIdx.x; i < width; i += kThreads) d_x[first + i] = narrow<T>(slope(widen(x[first + i])));
  });
}

template <class A>
struct FinishDot {
  NormPenalty<A> p;
  const double* norm;
  A* d_g;
  /// From <v, x> · scale to a = <v, u>, which it returns.
  __device__ __forceinline__ A operator()(int64_t sample, double dot, bool writes) const {
    const double n = norm[sample];
    const A a = static_cast<A>(dot) * unit_vector<A>(n).inverse;
    if (writes) d_g[sample] = p.slope(n) * a;
    return a;
  }
};

template <class T, class A>
__device__ __forceinline__ void write(const T* v, const T* x, T* d_x, int64_t first, int width,
                                      const PenaltyCurvature<A>& curvature) {
  for (int64_t i = first + threadIdx.x; i < first + width; i += kThreads)
    d_x[i] = narrow<T>(curvature(widen(v[i]), widen(x[i])));
}

template <class T, class A>
__device__ __forceinline__ A scaled_dot(const T* v, const T* x, int64_t first, int width, A scale, A* shared) {
  return sum_over_block<A>(
      width, [&](int64_t i) { return widen(v[first + i]) * (widen(x[first + i]) * scale); }, shared);
}

/// Keeps a for the writing kernel.
template <class A>
struct KeepDot {
  FinishDot<A> finish;
  double* of_sample;
  __device__ __forceinline__ void operator()(int64_t sample, double dot) const {
    of_sample[sample] = finish(sample, dot, true);
  }
};

/// Samples of one chunk.
template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    double_backward_short(const T* v, const A* g, const T* x, FinishDot<A> finish, T* d_x, SampleLayout s) {
  __shared__ A shared[kThreads / kWarp];
  for_chunks(s, [&](int64_t sample, int64_t, int64_t first, int width) {
    const double n = finish.norm[sample];
    const A dot = scaled_dot(v, x, first, width, unit_vector<A>(n).scale, shared);
    const A a = finish(sample, dot, threadIdx.x == 0);
    write(v, x, d_x, first, width, penalty_curvature(finish.p, n, g[sample], a));
  });
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    sum_dots(const T* v, const T* x, const double* norm, double* partial, SampleLayout s) {
  __shared__ A shared[kThreads / kWarp];
  const int64_t chunks = s.chunks();
  for_chunks(s, [&](int64_t sample, int64_t chunk, int64_t first, int width) {
    const A dot = scaled_dot(v, x, first, width, unit_vector<A>(norm[sample]).scale, shared);
    if (threadIdx.x == 0) partial[sample * chunks + chunk] = dot;
  });
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    double_backward(const T* v, const A* g, const T* x, const double* norm, const double* of_sample, T* d_x,
                    NormPenalty<A> p, SampleLayout s) {
  for_chunks(s, [&](int64_t sample, int64_t, int64_t first, int width) {
    write(v, x, d_x, first, width, penalty_curvature(p, norm[sample], g[sample], static_cast<A>(of_sample[sample])));
  });
}

}  // namespace

void run_on_cuda(const PenaltyForwardArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    const SampleLayout s = args.layout;
    const FinishForward<A> finish{{A(args.target), args.one_sided}, static_cast<A*>(args.penalty), args.norm};
    launch(sum_squares<T, A>, grid_of_chunks(s), kThreads, stream, static_cast<const T*>(args.x), args.partial, finish,
           s);
    if (s.chunks() > 1)
      launch(finish_samples<FinishForward<A>>, grid_of_samples(s), kThreads, stream,
             static_cast<const double*>(args.partial), s, finish);
  });
}

void run_on_cuda(const PenaltyBackwardArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    launch(backward<T, A>, grid_of_chunks(args.layout), kThreads, stream, static_cast<const A*>(args.g),
           static_cast<const T*>(args.x), args.norm, static_cast<T*>(args.d_x),
           NormPenalty<A>(args.target, args.one_sided), args.layout);
  });
}

void run_on_cuda(const PenaltyDoubleBackwardArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    const SampleLayout s = args.layout;
    const T* v = static_cast<const T*>(args.v);
    const A* g = static_cast<const A*>(args.g);
    const T* x = static_cast<const T*>(args.x);
    const double* norm = args.norm;
    T* d_x = static_cast<T*>(args.d_x);
    const NormPenalty<A> p(args.target, args.one_sided);
    const FinishDot<A> finish{p, norm, static_cast<A*>(args.d_g)};
    if (s.chunks() == 1) {
      launch(double_backward_short<T, A>, grid_of_chunks(s), kThreads, stream, v, g, x, finish, d_x, s);
      return;
    }
    double* of_sample = args.partial + s.samples * s.chunks();
    launch(sum_dots<T, A>, grid_of_chunks(s), kThreads, stream, v, x, norm, args.partial, s);
    launch(finish_samples<KeepDot<A>>, grid_of_samples(s), kThreads, stream, static_cast<const double*>(args.partial),
           s, KeepDot<A>{finish, of_sample});
    launch(double_backward<T, A>, grid_of_chunks(s), kThreads, stream, v, g, x, norm,
           static_cast<const double*>(of_sample), d_x, p, s);
  });
}

}  // namespace gan_ops
