// The last step of sums over samples and pixels: chunks' partial sums (math/pixel_chunks.h) added in a fixed order.
//
// A kernel of its own, and not the work of the last block to finish. That block would read all rows alone, at the 64
// bytes a clock that one multiprocessor gets out of L2 (110 GB/s): 0.6 µs for the 64 kB of 4×4 maps with 512 channels,
// but 2 µs at 8×8 and 9 µs for the 1 MB at 16×16, where a launch takes some 3 (estimates, not measured). Its counter,
// zero before and after, would need a place of its own for each stream, and in graphs, whose branches run side by side,
// for each launch.
#pragma once

#include "launch.cuh"

namespace gan_ops::cuda {

constexpr int kColumns = 8;                 // neighbouring channels of a block: a sector of 32 bytes in float32
constexpr int kRows = kThreads / kColumns;  // threads that share a channel's rows

/// partial [rows, channels] → total [channels], divided by `divisor`; kColumns channels a block. Reads rows·channels
/// values: how few they are beside the elements, math/pixel_chunks.h decides.
template <class A>
__global__ void __launch_bounds__(kThreads)
    sum_rows(const A* partial, A* total, int64_t rows, int64_t channels, A divisor) {
  __shared__ A shared[kRows][kColumns];
  const int column = threadIdx.x % kColumns, row_of_thread = threadIdx.x / kColumns;
  for (int64_t first = int64_t(blockIdx.x) * kColumns; first < channels; first += int64_t(gridDim.x) * kColumns) {
    const int64_t c = first + column;
    A sum = 0;
    if (c < channels)
#pragma unroll 4
      for (int64_t row = row_of_thread; row < rows; row += kRows) sum += partial[row * channels + c];
    shared[row_of_thread][column] = sum;
    __syncthreads();
    if (row_of_thread == 0 && c < channels) {
      A of_channel = 0;
#pragma unroll
      for (int r = 0; r < kRows; ++r) of_channel += shared[r][column];
      total[c] = of_channel / divisor;
    }
    __syncthreads();
  }
}

template <class A>
void launch_sum_rows(const A* partial, A* total, int64_t rows, int64_t channels, A divisor, CudaStream stream) {
  launch(sum_rows<A>, grid_for((channels + kColumns - 1) / kColumns), kThreads, stream, partial, total, rows, channels,
         divisor);
}

}  // namespace gan_ops::cuda
