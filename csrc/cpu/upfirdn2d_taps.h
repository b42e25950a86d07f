// upfirdn2d's filter as the kernels on the CPU use it.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "../upfirdn2d.h"
#include "fir.h"

namespace gan_ops::cpu {

inline int64_t steps_in(int64_t total, int64_t part) {
  return (total + part - 1) / part;
}

/// The taps that an output uses, on inputs that exist: `count` from tap `tap` on, every up-th, on those from `input`
/// on.
struct UsedTaps {
  int64_t input, tap, count;

  GAN_OPS_INLINE UsedTaps(const ResampledAxis& axis, int64_t output)
      : input(axis.first_input(output)), tap(axis.first_tap(output)), count(axis.used_taps(output)) {
    const int64_t outside = std::min(std::max<int64_t>(-input, 0), count);
    input += outside;
    tap += outside * axis.up;
    count = std::clamp<int64_t>(axis.in - input, 0, count - outside);
    if (count == 0) input = std::clamp<int64_t>(input, 0, axis.in);
  }
};

/// The filter as it correlates, times gain: along columns and along rows, or where that cannot be, [vertical.taps,
/// horizontal.taps].
template <class A>
struct Taps {
  std::vector<A> down, across, square;

  /// any: whether two passes are worth it however few the taps are.
  Taps(const Upfirdn2dArgs& a, bool any) {
    const A* const filter = static_cast<const A*>(a.filter);
    std::vector<A> given(a.separable ? a.horizontal.taps : a.horizontal.taps * a.vertical.taps, A(1));
    if (filter != nullptr) std::copy_n(filter, given.size(), given.begin());
    if (!a.flip) std::reverse(given.begin(), given.end());
    if (a.separable)
      down = across = std::move(given);
    else
      factor(a, any ? 0 : kTermsAtOnce, given);
    for (A& tap : is_square() ? square : across) tap *= A(a.gain);
  }
  bool is_square() const { return down.empty(); }

 private:
  /// Two passes of few taps cost less than one of many: so a filter that is an outer product, but for roundings, is
  /// taken for that.
  void factor(const Upfirdn2dArgs& a, int64_t more_than, std::vector<A>& given) {
    const int64_t height = a.vertical.taps, width = a.horizontal.taps;
    const auto largest =
        std::max_element(given.begin(), given.end(), [](A l, A r) { return std::abs(l) < std::abs(r); });
    const int64_t row = (largest - given.begin()) / width, column = (largest - given.begin()) % width;
    const int64_t used = steps_in(height, a.vertical.up) * steps_in(width, a.horizontal.up);
    bool outer = used > more_than && *largest != A(0);
    for (int64_t i = 0; i < height && outer; ++i)
      for (int64_t j = 0; j < width; ++j) {
        const A product = given[i * width + column] / *largest * given[row * width + j];
        // Not if anything is infinite or NaN.
        outer = outer &&
                std::abs(given[i * width + j] - product) <= 4 * std::numeric_limits<A>::epsilon() * std::abs(product);
      }
    if (!outer) {
      square = std::move(given);
      return;
    }
    for (int64_t i = 0; i < height; ++i) down.push_back(given[i * width + column] / *largest);
    across.assign(given.begin() + row * width, given.begin() + (row + 1) * width);
  }
};

}  // namespace gan_ops::cpu
