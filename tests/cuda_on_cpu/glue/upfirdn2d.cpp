#include "../../../csrc/upfirdn2d.h"

#include "glue.h"

using namespace gan_ops;

extern "C" {

void upfirdn2d(Dtype dtype, const void* x, const void* filter, void* y, int64_t planes, int64_t inner, int64_t in_x,
               int64_t out_x, int64_t taps_x, int64_t up_x, int64_t down_x, int64_t pad_x, int64_t in_y, int64_t out_y,
               int64_t taps_y, int64_t up_y, int64_t down_y, int64_t pad_y, int64_t separable, int64_t flip,
               double gain) {
  run_on_cuda(Upfirdn2dArgs{x,
                            filter,
                            y,
                            planes,
                            inner,
                            {in_x, out_x, taps_x, up_x, down_x, pad_x},
                            {in_y, out_y, taps_y, up_y, down_y, pad_y},
                            separable != 0,
                            flip != 0,
                            gain},
              dtype, nullptr);
}
}
