// What every kernel file needs: the narrow types, the launch, sums over a block.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "../kernel_types.h"
#include "../math/numeric.h"

namespace gan_ops {

template <>
struct Convert<__half> {
  static GAN_OPS_INLINE float widen(__half value) { return __half2float(value); }
  static GAN_OPS_INLINE __half narrow(float value) { return __float2half_rn(value); }
};
template <>
struct Convert<__nv_bfloat16> {
  static GAN_OPS_INLINE float widen(__nv_bfloat16 value) { return __bfloat162float(value); }
  static GAN_OPS_INLINE __nv_bfloat16 narrow(float value) { return __float2bfloat16_rn(value); }
};

namespace cuda {

/// Calls `body` with a Type<T> for the device type of `dtype`.
template <class Body>
void with_type(Dtype dtype, const Body& body) {
  with_type_among<__half, __nv_bfloat16>(dtype, body);
}

constexpr int kThreads = 256;
constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

#ifndef GAN_OPS_MOST_BLOCKS  // tests allow but a few, so that each block has several tasks
#define GAN_OPS_MOST_BLOCKS (1 << 20)
#endif

/// Blocks for `tasks` units of work; kernels loop over blockIdx.x by gridDim.x, so any number is right.
inline unsigned grid_for(int64_t tasks) {
  constexpr int64_t kMost = GAN_OPS_MOST_BLOCKS;
  return static_cast<unsigned>(tasks < kMost ? tasks : kMost);
}

/// Queues kernel(arguments...) on `stream` for `blocks` of `threads`; throws if the launch is refused. A function call
/// in place of <<<>>>, so that tests can compile this as C++ (tests/cuda_on_cpu).
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), unsigned blocks, dim3 threads, CudaStream stream, Arguments... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(blocks);
  config.blockDim = threads;
  config.stream = stream;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, arguments...);
  if (error == cudaSuccess) return;
  cudaGetLastError();  // said here, and not once more by whoever asks next
  throw std::runtime_error(std::string("gan_ops: a CUDA kernel did not start: ") + cudaGetErrorString(error));
}

/// The sum over `Lanes` neighbouring lanes of a warp, in each of them. The whole warp must come here.
template <int Lanes, class A>
__device__ __forceinline__ A lanes_sum(A value) {
#pragma unroll
  for (int distance = Lanes / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

/// The sum over a block of kThreads threads, in every thread. `shared` holds kThreads / kWarp values; it may be used
/// again at once.
template <class A>
__device__ __forceinline__ A block_sum(A value, A* shared) {
  value = lanes_sum<kWarp>(value);
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  A total = 0;
#pragma unroll
  for (int warp = 0; warp < kThreads / kWarp; ++warp) total += shared[warp];
  __syncthreads();
  return total;
}

}  // namespace cuda
}  // namespace gan_ops
