#include "../../../csrc/interpolate.h"

#include "glue.h"

using namespace gan_ops;

extern "C" {

void interpolate(Dtype dtype, const void* real, const void* fake, const void* weight, void* y, int64_t samples,
                 int64_t size) {
  run_on_cuda(InterpolateForwardArgs{real, fake, weight, y, {samples, size}}, dtype, nullptr);
}

void interpolate_backward(Dtype dtype, const void* g, const void* weight, void* d_real, void* d_fake, int64_t samples,
                          int64_t size) {
  run_on_cuda(InterpolateBackwardArgs{g, weight, d_real, d_fake, {samples, size}}, dtype, nullptr);
}

void interpolate_weight_grad(Dtype dtype, const void* g, const void* real, const void* fake, void* d_weight,
                             int64_t samples, int64_t size) {
  const SampleLayout layout{samples, size};
  const Scratch partial(Dtype::float64, samples * layout.chunks());
  run_on_cuda(InterpolateWeightGradArgs{g, real, fake, d_weight, static_cast<double*>(partial.get()), layout}, dtype,
              nullptr);
}
}
