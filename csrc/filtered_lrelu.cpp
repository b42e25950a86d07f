// The filtered_lrelu family: checks, allocation, dispatch, and how its ops differentiate one another.
//
// The function is piecewise linear, so beside the op itself there is but one more: the same pass with the mask that
// follows from the codes, forward or transposed. Each of these two is the other's derivative.
#include "filtered_lrelu.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <tuple>
#include <vector>

#include "filters.h"
#include "op.h"

namespace gan_ops {
namespace filtered_lrelu_family {

/// A filter [rows, columns], or [taps] of both axes, in the accumulate type; one tap of 1 where there is none.
struct Filter {
  Tensor taps;
  int64_t rows, columns;
  bool separable;

  Filter(const MaybeTensor& filter, const char* name, const Tensor& x) {
    check_filter(filter, name, x);
    const auto type = accumulate_type(x);
    taps = filter ? filter->to(type).contiguous() : at::ones({1}, x.options().dtype(type));
    separable = taps.dim() == 1;
    rows = taps.size(0);
    columns = taps.size(-1);
  }
  FilterArgs args(bool reversed, double gain) const {
    return {taps.const_data_ptr(), separable, reversed, separable ? gain : gain * gain};
  }
};

void check_options(int64_t up, int64_t down, at::IntArrayRef padding, double gain, double slope) {
  TORCH_CHECK_VALUE(up >= 1, "up must be an integer of at least 1, but is ", up);
  TORCH_CHECK_VALUE(down >= 1, "down must be an integer of at least 1, but is ", down);
  TORCH_CHECK_VALUE(padding.size() == 4, "padding must be [x0, x1, y0, y1], but is ", padding);
  TORCH_CHECK_VALUE(std::isfinite(gain), "gain must be finite, but is ", gain);
  TORCH_CHECK_VALUE(std::isfinite(slope), "slope must be finite, but is ", slope);
}

/// The forward pass over images [height, width].
std::pair<FilteredAxis, FilteredAxis> axes(int64_t height, int64_t width, const Filter& up_filter,
                                           const Filter& down_filter, int64_t up, int64_t down,
                                           at::IntArrayRef padding) {
  const auto rows = resampled_axis(height, up, down, up_filter.rows, down_filter.rows, padding[2], padding[3]);
  const auto columns = resampled_axis(width, up, down, up_filter.columns, down_filter.columns, padding[0], padding[1]);
  TORCH_CHECK_VALUE(rows.out >= 1 && columns.out >= 1, "padding=", padding, " makes images of ", height, "x", width,
                    ", enlarged by ", up, ", smaller than the filters of ", up_filter.rows, "x", up_filter.columns,
                    " and ", down_filter.rows, "x", down_filter.columns);
  const int64_t longest = std::max({rows.mid, rows.in, rows.taps1, std::abs(rows.before1), columns.mid, columns.in,
                                    columns.taps1, std::abs(columns.before1)});
  TORCH_CHECK_VALUE(longest <= kMostAlongAxis, "images, enlarged and padded, must have at most ", kMostAlongAxis,
                    " pixels along an axis, but would have ", longest);
  return {rows, columns};
}

/// Allocates y, in that layout, and, if asked, the sums of its planes, [C] in the accumulate type (else [0]), and makes
/// them.
std::tuple<Tensor, Tensor> run_pass(const Tensor& x_any, const MaybeTensor& bias_any, FilteredLreluArgs args,
                                    at::MemoryFormat format, bool with_sums) {
  const Tensor x = x_any.contiguous(format);
  const auto wide = x.options().dtype(accumulate_type(x));
  const int64_t n = x.size(0), c = x.size(1);
  Tensor y = at::empty({n, c, args.rows.out, args.columns.out}, x.options(), format);
  if (x.numel() == 0) return {y, at::zeros({with_sums ? c : 0}, wide)};
  Tensor bias;
  if (bias_any) {
    check_channels(*bias_any, "bias", x);
    bias = bias_any->to(accumulate_type(x)).contiguous();
  }
  TORCH_CHECK_VALUE(n * c <= kMostAlongAxis, "x must have at most ", kMostAlongAxis,
                    " channels in all its samples, but has ", n * c);
  args.x = x.const_data_ptr();
  args.bias = bias.defined() ? bias.const_data_ptr() : nullptr;
  args.y = y.mutable_data_ptr();
  args.samples = n;
  args.channels = c;
  args.channels_last = format == at::MemoryFormat::ChannelsLast;
  const Dtype dtype = dtype_of(x, "x");
#ifdef GAN_OPS_WITH_CUDA
  args.tiles = x.is_cpu() ? tiles_on_cpu(args, dtype) : tiles_on_cuda(args, dtype);
#else
  args.tiles = tiles_on_cpu(args, dtype);
#endif
  Tensor sums = at::empty({with_sums ? args.tiles.count() : 0, n, c}, wide);
  args.sums = with_sums ? sums.mutable_data_ptr() : nullptr;
  run_kernel(args, x);
  return {y, with_sums ? sums.sum({0, 1}) : sums.view({0})};  // [tiles, N, C] → [C]
}

// ---- Kernels' entry points ----

/// Returns y and the codes of its mask, which are empty unless asked for.
std::tuple<Tensor, Tensor> filtered_lrelu(const Tensor& x, const MaybeTensor& up_filter_any,
                                          const MaybeTensor& down_filter_any, const MaybeTensor& bias, int64_t up,
                                          int64_t down, at::IntArrayRef padding, double gain, double slope,
                                          std::optional<double> clamp, bool flip, bool with_codes) {
  check_images(x);
  check_options(up, down, padding, gain, slope);
  TORCH_CHECK_VALUE(!clamp || *clamp >= 0, "clamp must not be negative, but is ", clamp.value_or(0));
  const Filter up_filter(up_filter_any, "up_filter", x), down_filter(down_filter_any, "down_filter", x);
  FilteredLreluArgs args{};
  std::tie(args.rows, args.columns) = axes(x.size(2), x.size(3), up_filter, down_filter, up, down, padding);
  args.filter1 = up_filter.args(!flip, static_cast<double>(up));
  args.filter2 = down_filter.args(!flip, 1);
  args.gain = gain;
  args.slope = slope;
  args.limit = clamp.value_or(-1);
  args.use = with_codes ? Codes::written : Codes::none;
  Tensor codes = at::empty({0}, x.options().dtype(at::kByte));
  if (with_codes) {
    const auto [planes, rows, bytes] = codes_layout(x.size(0) * x.size(1), args.rows, args.columns);
    codes = at::zeros({planes, rows, bytes}, codes.options());
    args.codes = codes.mutable_data_ptr<uint8_t>();
  }
  return {std::get<0>(run_pass(x, bias, args, format_of(x), /*with_sums=*/false)), codes};
}

/// down(m ⊙ up(x + bias)) for images [size]; transposed, upᵀ(m ⊙ downᵀ(x + bias)), whose result has that size. Returns
/// also the sums of its channels, in the accumulate type, which are empty unless asked for.
std::tuple<Tensor, Tensor> filtered_lrelu_masked(const Tensor& x, const Tensor& codes, const MaybeTensor& up_filter_any,
                                                 const MaybeTensor& down_filter_any, const MaybeTensor& bias,
                                                 int64_t up, int64_t down, at::IntArrayRef padding, double gain,
                                                 double slope, bool flip, c10::SymIntArrayRef symbolic_size,
                                                 bool channels_last, bool transposed, bool with_sums) {
  check_images(x);
  check_options(up, down, padding, gain, slope);
  const auto size = C10_AS_INTARRAYREF_SLOW(symbolic_size);
  TORCH_CHECK_VALUE(size.size() == 2, "size must be [height, width], but is ", size);
  const Filter up_filter(up_filter_any, "up_filter", x), down_filter(down_filter_any, "down_filter", x);
  FilteredLreluArgs args{};
  const auto [rows, columns] = axes(size[0], size[1], up_filter, down_filter, up, down, padding);
  const auto [planes, high, wide] = codes_layout(x.size(0) * x.size(1), rows, columns);
  check_matches(codes, "codes", {planes, high, wide}, at::kByte, x.device());
  args.rows = transposed ? rows.transposed() : rows;
  args.columns = transposed ? columns.transposed() : columns;
  check_matches(x, "x", {x.size(0), x.size(1), args.rows.in, args.columns.in}, x.scalar_type(), x.device());
  const bool reversed = !flip;
  const FilterArgs of_up = up_filter.args(reversed != transposed, static_cast<double>(up));
  const FilterArgs of_down = down_filter.args(reversed != transposed, 1);
  args.filter1 = transposed ? of_down : of_up;
  args.filter2 = transposed ? of_up : of_down;
  args.gain = gain;
  args.slope = slope;
  args.limit = -1;
  args.use = Codes::read;
  const Tensor dense_codes = codes.contiguous();
  args.codes = const_cast<uint8_t*>(dense_codes.const_data_ptr<uint8_t>());
  return run_pass(x, bias, args, channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous,
                  with_sums);
}

// ---- Derivatives ----

constexpr Op<"filtered_lrelu", filtered_lrelu> op;
constexpr Op<"filtered_lrelu_masked", filtered_lrelu_masked> masked_op;

using Size = std::vector<c10::SymInt>;

/// What both ops keep: what their derivative, a masked pass the other way, takes.
void keep_pass(const Keep& keep, const Tensor& codes, const MaybeTensor& up_filter, const MaybeTensor& down_filter,
               int64_t up, int64_t down, at::IntArrayRef padding, double gain, double slope, bool flip,
               c10::SymIntArrayRef size, bool channels_last, bool transposed, const Tensor& x, const MaybeTensor& bias,
               const Tensor& y) {
  keep({codes, up_filter, down_filter}, up, down, padding.vec(), gain, slope, flip, size.vec(), channels_last,
       transposed, x.scalar_type(), (bias ? *bias : x).scalar_type(), y.sym_sizes().vec());
}

/// The gradients of x and of the bias, in their types, given those of y and of the channels' sums.
Tensors derivative(const Kept& kept, const Tensors& grads) {
  const auto [up, down, padding, gain, slope, flip, size, channels_last, transposed, x_type, bias_type, sizes_of_y] =
      kept.options<int64_t, int64_t, std::vector<int64_t>, double, double, bool, Size, bool, bool, at::ScalarType,
                   at::ScalarType, Size>();
  const bool with_bias = kept.wants(1);
  Tensor x = grads[0];
  MaybeTensor bias = if_defined(grads[1]);
  if (bias && bias->sym_size(0) == 0) bias = std::nullopt;
  if (!x.defined()) {
    if (!bias) return {};
    x = bias->to(x_type).reshape({1, -1, 1, 1}).expand_symint(sizes_of_y);  // [C] → [N, C, H, W]
    bias = std::nullopt;
  }
  auto [d_x, d_bias] = masked_op(x, kept[0], if_defined(kept[1]), if_defined(kept[2]), bias, up, down, padding, gain,
                                 slope, flip, size, channels_last, !transposed, with_bias);
  if (!with_bias) return {d_x};
  return {d_x, d_bias.to(bias_type)};
}

std::tuple<Tensor, Tensor> filtered_lrelu_autograd(const Tensor& x, const MaybeTensor& up_filter,
                                                   const MaybeTensor& down_filter, const MaybeTensor& bias, int64_t up,
                                                   int64_t down, at::IntArrayRef padding, double gain, double slope,
                                                   std::optional<double> clamp, bool flip, bool with_codes) {
  check_filter_is_constant(up_filter, "up_filter");
  check_filter_is_constant(down_filter, "down_filter");
  return recorded({x, bias}, derivative, [&](const Keep& keep) {
    auto [y, codes] = op.below_autograd(x, up_filter, down_filter, bias, up, down, padding, gain, slope, clamp, flip,
                                        with_codes || static_cast<bool>(keep));
    if (keep)
      keep_pass(keep, codes, up_filter, down_filter, up, down, padding, gain, slope, flip, x.sym_sizes().slice(2),
                format_of(x) == at::MemoryFormat::ChannelsLast, /*transposed=*/false, x, bias, y);
    keep.constants({codes});
    return std::tuple(y, codes);
  });
}

// d_x is linear in g, and the mask does not move with x: x is no input, and gets no gradient.
std::tuple<Tensor, Tensor> filtered_lrelu_masked_autograd(const Tensor& x, const Tensor& codes,
                                                          const MaybeTensor& up_filter, const MaybeTensor& down_filter,
                                                          const MaybeTensor& bias, int64_t up, int64_t down,
                                                          at::IntArrayRef padding, double gain, double slope, bool flip,
                                                          c10::SymIntArrayRef size, bool channels_last, bool transposed,
                                                          bool with_sums) {
  check_filter_is_constant(up_filter, "up_filter");
  check_filter_is_constant(down_filter, "down_filter");
  return recorded({x, bias}, derivative, [&](const Keep& keep) {
    const auto outputs = masked_op.below_autograd(x, codes, up_filter, down_filter, bias, up, down, padding, gain,
                                                  slope, flip, size, channels_last, transposed, with_sums);
    if (keep)
      keep_pass(keep, codes, up_filter, down_filter, up, down, padding, gain, slope, flip, size, channels_last,
                transposed, x, bias, std::get<0>(outputs));
    return outputs;
  });
}

const Registration registrations[] = {
    {op, filtered_lrelu_autograd},
    {masked_op, filtered_lrelu_masked_autograd},
};

}  // namespace filtered_lrelu_family
}  // namespace gan_ops
