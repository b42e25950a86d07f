// upfirdn2d on the CPU for images of pixels with many adjacent values (channels_last): a pixel of the output is a
// weighted sum of the input's pixels, each a run of values, which lie in the caches from the rows before. A separable
// filter goes along columns first, for a part of a row that stays in L2.
#pragma once

#include <memory>

#include "parallel.h"
#include "streaming_stores.h"
#include "upfirdn2d_taps.h"

namespace gan_ops::cpu {

constexpr int64_t kLongPixel = 32;         // values, for which a pixel's sum is worth its preparations
constexpr int64_t kBetweenValues = 32768;  // that a part of a row has between columns and rows

/// One row of the output, pixel by pixel.
template <class A>
struct PixelRow {
  const Upfirdn2dArgs& a;
  const Taps<A>& taps;
  const UsedTaps* across;  // of each output of the row
  bool past;               // whether stores bypass the caches
  FirTerm<A>* terms;
  A *between, *pixel;  // [kBetweenValues or one pixel's inputs · inner], [inner]

  /// Outputs whose inputs fit in `between`.
  int64_t part() const {
    const ResampledAxis& axis = a.horizontal;
    const int64_t inputs = std::max<int64_t>(kBetweenValues / a.inner, most_inputs());
    return std::max<int64_t>(1, (inputs - most_inputs()) * axis.up / axis.down);
  }
  int64_t most_inputs() const { return steps_in(a.horizontal.taps, a.horizontal.up) + 1; }
  int64_t between_values() const { return std::max(kBetweenValues, most_inputs() * a.inner); }

  GAN_OPS_INLINE void put(const A* from, int64_t count, A* to) const {
    sum_terms(from, terms, count, a.inner, past ? pixel : to);
    if (past) stream(to, pixel, a.inner);
  }

  /// Outputs [begin, end) of the row, of x's plane.
  GAN_OPS_INLINE void by_axes(const A* plane, const UsedTaps& down, int64_t begin, int64_t end, A* row) const {
    const int64_t first_column = across[begin].input, line = a.horizontal.in * a.inner;
    const int64_t columns = std::max<int64_t>(across[end - 1].input + across[end - 1].count - first_column, 0);
    for (int64_t k = 0; k < down.count; ++k) terms[k] = {k * line, taps.down[down.tap + k * a.vertical.up]};
    sum_terms(plane + down.input * line + first_column * a.inner, terms, down.count, columns * a.inner, between);
    for (int64_t output = begin; output < end; ++output) {
      const UsedTaps& used = across[output];
      for (int64_t k = 0; k < used.count; ++k)
        terms[k] = {(used.input - first_column + k) * a.inner, taps.across[used.tap + k * a.horizontal.up]};
      put(between, used.count, row + output * a.inner);
    }
  }

  GAN_OPS_INLINE void square(const A* plane, const UsedTaps& down, int64_t begin, int64_t end, A* row) const {
    for (int64_t output = begin; output < end; ++output) {
      const UsedTaps& used = across[output];
      int64_t count = 0;
      for (int64_t k = 0; k < down.count; ++k) {
        const A* const of_row = taps.square.data() + (down.tap + k * a.vertical.up) * a.horizontal.taps;
        for (int64_t l = 0; l < used.count; ++l)
          terms[count++] = {((down.input + k) * a.horizontal.in + used.input + l) * a.inner,
                            of_row[used.tap + l * a.horizontal.up]};
      }
      put(plane, count, row + output * a.inner);
    }
  }
};

template <class A>
void by_pixels(const Upfirdn2dArgs& a, const Taps<A>& taps) {
  const A* const x = static_cast<const A*>(a.x);
  A* const y = static_cast<A*>(a.y);
  const int64_t of_x = a.vertical.in * a.horizontal.in * a.inner, of_row = a.horizontal.out * a.inner;
  const int64_t rows = a.planes * a.vertical.out;
  const bool past = beyond_cache((a.planes * of_x + rows * of_row) * int64_t(sizeof(A)));
  std::vector<UsedTaps> across;
  for (int64_t output = 0; output < a.horizontal.out; ++output) across.emplace_back(a.horizontal, output);
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, of_row));
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    const int64_t most_terms = steps_in(a.vertical.taps, a.vertical.up) * steps_in(a.horizontal.taps, a.horizontal.up);
    std::vector<FirTerm<A>> terms(most_terms);
    PixelRow<A> row{a, taps, across.data(), past, terms.data(), nullptr, nullptr};
    const int64_t part = row.part(), between = row.between_values(), values = between + a.inner;
    std::unique_ptr<A[]> memory;
    row.between = static_cast<A*>(thread_scratch());
    if (values * int64_t(sizeof(A)) > kScratchBytes) {
      memory.reset(new A[values]);
      row.between = memory.get();
    }
    row.pixel = row.between + between;
    run_best(
        [&](int64_t first, int64_t behind) GAN_OPS_LAMBDA_INLINE {
          for (int64_t i = first; i < behind; ++i) {
            const UsedTaps down(a.vertical, i % a.vertical.out);
            const A* const plane = x + i / a.vertical.out * of_x;
            for (int64_t p = 0; p < a.horizontal.out; p += part) {
              const int64_t q = std::min(p + part, a.horizontal.out);
              if (taps.is_square())
                row.square(plane, down, p, q, y + i * of_row);
              else
                row.by_axes(plane, down, p, q, y + i * of_row);
            }
          }
        },
        begin, end);
    if (past) streams_end();
  });
}

}  // namespace gan_ops::cpu
