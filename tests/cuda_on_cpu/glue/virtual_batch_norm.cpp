#include "../../../csrc/virtual_batch_norm.h"

#include "glue.h"

using namespace gan_ops;

namespace {

template <class Formula>
Scratch scratch_for(Dtype dtype, const VbnLayout& layout) {
  return Scratch(dtype, vbn_cuda_scratch<Formula>(layout));
}

}  // namespace

extern "C" {

void virtual_batch_norm(Dtype dtype, const void* x, const void* reference_mean, const void* reference_var,
                        const void* weight, const void* bias, void* y, void* mean, void* rstd, int64_t samples,
                        int64_t channels, int64_t pixels, int64_t channels_adjacent, double own, double eps) {
  const VbnLayout layout{samples, channels, pixels, channels_adjacent != 0};
  const Scratch scratch = scratch_for<VbnForward<float>>(dtype, layout);
  run_on_cuda(
      VbnForwardArgs{x, reference_mean, reference_var, weight, bias, y, mean, rstd, scratch.get(), layout, own, eps},
      dtype, nullptr);
}

/// Without the gradients [C] when `d_weight` is null, without d_x when that is.
void virtual_batch_norm_backward(Dtype dtype, const void* g, const void* x, const void* mean, const void* rstd,
                                 const void* reference_mean, const void* weight, void* d_x, void* d_weight,
                                 void* d_bias, void* d_reference_mean, void* d_reference_var, int64_t samples,
                                 int64_t channels, int64_t pixels, int64_t channels_adjacent, double own) {
  using Formula = VbnBackward<float>;
  const VbnLayout layout{samples, channels, pixels, channels_adjacent != 0};
  const Scratch kept(dtype, Formula::kKept * layout.rows());
  const Scratch scratch = scratch_for<Formula>(dtype, layout);
  run_on_cuda(VbnBackwardArgs{g, x, mean, rstd, reference_mean, weight, d_x, d_weight, d_bias, d_reference_mean,
                              d_reference_var, d_weight == nullptr ? nullptr : kept.get(), scratch.get(), layout, own},
              dtype, nullptr);
}

void virtual_batch_norm_double_backward(Dtype dtype, const void* u, const void* u_weight, const void* u_bias,
                                        const void* u_reference_mean, const void* u_reference_var, const void* g,
                                        const void* x, const void* mean, const void* rstd, const void* reference_mean,
                                        const void* weight, void* d_g, void* d_x, void* d_weight,
                                        void* d_reference_mean, void* d_reference_var, int64_t samples,
                                        int64_t channels, int64_t pixels, int64_t channels_adjacent, double own) {
  using Formula = VbnDoubleBackward<float>;
  const VbnLayout layout{samples, channels, pixels, channels_adjacent != 0};
  const Scratch kept(dtype, Formula::kKept * layout.rows());
  const Scratch scratch = scratch_for<Formula>(dtype, layout);
  run_on_cuda(VbnDoubleBackwardArgs{u,
                                    u_weight,
                                    u_bias,
                                    u_reference_mean,
                                    u_reference_var,
                                    g,
                                    x,
                                    mean,
                                    rstd,
                                    reference_mean,
                                    weight,
                                    d_g,
                                    d_x,
                                    d_weight,
                                    d_reference_mean,
                                    d_reference_var,
                                    d_weight == nullptr ? nullptr : kept.get(),
                                    scratch.get(),
                                    layout,
                                    own},
              dtype, nullptr);
}
}
