#include "../../../csrc/minibatch_discrimination.h"

#include "glue.h"

using namespace gan_ops;

namespace {

Scratch workspace(Dtype dtype, const DiscriminationLayout& layout) {
  const bool in_place = dtype == Dtype::float64 || dtype == Dtype::float32;
  return Scratch(dtype, in_place ? 0 : discrimination_totals(layout));
}

}  // namespace

extern "C" {

void minibatch_discrimination(Dtype dtype, const void* m, void* out, int64_t samples, int64_t kernels, int64_t dims,
                              int64_t include_self) {
  const Scratch none(dtype, 0);
  run_on_cuda(DiscriminationForwardArgs{m, out, none.get(), {samples, kernels, dims}, include_self != 0}, dtype,
              nullptr);
}

void minibatch_discrimination_backward(Dtype dtype, const void* g, const void* m, void* d_m, int64_t samples,
                                       int64_t kernels, int64_t dims) {
  const DiscriminationLayout layout{samples, kernels, dims};
  const Scratch scratch = workspace(dtype, layout);
  run_on_cuda(DiscriminationBackwardArgs{g, m, d_m, scratch.get(), layout}, dtype, nullptr);
}

void minibatch_discrimination_double_backward(Dtype dtype, const void* v, const void* g, const void* m, void* d_g,
                                              void* d_m, int64_t samples, int64_t kernels, int64_t dims) {
  const DiscriminationLayout layout{samples, kernels, dims};
  const Scratch scratch = workspace(dtype, layout);
  run_on_cuda(DiscriminationDoubleBackwardArgs{v, g, m, d_g, d_m, scratch.get(), layout}, dtype, nullptr);
}
}
