// Patches of a level of the Laplacian pyramid: arguments of its CPU kernel. Elsewhere it is made of torch's own ops.
#pragma once

#include <cstdint>

namespace gan_ops {

constexpr int64_t kPatch = 7;  // pixels a side

/// images: [count, channels, size, size] of uint8 or float. places: [count·patches, 2], row and column from 0 to
/// size − 7. descriptors: [count·patches, channels·49]. smaller: [count, channels, size/2, size/2]; if null, patches
/// are of the images themselves.
template <class T>
struct LaplacianPatchesArgs {
  const T* images;
  const int64_t* places;
  float *descriptors, *smaller;
  int64_t count, channels, size, patches;
};

void run_on_cpu(const LaplacianPatchesArgs<uint8_t>& args);
void run_on_cpu(const LaplacianPatchesArgs<float>& args);

}  // namespace gan_ops
