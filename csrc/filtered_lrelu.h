// Filtered leaky ReLU kernels: arguments, documented once for CPU and CUDA. The formulas are in math/filtered_lrelu.h.
#pragma once

#include <algorithm>

#include "kernel_types.h"
#include "math/filtered_lrelu.h"

namespace gan_ops {

/// A constant filter in the accumulate type: [rows' taps, columns' taps], or [taps] for both axes if separable.
struct FilterArgs {
  const void* taps;
  bool separable;
  bool reversed;  // whether it is correlated from its last tap on
  double gain;    // of an axis where separable, else of both
};

enum class Codes { none, written, read };

/// The part of a plane that is made at once: `high` rows and `wide` columns (a multiple of four) of the output.
struct OutputTiles {
  int64_t high, wide;  // 0: the plane has no tiles
  int64_t down, across;

  GAN_OPS_INLINE int64_t count() const { return down * across; }
};
inline OutputTiles output_tiles(const FilteredAxis& rows, const FilteredAxis& columns, int64_t high, int64_t wide) {
  return {high, wide, (rows.out + high - 1) / high, (columns.out + wide - 1) / wide};
}

/// A pass over planes, forward or backward. x: [samples, channels, rows.in, columns.in] and y: [samples, channels,
/// rows.out, columns.out] in the tensors' dtype and one layout. bias: [channels] in the accumulate type, added to x, or
/// null. codes: as codes_layout() has it, or null. sums: [tiles, samples, channels] of y in the accumulate type, or
/// null.
struct FilteredLreluArgs {
  const void* x;
  const void* bias;
  void* y;
  uint8_t* codes;
  void* sums;
  FilterArgs filter1, filter2;
  FilteredAxis rows, columns;
  int64_t samples, channels;
  bool channels_last;
  Codes use;
  double gain, slope;
  double limit;  // negative: none
  OutputTiles tiles;
};

/// How the kernels of a kind of device cut the planes; the same for any number of threads.
OutputTiles tiles_on_cpu(const FilteredLreluArgs& args, Dtype dtype);
OutputTiles tiles_on_cuda(const FilteredLreluArgs& args, Dtype dtype);

void run_on_cpu(const FilteredLreluArgs& args, Dtype dtype);
void run_on_cuda(const FilteredLreluArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
