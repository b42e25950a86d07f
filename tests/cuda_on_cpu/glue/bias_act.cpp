#include "../../../csrc/bias_act.h"

#include "glue.h"

using namespace gan_ops;

extern "C" {

void bias_act(Dtype dtype, const void* x, const void* bias, void* y, int64_t outer, int64_t channels, int64_t inner,
              double slope, double gain, double scale) {
  run_on_cuda(BiasActForwardArgs{x, bias, y, {outer, channels, inner}, slope, gain, scale}, dtype, nullptr);
}

void bias_act_backward(Dtype dtype, const void* g, const void* y, void* d_x, void* d_bias, int64_t outer,
                       int64_t channels, int64_t inner, double slope, double gain, double scale) {
  const ChannelLayout layout{outer, channels, inner};
  const PixelChunks chunks = bias_act_chunks(layout);
  const Scratch partial(dtype, d_bias == nullptr ? 0 : chunks.count() * channels);
  run_on_cuda(BiasActBackwardArgs{g, y, d_x, d_bias, partial.get(), chunks, layout, slope, gain, scale}, dtype,
              nullptr);
}
}
