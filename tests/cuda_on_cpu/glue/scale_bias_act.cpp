#include "../../../csrc/scale_bias_act.h"

#include "glue.h"

using namespace gan_ops;

namespace {

int64_t bytes_of(Dtype dtype) {
  return dtype == Dtype::float64 ? 8 : dtype == Dtype::float32 ? 4 : 2;
}

EpilogueOptions options_of(int64_t act, double alpha, double gain, double clamp) {
  return {static_cast<Activation>(act), alpha, gain, clamp};
}

/// The scratch of those sums that are wanted.
class Partials {
 public:
  Partials(Dtype dtype, const EpilogueLayout& s, const EpilogueChunks& chunks, void* scale, void* bias, void* noise)
      : of_pixels_(s.channels_adjacent ? chunks.of_rows : chunks.of_lanes),
        of_channels_(s.channels_adjacent ? chunks.of_lanes : chunks.of_rows),
        scale_(dtype, scale == nullptr ? 0 : s.samples * of_pixels_ * s.channels),
        bias_(dtype, bias == nullptr ? 0 : s.samples * of_pixels_ * s.channels),
        noise_(dtype, noise == nullptr ? 0 : s.samples * of_channels_ * s.pixels),
        sums{scale,
             bias,
             noise,
             scale == nullptr ? nullptr : scale_.get(),
             bias == nullptr ? nullptr : bias_.get(),
             noise == nullptr ? nullptr : noise_.get()} {}

 private:
  int64_t of_pixels_, of_channels_;
  Scratch scale_, bias_, noise_;

 public:
  EpilogueSums sums;
};

}  // namespace

extern "C" {

void scale_bias_act(Dtype dtype, const void* x, const void* scale, const void* bias, const void* noise, void* y,
                    int64_t samples, int64_t channels, int64_t pixels, int64_t adjacent, int64_t noise_of_each,
                    int64_t act, double alpha, double gain, double clamp) {
  const EpilogueLayout s{samples, channels, pixels, adjacent != 0};
  run_on_cuda(
      ScaleBiasActForwardArgs{x, {scale, bias, noise, noise_of_each != 0}, y, s, options_of(act, alpha, gain, clamp)},
      dtype, nullptr);
}

void scale_bias_act_backward(Dtype dtype, const void* g, const void* x, const void* scale, const void* bias,
                             const void* noise, void* d_x, void* d_scale, void* d_bias, void* d_noise, int64_t samples,
                             int64_t channels, int64_t pixels, int64_t adjacent, int64_t noise_of_each, int64_t act,
                             double alpha, double gain, double clamp) {
  const EpilogueLayout s{samples, channels, pixels, adjacent != 0};
  const EpilogueChunks chunks = cuda_epilogue_chunks(s, bytes_of(dtype));
  const Partials partials(dtype, s, chunks, d_scale, d_bias, d_noise);
  run_on_cuda(ScaleBiasActBackwardArgs{g,
                                       x,
                                       {scale, bias, noise, noise_of_each != 0},
                                       d_x,
                                       partials.sums,
                                       chunks,
                                       s,
                                       options_of(act, alpha, gain, clamp)},
              dtype, nullptr);
}

void scale_bias_act_double_backward(Dtype dtype, const void* v, const void* v_scale, const void* v_bias,
                                    const void* v_noise, const void* g, const void* x, const void* scale,
                                    const void* bias, const void* noise, void* d_g, void* d_x, void* d_scale,
                                    void* d_bias, void* d_noise, int64_t samples, int64_t channels, int64_t pixels,
                                    int64_t adjacent, int64_t noise_of_each, int64_t act, double alpha, double gain,
                                    double clamp) {
  const EpilogueLayout s{samples, channels, pixels, adjacent != 0};
  const EpilogueChunks chunks = cuda_epilogue_chunks(s, bytes_of(dtype));
  const Partials partials(dtype, s, chunks, d_scale, d_bias, d_noise);
  run_on_cuda(ScaleBiasActDoubleBackwardArgs{v,
                                             {v_scale, v_bias, v_noise, noise_of_each != 0},
                                             g,
                                             x,
                                             {scale, bias, noise, noise_of_each != 0},
                                             d_g,
                                             d_x,
                                             partials.sums,
                                             chunks,
                                             s,
                                             options_of(act, alpha, gain, clamp)},
              dtype, nullptr);
}
}
