// wasserstein_1d: checks and dispatch. It measures and has no derivative.
#include "wasserstein_1d.h"

#include <ATen/ATen.h>
#include <torch/library.h>

#include <limits>

#include "common.h"

namespace gan_ops {
namespace {

using at::Tensor;

void check_arguments(const Tensor& a, const Tensor& b) {
  TORCH_CHECK_VALUE(a.dim() == 2 && a.size(1) >= 1,
                    "a must be [rows, size] with at least one value a row, but its shape is ", a.sizes());
  dtype_of(a, "a");
  check_matches(b, "b", a.sizes(), a.scalar_type(), a.device());
}

/// The definition, in gan_ops/reference.py, in ATen's ops.
Tensor by_sorting(const Tensor& a, const Tensor& b) {
  const Tensor sorted_a = std::get<0>(a.sort(-1)).to(at::kDouble), sorted_b = std::get<0>(b.sort(-1)).to(at::kDouble);
  const Tensor finite = (a.isfinite() & b.isfinite()).all(-1);
  return (sorted_a - sorted_b).abs().mean(-1).masked_fill(~finite, std::numeric_limits<double>::quiet_NaN());
}

Tensor wasserstein_1d_on_cpu(const Tensor& a, const Tensor& b) {
  check_arguments(a, b);
  if (a.scalar_type() == at::kDouble) return by_sorting(a, b);
  const Tensor x = a.to(at::kFloat).contiguous(), y = b.to(at::kFloat).contiguous();
  Tensor distance = at::empty({x.size(0)}, x.options().dtype(at::kDouble));
  run_on_cpu(Wasserstein1dArgs{x.const_data_ptr<float>(), y.const_data_ptr<float>(),
                               distance.mutable_data_ptr<double>(), x.size(0), x.size(1)});
  return distance;
}

Tensor wasserstein_1d_on_cuda(const Tensor& a, const Tensor& b) {
  check_arguments(a, b);
  return by_sorting(a, b);
}

Tensor wasserstein_1d_autograd(const Tensor& a, const Tensor& b) {
  TORCH_CHECK_NOT_IMPLEMENTED(!records_gradient({a, b}), "wasserstein_1d has no derivative: detach its arguments");
  static const auto op = find_op<decltype(wasserstein_1d_autograd)>("gan_ops::wasserstein_1d");
  const at::AutoDispatchBelowADInplaceOrView guard;
  return op.call(a, b);
}

TORCH_LIBRARY_IMPL(gan_ops, CPU, m) {
  m.impl("wasserstein_1d", wasserstein_1d_on_cpu);
}
TORCH_LIBRARY_IMPL(gan_ops, CUDA, m) {
  m.impl("wasserstein_1d", wasserstein_1d_on_cuda);
}
TORCH_LIBRARY_IMPL(gan_ops, Autograd, m) {
  m.impl("wasserstein_1d", wasserstein_1d_autograd);
}

}  // namespace
}  // namespace gan_ops
