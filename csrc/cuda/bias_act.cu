// Bias and leaky ReLU on CUDA: a thread an element; the bias gradient in pieces of fixed size that a second kernel adds
// in order.
//
// Bytes it must move, for E elements of size s: forward 2·E·s, backward 3·E·s; a handful of operations an element, so
// memory sets the pace.
#include "../bias_act.h"
#include "launch.cuh"
#include "sum_rows.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    forward(const T* x, const A* bias, T* y, BiasAct<A> f, ChannelLayout s, int64_t count) {
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += int64_t(gridDim.x) * kThreads) {
    const A b = bias == nullptr ? A(0) : bias[i / s.inner % s.channels];
    y[i] = narrow<T>(f.value(widen(x[i]) + b));
  }
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads) backward(const T* g, const T* y, T* d_x, BiasAct<A> f, int64_t count) {
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += int64_t(gridDim.x) * kThreads)
    d_x[i] = narrow<T>(widen(g[i]) * f.derivative(widen(y[i])));
}

/// Channels adjacent: a block takes kColumns channels of a chunk of pixels.
template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    backward_adjacent(const T* g, const T* y, T* d_x, A* partial, BiasAct<A> f, ChannelLayout s, PixelChunks chunks) {
  __shared__ A shared[kRows][kColumns];
  const int column = threadIdx.x % kColumns, row_of_thread = threadIdx.x / kColumns;
  const int64_t strips = (s.channels + kColumns - 1) / kColumns;
  for (int64_t task = blockIdx.x; task < chunks.count() * strips; task += gridDim.x) {
    const int64_t chunk = task / strips, c = task % strips * kColumns + column;
    A sum = 0;
    if (c < s.channels)
      for (int64_t pixel = chunks.begin(chunk) + row_of_thread; pixel < chunks.end(chunk); pixel += kRows) {
        const int64_t i = pixel * s.channels + c;
        const A d = widen(g[i]) * f.derivative(widen(y[i]));
        d_x[i] = narrow<T>(d);
        sum += d;
      }
    shared[row_of_thread][column] = sum;
    __syncthreads();
    if (row_of_thread == 0 && c < s.channels) {
      A total = 0;
#pragma unroll
      for (int r = 0; r < kRows; ++r) total += shared[r][column];
      partial[chunk * s.channels + c] = total;
    }
    __syncthreads();
  }
}

/// Channels `inner` apart: `Lanes` threads, the lanes of a warp or the whole block, take a chunk of a channel's plane.
template <int Lanes, class T, class A>
__global__ void __launch_bounds__(kThreads)
    backward_distant(const T* g, const T* y, T* d_x, A* partial, BiasAct<A> f, ChannelLayout s, PixelChunks chunks) {
  __shared__ A shared[kThreads / kWarp];
  constexpr int kRuns = kThreads / Lanes;
  const int lane = threadIdx.x % Lanes;
  const int64_t per_plane = chunks.per_sample(), runs = chunks.count() * s.channels;
  // The loop's bound is the same for a whole block: all its threads take part in the sums.
  for (int64_t first = int64_t(blockIdx.x) * kRuns; first < runs; first += int64_t(gridDim.x) * kRuns) {
    const int64_t run = first + threadIdx.x / Lanes;
    const int64_t plane = run / per_plane, chunk = plane / s.channels * per_plane + run % per_plane;
    A sum = 0;
    if (run < runs)
      for (int64_t p = chunks.begin(chunk) + lane; p < chunks.end(chunk); p += Lanes) {
        const int64_t i = plane * s.inner + p;
        const A d = widen(g[i]) * f.derivative(widen(y[i]));
        d_x[i] = narrow<T>(d);
        sum += d;
      }
    if constexpr (Lanes == kThreads)
      sum = block_sum(sum, shared);
    else
      sum = lanes_sum<Lanes>(sum);
    if (run < runs && lane == 0) partial[chunk * s.channels + plane % s.channels] = sum;
  }
}

int64_t element_count(const ChannelLayout& s) {
  return s.outer * s.channels * s.inner;
}
unsigned grid_of_elements(const ChannelLayout& s) {
  return grid_for((element_count(s) + kThreads - 1) / kThreads);
}

}  // namespace

void run_on_cuda(const BiasActForwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    launch(forward<T, A>, grid_of_elements(a.layout), kThreads, stream, static_cast<const T*>(a.x),
           static_cast<const A*>(a.bias), static_cast<T*>(a.y), make_bias_act<A>(a.slope, a.gain), a.layout,
           element_count(a.layout));
  });
}

void run_on_cuda(const BiasActBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    const ChannelLayout s = a.layout;
    const BiasAct<A> f = make_bias_act<A>(a.slope, a.gain);
    const T* g = static_cast<const T*>(a.g);
    const T* y = static_cast<const T*>(a.y);
    T* d_x = static_cast<T*>(a.d_x);
    A* partial = static_cast<A*>(a.partial);
    if (a.d_bias == nullptr) {
      launch(backward<T, A>, grid_of_elements(s), kThreads, stream, g, y, d_x, f, element_count(s));
      return;
    }
    const PixelChunks chunks = a.chunks;
    const auto distant = [&]<int Lanes>(std::integral_constant<int, Lanes>) {
      constexpr int kRuns = kThreads / Lanes;
      launch(backward_distant<Lanes, T, A>, grid_for((chunks.count() * s.channels + kRuns - 1) / kRuns), kThreads,
             stream, g, y, d_x, partial, f, s, chunks);
    };
    if (s.inner == 1)
      launch(backward_adjacent<T, A>, grid_for(chunks.count() * ((s.channels + kColumns - 1) / kColumns)), kThreads,
             stream, g, y, d_x, partial, f, s, chunks);
    else if (chunks.width <= 64)
      distant(std::integral_constant<int, 8>{});
    else if (chunks.width <= 1024)
      distant(std::integral_constant<int, kWarp>{});
    else
      distant(std::integral_constant<int, kThreads>{});
    launch_sum_rows<A>(partial, static_cast<A*>(a.d_bias), chunks.count(), s.channels, stream);
  });
}

}  // namespace gan_ops
