// Sums over the threads of a block that stand in one column: `columns` (a power of two, at most a warp) of them lie
// side by side, and the block's rows of them share each column's work.
#pragma once

#include "launch.cuh"

namespace gan_ops::cuda {

constexpr int kWarps = kThreads / kWarp;

/// The least power of two that is not less than `count`, at most kWarp.
inline int columns_for(int64_t count) {
  int columns = 1;
  while (columns < kWarp && columns < count) columns *= 2;
  return columns;
}

/// The sums of each of `kCount` values over the threads of a column, in each of them, in a fixed order. All threads of
/// the block must come here; `shared` may be used again at once.
template <int kCount, class A>
__device__ __forceinline__ void column_sums(A* values, int columns, A (*shared)[kWarps][kWarp]) {
  const int column = threadIdx.x % columns, lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int distance = columns; distance < kWarp; distance *= 2)
#pragma unroll
    for (int k = 0; k < kCount; ++k) values[k] += __shfl_xor_sync(kAllLanes, values[k], distance);
  if (lane < columns)
#pragma unroll
    for (int k = 0; k < kCount; ++k) shared[k][warp][lane] = values[k];
  __syncthreads();
#pragma unroll
  for (int k = 0; k < kCount; ++k) {
    values[k] = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) values[k] += shared[k][w][column];
  }
  __syncthreads();
}

/// put(column · kCount + k, sum of value k over the threads of that column), by one thread for each, in a fixed order.
/// All threads of the block must come here; `shared` may be used again at once.
template <int kCount, class A, class Put>
__device__ __forceinline__ void put_column_sums(A* values, int columns, A (*shared)[kWarp * kCount], const Put& put) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int distance = columns; distance < kWarp; distance *= 2)
#pragma unroll
    for (int k = 0; k < kCount; ++k) values[k] += __shfl_xor_sync(kAllLanes, values[k], distance);
  if (lane < columns)
#pragma unroll
    for (int k = 0; k < kCount; ++k) shared[warp][lane * kCount + k] = values[k];
  __syncthreads();
  static_assert(kWarp * kCount <= kThreads);
  if (const int i = threadIdx.x; i < columns * kCount) {
    A sum = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += shared[w][i];
    put(i, sum);
  }
  __syncthreads();
}

/// The sum over `lanes` (a power of two, at most kWarp) neighbouring lanes of a warp, in each of them. The whole warp
/// must come here.
template <class A>
__device__ __forceinline__ A lanes_sum(A value, int lanes) {
  for (int distance = lanes / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}
/// The same of `kCount` values. Without a loop: what stands around it is done while a shuffle is under way.
template <int kCount, class A>
__device__ __forceinline__ void lanes_sums(A* values, int lanes) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      const A other = __shfl_xor_sync(kAllLanes, values[k], distance);
      if (distance < lanes) values[k] += other;
    }
}

}  // namespace gan_ops::cuda
