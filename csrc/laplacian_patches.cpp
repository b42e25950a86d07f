// laplacian_patches: checks and allocation; it has a kernel for CPUs alone. It measures and has no derivative.
#include "laplacian_patches.h"

#include <ATen/ops/empty.h>

#include "op.h"

namespace gan_ops {
namespace laplacian_patches_family {

void check_arguments(const Tensor& images, const Tensor& places) {
  TORCH_CHECK_VALUE(images.dim() == 4 && images.size(1) >= 1 && images.size(2) == images.size(3) &&
                        images.size(2) >= 8 && images.size(2) % 2 == 0,
                    "images must be [N, C, H, H] with an even H of at least 8, but their shape is ", images.sizes());
  TORCH_CHECK_TYPE(images.scalar_type() == at::kByte || images.scalar_type() == at::kFloat,
                   "images must be uint8 or float32, but are ", images.scalar_type());
  TORCH_CHECK_VALUE(places.dim() == 3 && places.size(0) == images.size(0) && places.size(2) == 2, "places must be [",
                    images.size(0), ", patches, 2], but their shape is ", places.sizes());
  TORCH_CHECK_TYPE(places.scalar_type() == at::kLong, "places must be int64, but are ", places.scalar_type());
  TORCH_CHECK_VALUE(places.device() == images.device(), "places must be on ", images.device(), ", but are on ",
                    places.device());
  const int64_t last = images.size(2) - kPatch;
  TORCH_CHECK_VALUE(places.numel() == 0 || (places.min().item<int64_t>() >= 0 && places.max().item<int64_t>() <= last),
                    "places must be from 0 to ", last);
}

template <class T>
void run(const Tensor& images, const Tensor& places, const Tensor& descriptors, const Tensor& smaller,
         bool differences) {
  run_on_cpu(LaplacianPatchesArgs<T>{images.const_data_ptr<T>(), places.const_data_ptr<int64_t>(),
                                     descriptors.mutable_data_ptr<float>(),
                                     differences ? smaller.mutable_data_ptr<float>() : nullptr, images.size(0),
                                     images.size(1), images.size(2), places.size(1)});
}

std::tuple<Tensor, Tensor> laplacian_patches_on_cpu(const Tensor& images, const Tensor& places, bool differences) {
  check_arguments(images, places);
  const Tensor x = images.contiguous(), at_places = places.contiguous();
  const int64_t n = x.size(0), channels = x.size(1), half = differences ? x.size(2) / 2 : 0;
  const auto options = x.options().dtype(at::kFloat);
  Tensor descriptors = at::empty({n * places.size(1), channels * kPatch * kPatch}, options);
  Tensor smaller = at::empty({n, channels, half, half}, options);
  if (x.scalar_type() == at::kByte)
    run<uint8_t>(x, at_places, descriptors, smaller, differences);
  else
    run<float>(x, at_places, descriptors, smaller, differences);
  return {descriptors, smaller};
}

constexpr Op<"laplacian_patches", laplacian_patches_on_cpu> op;

std::tuple<Tensor, Tensor> laplacian_patches_autograd(const Tensor& images, const Tensor& places, bool differences) {
  TORCH_CHECK_NOT_IMPLEMENTED(!records_gradient({images}), "laplacian_patches has no derivative: detach its arguments");
  return op.below_autograd(images, places, differences);
}

TORCH_LIBRARY_IMPL(gan_ops, CPU, m) {
  m.impl("laplacian_patches", laplacian_patches_on_cpu);
}
TORCH_LIBRARY_IMPL(gan_ops, Autograd, m) {
  m.impl("laplacian_patches", laplacian_patches_autograd);
}

}  // namespace laplacian_patches_family
}  // namespace gan_ops
