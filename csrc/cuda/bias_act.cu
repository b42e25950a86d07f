// Scale, bias and leaky ReLU on CUDA: a thread 16 bytes; the bias gradient in pieces of fixed size that a second kernel
// adds in order.
//
// Bytes it must move, for E elements of size s: forward 2·E·s, backward 3·E·s (partial sums and bias: 1/1000 of that
// for planes of 64×64 and more). At most 5 operations an element, so memory sets the pace: at an H200's 4.8 TB/s,
// 64×64×128×128 takes 0.11 ms forward and 0.17 ms backward in float32 (268 MB) and half of that in bfloat16,
// 64×512×4×4 (2 MB) less than a launch.
#include "../bias_act.h"
#include "columns.cuh"
#include "sum_rows.cuh"
#include "vectors.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

/// The channel of an element, and of those behind it: divisions once a vector, not once an element.
struct ChannelWalker {
  int64_t channel, left, channels, inner;  // left: elements of the channel's plane, from this one on

  __device__ __forceinline__ ChannelWalker(const ChannelLayout& s, int64_t i) : channels(s.channels), inner(s.inner) {
    const int64_t plane = i / inner;  // 64-bit, but divided in 32 bits where both numbers fit: so nvcc compiles it
    channel = plane % channels;
    left = inner - (i - plane * inner);
  }
  __device__ __forceinline__ void advance() {
    if (--left > 0) return;
    left = inner;
    channel = channel + 1 == channels ? 0 : channel + 1;
  }
};

template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    forward(const T* x, const A* bias, T* y, BiasAct<A> f, ChannelLayout s, int64_t count) {
  const bool by_vector = aligned(x, y), in_one_plane = s.inner % kVector<T> == 0;
  for_all_vectors<T>(count, [&](int64_t i, int here) {
    const uint4 bits = load_bits(x + i, here, by_vector);
    A of_channel[kVector<T>] = {};
    if (bias != nullptr) {
      ChannelWalker at(s, i);
      if (in_one_plane) {
        of_channel[0] = bias[at.channel];
#pragma unroll
        for (int k = 1; k < kVector<T>; ++k) of_channel[k] = of_channel[0];
      } else {
#pragma unroll
        for (int k = 0; k < kVector<T>; ++k, at.advance()) of_channel[k] = bias[at.channel];
      }
    }
    A values[kVector<T>];
    unpack<T>(bits, values);
#pragma unroll
    for (int k = 0; k < kVector<T>; ++k) values[k] = f.value(f.enter(values[k], of_channel[k]));
    store(y + i, here, by_vector, values);
  });
}

constexpr int kPixels = 2;  // that a thread has under way at once, where channels are adjacent

/// Columns of threads take `columns` vectors of a pixel's channels: how many times, to have them all.
template <class T>
__host__ __device__ __forceinline__ unsigned strips_of(const ChannelLayout& s, int columns) {
  const int64_t width = columns * kVector<T>;
  return static_cast<unsigned>((s.channels + width - 1) / width);
}

/// Channels adjacent and whole vectors of them: a thread has the same channels in all its pixels and keeps their bias.
/// A block, one of a multiple of the strips of `columns` vectors of channels, takes one strip of every so many pixels.
template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    forward_adjacent(const T* x, const A* bias, T* y, BiasAct<A> f, ChannelLayout s, int columns) {
  constexpr int kV = kVector<T>;
  const int column = threadIdx.x % columns, row = threadIdx.x / columns, rows = kThreads / columns;
  const unsigned strips = strips_of<T>(s, columns);
  const int64_t c = int64_t(blockIdx.x % strips) * columns * kV + column * kV;
  if (c >= s.channels) return;
  const bool by_vector = aligned(x, y);
  A of_channel[kV];
#pragma unroll
  for (int k = 0; k < kV; k += kVector<A>) load(bias + c + k, kVector<A>, aligned(bias), of_channel + k);
  const int64_t step = int64_t(gridDim.x / strips) * rows * kPixels;
  for (int64_t first = int64_t(blockIdx.x / strips) * rows * kPixels + row; first < s.outer; first += step) {
    uint4 bits[kPixels];
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      const int64_t pixel = first + p * rows;
      bits[p] = load_bits(x + pixel * s.channels + c, pixel < s.outer ? kV : 0, by_vector);
    }
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      const int64_t pixel = first + p * rows;
      if (pixel >= s.outer) break;
      A values[kV];
      unpack<T>(bits[p], values);
#pragma unroll
      for (int k = 0; k < kV; ++k) values[k] = f.value(f.enter(values[k], of_channel[k]));
      store(y + pixel * s.channels + c, kV, by_vector, values);
    }
  }
}

/// d_x of a vector of g and y, which is left in `values`.
template <class T, class A>
__device__ __forceinline__ void backward_vector(const uint4& g, const uint4& y, T* d_x, const BiasAct<A>& f, int here,
                                                bool by_vector, A* values) {
  A yi[kVector<T>];
  unpack<T>(g, values);
  unpack<T>(y, yi);
#pragma unroll
  for (int k = 0; k < kVector<T>; ++k) values[k] *= f.derivative(yi[k]);
  store(d_x, here, by_vector, values);
}
template <class T, class A>
__device__ __forceinline__ void backward_vector(const T* g, const T* y, T* d_x, const BiasAct<A>& f, int here,
                                                bool by_vector, A* values) {
  const uint4 g_bits = load_bits(g, here, by_vector), y_bits = load_bits(y, here, by_vector);
  backward_vector(g_bits, y_bits, d_x, f, here, by_vector, values);
}

template <class T, class A>
__global__ void __launch_bounds__(kThreads) backward(const T* g, const T* y, T* d_x, BiasAct<A> f, int64_t count) {
  const bool by_vector = aligned(g, y, d_x);
  for_all_vectors<T>(count, [&](int64_t i, int here) {
    A values[kVector<T>];
    backward_vector(g + i, y + i, d_x + i, f, here, by_vector, values);
  });
}

/// Channels adjacent: a block takes `columns` vectors of channels of a chunk of pixels.
template <class T, class A>
__global__ void __launch_bounds__(kThreads) backward_adjacent(const T* g, const T* y, T* d_x, A* partial, BiasAct<A> f,
                                                              ChannelLayout s, PixelChunks chunks, int columns) {
  __shared__ A shared[kWarps][kWarp * kVector<T>];
  const int column = threadIdx.x % columns, row = threadIdx.x / columns, rows = kThreads / columns;
  const int width = columns * kVector<T>;
  const int64_t strips = strips_of<T>(s, columns);
  const bool by_vector = aligned(g, y, d_x) && s.channels % kVector<T> == 0;
  for (int64_t task = blockIdx.x; task < chunks.count() * strips; task += gridDim.x) {
    const int64_t chunk = task / strips, strip = task % strips * width, c = strip + column * kVector<T>;
    const int here = s.channels - c < kVector<T> ? static_cast<int>(s.channels - c) : kVector<T>;
    A sums[kVector<T>] = {};
    if (here > 0) {
      const int64_t end = chunks.end(chunk);
      for (int64_t first = chunks.begin(chunk) + row; first < end; first += kPixels * rows) {
        uint4 g_bits[kPixels], y_bits[kPixels];
#pragma unroll
        for (int p = 0; p < kPixels; ++p) {
          const int64_t pixel = first + p * rows, i = pixel * s.channels + c;
          g_bits[p] = load_bits(g + i, pixel < end ? here : 0, by_vector);
          y_bits[p] = load_bits(y + i, pixel < end ? here : 0, by_vector);
        }
#pragma unroll
        for (int p = 0; p < kPixels; ++p) {
          const int64_t pixel = first + p * rows;
          if (pixel >= end) break;
          A values[kVector<T>];
          backward_vector(g_bits[p], y_bits[p], d_x + pixel * s.channels + c, f, here, by_vector, values);
#pragma unroll
          for (int k = 0; k < kVector<T>; ++k) sums[k] += values[k];
        }
      }
    }
    put_column_sums<kVector<T>>(sums, columns, shared, [&](int i, A sum) {
      if (strip + i < s.channels) partial[chunk * s.channels + strip + i] = sum;
    });
  }
}

/// Channels `inner` apart: `Lanes` threads, neighbouring lanes of a warp or the whole block, take a chunk of a
/// channel's plane.
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
    if (run < runs) {
      const int64_t begin = chunks.begin(chunk), at = plane * s.inner + begin;
      const T *gs = g + at, *ys = y + at;
      T* d_xs = d_x + at;
      const bool by_vector = aligned(gs, ys, d_xs);
      for_vectors<T>(static_cast<int>(chunks.end(chunk) - begin), lane, Lanes, [&](int i, int here) {
        A values[kVector<T>];
        backward_vector(gs + i, ys + i, d_xs + i, f, here, by_vector, values);
#pragma unroll
        for (int k = 0; k < kVector<T>; ++k) sum += values[k];
      });
    }
    if constexpr (Lanes == kThreads)
      sum = block_sum(sum, shared);
    else
      sum = lanes_sum<Lanes>(sum);
    if (run < runs && lane == 0) partial[chunk * s.channels + plane % s.channels] = sum;
  }
}

/// Blocks of forward_adjacent: five times as many as a large GPU (132 multiprocessors) runs at once, so that bias is
/// read once for several pixels, and no multiprocessor is idle for long at the end.
constexpr int64_t kMostForwardBlocks = GAN_OPS_MOST_BLOCKS < 4096 ? GAN_OPS_MOST_BLOCKS : 4096;

int64_t element_count(const ChannelLayout& s) {
  return s.outer * s.channels * s.inner;
}

}  // namespace

void run_on_cuda(const BiasActForwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    const ChannelLayout s = a.layout;
    const BiasAct<A> f = make_bias_act<A>(a.slope, a.gain, a.scale);
    const T* x = static_cast<const T*>(a.x);
    const A* bias = static_cast<const A*>(a.bias);
    T* y = static_cast<T*>(a.y);
    if (s.inner == 1 && s.channels % kVector<T> == 0 && bias != nullptr) {
      const int columns = columns_for(s.channels / kVector<T>), rows = kThreads / columns;
      const unsigned strips = strips_of<T>(s, columns);
      const int64_t groups = (s.outer + kPixels * rows - 1) / (kPixels * rows), most = kMostForwardBlocks / strips;
      launch(forward_adjacent<T, A>,
             static_cast<unsigned>(groups < most ? groups
                                   : most > 1    ? most
                                                 : 1) *
                 strips,
             kThreads, stream, x, bias, y, f, s, columns);
    } else {
      launch(forward<T, A>, grid_of_vectors<T>(element_count(s)), kThreads, stream, x, bias, y, f, s, element_count(s));
    }
  });
}

void run_on_cuda(const BiasActBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    const ChannelLayout s = a.layout;
    const BiasAct<A> f = make_bias_act_backward<A>(a.slope, a.gain, a.scale);
    const T* g = static_cast<const T*>(a.g);
    const T* y = static_cast<const T*>(a.y);
    T* d_x = static_cast<T*>(a.d_x);
    A* partial = static_cast<A*>(a.partial);
    if (a.d_bias == nullptr) {
      launch(backward<T, A>, grid_of_vectors<T>(element_count(s)), kThreads, stream, g, y, d_x, f, element_count(s));
      return;
    }
    const PixelChunks chunks = a.chunks;
    const auto distant = [&]<int Lanes>(std::integral_constant<int, Lanes>) {
      constexpr int kRuns = kThreads / Lanes;
      launch(backward_distant<Lanes, T, A>, grid_for((chunks.count() * s.channels + kRuns - 1) / kRuns), kThreads,
             stream, g, y, d_x, partial, f, s, chunks);
    };
    const int64_t vectors = (s.channels + kVector<T> - 1) / kVector<T>;
    const int columns = columns_for(vectors);
    if (s.inner == 1)
      launch(backward_adjacent<T, A>, grid_for(chunks.count() * ((vectors + columns - 1) / columns)), kThreads, stream,
             g, y, d_x, partial, f, s, chunks, columns);
    else if (chunks.width <= 64)
      distant(std::integral_constant<int, 4>{});
    else if (chunks.width <= 1024)
      distant(std::integral_constant<int, kWarp>{});
    else
      distant(std::integral_constant<int, kThreads>{});
    launch_sum_rows<A>(partial, static_cast<A*>(a.d_bias), chunks.count(), s.channels, A(a.scale), stream);
  });
}

}  // namespace gan_ops
