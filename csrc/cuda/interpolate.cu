// Interpolation on CUDA: a block a chunk of a sample; the weight's gradient in chunks that a second kernel adds.
//
// Bytes it must move, for E elements of size s: forward 3·E·s, backward up to 3·E·s, the weight's gradient 3·E·s. Three
// operations an element, so memory sets the pace: at an H200's 4.8 TB/s, 64 images of 256×256 in float32 (50 MB) take
// 0.031 ms each.
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
    const bool by_vector = aligned(from.near, from.far, y + first);
    for_vectors_of_chunk<T>(width, [&](int i, int count) {
      A near[kVector<T>], far[kVector<T>];
      load(from.near + i, count, by_vector, near);
      load(from.far + i, count, by_vector, far);
#pragma unroll
      for (int k = 0; k < kVector<T>; ++k) near[k] = interpolated(near[k], far[k], from.step);
      store(y + first + i, count, by_vector, near);
    });
  });
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    backward(const T* g, const A* weight, T* d_real, T* d_fake, SampleLayout s) {
  for_chunks(s, [&](int64_t sample, int64_t, int64_t first, int width) {
    const A w = weight[sample];
    T* real = d_real == nullptr ? nullptr : d_real + first;
    T* fake = d_fake == nullptr ? nullptr : d_fake + first;
    const bool by_vector = aligned(g + first, real, fake);
    for_vectors_of_chunk<T>(width, [&](int i, int count) {
      A gi[kVector<T>], part[kVector<T>];
      load(g + first + i, count, by_vector, gi);
      if (real != nullptr) {
#pragma unroll
        for (int k = 0; k < kVector<T>; ++k) part[k] = gi[k] * (A(1) - w);
        store(real + i, count, by_vector, part);
      }
      if (fake != nullptr) {
#pragma unroll
        for (int k = 0; k < kVector<T>; ++k) part[k] = gi[k] * w;
        store(fake + i, count, by_vector, part);
      }
    });
  });
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    weight_grad(const T* g, const T* real, const T* fake, double* partial, SampleLayout s) {
  __shared__ A shared[kThreads / kWarp];
  const int64_t chunks = s.chunks();
  for_chunks(s, [&](int64_t sample, int64_t chunk, int64_t first, int width) {
    const bool by_vector = aligned(g + first, real + first, fake + first);
    A sum = 0;
    for_vectors_of_chunk<T>(width, [&](int i, int count) {
      A gi[kVector<T>], ri[kVector<T>], fi[kVector<T>];
      load(g + first + i, count, by_vector, gi);
      load(real + first + i, count, by_vector, ri);
      load(fake + first + i, count, by_vector, fi);
#pragma unroll
      for (int k = 0; k < kVector<T>; ++k) sum += gi[k] * (fi[k] - ri[k]);
    });
    sum = block_sum(sum, shared);
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
