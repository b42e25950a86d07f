// Pixel norm on the CPU.
#include "../pixel_norm.h"

#include "../math/pixel_norm.h"
#include "channel_walk.h"

namespace gan_ops {
using namespace cpu;

void run_on_cpu(const PixelNormForwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    using F = PixelNormForward<A>;
    walk_channels(F{static_cast<A*>(a.r), A(a.eps)},
                  Streams<T, F>{{static_cast<const T*>(a.x)}, {static_cast<T*>(a.y)}}, a.layout);
  });
}

void run_on_cpu(const PixelNormBackwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using F = PixelNormBackward<Accumulate<T>>;
    walk_channels(F{static_cast<const Accumulate<T>*>(a.r)},
                  Streams<T, F>{{static_cast<const T*>(a.g), static_cast<const T*>(a.x)}, {static_cast<T*>(a.d_x)}},
                  a.layout);
  });
}

void run_on_cpu(const PixelNormDoubleBackwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using F = PixelNormDoubleBackward<Accumulate<T>>;
    walk_channels(F{static_cast<const Accumulate<T>*>(a.r)},
                  Streams<T, F>{{static_cast<const T*>(a.v), static_cast<const T*>(a.g), static_cast<const T*>(a.x)},
                                {static_cast<T*>(a.d_g), static_cast<T*>(a.d_x)}},
                  a.layout);
  });
}

}  // namespace gan_ops
