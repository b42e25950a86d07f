#include "../../../csrc/pixel_norm.h"

#include "glue.h"

using namespace gan_ops;

extern "C" {

void pixel_norm(Dtype dtype, const void* x, void* y, void* r, int64_t outer, int64_t channels, int64_t inner,
                double eps) {
  run_on_cuda(PixelNormForwardArgs{x, y, r, {outer, channels, inner}, eps}, dtype, nullptr);
}

void pixel_norm_backward(Dtype dtype, const void* g, const void* x, const void* r, void* d_x, int64_t outer,
                         int64_t channels, int64_t inner) {
  run_on_cuda(PixelNormBackwardArgs{g, x, r, d_x, {outer, channels, inner}}, dtype, nullptr);
}

void pixel_norm_double_backward(Dtype dtype, const void* v, const void* g, const void* x, const void* r, void* d_g,
                                void* d_x, int64_t outer, int64_t channels, int64_t inner) {
  run_on_cuda(PixelNormDoubleBackwardArgs{v, g, x, r, d_g, d_x, {outer, channels, inner}}, dtype, nullptr);
}
}
