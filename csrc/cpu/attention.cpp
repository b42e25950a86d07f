// Attention's blocks of scores on the CPU: a thread a row, whose elements stay in the cache from one sum to the next.
#include "../attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "exp.h"
#include "lanes.h"

namespace gan_ops {
namespace {

using namespace cpu;

/// A bias along a row: a column's own number plus one that all share. One of them, or both, is 0.
template <class A>
struct RowBias {
  const A* own;
  A shared;

  template <bool kOwn>
  GAN_OPS_INLINE A at(int64_t j) const {
    if constexpr (kOwn) return own[j];
    return shared;
  }
};

template <class A>
GAN_OPS_INLINE RowBias<A> row_bias(const ScoreBias& bias, const ScoreBlock& block, int64_t r) {
  if (bias.data == nullptr) return {nullptr, A(0)};
  const A* row = bias.of_row<A>(block, r);
  return bias.column == 0 ? RowBias<A>{nullptr, *row} : RowBias<A>{row, A(0)};
}

/// body(a std::bool_constant: whether columns have numbers of their own).
template <class A, class Body>
GAN_OPS_INLINE void with_bias(const RowBias<A>& bias, const Body& body) {
  if (bias.own != nullptr)
    body(std::true_type{});
  else
    body(std::false_type{});
}

/// S into P, and its ℓ.
template <class A>
GAN_OPS_INLINE A softmax(A* s, const RowBias<A>& bias, int64_t columns) {
  constexpr A kInfinity = std::numeric_limits<A>::infinity();
  A base = 0, sum = 0;
  with_bias(bias, [&](auto own) GAN_OPS_LAMBDA_INLINE {
    const auto score = [&](int64_t j) GAN_OPS_LAMBDA_INLINE { return s[j] + bias.template at<own>(j); };
    const A top = max_in_lanes<A>(columns, score);
    if (top != -kInfinity) base = top;
    sum =
        sum_in_lanes<A>(columns, [&](int64_t j) GAN_OPS_LAMBDA_INLINE { return s[j] = exp_of_minus(base - score(j)); });
  });
  if (sum == A(0)) return kInfinity;  // all −inf: P = 0, which is what stands there
  const A factor = A(1) / sum;
#pragma omp simd
  for (int64_t j = 0; j < columns; ++j) s[j] *= factor;
  return base + std::log(sum);
}

/// S into P, and ⟨P, A⟩. ℓ is rounded as the scores are, which are large where attention is sharp, so P's rows are
/// divided by their sums.
template <class A>
GAN_OPS_INLINE A weights(A* s, const A* a, const RowBias<A>& bias, A log_sum, int64_t columns) {
  A sum = 0;
  with_bias(bias, [&](auto own) GAN_OPS_LAMBDA_INLINE {
    sum = sum_in_lanes<A>(columns, [&](int64_t j) GAN_OPS_LAMBDA_INLINE {
      return s[j] = exp_of_minus(log_sum - (s[j] + bias.template at<own>(j)));
    });
  });
  const A factor = sum == A(0) ? A(0) : A(1) / sum;
  return sum_in_lanes<A>(columns, [&](int64_t j) GAN_OPS_LAMBDA_INLINE {
    s[j] *= factor;
    return s[j] * a[j];
  });
}

template <class A>
GAN_OPS_INLINE void forward_row(const AttentionForwardArgs& args, int64_t r) {
  const int64_t columns = args.block.columns, seen = args.block.seen(r);
  A* s = static_cast<A*>(args.s) + r * columns;
  static_cast<A*>(args.log_sum)[args.block.place_of_row(r)] = softmax(s, row_bias<A>(args.bias, args.block, r), seen);
  std::fill(s + seen, s + columns, A(0));
}

template <class A>
GAN_OPS_INLINE void backward_row(const AttentionBackwardArgs& args, int64_t r) {
  const int64_t columns = args.block.columns, seen = args.block.seen(r);
  A *s = static_cast<A*>(args.s) + r * columns, *a = static_cast<A*>(args.a) + r * columns;
  const A log_sum = static_cast<const A*>(args.log_sum)[args.block.place_of_row(r)];
  const A d = weights(s, a, row_bias<A>(args.bias, args.block, r), log_sum, seen);
#pragma omp simd
  for (int64_t j = 0; j < seen; ++j) a[j] = s[j] * (a[j] - d);
  for (A* each : {s, a}) std::fill(each + seen, each + columns, A(0));
}

template <class A>
GAN_OPS_INLINE void double_backward_row(const AttentionDoubleBackwardArgs& args, int64_t r) {
  const int64_t columns = args.block.columns, seen = args.block.seen(r);
  A *s = static_cast<A*>(args.s) + r * columns, *a = static_cast<A*>(args.a) + r * columns;
  A *w = static_cast<A*>(args.w) + r * columns, *u = static_cast<A*>(args.u) + r * columns;
  const A log_sum = static_cast<const A*>(args.log_sum)[args.block.place_of_row(r)];
  const A d = weights(s, a, row_bias<A>(args.bias, args.block, r), log_sum, seen);
  A mean = 0;  // ⟨P, W⟩
  const RowBias<A> v_bias = row_bias<A>(args.v_bias, args.block, r);
  with_bias(v_bias, [&](auto own) GAN_OPS_LAMBDA_INLINE {
    mean = sum_in_lanes<A>(seen, [&](int64_t j) GAN_OPS_LAMBDA_INLINE {
      w[j] += v_bias.template at<own>(j);
      return s[j] * w[j];
    });
  });
  const A sum = sum_in_lanes<A>(seen, [&](int64_t j) GAN_OPS_LAMBDA_INLINE {
    const A a_less_d = a[j] - d, w_less_mean = w[j] - mean;
    a[j] = s[j] * a_less_d;
    w[j] = s[j] * w_less_mean;
    u[j] = attention_slope(a_less_d, w_less_mean, u[j]);
    return s[j] * u[j];
  });
#pragma omp simd
  for (int64_t j = 0; j < seen; ++j) u[j] = s[j] * (u[j] - sum);
  for (A* each : {s, a, w, u}) std::fill(each + seen, each + columns, A(0));
}

/// row(A(), r) for all rows, A the accumulate type; `passes`: about how many operations like an addition an element
/// has.
template <class Row>
void for_rows(const ScoreBlock& block, int64_t passes, Dtype dtype, const Row& row) {
  const auto run = [&](auto zero) {
    parallel_for(block.row_count(), passes * block.columns, [&](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
      for (int64_t r = begin; r < end; ++r) row(zero, r);
    });
  };
  if (dtype == Dtype::float64)
    run(double());
  else
    run(float());
}

}  // namespace

void run_on_cpu(const AttentionForwardArgs& args, Dtype dtype) {
  for_rows(args.block, 4, dtype, [&]<class A>(A, int64_t r) GAN_OPS_LAMBDA_INLINE { forward_row<A>(args, r); });
}
void run_on_cpu(const AttentionBackwardArgs& args, Dtype dtype) {
  for_rows(args.block, 4, dtype, [&]<class A>(A, int64_t r) GAN_OPS_LAMBDA_INLINE { backward_row<A>(args, r); });
}
void run_on_cpu(const AttentionDoubleBackwardArgs& args, Dtype dtype) {
  for_rows(args.block, 8, dtype, [&]<class A>(A, int64_t r) GAN_OPS_LAMBDA_INLINE { double_backward_row<A>(args, r); });
}

}  // namespace gan_ops
