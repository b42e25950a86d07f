// The op upfirdn2d: checks, allocation, dispatch, and how it is its own derivative.
#include "upfirdn2d.h"

#include <ATen/ops/empty.h>

#include <array>
#include <cmath>
#include <optional>
#include <tuple>
#include <vector>

#include "filters.h"
#include "op.h"

namespace gan_ops {
namespace upfirdn2d_family {

using at::IntArrayRef;
using c10::SymInt;
using c10::SymIntArrayRef;

void check_factors(IntArrayRef factors, const char* name) {
  TORCH_CHECK_VALUE(factors.size() == 2 && factors[0] >= 1 && factors[1] >= 1, name,
                    " must be an integer of at least 1, or [x, y], but is ", factors);
}

/// [height, width] of a filter; of one for both axes, [K, K]; of none, [1, 1].
std::array<int64_t, 2> filter_size(const MaybeTensor& filter) {
  if (!filter) return {1, 1};
  return {filter->size(0), filter->size(-1)};
}

ResampledAxis axis_of(int64_t in, int64_t taps, int64_t up, int64_t down, int64_t before, int64_t behind) {
  const int64_t enlarged = in * up + before + behind;
  return {in, enlarged < taps ? 0 : (enlarged - taps) / down + 1, taps, up, down, before};
}

Tensor upfirdn2d(const Tensor& x_any, const MaybeTensor& filter_any, IntArrayRef up, IntArrayRef down,
                 SymIntArrayRef sym_padding, bool flip, double gain) {
  const auto padding = C10_AS_INTARRAYREF_SLOW(sym_padding);
  check_images(x_any);
  check_filter(filter_any, "filter", x_any);
  check_factors(up, "up");
  check_factors(down, "down");
  TORCH_CHECK_VALUE(padding.size() == 4, "padding must be an integer, [x, y] or [x0, x1, y0, y1], but is ", padding);
  TORCH_CHECK_VALUE(std::isfinite(gain), "gain must be finite, but is ", gain);
  const auto [filter_height, filter_width] = filter_size(filter_any);
  const ResampledAxis horizontal = axis_of(x_any.size(3), filter_width, up[0], down[0], padding[0], padding[1]);
  const ResampledAxis vertical = axis_of(x_any.size(2), filter_height, up[1], down[1], padding[2], padding[3]);
  TORCH_CHECK_VALUE(horizontal.out > 0 && vertical.out > 0, "padding=", padding, " makes images of ", x_any.size(2),
                    "x", x_any.size(3), ", enlarged by ", up, ", smaller than the filter of [", filter_height, ", ",
                    filter_width, "]");
  const Tensor x = dense(x_any);
  Tensor y = at::empty({x.size(0), x.size(1), vertical.out, horizontal.out}, x.options().memory_format(format_of(x)));
  if (y.numel() == 0) return y;
  Tensor filter;
  if (filter_any) filter = filter_any->to(accumulate_type(x)).contiguous();
  const bool by_channels = is_channels_last(x);
  run_kernel(
      Upfirdn2dArgs{x.const_data_ptr(), filter.defined() ? filter.const_data_ptr() : nullptr, y.mutable_data_ptr(),
                    by_channels ? x.size(0) : x.size(0) * x.size(1), by_channels ? x.size(1) : 1, horizontal, vertical,
                    filter.defined() && filter.dim() == 1, flip, gain},
      x);
  return y;
}

// ---- Derivatives ----

constexpr Op<"upfirdn2d", upfirdn2d> op;

Tensors derivative(const Kept& kept, const Tensors& grads) {
  const MaybeTensor filter = if_defined(kept[0]);
  auto [up, down, padding, height, width, flip, gain, channels_last] =
      kept.options<std::vector<int64_t>, std::vector<int64_t>, std::vector<SymInt>, SymInt, SymInt, bool, double,
                   bool>();
  const Tensor grad =
      grads[0].contiguous(channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
  const auto [filter_height, filter_width] = filter_size(filter);
  // What lies behind the last pixel of the gradient makes up the size of x.
  const auto behind = [](const SymInt& in, const SymInt& out, int64_t up, int64_t down, const SymInt& before) {
    return in * up - out * down + before - up + 1;
  };
  const std::vector<SymInt> inverse = {
      filter_width - 1 - padding[0], behind(width, grad.sym_size(3), up[0], down[0], padding[0]),
      filter_height - 1 - padding[2], behind(height, grad.sym_size(2), up[1], down[1], padding[2])};
  return {op(grad, filter, down, up, inverse, !flip, gain)};
}

Tensor upfirdn2d_autograd(const Tensor& x, const MaybeTensor& filter, IntArrayRef up, IntArrayRef down,
                          SymIntArrayRef padding, bool flip, double gain) {
  check_filter_is_constant(filter, "filter");
  return recorded({x}, derivative, [&](const Keep& keep) {
    const Tensor y = op.below_autograd(x, filter, up, down, padding, flip, gain);
    keep({filter}, up, down, padding, x.sym_size(2), x.sym_size(3), flip, gain, is_channels_last(y));
    return y;
  });
}

const Registration registrations[] = {
    {op, upfirdn2d_autograd},
};

}  // namespace upfirdn2d_family
}  // namespace gan_ops
