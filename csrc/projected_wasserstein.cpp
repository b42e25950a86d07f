// projected_wasserstein: checks and allocation; it has a kernel for CPUs alone. It measures and has no derivative.
#include "projected_wasserstein.h"

#include <ATen/ops/empty.h>

#include "op.h"

namespace gan_ops {
namespace projected_wasserstein_family {

void check_arguments(const Tensor& a, const Tensor& b, const Tensor& rays, std::optional<int64_t> channels) {
  TORCH_CHECK_VALUE(a.dim() == 2 && a.size(0) >= 1, "a must be [count, size] with at least one row, but its shape is ",
                    a.sizes());
  TORCH_CHECK_TYPE(a.scalar_type() == at::kFloat, "a must be float32, but is ", a.scalar_type());
  check_matches(b, "b", a.sizes(), a.scalar_type(), a.device());
  TORCH_CHECK_VALUE(rays.dim() == 2, "rays must be [directions, size], but its shape is ", rays.sizes());
  check_matches(rays, "rays", {rays.size(0), a.size(1)}, a.scalar_type(), a.device());
  if (channels)
    TORCH_CHECK_VALUE(*channels >= 1 && a.size(1) % *channels == 0, "channels=", *channels, " does not divide the ",
                      a.size(1), " columns of a");
}

Tensor projected_wasserstein_on_cpu(const Tensor& a, const Tensor& b, const Tensor& rays,
                                    std::optional<int64_t> channels) {
  check_arguments(a, b, rays, channels);
  const int64_t count = a.size(0), size = a.size(1), directions = rays.size(0);
  const Tensor x = a.contiguous(), y = b.contiguous(), r = rays.contiguous();
  const Tensor panels = at::empty({2, padded_count(count) * size}, x.options());
  const Tensor projections =
      at::empty({2, std::min(directions, kProjectedTogether) * projection_stride(count)}, x.options());
  Tensor distance = at::empty({directions}, x.options().dtype(at::kDouble));
  const auto part = [](const Tensor& of, int64_t i) { return of.mutable_data_ptr<float>() + i * of.size(1); };
  run_on_cpu(ProjectedWassersteinArgs{x.const_data_ptr<float>(), y.const_data_ptr<float>(), r.const_data_ptr<float>(),
                                      distance.mutable_data_ptr<double>(), count, size, directions,
                                      channels.value_or(0), part(panels, 0), part(panels, 1), part(projections, 0),
                                      part(projections, 1)});
  return distance;
}

constexpr Op<"projected_wasserstein", projected_wasserstein_on_cpu> op;

Tensor projected_wasserstein_autograd(const Tensor& a, const Tensor& b, const Tensor& rays,
                                      std::optional<int64_t> channels) {
  TORCH_CHECK_NOT_IMPLEMENTED(!records_gradient({a, b, rays}),
                              "projected_wasserstein has no derivative: detach its arguments");
  return op.below_autograd(a, b, rays, channels);
}

TORCH_LIBRARY_IMPL(gan_ops, CPU, m) {
  m.impl("projected_wasserstein", projected_wasserstein_on_cpu);
}
TORCH_LIBRARY_IMPL(gan_ops, Autograd, m) {
  m.impl("projected_wasserstein", projected_wasserstein_autograd);
}

}  // namespace projected_wasserstein_family
}  // namespace gan_ops
