// Interpolation on the CPU: one walk over memory for each derivative.
#include "../interpolate.h"

#include "lanes.h"
#include "narrow_types.h"
#include "samples.h"

namespace gan_ops {
namespace {

using namespace cpu;

template <class T, class A>
GAN_OPS_INLINE void mix(const T* near, const T* far, T* y, int64_t width, A step) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) y[i] = narrow<T>(interpolated(widen(near[i]), widen(far[i]), step));
}

template <class T, class A>
GAN_OPS_INLINE void scale(const T* g, T* out, int64_t width, A factor) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) out[i] = narrow<T>(widen(g[i]) * factor);
}

template <class T>
void forward(const InterpolateForwardArgs& args) {
  const T* real = static_cast<const T*>(args.real);
  const T* fake = static_cast<const T*>(args.fake);
  const Accumulate<T>* weight = static_cast<const Accumulate<T>*>(args.weight);
  T* y = static_cast<T*>(args.y);
  for_chunks(args.layout, [=](int64_t sample, int64_t, int64_t first, int64_t width) GAN_OPS_LAMBDA_INLINE {
    const Interpolation<T> from(real + first, fake + first, weight[sample]);
    mix(from.near, from.far, y + first, width, from.step);
  });
}

template <class T>
void backward(const InterpolateBackwardArgs& args) {
  using A = Accumulate<T>;
  const T* g = static_cast<const T*>(args.g);
  const A* weight = static_cast<const A*>(args.weight);
  T* d_real = static_cast<T*>(args.d_real);
  T* d_fake = static_cast<T*>(args.d_fake);
  for_chunks(args.layout, [=](int64_t sample, int64_t, int64_t first, int64_t width) GAN_OPS_LAMBDA_INLINE {
    const A w = weight[sample];
    if (d_real != nullptr) scale(g + first, d_real + first, width, A(1) - w);
    if (d_fake != nullptr) scale(g + first, d_fake + first, width, w);  // g out of cache
  });
}

template <class T>
void weight_grad(const InterpolateWeightGradArgs& args) {
  using A = Accumulate<T>;
  const T* g = static_cast<const T*>(args.g);
  const T* real = static_cast<const T*>(args.real);
  const T* fake = static_cast<const T*>(args.fake);
  A* d_weight = static_cast<A*>(args.d_weight);
  double* partial = args.partial;
  const int64_t chunks = args.layout.chunks();
  for_chunks(args.layout, [=](int64_t sample, int64_t chunk, int64_t first, int64_t width) GAN_OPS_LAMBDA_INLINE {
    partial[sample * chunks + chunk] = sum_in_lanes<A>(width, [=](int64_t i) GAN_OPS_LAMBDA_INLINE {
      return widen(g[first + i]) * (widen(fake[first + i]) - widen(real[first + i]));
    });
  });
  for (int64_t sample = 0; sample < args.layout.samples; ++sample)
    d_weight[sample] = static_cast<A>(sum_partials(partial + sample * chunks, chunks));
}

}  // namespace

void run_on_cpu(const InterpolateForwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) { forward<T>(args); });
}
void run_on_cpu(const InterpolateBackwardArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) { backward<T>(args); });
}
void run_on_cpu(const InterpolateWeightGradArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) { weight_grad<T>(args); });
}

}  // namespace gan_ops
