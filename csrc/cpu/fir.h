// What FIR filters on the CPU are made of: an axis taken apart into phases, so that no inserted zero is multiplied, and
// weighted sums of runs of adjacent values.
//
// A tile of images lies in memory polyphase: of every D-th row and column a plane of its own. Then each tap of a phase
// is the same plane at another offset, for all pixels of the tile at once, and a filter is a weighted sum of some such
// runs as long as the tile. (Values that wrap around at the end of a row are computed too, and left.)
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "../math/upfirdn2d.h"

namespace gan_ops::cpu {

/// Output outputs·i + p is the sum over k of tap first_tap + k·up times input inputs·i + first + start + k.
struct Phase {
  int64_t start;
  int64_t first_tap;
  int64_t count;
};

struct Polyphase {
  int64_t outputs, inputs;    // that a step of i moves on
  int64_t in_phases;          // of which inputs[] planes are needed
  int64_t first;              // input of step 0
  int64_t reach;              // steps further than its own that an output of a step reads
  int64_t steps;              // that all outputs are in
  std::vector<Phase> phases;  // of the outputs, `outputs` or fewer

  explicit Polyphase(const ResampledAxis& axis) {
    const int64_t shared = std::gcd(axis.up, axis.down);
    outputs = axis.up / shared;
    inputs = axis.down / shared;
    steps = (axis.out + outputs - 1) / outputs;
    int64_t last = INT64_MIN;
    first = INT64_MAX;
    for (int64_t p = 0; p < std::min(outputs, axis.out); ++p) {
      phases.push_back({axis.first_input(p), axis.first_tap(p), axis.used_taps(p)});
      first = std::min(first, phases.back().start);
      last = std::max(last, phases.back().start + std::max<int64_t>(phases.back().count, 1) - 1);
    }
    for (Phase& phase : phases) phase.start -= first;
    in_phases = std::min(inputs, last - first + 1);
    reach = (last - first) / inputs;
  }

  int64_t out_phases() const { return static_cast<int64_t>(phases.size()); }
  /// The plane of input start + k of a step, and how many steps further it lies there.
  int64_t plane_of(int64_t input) const { return input % inputs; }
  int64_t step_of(int64_t input) const { return input / inputs; }
};

/// tap · the run that begins at `offset`.
template <class A>
struct FirTerm {
  int64_t offset;
  A tap;
};

/// to[j] = Σ_k tap_k · (from + offset_k)[j], added to what is there if kAdd.
template <bool kAdd, class A, size_t... k>
GAN_OPS_INLINE void sum_terms_of(std::index_sequence<k...>, const A* from, const FirTerm<A>* terms, int64_t count,
                                 A* to) {
  const A* const runs[] = {from + terms[k].offset...};
  const A taps[] = {terms[k].tap...};
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) to[j] = ((kAdd ? to[j] : A(0)) + ... + (taps[k] * runs[k][j]));
}

constexpr int64_t kTermsAtOnce = 8;  // their addresses fit in registers

template <bool kAdd, class A>
GAN_OPS_INLINE void sum_some_terms(const A* from, const FirTerm<A>* terms, int64_t number, int64_t count, A* to) {
  switch (number) {
    case 1:
      return sum_terms_of<kAdd>(std::make_index_sequence<1>(), from, terms, count, to);
    case 2:
      return sum_terms_of<kAdd>(std::make_index_sequence<2>(), from, terms, count, to);
    case 3:
      return sum_terms_of<kAdd>(std::make_index_sequence<3>(), from, terms, count, to);
    case 4:
      return sum_terms_of<kAdd>(std::make_index_sequence<4>(), from, terms, count, to);
    case 5:
      return sum_terms_of<kAdd>(std::make_index_sequence<5>(), from, terms, count, to);
    case 6:
      return sum_terms_of<kAdd>(std::make_index_sequence<6>(), from, terms, count, to);
    case 7:
      return sum_terms_of<kAdd>(std::make_index_sequence<7>(), from, terms, count, to);
    default:
      return sum_terms_of<kAdd>(std::make_index_sequence<8>(), from, terms, count, to);
  }
}

/// to[j] = Σ_k tap_k · (from + offset_k)[j] for j in [0, count): eight terms after eight, over runs that stay in L1.
template <class A>
GAN_OPS_INLINE void sum_terms(const A* from, const FirTerm<A>* terms, int64_t number, int64_t count, A* to) {
  constexpr int64_t kRun = 2048;
  if (number == 0) {
    std::fill_n(to, count, A(0));
    return;
  }
  const int64_t run = number <= kTermsAtOnce ? count : kRun;
  for (int64_t j = 0; j < count; j += run) {
    const int64_t here = std::min(run, count - j);
    sum_some_terms<false>(from + j, terms, std::min(number, kTermsAtOnce), here, to + j);
    for (int64_t k = kTermsAtOnce; k < number; k += kTermsAtOnce)
      sum_some_terms<true>(from + j, terms + k, std::min(number - k, kTermsAtOnce), here, to + j);
  }
}

}  // namespace gan_ops::cpu
