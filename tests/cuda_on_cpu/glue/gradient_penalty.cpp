#include "../../../csrc/gradient_penalty.h"

#include "glue.h"

using namespace gan_ops;

extern "C" {

void gradient_penalty(Dtype dtype, const void* x, void* penalty, double* norm, int64_t samples, int64_t size,
                      double target, int64_t one_sided) {
  const SampleLayout layout{samples, size};
  const Scratch partial(Dtype::float64, samples * layout.chunks());
  run_on_cuda(PenaltyForwardArgs{x, penalty, norm, static_cast<double*>(partial.get()), layout, target, one_sided != 0},
              dtype, nullptr);
}

void gradient_penalty_backward(Dtype dtype, const void* g, const void* x, const double* norm, void* d_x,
                               int64_t samples, int64_t size, double target, int64_t one_sided) {
  run_on_cuda(PenaltyBackwardArgs{g, x, norm, d_x, {samples, size}, target, one_sided != 0}, dtype, nullptr);
}

void gradient_penalty_double_backward(Dtype dtype, const void* v, const void* g, const void* x, const double* norm,
                                      void* d_g, void* d_x, int64_t samples, int64_t size, double target,
                                      int64_t one_sided) {
  const SampleLayout layout{samples, size};
  const Scratch along(Dtype::float64, samples), partial(Dtype::float64, samples * layout.chunks());
  run_on_cuda(PenaltyDoubleBackwardArgs{v, g, x, norm, d_g, d_x, static_cast<double*>(along.get()),
                                        static_cast<double*>(partial.get()), layout, target, one_sided != 0},
              dtype, nullptr);
}
}
