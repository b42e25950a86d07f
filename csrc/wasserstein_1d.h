// The 1-D Wasserstein distance of rows of numbers: arguments of its CPU kernel. On CUDA it is made of torch's own sort.
#pragma once

#include <cstdint>

namespace gan_ops {

/// a, b: [rows, size], rows of adjacent values, size at least 1. distance: [rows].
struct Wasserstein1dArgs {
  const float* a;
  const float* b;
  double* distance;
  int64_t rows;
  int64_t size;
};

void run_on_cpu(const Wasserstein1dArgs& args);

}  // namespace gan_ops
