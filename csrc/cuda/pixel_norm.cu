// Pixel norm on CUDA.
//
// Bytes it must move, for E elements of size s: forward 2·E·s, backward 3·E·s, double backward 5·E·s (the factors r are
// 1/C of that). At most 12 operations an element, so memory sets the pace: at an H200's 4.8 TB/s, 64×64×128×128 takes
// 0.11, 0.17 and 0.28 ms in float32 (268 MB) and half of that in bfloat16. In channels_last up to 512 channels (128 in
// float64) are read once; of more, and in contiguous layout, the second reading has to be out of L1 or L2.
#include "../math/pixel_norm.h"
#include "../pixel_norm.h"
#include "channel_walk.cuh"

namespace gan_ops {
using namespace cuda;

void run_on_cuda(const PixelNormForwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    using F = PixelNormForward<A>;
    walk_channels(F{static_cast<A*>(a.r), A(a.eps)},
                  Streams<T, F>{{static_cast<const T*>(a.x)}, {static_cast<T*>(a.y)}}, a.layout, stream);
  });
}

void run_on_cuda(const PixelNormBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using F = PixelNormBackward<Accumulate<T>>;
    walk_channels(F{static_cast<const Accumulate<T>*>(a.r)},
                  Streams<T, F>{{static_cast<const T*>(a.g), static_cast<const T*>(a.x)}, {static_cast<T*>(a.d_x)}},
                  a.layout, stream);
  });
}

void run_on_cuda(const PixelNormDoubleBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using F = PixelNormDoubleBackward<Accumulate<T>>;
    walk_channels(F{static_cast<const Accumulate<T>*>(a.r)},
                  Streams<T, F>{{static_cast<const T*>(a.v), static_cast<const T*>(a.g), static_cast<const T*>(a.x)},
                                {static_cast<T*>(a.d_g), static_cast<T*>(a.d_x)}},
                  a.layout, stream);
  });
}

}  // namespace gan_ops
