// Values of images between their pixels (Jaderberg et al. 2015), of two axes or three, and their derivatives.
//
// A grid's coordinate of an axis with n pixels, from −1 to 1, stands for the pixel coordinate
//   u = (coordinate + 1) · n/2 − 1/2,   with align_corners  u = (coordinate + 1) · (n − 1)/2
// Padding by border takes it to the nearest in [0, n − 1]; by reflection it is first mirrored at −1/2 and n − 1/2 (with
// align_corners at 0 and n − 1) as often as it takes. With b = ⌊u⌋ and f = u − b, a point's corners are the pixels
// b + k, k = 0 or 1 along each axis. They weigh w_k = Π_a (1 − f_a or f_a), and those that are not in the image 0.
//
// With s_a = du_a / dcoordinate_a, and w_k^a and w_k^ab for derivatives of w_k by u_a and u_b:
//   forward          y[c] = Σ_k w_k x_k[c]
//   backward         d_x_k[c] = Σ_points w_k g[c]
//                    d_grid_a = s_a Σ_c g[c] Σ_k w_k^a x_k[c]
//   double backward  for cotangents v of d_x and t of d_grid, which moves u by q_a = s_a t_a and so the weights by
//                    ω_k = Σ_a q_a w_k^a and ω_k^a = Σ_(b ≠ a) q_b w_k^ab  (w is linear in each u_a, so w^aa = 0):
//                    d_g[c] = Σ_k (w_k v_k[c] + ω_k x_k[c])
//                    d_x_k[c] = Σ_points ω_k g[c]
//                    d_grid_a = s_a Σ_c g[c] Σ_k (w_k^a v_k[c] + ω_k^a x_k[c])
// So two kernels make all: one gathers, with x in the place of v in the first two passes, and one scatters, by w or ω.
// The mode "nearest" has the pixel round(u) alone, half to even, with the weight 1, which has no derivatives.
//
// Derivatives at kinks are torch's: at whole u those of the cell behind it, and where padding clips, at 0 and at n − 1
// too, s_a = 0. A factor of 0 there, and the weight 0 of what is not in the image, are 0 whatever they are multiplied
// by. Infinite coordinates and nan are outside of the image; padding takes inf to the border's last pixel, and its
// reflection and nan to the first. (torch's kernels do not agree on these, and some of its gradients end the process.)
#pragma once

#include <cmath>
#include <cstdint>

#include "numeric.h"

namespace gan_ops {

enum class GridPadding { zeros, border, reflection };

constexpr int kMostGridAxes = 3;
constexpr int64_t kMostGridPixels = (int64_t(1) << 31) - 2;  // along an axis

/// Of the images: axes in the grid's order, so that the first one's pixels are adjacent.
struct GridSize {
  int axes;
  int64_t pixels[kMostGridAxes];

  GAN_OPS_INLINE int64_t count() const {
    int64_t product = 1;
    for (int a = 0; a < axes; ++a) product *= pixels[a];
    return product;
  }
};

struct GridOptions {
  bool nearest;
  GridPadding padding;
  bool align_corners;
};

/// What u is computed by, along one axis.
template <class A>
struct GridAxis {
  A half, offset, low, twice_span, last;
  int pixels;

  GAN_OPS_INLINE GridAxis(int64_t pixels, bool align_corners)
      : half(A(align_corners ? pixels - 1 : pixels) / 2),
        offset(align_corners ? A(0) : A(0.5)),
        low(-offset),
        twice_span(4 * half),
        last(A(pixels - 1)),
        pixels(static_cast<int>(pixels)) {}
};

/// A point along one axis: weights of the pixel `base` and of the next, their derivatives, 0 or ±1, and s.
template <class A>
struct GridPlace {
  int base;
  bool inside[2];
  A weight[2];
  A slope;
};

template <class A>
GAN_OPS_INLINE GridPlace<A> place_in_grid(A coordinate, const GridAxis<A>& axis, GridPadding padding, bool nearest) {
  // One fused multiply-add, where there are such: as in torch, so that points at pixels' centres, but for roundings,
  // come into the same cells.
  A u = (coordinate + 1) * axis.half - axis.offset, slope = axis.half;
  if (padding == GridPadding::reflection) {
    const A from_low = u - axis.low, distance = std::abs(from_low);
    const A there = distance - std::trunc(distance / axis.twice_span) * axis.twice_span;
    const A back = axis.twice_span - there;
    const bool returns = there > back;
    u = (returns ? back : there) + axis.low;
    slope = returns != (from_low < A(0)) ? -slope : slope;
  }
  if (padding != GridPadding::zeros) {
    const bool behind_first = u > A(0), before_last = u < axis.last;
    u = behind_first ? (before_last ? u : axis.last) : A(0);
    slope = behind_first & before_last ? slope : A(0);
  }
  const A whole = nearest ? std::nearbyint(u) : std::floor(u);
  const A fraction = u - whole;
  // Far away is just outside; so is nan.
  const A from_left = whole > A(-2) ? whole : A(-2), near = from_left < axis.last + 1 ? from_left : axis.last + 1;
  GridPlace<A> place;
  place.base = static_cast<int>(near);
  place.inside[0] = (place.base >= 0) & (place.base < axis.pixels);
  place.inside[1] = (!nearest) & (place.base >= -1) & (place.base < axis.pixels - 1);
  place.weight[0] = nearest ? A(1) : 1 - fraction;
  place.weight[1] = fraction;
  place.slope = nearest ? A(0) : slope;
  return place;
}

/// A corner of a point's cell: its weights along all axes, and their derivatives, −1 of near pixels and 1 of far ones.
template <class A, int kAxes>
struct GridCorner {
  A weight[kAxes], slope[kAxes];

  /// w_k; w_k^a and w_k^ab for axes that are given.
  GAN_OPS_INLINE A product(int by = -1, int and_by = -1) const {
    A product = 1;
    for (int a = 0; a < kAxes; ++a) product *= a == by || a == and_by ? slope[a] : weight[a];
    return product;
  }
  /// ω_k, and ω_k^a for an axis that is given.
  GAN_OPS_INLINE A moved(const A* moves, int by = -1) const {
    A sum = 0;
    for (int a = 0; a < kAxes; ++a)
      if (a != by) sum += moves[a] * product(a, by);
    return sum;
  }
};

/// Which pixel of its cell corner k is along an axis: 0 the near one, 1 the far one.
GAN_OPS_INLINE int side_of_corner(int k, int axis) {
  return k >> axis & 1;
}

/// s·value, 0 where s is.
template <class A>
GAN_OPS_INLINE A times_slope(A slope, A value) {
  const A product = slope * value;
  return slope == A(0) ? A(0) : product;
}

}  // namespace gan_ops
