// grid_sample's double backward in torch's own ops, for derivatives beyond it: rare, and torch differentiates them.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <array>
#include <tuple>
#include <vector>

#include "common.h"
#include "math/grid_sample.h"

namespace gan_ops {

/// Points along an axis, [N, points] each. The fraction depends on the coordinate; all else is constant.
struct GridPlaceFormula {
  at::Tensor base, fraction, slope, near;
};

inline GridPlaceFormula place_in_grid_formula(const at::Tensor& coordinate, int64_t pixels,
                                              const GridOptions& options) {
  const GridAxis<double> axis(pixels, options.align_corners);
  at::Tensor u = (coordinate.detach() + 1) * axis.half - axis.offset, slope = at::full_like(u, axis.half);
  if (options.padding == GridPadding::reflection) {
    const at::Tensor from_low = u - axis.low, distance = from_low.abs();
    const at::Tensor there = distance - (distance / axis.twice_span).trunc() * axis.twice_span;
    const at::Tensor back = axis.twice_span - there, returns = there > back;
    u = at::where(returns, back, there) + axis.low;
    slope = at::where(returns.logical_xor(from_low < 0), -slope, slope);
  }
  if (options.padding != GridPadding::zeros) {
    const at::Tensor behind_first = u > 0, before_last = u < axis.last;
    u = at::where(behind_first, at::where(before_last, u, axis.last), 0.0);
    slope = at::where(behind_first.logical_and(before_last), slope, 0.0);
  }
  const at::Tensor near = (u >= -1).logical_and(u < axis.last + 1);
  u = at::where(near, u, 0.0);
  slope = at::where(near, slope, 0.0);
  const at::Tensor base = options.nearest ? u.round() : u.floor(), known = at::where(near, coordinate, 0.0);
  return {base.to(at::kLong), u - base + slope * (known - known.detach()), slope, near};
}

/// d_g, d_x and d_grid of math/grid_sample.h's double backward, each empty where it is not wanted. `v` and `moves` may
/// be absent.
inline std::tuple<at::Tensor, at::Tensor, at::Tensor> grid_sample_double_backward_formula(
    const MaybeTensor& v, const MaybeTensor& moves, const at::Tensor& grad, const at::Tensor& input,
    const at::Tensor& grid, const GridOptions& options, const std::array<bool, 3>& wanted) {
  const int axes = static_cast<int>(input.dim()) - 2;
  const auto type = accumulate_type(input);
  const at::Tensor points = grid.flatten(1, -2).to(type), g = grad.flatten(2).to(type);  // [N, P, axes], [N, C, P]
  std::vector<GridPlaceFormula> places;
  std::vector<at::Tensor> q;  // of each axis, [N, P]
  for (int a = 0; a < axes; ++a) {
    places.push_back(place_in_grid_formula(points.select(-1, a), input.size(-1 - a), options));
    const at::Tensor moved = moves ? moves->flatten(1, -2).to(type).select(-1, a) : at::Tensor();
    q.push_back(moves ? places[a].slope * moved : at::zeros_like(places[a].slope));
  }
  // [N, C, pixels], and behind them what is not in the image.
  const auto with_zero = [&](const at::Tensor& images) {
    const at::Tensor flat = images.flatten(2).to(type);
    return at::cat({flat, at::zeros_like(flat.narrow(2, 0, 1))}, 2);
  };
  const at::Tensor x = with_zero(input), still = v ? with_zero(*v) : at::zeros_like(x);
  at::Tensor d_g = at::zeros_like(g), d_x = at::zeros_like(x);
  std::vector<at::Tensor> d_points(axes, at::zeros_like(points.select(-1, 0)));
  for (int k = 0; k < (options.nearest ? 1 : 1 << axes); ++k) {
    at::Tensor pixel = at::zeros_like(places[0].base), inside = at::ones_like(places[0].near);
    for (int a = axes - 1; a >= 0; --a) {
      const at::Tensor at_axis = places[a].base + side_of_corner(k, a);
      inside = inside.logical_and(places[a].near).logical_and(at_axis >= 0).logical_and(at_axis < input.size(-1 - a));
      pixel = pixel * input.size(-1 - a) + at_axis;
    }
    const auto weight = [&](int by = -1, int and_by = -1) {
      at::Tensor product = at::ones_like(places[0].fraction);
      for (int a = 0; a < axes && !options.nearest; ++a) {
        const bool far = side_of_corner(k, a) != 0;
        if (a == by || a == and_by)
          product = far ? product : -product;
        else
          product = product * (far ? places[a].fraction : 1 - places[a].fraction);
      }
      return product;
    };
    const auto moved_weight = [&](int by = -1) {
      at::Tensor sum = at::zeros_like(q[0]);
      for (int a = 0; a < axes && !options.nearest; ++a)
        if (a != by) sum = sum + q[a] * weight(a, by);
      return sum;
    };
    const auto of_corner = [&](const at::Tensor& of_points) { return at::where(inside, of_points, 0.0).unsqueeze(1); };
    const at::Tensor index = at::where(inside, pixel, x.size(2) - 1).unsqueeze(1).expand_as(g);
    const at::Tensor x_k = x.gather(2, index), v_k = still.gather(2, index), moving = of_corner(moved_weight());
    d_g = d_g + of_corner(weight()) * v_k + moving * x_k;
    d_x = d_x.scatter_add(2, index, moving * g);
    for (int a = 0; a < axes && !options.nearest; ++a) {
      const at::Tensor along = of_corner(weight(a)) * v_k + of_corner(moved_weight(a)) * x_k;
      d_points[a] = d_points[a] + places[a].slope * (g * along).sum(1);
    }
  }
  const auto as = [&](bool is_wanted, const at::Tensor& result, const at::Tensor& like) {
    return is_wanted ? result.reshape(like.sizes()).to(like.scalar_type()) : at::empty({0}, like.options());
  };
  return {as(wanted[0], d_g, grad), as(wanted[1], d_x.narrow(2, 0, x.size(2) - 1), input),
          as(wanted[2], at::stack(d_points, -1), grid)};
}

}  // namespace gan_ops
