// Kernels of grid_sample: arguments, documented once for CPU and CUDA. The formulas are in math/grid_sample.h.
#pragma once

#include "kernel_types.h"
#include "math/grid_sample.h"

namespace gan_ops {

/// Sizes of all tensors, and how they lie: images [N, C, pixels] and values at points [N, C, points], or with the
/// channels last; grids [N, points, axes].
struct GridLayout {
  int64_t samples, channels, points;
  GridSize size;
  bool channels_last;

  GAN_OPS_INLINE int64_t pixels() const { return size.count(); }
};

/// At every point the sum of corners of two images: of `still` by w, of `moving` by ω. Either may be null, and `moves`
/// is with `moving`: t, like the grid.
///   y[c] = Σ_k (w_k still_k[c] + ω_k moving_k[c])
///   d_grid_a = s_a Σ_c g[c] Σ_k (w_k^a still_k[c] + ω_k^a moving_k[c])
/// y and d_grid are null when nobody wants them; g is with d_grid.
struct GridGatherArgs {
  const void* still;
  const void* moving;
  const void* grid;
  const void* moves;
  const void* g;
  void* y;
  void* d_grid;
  GridLayout layout;
  GridOptions options;
};

/// Points in the order of the cells that their corners are in, as CUDA's scatter reads them; null for CPUs. Cells are
/// numbered in the order of their base pixels, which along each axis begin at −1: [N, pixels + 1 along each axis].
struct GridOrder {
  const int64_t* points;  // [N·points], those of a cell in their own order
  const int64_t* starts;  // [cells + 1]: where each cell's points begin
};

/// d_x_k[c] = Σ w_k g[c] over all points; with `moves` ω_k in the place of w_k. It is written whole.
struct GridScatterArgs {
  const void* g;
  const void* grid;
  const void* moves;
  void* d_x;
  GridOrder order;
  GridLayout layout;
  GridOptions options;
};

/// The cell of each point, [N·points]; one more than the last for points without corners in the image.
struct GridCellsArgs {
  const void* grid;
  int64_t* cells;
  GridLayout layout;
  GridOptions options;
};

GAN_OPS_INLINE int64_t cells_of_sample(const GridSize& size) {
  int64_t product = 1;
  for (int a = 0; a < size.axes; ++a) product *= size.pixels[a] + 1;
  return product;
}

void run_on_cpu(const GridGatherArgs& args, Dtype dtype);
void run_on_cpu(const GridScatterArgs& args, Dtype dtype);
/// CPUs scatter in the points' own order.
inline void run_on_cpu(const GridCellsArgs&, Dtype) {}
void run_on_cuda(const GridGatherArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const GridScatterArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const GridCellsArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
