// Attention's blocks of scores on CUDA: a warp a row, or of rows of more than kLong columns a block. A row's sums are
// taken one after another, each a reading of the row, which by then lies in L1 or L2.
//
// Bytes it must move, for a block of E scores in float32: forward 8·E (S is read, P written), backward 16·E, double
// backward 32·E. An exponential and at most 14 other operations an element, so memory sets the pace: at an H200's
// 4.8 TB/s, 64 matrices of 1024×1024 take 0.11, 0.22 and 0.45 ms; the products around it move as much again.
#include <cmath>

#include "../attention.h"
#include "launch.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

constexpr int64_t kLong = 1024;

__device__ __forceinline__ float exponential(float x) {
  return expf(x);
}
__device__ __forceinline__ double exponential(double x) {
  return exp(x);
}

/// The threads that share a row: all kThreads of a block, or a warp of them.
template <int kSize, class A>
struct Team {
  A* shared;  // kThreads / kWarp values

  static __device__ __forceinline__ int rank() { return threadIdx.x % kSize; }
  __device__ __forceinline__ A sum(A value) const {
    if constexpr (kSize == kWarp) return lanes_sum<kWarp>(value);
    return block_sum(value, shared);
  }
  /// The largest value; those that are nan are passed over.
  __device__ __forceinline__ A largest(A value) const {
    const auto larger = [](A a, A b) { return b > a ? b : a; };
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
      value = larger(value, __shfl_xor_sync(kAllLanes, value, distance));
    if constexpr (kSize == kWarp) return value;
    if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
    __syncthreads();
#pragma unroll
    for (int warp = 0; warp < kThreads / kWarp; ++warp) value = larger(value, shared[warp]);
    __syncthreads();
    return value;
  }
  /// The sum of term(j) for j in [0, count).
  template <class Term>
  __device__ __forceinline__ A sum_of(int64_t count, const Term& term) const {
    A total = 0;
    for (int64_t j = rank(); j < count; j += kSize) total += term(j);
    return sum(total);
  }
  /// body(j) for j in [begin, end).
  template <class Body>
  __device__ __forceinline__ void each(int64_t begin, int64_t end, const Body& body) const {
    for (int64_t j = begin + rank(); j < end; j += kSize) body(j);
  }
};

/// Zeros for what a row does not see.
template <class Team, class A>
__device__ __forceinline__ void clear(const Team& team, int64_t seen, int64_t columns, A* row) {
  team.each(seen, columns, [&](int64_t j) { row[j] = A(0); });
}

/// An element of a bias's row, or 0.
template <class A>
__device__ __forceinline__ A bias_at(const A* row, int64_t stride, int64_t j) {
  return row == nullptr ? A(0) : row[j * stride];
}
template <class A>
__device__ __forceinline__ const A* bias_row(const ScoreBias& bias, const ScoreBlock& block, int64_t r) {
  return bias.data == nullptr ? nullptr : bias.of_row<A>(block, r);
}

template <int kSize, class A>
__device__ __forceinline__ void row_of(const AttentionForwardArgs& args, const Team<kSize, A>& team, int64_t r) {
  const int64_t columns = args.block.columns, seen = args.block.seen(r);
  A* s = static_cast<A*>(args.s) + r * columns;
  const A* bias = bias_row<A>(args.bias, args.block, r);
  const A infinity = static_cast<A>(INFINITY);
  A top = -infinity;
  team.each(0, seen, [&](int64_t j) {
    s[j] += bias_at(bias, args.bias.column, j);
    top = s[j] > top ? s[j] : top;
  });
  top = team.largest(top);
  const A base = top == -infinity ? A(0) : top;
  const A sum = team.sum_of(seen, [&](int64_t j) { return s[j] = exponential(s[j] - base); });
  const A factor = sum == A(0) ? A(0) : A(1) / sum;  // 0: a row of −inf alone
  team.each(0, seen, [&](int64_t j) { s[j] *= factor; });
  if (team.rank() == 0)
    static_cast<A*>(args.log_sum)[args.block.place_of_row(r)] = sum == A(0) ? infinity : base + log(sum);
  clear(team, seen, columns, s);
}

/// S into P, and ⟨P, A⟩. ℓ is rounded as the scores are, which are large where attention is sharp, so P's rows are
/// divided by their sums.
template <int kSize, class A>
__device__ __forceinline__ A weights(const Team<kSize, A>& team, A* s, const A* a, const A* bias, int64_t bias_stride,
                                     A log_sum, int64_t seen) {
  const A sum =
      team.sum_of(seen, [&](int64_t j) { return s[j] = exponential(s[j] + bias_at(bias, bias_stride, j) - log_sum); });
  const A factor = sum == A(0) ? A(0) : A(1) / sum;
  return team.sum_of(seen, [&](int64_t j) {
    s[j] *= factor;
    return s[j] * a[j];
  });
}

template <int kSize, class A>
__device__ __forceinline__ void row_of(const AttentionBackwardArgs& args, const Team<kSize, A>& team, int64_t r) {
  const int64_t columns = args.block.columns, seen = args.block.seen(r);
  A *s = static_cast<A*>(args.s) + r * columns, *a = static_cast<A*>(args.a) + r * columns;
  const A log_sum = static_cast<const A*>(args.log_sum)[args.block.place_of_row(r)];
  const A d = weights(team, s, a, bias_row<A>(args.bias, args.block, r), args.bias.column, log_sum, seen);
  team.each(0, seen, [&](int64_t j) { a[j] = s[j] * (a[j] - d); });
  clear(team, seen, columns, s);
  clear(team, seen, columns, a);
}

template <int kSize, class A>
__device__ __forceinline__ void row_of(const AttentionDoubleBackwardArgs& args, const Team<kSize, A>& team, int64_t r) {
  const int64_t columns = args.block.columns, seen = args.block.seen(r);
  A *s = static_cast<A*>(args.s) + r * columns, *a = static_cast<A*>(args.a) + r * columns;
  A *w = static_cast<A*>(args.w) + r * columns, *u = static_cast<A*>(args.u) + r * columns;
  const A log_sum = static_cast<const A*>(args.log_sum)[args.block.place_of_row(r)];
  const A d = weights(team, s, a, bias_row<A>(args.bias, args.block, r), args.bias.column, log_sum, seen);
  const A* v_bias = bias_row<A>(args.v_bias, args.block, r);
  const A mean = team.sum_of(seen, [&](int64_t j) {  // ⟨P, W⟩
    w[j] += bias_at(v_bias, args.v_bias.column, j);
    return s[j] * w[j];
  });
  const A sum = team.sum_of(seen, [&](int64_t j) {
    const A p = s[j], a_less_d = a[j] - d, w_less_mean = w[j] - mean;
    const A slope = attention_slope(a_less_d, w_less_mean, u[j]);
    a[j] = p * a_less_d;
    w[j] = p * w_less_mean;
    u[j] = slope;
    return p * slope;
  });
  team.each(0, seen, [&](int64_t j) { u[j] = s[j] * (u[j] - sum); });
  clear(team, seen, columns, s);
  clear(team, seen, columns, a);
  clear(team, seen, columns, w);
  clear(team, seen, columns, u);
}

template <int kSize, class A, class Args>
__global__ void __launch_bounds__(kThreads, 2) rows(Args args) {
  __shared__ A shared[kThreads / kWarp];
  constexpr int kTeams = kThreads / kSize;
  const Team<kSize, A> team{shared};
  // The loop's bound is the same for a whole team, so that all its threads take part in the sums.
  for (int64_t r = int64_t(blockIdx.x) * kTeams + threadIdx.x / kSize; r < args.block.row_count();
       r += int64_t(gridDim.x) * kTeams)
    row_of(args, team, r);
}

template <class Args>
void run(const Args& args, Dtype dtype, CudaStream stream) {
  const bool is_long = args.block.columns > kLong;
  const auto start = [&]<class A>(A) {
    constexpr int kTeams = kThreads / kWarp;
    if (is_long)
      launch(rows<kThreads, A, Args>, grid_for(args.block.row_count()), kThreads, stream, args);
    else
      launch(rows<kWarp, A, Args>, grid_for((args.block.row_count() + kTeams - 1) / kTeams), kThreads, stream, args);
  };
  if (dtype == Dtype::float64)
    start(double());
  else
    start(float());
}

}  // namespace

void run_on_cuda(const AttentionForwardArgs& args, Dtype dtype, CudaStream stream) {
  run(args, dtype, stream);
}
void run_on_cuda(const AttentionBackwardArgs& args, Dtype dtype, CudaStream stream) {
  run(args, dtype, stream);
}
void run_on_cuda(const AttentionDoubleBackwardArgs& args, Dtype dtype, CudaStream stream) {
  run(args, dtype, stream);
}

}  // namespace gan_ops
