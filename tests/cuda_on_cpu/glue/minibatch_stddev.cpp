#include "../../../csrc/minibatch_stddev.h"

#include "glue.h"

using namespace gan_ops;

namespace {

Scratch partials(Dtype dtype, const StddevLayout& layout, int64_t positions) {
  return Scratch(dtype, layout.groups * layout.features * stddev_chunks(positions));
}

}  // namespace

extern "C" {

void minibatch_stddev(Dtype dtype, const void* x, void* out, int64_t group, int64_t groups, int64_t features,
                      int64_t rows, int64_t width, int64_t plane, double eps) {
  const StddevLayout layout{group, groups, features, rows, width, plane};
  const Scratch partial = partials(dtype, layout, layout.positions());
  run_on_cuda(StddevForwardArgs{x, out, partial.get(), layout, eps}, dtype, nullptr);
}

void minibatch_stddev_backward(Dtype dtype, const void* g, const void* x, void* d_x, int64_t group, int64_t groups,
                               int64_t features, int64_t rows, int64_t width, int64_t plane, double eps) {
  const StddevLayout layout{group, groups, features, rows, width, plane};
  const Scratch partial = partials(dtype, layout, layout.group * layout.map_positions());
  run_on_cuda(StddevBackwardArgs{g, x, d_x, partial.get(), layout, eps}, dtype, nullptr);
}

void minibatch_stddev_double_backward(Dtype dtype, const void* v, const void* g, const void* x, void* d_g, void* d_x,
                                      int64_t group, int64_t groups, int64_t features, int64_t rows, int64_t width,
                                      int64_t plane, double eps) {
  const StddevLayout layout{group, groups, features, rows, width, plane};
  const Scratch partial = partials(dtype, layout, layout.group * layout.map_positions());
  const Scratch h_partial = partials(dtype, layout, layout.positions());
  run_on_cuda(StddevDoubleBackwardArgs{v, g, x, d_g, d_x, partial.get(), h_partial.get(), layout, eps}, dtype, nullptr);
}
}
