#include "../../../csrc/bias_act_pixel_norm.h"

#include "glue.h"

using namespace gan_ops;

namespace {

/// Any chunks are right. Those of a small tensor are one tile each: where there are many pixels, these have several.
PixelChunks chunks_of(const ChannelLayout& layout) {
  return layout.outer * layout.inner > 256 ? pixel_chunks(layout, 512) : cuda_walk_chunks(layout);
}

Scratch partials(Dtype dtype, const PixelChunks& chunks, int64_t channels, const void* d_bias) {
  return Scratch(dtype, d_bias == nullptr ? 0 : chunks.count() * channels);
}

}  // namespace

extern "C" {

void bias_act_pixel_norm(Dtype dtype, const void* x, const void* bias, void* y, void* r, int64_t outer,
                         int64_t channels, int64_t inner, double slope, double eps, double scale) {
  run_on_cuda(BiasActPixelNormForwardArgs{x, bias, y, r, {outer, channels, inner}, slope, eps, scale}, dtype, nullptr);
}

void bias_act_pixel_norm_backward(Dtype dtype, const void* g, const void* x, const void* bias, const void* r, void* d_x,
                                  void* d_bias, int64_t outer, int64_t channels, int64_t inner, double slope,
                                  double scale) {
  const ChannelLayout layout{outer, channels, inner};
  const PixelChunks chunks = chunks_of(layout);
  const Scratch partial = partials(dtype, chunks, channels, d_bias);
  run_on_cuda(BiasActPixelNormBackwardArgs{g, x, bias, r, d_x, d_bias, partial.get(), chunks, layout, slope, scale},
              dtype, nullptr);
}

void bias_act_pixel_norm_double_backward(Dtype dtype, const void* v, const void* v_bias, const void* g, const void* x,
                                         const void* bias, const void* r, void* d_g, void* d_x, void* d_bias,
                                         int64_t outer, int64_t channels, int64_t inner, double slope, double scale) {
  const ChannelLayout layout{outer, channels, inner};
  const PixelChunks chunks = chunks_of(layout);
  const Scratch partial = partials(dtype, chunks, channels, d_bias);
  run_on_cuda(BiasActPixelNormDoubleBackwardArgs{v, v_bias, g, x, bias, r, d_g, d_x, d_bias, partial.get(), chunks,
                                                 layout, slope, scale},
              dtype, nullptr);
}
}
