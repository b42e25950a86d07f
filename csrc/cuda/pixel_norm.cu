// Pixel norm on CUDA: two walks over a pixel's channels, the second out of cache.
//
// Bytes it must move, for E elements of size s: forward 2·E·s, backward 3·E·s, double backward 5·E·s (the factors r are
// 1/C of that); at most 12 operations an element, so memory sets the pace.
#include "../math/pixel_norm.h"
#include "../pixel_norm.h"
#include "launch.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

/// Channels adjacent (channels_last, latents): `Lanes` neighbouring threads of a warp share a pixel.
template <int Lanes, class F>
__global__ void __launch_bounds__(kThreads) adjacent_channels(F f, ChannelLayout layout) {
  using A = typename F::A;
  constexpr int kPixelsPerBlock = kThreads / Lanes;
  const int lane = threadIdx.x % Lanes;
  // The loop's bound is the same for a whole block, so that every lane of a warp takes part in the shuffles.
  for (int64_t first = int64_t(blockIdx.x) * kPixelsPerBlock; first < layout.outer;
       first += int64_t(gridDim.x) * kPixelsPerBlock) {
    const int64_t pixel = first + threadIdx.x / Lanes;
    const bool inside = pixel < layout.outer;
    const int64_t begin = pixel * layout.channels;
    A sums[F::kSums] = {};
    if (inside)
      for (int64_t c = lane; c < layout.channels; c += Lanes) f.accumulate(begin + c, sums);
#pragma unroll
    for (int k = 0; k < F::kSums; ++k)
#pragma unroll
      for (int distance = Lanes / 2; distance > 0; distance /= 2)
        sums[k] += __shfl_xor_sync(kAllLanes, sums[k], distance);
    if (!inside) continue;
    A coefficients[F::kCoefficients];
    f.coefficients(pixel, sums, A(layout.channels), coefficients);
    if (lane == 0) f.keep(pixel, coefficients);
    for (int64_t c = lane; c < layout.channels; c += Lanes) f.write(begin + c, coefficients);
  }
}

constexpr int kColumns = 32;                // neighbouring pixels of a block
constexpr int kRows = kThreads / kColumns;  // threads that share a pixel's channels

/// Channels `inner` apart (contiguous [N, C, H, W]): a warp's threads are neighbouring pixels, a block's warps split
/// the channels.
template <class F>
__global__ void __launch_bounds__(kThreads) distant_channels(F f, ChannelLayout layout, int64_t tiles) {
  using A = typename F::A;
  __shared__ A shared[F::kSums][kRows][kColumns];
  const int column = threadIdx.x % kColumns, row = threadIdx.x / kColumns;
  for (int64_t tile = blockIdx.x; tile < layout.outer * tiles; tile += gridDim.x) {
    const int64_t outer = tile / tiles, p = tile % tiles * kColumns + column;
    const bool inside = p < layout.inner;
    const int64_t begin = outer * layout.channels * layout.inner + p;
    A sums[F::kSums] = {};
    if (inside)
      for (int64_t c = row; c < layout.channels; c += kRows) f.accumulate(begin + c * layout.inner, sums);
#pragma unroll
    for (int k = 0; k < F::kSums; ++k) shared[k][row][column] = sums[k];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < F::kSums; ++k) {
      sums[k] = 0;
#pragma unroll
      for (int r = 0; r < kRows; ++r) sums[k] += shared[k][r][column];
    }
    __syncthreads();
    if (!inside) continue;
    const int64_t pixel = outer * layout.inner + p;
    A coefficients[F::kCoefficients];
    f.coefficients(pixel, sums, A(layout.channels), coefficients);
    if (row == 0) f.keep(pixel, coefficients);
    for (int64_t c = row; c < layout.channels; c += kRows) f.write(begin + c * layout.inner, coefficients);
  }
}

constexpr int64_t kFewChannels = 32;  // below, a whole warp would leave lanes idle

template <class F>
void walk(const F& f, const ChannelLayout& layout, CudaStream stream) {
  if (layout.inner == 1 && layout.channels < kFewChannels) {
    constexpr int kLanes = 8, kPixels = kThreads / kLanes;
    launch(adjacent_channels<kLanes, F>, grid_for((layout.outer + kPixels - 1) / kPixels), kThreads, stream, f, layout);
  } else if (layout.inner == 1) {
    constexpr int kLanes = kWarp, kPixels = kThreads / kLanes;
    launch(adjacent_channels<kLanes, F>, grid_for((layout.outer + kPixels - 1) / kPixels), kThreads, stream, f, layout);
  } else {
    const int64_t tiles = (layout.inner + kColumns - 1) / kColumns;
    launch(distant_channels<F>, grid_for(layout.outer * tiles), kThreads, stream, f, layout, tiles);
  }
}

}  // namespace

void run_on_cuda(const PixelNormForwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    walk(PixelNormForward<T>{static_cast<const T*>(a.x), static_cast<T*>(a.y), static_cast<A*>(a.r), A(a.eps)},
         a.layout, stream);
  });
}

void run_on_cuda(const PixelNormBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    walk(PixelNormBackward<T>{static_cast<const T*>(a.g), static_cast<const T*>(a.x), static_cast<const A*>(a.r),
                              static_cast<T*>(a.d_x)},
         a.layout, stream);
  });
}

void run_on_cuda(const PixelNormDoubleBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    walk(PixelNormDoubleBackward<T>{static_cast<const T*>(a.v), static_cast<const T*>(a.g), static_cast<const T*>(a.x),
                                    static_cast<const A*>(a.r), static_cast<T*>(a.d_g), static_cast<T*>(a.d_x)},
         a.layout, stream);
  });
}

}  // namespace gan_ops
