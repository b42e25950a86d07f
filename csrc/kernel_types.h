// The vocabulary between the ops (which know torch) and the kernels (which know raw pointers only). No torch headers
// here: cuda/*.cu includes this.
#pragma once

#include <cstdint>

struct CUstream_st;  // what cudaStream_t points to

namespace gan_ops {

enum class Dtype { float64, float32, float16, bfloat16 };

template <class T>
struct Type {
  using type = T;
};

/// Calls `body` with a Type<T> for the type that `dtype` stands for, where float16 and bfloat16 are `Half` and
/// `BFloat16`: host and device have their own.
template <class Half, class BFloat16, class Body>
void with_type_among(Dtype dtype, const Body& body) {
  switch (dtype) {
    case Dtype::float64:
      return body(Type<double>{});
    case Dtype::float32:
      return body(Type<float>{});
    case Dtype::float16:
      return body(Type<Half>{});
    case Dtype::bfloat16:
      return body(Type<BFloat16>{});
  }
}

/// A tensor [N, C, *] as its memory has it: element (o, c, i) lies at (o·channels + c)·inner + i.
/// Contiguous [N, C, H, W] is {N, C, H·W}; channels_last is {N·H·W, C, 1}, and so are latents [N, C].
struct ChannelLayout {
  int64_t outer;
  int64_t channels;
  int64_t inner;
};

using CudaStream = CUstream_st*;

}  // namespace gan_ops
