// Scale, bias, leaky ReLU and pixel norm on CUDA: pixel norm's walk, with the bias gradient summed on the way in chunks
// that a second kernel adds in order.
//
// Bytes it must move, for E elements of size s: forward 2·E·s, backward 3·E·s, double backward 5·E·s (beside that the
// factors r, 1/C of it, and the partial sums, 1/8 or less unless a plane has fewer than 8 pixels). At most 20
// operations an element, so memory sets the pace: at an H200's 4.8 TB/s, 64×64×128×128 takes 0.11, 0.17 and 0.28 ms in
// float32 (268 MB) and half of that in bfloat16. In channels_last up to 512 channels (128 in float64) are read once; of
// more, and in contiguous layout, the second reading of a pixel has to be out of L1 or L2.
#include "../bias_act_pixel_norm.h"
#include "../math/bias_act_pixel_norm.h"
#include "channel_walk.cuh"

namespace gan_ops {

using namespace cuda;

void run_on_cuda(const BiasActPixelNormForwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    using F = Activated<PixelNormForward<A>>;
    walk_channels(
        F{{static_cast<A*>(a.r), A(a.eps)}, make_bias_act<A>(a.slope, 1, a.scale), static_cast<const A*>(a.bias)},
        Streams<T, F>{{static_cast<const T*>(a.x)}, {static_cast<T*>(a.y)}}, a.layout, stream);
  });
}

void run_on_cuda(const BiasActPixelNormBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    using F = Activated<PixelNormBackward<A>>;
    walk_channels(F{{static_cast<const A*>(a.r)}, make_bias_act<A>(a.slope, 1, a.scale), static_cast<const A*>(a.bias)},
                  Streams<T, F>{{static_cast<const T*>(a.g), static_cast<const T*>(a.x)}, {static_cast<T*>(a.d_x)}},
                  a.layout, a.chunks, static_cast<A*>(a.partial), static_cast<A*>(a.d_bias), A(a.scale), stream);
  });
}

void run_on_cuda(const BiasActPixelNormDoubleBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    using F = Activated<PixelNormDoubleBackward<A>>;
    walk_channels(F{{static_cast<const A*>(a.r)},
                    make_bias_act<A>(a.slope, 1, a.scale),
                    static_cast<const A*>(a.bias),
                    static_cast<const A*>(a.v_bias)},
                  Streams<T, F>{{static_cast<const T*>(a.v), static_cast<const T*>(a.g), static_cast<const T*>(a.x)},
                                {static_cast<T*>(a.d_g), static_cast<T*>(a.d_x)}},
                  a.layout, a.chunks, static_cast<A*>(a.partial), static_cast<A*>(a.d_bias), A(a.scale), stream);
  });
}

}  // namespace gan_ops
