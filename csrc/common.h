// What every op family needs: data types, the [outer, channels, inner] view of a tensor, argument checks, and the
// hand-over from tensors to raw-pointer kernels on the tensor's device.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <initializer_list>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "kernel_types.h"
#include "math/samples.h"

namespace gan_ops {

using at::Tensor;
using MaybeTensor = std::optional<Tensor>;

inline Dtype dtype_of(const Tensor& tensor, const char* name) {
  switch (tensor.scalar_type()) {
    case at::kDouble:
      return Dtype::float64;
    case at::kFloat:
      return Dtype::float32;
    case at::kHalf:
      return Dtype::float16;
    case at::kBFloat16:
      return Dtype::bfloat16;
    default:
      TORCH_CHECK_TYPE(false, name, " must be float64, float32, float16 or bfloat16, but is ", tensor.scalar_type());
  }
}

/// The type that sums are taken in: float64 for float64, float32 for everything narrower.
inline at::ScalarType accumulate_type(const Tensor& tensor) {
  return tensor.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

/// channels_last where the tensor lies so without gaps, else contiguous; the same as in gan_ops/ops/_layout.py. (ATen's
/// suggest_memory_format asks for the order of strides alone: it calls a slice, and a contiguous [N, 1, H, W] made of
/// channels_last memory, channels_last.)
inline at::MemoryFormat format_of(const Tensor& tensor) {
  if (tensor.is_contiguous()) return at::MemoryFormat::Contiguous;
  if (tensor.dim() == 4 && tensor.is_contiguous(at::MemoryFormat::ChannelsLast)) return at::MemoryFormat::ChannelsLast;
  if (tensor.dim() == 5 && tensor.is_contiguous(at::MemoryFormat::ChannelsLast3d))
    return at::MemoryFormat::ChannelsLast3d;
  return at::MemoryFormat::Contiguous;
}

/// [N, C, *] as its memory has it: channels_last when the tensor is stored so, contiguous otherwise.
inline Tensor dense(const Tensor& tensor) {
  return tensor.contiguous(format_of(tensor));
}

/// `tensor` in the memory layout of the dense tensor `like`.
inline Tensor dense_like(const Tensor& tensor, const Tensor& like) {
  return tensor.contiguous(format_of(like));
}

inline bool is_channels_last(const Tensor& dense_tensor) {
  return !dense_tensor.is_contiguous();
}

/// The product of the axes after N and C.
inline int64_t pixels_of(const Tensor& tensor) {
  int64_t pixels = 1;
  for (int64_t axis = 2; axis < tensor.dim(); ++axis) pixels *= tensor.size(axis);
  return pixels;
}

/// [N, 1, *] of x [N, C, *]: one value a pixel.
inline std::vector<int64_t> scale_sizes(const Tensor& x) {
  auto sizes = x.sizes().vec();
  sizes[1] = 1;
  return sizes;
}

inline ChannelLayout channel_layout(const Tensor& dense_tensor) {
  const int64_t samples = dense_tensor.size(0), channels = dense_tensor.size(1), pixels = pixels_of(dense_tensor);
  if (is_channels_last(dense_tensor)) return {samples * pixels, channels, 1};
  return {samples, channels, pixels};
}

inline SampleLayout sample_layout(const Tensor& dense_tensor) {
  const int64_t samples = dense_tensor.size(0);
  return {samples, samples == 0 ? 0 : dense_tensor.numel() / samples};
}

inline void check_feature_map(const Tensor& x, const char* name) {
  TORCH_CHECK_VALUE(x.dim() >= 2 && x.size(1) >= 1, name,
                    " must be [N, C, *] with at least one channel, but its shape is ", x.sizes());
  dtype_of(x, name);
}

inline void check_samples(const Tensor& x, const char* name) {
  TORCH_CHECK_VALUE(x.dim() >= 2, name, " must be [N, *] with at least two axes, but its shape is ", x.sizes());
  dtype_of(x, name);
}

inline void check_eps(double eps) {
  TORCH_CHECK_VALUE(eps >= 0, "eps must not be negative, but is ", eps);
}

inline void check_negative_slope(double negative_slope) {
  TORCH_CHECK_VALUE(negative_slope >= 0, "negative_slope must not be negative, but is ", negative_slope);
}

/// A factor that keeps the sign of what it multiplies, in float32 too.
inline void check_factor(double factor, const char* name) {
  using Float = std::numeric_limits<float>;
  TORCH_CHECK_VALUE(factor >= Float::min() && factor <= Float::max(), name,
                    " must be positive and within the range of float32, but is ", factor);
}

/// An argument of a derivative op that must have the shape, type and device that the forward pass gives it.
inline void check_matches(const Tensor& tensor, const char* name, at::IntArrayRef sizes, at::ScalarType type,
                          at::Device device) {
  TORCH_CHECK_VALUE(tensor.sizes() == sizes, name, " must have the shape ", sizes, ", but has ", tensor.sizes());
  TORCH_CHECK_TYPE(tensor.scalar_type() == type, name, " must be ", type, ", but is ", tensor.scalar_type());
  TORCH_CHECK_VALUE(tensor.device() == device, name, " must be on ", device, ", but is on ", tensor.device());
}

/// An argument [C], beside x [N, C, *], of any type that the kernels know.
inline void check_channels(const Tensor& tensor, const char* name, const Tensor& x) {
  dtype_of(tensor, name);
  check_matches(tensor, name, {x.size(1)}, tensor.scalar_type(), x.device());
}

/// It as the kernels read it, in the accumulate type of x; `otherwise` where there is none.
inline Tensor channel_values(const MaybeTensor& values, const Tensor& x, double otherwise) {
  if (!values) return at::full({x.size(1)}, otherwise, x.options().dtype(accumulate_type(x)));
  return values->to(accumulate_type(x)).contiguous();
}

/// A saved argument that may be absent: torch keeps an absent one as an undefined tensor.
inline MaybeTensor if_defined(const Tensor& tensor) {
  return tensor.defined() ? MaybeTensor(tensor) : std::nullopt;
}

/// A tensor among an op's arguments; undefined where it is absent.
struct Argument {
  Tensor tensor;
  Argument(const Tensor& given) : tensor(given) {}
  Argument(const MaybeTensor& given) : tensor(given.value_or(Tensor())) {}
};

/// Whether autograd would record an op on this tensor, or forward-mode differentiation is under way, which recorded ops
/// refuse (below them its tangents would be lost).
inline bool is_differentiated(const Tensor& tensor) {
  if (!tensor.defined()) return false;
  return (c10::GradMode::is_enabled() && tensor.requires_grad()) || tensor._fw_grad(/*level=*/0).defined();
}

/// Whether it is so for one of them.
inline bool records_gradient(std::initializer_list<Argument> arguments) {
  for (const Argument& argument : arguments)
    if (is_differentiated(argument.tensor)) return true;
  return false;
}
inline bool records_gradient(at::TensorList tensors) {
  for (const Tensor& tensor : tensors)
    if (is_differentiated(tensor)) return true;
  return false;
}

/// The stream of `device` that torch queues its work on now.
CudaStream current_cuda_stream(c10::Device device);

/// Runs the kernels that take `args` on the device that `like` is on. Their run_on_cpu and run_on_cuda are found by the
/// type of args.
template <class Args>
void run_kernel(const Args& args, const Tensor& like) {
  const Dtype dtype = dtype_of(like, "x");
  if (like.is_cpu()) {
    run_on_cpu(args, dtype);
    return;
  }
#ifdef GAN_OPS_WITH_CUDA
  const c10::DeviceGuard guard(like.device());
  run_on_cuda(args, dtype, current_cuda_stream(like.device()));
#else
  TORCH_CHECK_NOT_IMPLEMENTED(false, "this build of gan_ops has no CUDA kernels; with nvcc installed, build it again: ",
                              "GAN_OPS_CUDA=1 pip install --no-build-isolation --force-reinstall --no-deps .");
#endif
}

}  // namespace gan_ops
