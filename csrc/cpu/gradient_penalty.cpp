// The gradient penalty on the CPU: tasks are chunks of samples; where a sample stays in cache, the double backward pass
// takes it as a whole, one walk for <v, u> and one for the result.
#include "../gradient_penalty.h"

#include "lanes.h"
#include "narrow_types.h"
#include "samples.h"

namespace gan_ops {
namespace {

using namespace cpu;

template <class T>
GAN_OPS_INLINE double dot(const T* a, const T* b, int64_t width) {
  return sum_in_lanes<double>(
      width, [a, b](int64_t i) GAN_OPS_LAMBDA_INLINE { return double(widen(a[i])) * double(widen(b[i])); });
}

template <class T, class A>
GAN_OPS_INLINE void write(const T* x, T* d_x, int64_t width, PenaltySlope<A> slope) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) d_x[i] = narrow<T>(slope(widen(x[i])));
}
template <class T, class A>
GAN_OPS_INLINE void write(const T* v, const T* x, T* d_x, int64_t width, PenaltyCurvature<A> curvature) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) d_x[i] = narrow<T>(curvature(widen(v[i]), widen(x[i])));
}

template <class T>
void forward(const PenaltyForwardArgs& args) {
  using A = Accumulate<T>;
  const T* x = static_cast<const T*>(args.x);
  A* penalty = static_cast<A*>(args.penalty);
  double* norm = args.norm;
  double* partial = args.partial;
  const SampleLayout s = args.layout;
  const NormPenalty p(args.target, args.one_sided);
  const int64_t chunks = s.chunks();
  const auto finish = [=](int64_t sample, double square) GAN_OPS_LAMBDA_INLINE {
    norm[sample] = std::sqrt(square);
    penalty[sample] = static_cast<A>(p.value(norm[sample]));
  };
  for_chunks(s, [=](int64_t sample, int64_t chunk, int64_t first, int64_t width) GAN_OPS_LAMBDA_INLINE {
    const double square = dot(x + first, x + first, width);
    if (chunks == 1)
      finish(sample, square);
    else
      partial[sample * chunks + chunk] = square;
  });
  if (chunks == 1) return;
  for (int64_t sample = 0; sample < s.samples; ++sample)
    finish(sample, sum_partials(partial + sample * chunks, chunks));
}

template <class T>
void backward(const PenaltyBackwardArgs& args) {
  using A = Accumulate<T>;
  const A* g = static_cast<const A*>(args.g);
  const T* x = static_cast<const T*>(args.x);
  const double* norm = args.norm;
  T* d_x = static_cast<T*>(args.d_x);
  const NormPenalty p(args.target, args.one_sided);
  for_chunks(args.layout, [=](int64_t sample, int64_t, int64_t first, int64_t width) GAN_OPS_LAMBDA_INLINE {
    write(x + first, d_x + first, width, penalty_slope(p, norm[sample], g[sample]));
  });
}

constexpr int64_t kSampleInCache = 1 << 16;  // v, x and d_x of so many floats stay in L2

template <class T>
void double_backward(const PenaltyDoubleBackwardArgs& args) {
  using A = Accumulate<T>;
  const T* v = static_cast<const T*>(args.v);
  const A* g = static_cast<const A*>(args.g);
  const T* x = static_cast<const T*>(args.x);
  const double* norm = args.norm;
  A* d_g = static_cast<A*>(args.d_g);
  T* d_x = static_cast<T*>(args.d_x);
  double* along = args.along;
  double* partial = args.partial;
  const SampleLayout s = args.layout;
  const NormPenalty p(args.target, args.one_sided);
  const int64_t chunks = s.chunks();

  const auto finish = [=](int64_t sample, double total) GAN_OPS_LAMBDA_INLINE {
    d_g[sample] = static_cast<A>(p.slope_along(total, norm[sample]));
    return along_unit(total, norm[sample]);
  };
  const auto differentiate = [=](int64_t sample, int64_t first, int64_t width, double a) GAN_OPS_LAMBDA_INLINE {
    if (p.target == 0)
      write(v + first, d_x + first, width, penalty_slope(p, norm[sample], g[sample]));
    else
      write(v + first, x + first, d_x + first, width, penalty_curvature(p, norm[sample], g[sample], a));
  };

  if (s.size <= kSampleInCache) {
    parallel_for(s.samples, s.size, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
      for (int64_t sample = begin; sample < end; ++sample) {
        double total = 0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
          const int64_t first = sample * s.size + chunk * kSampleChunk;
          total += dot(v + first, x + first, s.width(chunk));
        }
        differentiate(sample, sample * s.size, s.size, finish(sample, total));
      }
    });
    return;
  }
  for_chunks(s, [=](int64_t sample, int64_t chunk, int64_t first, int64_t width)
                    GAN_OPS_LAMBDA_INLINE { partial[sample * chunks + chunk] = dot(v + first, x + first, width); });
  for (int64_t sample = 0; sample < s.samples; ++sample)
    along[sample] = finish(sample, sum_partials(partial + sample * chunks, chunks));
  for_chunks(s, [=](int64_t sample, int64_t, int64_t first, int64_t width)
                    GAN_OPS_LAMBDA_INLINE { differentiate(sample, first, width, along[sample]); });
}

}  // namespace

void run_on_cpu(const PenaltyForwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) { forward<T>(args); });
}
void run_on_cpu(const PenaltyBackwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) { backward<T>(args); });
}
void run_on_cpu(const PenaltyDoubleBackwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) { double_backward<T>(args); });
}

}  // namespace gan_ops
