// Bias and leaky ReLU on CUDA: a thread an element; the bias gradient in pieces of fixed size that a second kernel adds
// in order.
//
// Bytes it must move, for E elements of size s: forward 2·E·s, backward 3·E·s; a handful of operations an element, so
// memory sets the pace.
#include "../bias_act.h"
#include "launch.cuh"

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

constexpr int kColumns = 32;                // neighbouring channels of a block
constexpr int kRows = kThreads / kColumns;  // threads that share a channel's pixels

/// Channels adjacent: a block takes 32 channels of a chunk of pixels.
template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    backward_adjacent(const T* g, const T* y, T* d_x, A* partial, BiasAct<A> f, ChannelLayout s) {
  __shared__ A shared[kRows][kColumns];
  const int column = threadIdx.x % kColumns, row_of_thread = threadIdx.x / kColumns;
  const int64_t rows = bias_rows_per_chunk(s.channels), chunks = (s.outer + rows - 1) / rows;
  const int64_t strips = (s.channels + kColumns - 1) / kColumns;
  for (int64_t task = blockIdx.x; task < chunks * strips; task += gridDim.x) {
    const int64_t chunk = task / strips, c = task % strips * kColumns + column;
    const int64_t end = (chunk + 1) * rows < s.outer ? (chunk + 1) * rows : s.outer;
    A sum = 0;
    if (c < s.channels)
      for (int64_t row = chunk * rows + row_of_thread; row < end; row += kRows) {
        const int64_t i = row * s.channels + c;
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

/// Channels `inner` apart: a block takes a channel's plane of one sample.
template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    backward_distant(const T* g, const T* y, T* d_x, A* partial, BiasAct<A> f, ChannelLayout s) {
  __shared__ A shared[kThreads / kWarp];
  for (int64_t plane = blockIdx.x; plane < s.outer * s.channels; plane += gridDim.x) {
    A sum = 0;
    for (int64_t i = plane * s.inner + threadIdx.x; i < (plane + 1) * s.inner; i += kThreads) {
      const A d = widen(g[i]) * f.derivative(widen(y[i]));
      d_x[i] = narrow<T>(d);
      sum += d;
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) partial[plane] = sum;
  }
}

/// [rows, channels] → [channels], a block a channel.
template <class A>
__global__ void __launch_bounds__(kThreads) sum_rows(const A* partial, A* total, int64_t rows, int64_t channels) {
  __shared__ A shared[kThreads / kWarp];
  for (int64_t c = blockIdx.x; c < channels; c += gridDim.x) {
    A sum = 0;
    for (int64_t row = threadIdx.x; row < rows; row += kThreads) sum += partial[row * channels + c];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) total[c] = sum;
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
    const int64_t rows = bias_partial_rows(s);
    if (s.inner == 1)
      launch(backward_adjacent<T, A>, grid_for(rows * ((s.channels + kColumns - 1) / kColumns)), kThreads, stream, g, y,
             d_x, partial, f, s);
    else
      launch(backward_distant<T, A>, grid_for(s.outer * s.channels), kThreads, stream, g, y, d_x, partial, f, s);
    launch(sum_rows<A>, grid_for(s.channels), kThreads, stream, static_cast<const A*>(partial),
           static_cast<A*>(a.d_bias), rows, s.channels);
  });
}

}  // namespace gan_ops
