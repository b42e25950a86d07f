// fade_in on CUDA: a thread an element of old, with the four elements of new that lie on it.
//
// Bytes it must move, for E elements of new of size s: 2.25·E·s either way; a handful of operations an element, so
// memory sets the pace.
#include "../fade_in.h"
#include "launch.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

/// `fraction`, unless null, is read here, on the device: the host need not know it.
template <class A>
__device__ __forceinline__ Fade<A> fade_of(const A* fraction, A number) {
  return Fade<A>(fraction == nullptr ? number : *fraction);
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    forward(const T* fresh, const T* old, T* out, const A* fraction, A number, FadeLayout s) {
  const Fade<A> fade = fade_of(fraction, number);
  const int64_t count = s.rows * s.old_row();
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += int64_t(gridDim.x) * kThreads) {
    const A o = widen(old[i]);
    const int64_t upper = s.first_new(i), lower = upper + s.new_row();
    out[upper] = narrow<T>(fade(widen(fresh[upper]), o));
    out[upper + s.inner] = narrow<T>(fade(widen(fresh[upper + s.inner]), o));
    out[lower] = narrow<T>(fade(widen(fresh[lower]), o));
    out[lower + s.inner] = narrow<T>(fade(widen(fresh[lower + s.inner]), o));
  }
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    backward(const T* g, T* d_new, T* d_old, const A* fraction, A number, FadeLayout s) {
  const Fade<A> fade = fade_of(fraction, number);
  const int64_t count = s.rows * s.old_row();
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += int64_t(gridDim.x) * kThreads) {
    const int64_t upper = s.first_new(i), lower = upper + s.new_row();
    const A g00 = widen(g[upper]), g01 = widen(g[upper + s.inner]);
    const A g10 = widen(g[lower]), g11 = widen(g[lower + s.inner]);
    d_new[upper] = narrow<T>(fade.rest * g00);
    d_new[upper + s.inner] = narrow<T>(fade.rest * g01);
    d_new[lower] = narrow<T>(fade.rest * g10);
    d_new[lower + s.inner] = narrow<T>(fade.rest * g11);
    d_old[i] = narrow<T>(fade.fraction * ((g00 + g10) + (g01 + g11)));
  }
}

unsigned grid_of_old(const FadeLayout& s) {
  return grid_for((s.rows * s.old_row() + kThreads - 1) / kThreads);
}

}  // namespace

void run_on_cuda(const FadeInArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    launch(forward<T, A>, grid_of_old(a.layout), kThreads, stream, static_cast<const T*>(a.fresh),
           static_cast<const T*>(a.old), static_cast<T*>(a.out), static_cast<const A*>(a.fraction), A(a.number),
           a.layout);
  });
}

void run_on_cuda(const FadeInBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    launch(backward<T, A>, grid_of_old(a.layout), kThreads, stream, static_cast<const T*>(a.g),
           static_cast<T*>(a.d_new), static_cast<T*>(a.d_old), static_cast<const A*>(a.fraction), A(a.number),
           a.layout);
  });
}

}  // namespace gan_ops
