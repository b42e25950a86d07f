// Interpolation on CUDA: a block a chunk of a sample; the weight's gradient in chunks that a second kernel adds.
//
// Bytes it must move, for E elements of size s: forward 3·E·s, backward up to 3·E·s, the weight's gradient 3·E·s; three
// operations an element, so memory sets the pace.
#include "../interpolate.h"
#include "samples.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    forward(const T* real, const T* fake, const A* weight, T* y, SampleLayout s) {
  for_chunks(s, [&](int64_t sample, int64_t, int64_t first, int width) {
    const Interpolation<T> from(real + first, fake + first, weight[sample]);
    for (int i = threadIdx.x; i < width; i += kThreads)
      y[first + i] = narrow<T>(interpolated(widen(from.near[i]), widen(from.far[i]), from.step));
  });
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    backward(const T* g, const A* weight, T* d_real, T* d_fake, SampleLayout s) {
  for_chunks(s, [&](int64_t sample, int64_t, int64_t first, int width) {
    const A w = weight[sample];
    for (int64_t i = first + threadIdx.x; i < first + width; i += kThreads) {
      const A gi = widen(g[i]);
      if (d_real != nullptr) d_real[i] = narrow<T>(gi * (A(1) - w));
      if (d_fake != nullptr) d_fake[i] = narrow<T>(gi * w);
    }
  });
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    weight_grad(const T* g, const T* real, const T* fake, double* partial, SampleLayout s) {
  __shared__ A shared[kThreads / kWarp];
  const int64_t chunks = s.chunks();
  for_chunks(s, [&](int64_t sample, int64_t chunk, int64_t first, int width) {
    const A sum = sum_over_block<A>(
        width, [&](int64_t i) { return widen(g[first + i]) * (widen(fake[first + i]) - widen(real[first + i])); },
        shared);
    if (threadIdx.x == 0) partial[sample * chunks + chunk] = sum;
  });
}

template <class A>
struct KeepSum {
  A* d_weight;
  __device__ __forceinline__ void operator()(int64_t sample, double sum) const {
    d_weight[sample] = static_cast<A>(sum);
  }
};

}  // namespace

void run_on_cuda(const InterpolateForwardArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    launch(forward<T, A>, grid_of_chunks(args.layout), kThreads, stream, static_cast<const T*>(args.real),
           static_cast<const T*>(args.fake), static_cast<const A*>(args.weight), static_cast<T*>(args.y), args.layout);
  });
}

void run_on_cuda(const InterpolateBackwardArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    launch(backward<T, A>, grid_of_chunks(args.layout), kThreads, stream, static_cast<const T*>(args.g),
           static_cast<const A*>(args.weight), static_cast<T*>(args.d_real), static_cast<T*>(args.d_fake), args.layout);
  });
}

void run_on_cuda(const InterpolateWeightGradArgs& args, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    launch(weight_grad<T, A>, grid_of_chunks(args.layout), kThreads, stream, static_cast<const T*>(args.g),
           static_cast<const T*>(args.real), static_cast<const T*>(args.fake), args.partial, args.layout);
    launch(finish_samples<KeepSum<A>>, grid_of_samples(args.layout), kThreads, stream,
           static_cast<const double*>(args.partial), args.layout, KeepSum<A>{static_cast<A*>(args.d_weight)});
  });
}

}  // namespace gan_ops
