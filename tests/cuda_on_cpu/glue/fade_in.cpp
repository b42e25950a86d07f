#include "../../../csrc/fade_in.h"

#include "glue.h"

using namespace gan_ops;

extern "C" {

void fade_in(Dtype dtype, const void* fresh, const void* old, void* out, const void* fraction, double number,
             int64_t rows, int64_t width, int64_t inner) {
  run_on_cuda(FadeInArgs{fresh, old, out, fraction, number, {rows, width, inner}}, dtype, nullptr);
}

void fade_in_backward(Dtype dtype, const void* g, void* d_new, void* d_old, const void* fraction, double number,
                      int64_t rows, int64_t width, int64_t inner) {
  run_on_cuda(FadeInBackwardArgs{g, d_new, d_old, fraction, number, {rows, width, inner}}, dtype, nullptr);
}
}
