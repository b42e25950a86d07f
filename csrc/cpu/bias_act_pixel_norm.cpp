// Scale, bias, leaky ReLU and pixel norm on the CPU: pixel norm's walk, with the bias gradient summed on the way.
#include "../bias_act_pixel_norm.h"

#include "../math/bias_act_pixel_norm.h"
#include "channel_walk.h"

namespace gan_ops {

using namespace cpu;

void run_on_cpu(const BiasActPixelNormForwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    using F = Activated<PixelNormForward<A>>;
    walk_channels(
        F{{static_cast<A*>(a.r), A(a.eps)}, make_bias_act<A>(a.slope, 1, a.scale), static_cast<const A*>(a.bias)},
        Streams<T, F>{{static_cast<const T*>(a.x)}, {static_cast<T*>(a.y)}}, a.layout);
  });
}

void run_on_cpu(const BiasActPixelNormBackwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    using F = Activated<PixelNormBackward<A>>;
    walk_channels(F{{static_cast<const A*>(a.r)}, make_bias_act<A>(a.slope, 1, a.scale), static_cast<const A*>(a.bias)},
                  Streams<T, F>{{static_cast<const T*>(a.g), static_cast<const T*>(a.x)}, {static_cast<T*>(a.d_x)}},
                  a.layout, a.chunks, static_cast<A*>(a.partial), static_cast<A*>(a.d_bias), A(a.scale));
  });
}

void run_on_cpu(const BiasActPixelNormDoubleBackwardArgs& a, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    using F = Activated<PixelNormDoubleBackward<A>>;
    walk_channels(F{{static_cast<const A*>(a.r)},
                    make_bias_act<A>(a.slope, 1, a.scale),
                    static_cast<const A*>(a.bias),
                    static_cast<const A*>(a.v_bias)},
                  Streams<T, F>{{static_cast<const T*>(a.v), static_cast<const T*>(a.g), static_cast<const T*>(a.x)},
                                {static_cast<T*>(a.d_g), static_cast<T*>(a.d_x)}},
                  a.layout, a.chunks, static_cast<A*>(a.partial), static_cast<A*>(a.d_bias), A(a.scale));
  });
}

}  // namespace gan_ops
