// The grid_sample family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "grid_sample.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros_like.h>

#include <array>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "grid_sample_formula.h"
#include "op.h"

namespace gan_ops {
namespace grid_sample_family {

using TwoTensors = std::tuple<Tensor, Tensor>;
using ThreeTensors = std::tuple<Tensor, Tensor, Tensor>;
using c10::string_view;

// ---- Arguments ----

GridOptions options_of(string_view mode, string_view padding_mode, bool align_corners) {
  TORCH_CHECK_VALUE(mode == "bilinear" || mode == "nearest", "mode must be \"bilinear\" or \"nearest\", but is \"",
                    mode, "\"");
  TORCH_CHECK_VALUE(padding_mode == "zeros" || padding_mode == "border" || padding_mode == "reflection",
                    "padding_mode must be \"zeros\", \"border\" or \"reflection\", but is \"", padding_mode, "\"");
  const GridPadding padding = padding_mode == "zeros"    ? GridPadding::zeros
                              : padding_mode == "border" ? GridPadding::border
                                                         : GridPadding::reflection;
  return {mode == "nearest", padding, align_corners};
}

void check_input_and_grid(const Tensor& input, const Tensor& grid) {
  dtype_of(input, "input");
  const int64_t axes = input.dim() - 2;
  TORCH_CHECK_VALUE((axes == 2 || axes == 3) && (input.size(0) == 0 || pixels_of(input) > 0),
                    "input must be [N, C, H, W] or [N, C, D, H, W] with at least one pixel, but its shape is ",
                    input.sizes());
  for (int64_t axis = 2; axis < input.dim(); ++axis)
    TORCH_CHECK_VALUE(input.size(axis) <= kMostGridPixels,
                      "input must have less than 2^31 pixels along each axis, but ", "its shape is ", input.sizes());
  TORCH_CHECK_VALUE(grid.dim() == axes + 2 && grid.size(0) == input.size(0) && grid.size(-1) == axes, "grid must be [",
                    input.size(0), axes == 2 ? ", H', W', 2]" : ", D', H', W', 3]", " beside an input of ",
                    input.sizes(), ", but its shape is ", grid.sizes());
  TORCH_CHECK_TYPE(grid.scalar_type() == input.scalar_type(), "grid must be ", input.scalar_type(),
                   " as input is, but is ", grid.scalar_type());
  TORCH_CHECK_VALUE(grid.device() == input.device(), "grid must be on ", input.device(), " as input is, but is on ",
                    grid.device());
}

/// [N, C, *] for a grid of [N, *, axes].
std::vector<int64_t> output_sizes(const Tensor& input, const Tensor& grid) {
  auto sizes = input.sizes().vec();
  for (int64_t axis = 1; axis < grid.dim() - 1; ++axis) sizes[axis + 1] = grid.size(axis);
  return sizes;
}

GridLayout layout_of(const Tensor& input, const Tensor& grid) {
  GridSize size{static_cast<int>(input.dim() - 2), {1, 1, 1}};
  for (int a = 0; a < size.axes; ++a) size.pixels[a] = input.size(-1 - a);
  const int64_t samples = input.size(0), points = samples == 0 ? 0 : grid.numel() / samples / size.axes;
  return {samples, input.size(1), points, size, is_channels_last(input)};
}

/// A tensor of these sizes that lies like `input`.
Tensor empty_as(at::IntArrayRef sizes, const Tensor& input) {
  return at::empty(sizes, input.options().memory_format(format_of(input)));
}
/// One laid out like `input`, or nothing.
Tensor in_layout_of(const Tensor& input, const MaybeTensor& given) {
  return given ? dense_like(*given, input) : Tensor();
}

/// What is not wanted.
Tensor nothing(const Tensor& input) {
  return at::empty({0}, input.options());
}

const void* data(const Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr() : nullptr;
}

// ---- Kernels ----

/// Order and its memory.
struct Order {
  Tensor points, starts;
  GridOrder pointers() const {
    if (!points.defined()) return {nullptr, nullptr};
    return {points.const_data_ptr<int64_t>(), starts.const_data_ptr<int64_t>()};
  }
};
Order order_of(const Tensor& grid, const GridLayout& layout, const GridOptions& options) {
  if (grid.is_cpu()) return {};
  const auto type = grid.options().dtype(at::kLong);
  const int64_t count = layout.samples * cells_of_sample(layout.size);
  Tensor cells = at::empty({layout.samples * layout.points}, type);
  run_kernel(GridCellsArgs{grid.const_data_ptr(), cells.mutable_data_ptr<int64_t>(), layout, options}, grid);
  // Half the passes.
  if (count < std::numeric_limits<int32_t>::max()) cells = cells.to(at::kInt);
  const auto [sorted, points] = at::sort(cells, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  return {points, at::searchsorted(sorted, at::arange(count + 1, sorted.options()))};
}

/// d_x of math/grid_sample.h, by w or with `moves` by ω.
Tensor scatter(const Tensor& grad, const Tensor& input, const Tensor& grid, const Tensor& moves,
               const GridOptions& options) {
  Tensor d_input = at::empty_like(input);
  if (d_input.numel() == 0) return d_input;
  if (grad.numel() == 0) return d_input.zero_();
  const GridLayout layout = layout_of(input, grid);
  const Order order = order_of(grid, layout, options);
  run_kernel(GridScatterArgs{grad.const_data_ptr(), grid.const_data_ptr(), data(moves), d_input.mutable_data_ptr(),
                             order.pointers(), layout, options},
             input);
  return d_input;
}

Tensor grid_sample(const Tensor& input_any, const Tensor& grid_any, string_view mode, string_view padding_mode,
                   bool align_corners) {
  const GridOptions options = options_of(mode, padding_mode, align_corners);
  check_input_and_grid(input_any, grid_any);
  const Tensor input = dense(input_any), grid = grid_any.contiguous();
  Tensor y = empty_as(output_sizes(input, grid), input);
  if (y.numel() > 0)
    run_kernel(GridGatherArgs{.still = input.const_data_ptr(),
                              .grid = grid.const_data_ptr(),
                              .y = y.mutable_data_ptr(),
                              .layout = layout_of(input, grid),
                              .options = options},
               input);
  return y;
}

/// Returns d_input and d_grid; what is not wanted is empty.
TwoTensors grid_sample_backward(const Tensor& grad_any, const Tensor& input_any, const Tensor& grid_any,
                                string_view mode, string_view padding_mode, bool align_corners,
                                std::array<bool, 2> wanted) {
  const GridOptions options = options_of(mode, padding_mode, align_corners);
  check_input_and_grid(input_any, grid_any);
  check_matches(grad_any, "grad", output_sizes(input_any, grid_any), input_any.scalar_type(), input_any.device());
  const Tensor input = dense(input_any), grid = grid_any.contiguous(), grad = dense_like(grad_any, input);
  Tensor d_grid = nothing(input);
  if (wanted[1]) {
    const bool is_zero = options.nearest || grad.numel() == 0;
    d_grid = is_zero ? at::zeros_like(grid) : at::empty_like(grid);
    if (!is_zero)
      run_kernel(GridGatherArgs{.still = input.const_data_ptr(),
                                .grid = grid.const_data_ptr(),
                                .g = grad.const_data_ptr(),
                                .d_grid = d_grid.mutable_data_ptr(),
                                .layout = layout_of(input, grid),
                                .options = options},
                 input);
  }
  return {wanted[0] ? scatter(grad, input, grid, {}, options) : nothing(input), d_grid};
}

/// Returns the gradients of grad, input and grid; what is not wanted is empty.
ThreeTensors grid_sample_double_backward(const MaybeTensor& v_input, const MaybeTensor& v_grid, const Tensor& grad_any,
                                         const Tensor& input_any, const Tensor& grid_any, string_view mode,
                                         string_view padding_mode, bool align_corners, std::array<bool, 3> wanted) {
  const GridOptions options = options_of(mode, padding_mode, align_corners);
  check_input_and_grid(input_any, grid_any);
  const auto type = input_any.scalar_type();
  const auto device = input_any.device();
  check_matches(grad_any, "grad", output_sizes(input_any, grid_any), type, device);
  if (v_input) check_matches(*v_input, "v_input", input_any.sizes(), type, device);
  if (v_grid) check_matches(*v_grid, "v_grid", grid_any.sizes(), type, device);
  const Tensor input = dense(input_any), grid = grid_any.contiguous(), grad = dense_like(grad_any, input);
  const Tensor still = in_layout_of(input, v_input);
  const Tensor moves = v_grid && !options.nearest ? v_grid->contiguous() : Tensor();
  const bool curved = !options.nearest && grad.numel() > 0;
  Tensor d_grad = wanted[0] ? at::empty_like(grad) : nothing(input), d_input = nothing(input), d_grid = nothing(input);
  if (wanted[2]) d_grid = curved ? at::empty_like(grid) : at::zeros_like(grid);
  if (grad.numel() > 0 && (wanted[0] || (wanted[2] && curved)))
    run_kernel(GridGatherArgs{.still = data(still),
                              .moving = moves.defined() ? input.const_data_ptr() : nullptr,
                              .grid = grid.const_data_ptr(),
                              .moves = data(moves),
                              .g = wanted[2] && curved ? grad.const_data_ptr() : nullptr,
                              .y = wanted[0] ? d_grad.mutable_data_ptr() : nullptr,
                              .d_grid = wanted[2] && curved ? d_grid.mutable_data_ptr() : nullptr,
                              .layout = layout_of(input, grid),
                              .options = options},
               input);
  if (wanted[1]) d_input = moves.defined() ? scatter(grad, input, grid, moves, options) : at::zeros_like(input);
  return {d_grad, d_input, d_grid};
}

// ---- Derivatives ----

constexpr Op<"grid_sample", grid_sample> op;
constexpr Op<"grid_sample_backward", grid_sample_backward> backward_op;
constexpr Op<"grid_sample_double_backward", grid_sample_double_backward> double_backward_op;

Tensors derivative(const Kept& kept, const Tensors& grads) {
  const auto [mode, padding_mode, align_corners] = kept.options<std::string, std::string, bool>();
  const std::array<bool, 2> wanted = {kept.wants(0), kept.wants(1)};
  auto [d_input, d_grid] = backward_op(grads[0], kept[0], kept[1], mode, padding_mode, align_corners, wanted);
  return {wanted[0] ? d_input : Tensor(), wanted[1] ? d_grid : Tensor()};
}

Tensor grid_sample_autograd(const Tensor& input, const Tensor& grid, string_view mode, string_view padding_mode,
                            bool align_corners) {
  return recorded({input, grid}, derivative, [&](const Keep& keep) {
    keep({input, grid}, std::string(mode), std::string(padding_mode), align_corners);
    return op.below_autograd(input, grid, mode, padding_mode, align_corners);
  });
}

Tensors derivative_of_backward(const Kept& kept, const Tensors& cotangents) {
  const auto [mode, padding_mode, align_corners, with_input, with_grid] =
      kept.options<std::string, std::string, bool, bool, bool>();
  const bool curved = mode != "nearest";
  // Outputs that were not asked for are empty, and so are their cotangents.
  const MaybeTensor v_input = with_input ? if_defined(cotangents[0]) : MaybeTensor(),
                    v_grid = with_grid && curved ? if_defined(cotangents[1]) : MaybeTensor();
  if (!v_input && !v_grid) return {};
  const std::array<bool, 3> wanted = {kept.wants(0), kept.wants(1) && v_grid, kept.wants(2) && curved};
  auto [d_grad, d_input, d_grid] =
      double_backward_op(v_input, v_grid, kept[0], kept[1], kept[2], mode, padding_mode, align_corners, wanted);
  return {wanted[0] ? d_grad : Tensor(), wanted[1] ? d_input : Tensor(), wanted[2] ? d_grid : Tensor()};
}

TwoTensors grid_sample_backward_autograd(const Tensor& grad, const Tensor& input, const Tensor& grid, string_view mode,
                                         string_view padding_mode, bool align_corners, std::array<bool, 2> wanted) {
  return recorded({grad, input, grid}, derivative_of_backward, [&](const Keep& keep) {
    keep({grad, input, grid}, std::string(mode), std::string(padding_mode), align_corners, wanted[0], wanted[1]);
    return backward_op.below_autograd(grad, input, grid, mode, padding_mode, align_corners, wanted);
  });
}

ThreeTensors grid_sample_double_backward_autograd(const MaybeTensor& v_input, const MaybeTensor& v_grid,
                                                  const Tensor& grad, const Tensor& input, const Tensor& grid,
                                                  string_view mode, string_view padding_mode, bool align_corners,
                                                  std::array<bool, 3> wanted) {
  if (records_gradient({v_input, v_grid, grad, input, grid}))
    return grid_sample_double_backward_formula(v_input, v_grid, grad, input, grid,
                                               options_of(mode, padding_mode, align_corners), wanted);
  return double_backward_op.below_autograd(v_input, v_grid, grad, input, grid, mode, padding_mode, align_corners,
                                           wanted);
}

const Registration registrations[] = {
    {op, grid_sample_autograd},
    {backward_op, grid_sample_backward_autograd},
    {double_backward_op, grid_sample_double_backward_autograd},
};

}  // namespace grid_sample_family
}  // namespace gan_ops
