// Small kernels that show what the emulator does, right and wrong; test_emulator.py runs them.
#include "launch.cuh"

using namespace gan_ops;
using cuda::kAllLanes;
using cuda::launch;

extern __shared__ unsigned char dynamic_shared[];

namespace {

template <class Narrow>
__global__ void widen_all(const Narrow* narrow, float* wide, int64_t count) {
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) wide[i] = widen(narrow[i]);
}

template <class Narrow>
__global__ void narrow_all(const float* wide, Narrow* narrow_out, int64_t count) {
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) narrow_out[i] = narrow<Narrow>(wide[i]);
}

/// out: [4, blockDim.x], the lane of the warp that each kind of shuffle reads.
__global__ void shuffle_all(float* out, int64_t source, int64_t width) {
  const unsigned i = threadIdx.x, count = blockDim.x;
  const float lane = static_cast<float>(i % warpSize);
  out[i] = __shfl_sync(kAllLanes, lane, static_cast<int>(source), static_cast<int>(width));
  out[count + i] = __shfl_up_sync(kAllLanes, lane, static_cast<unsigned>(source), static_cast<int>(width));
  out[2 * count + i] = __shfl_down_sync(kAllLanes, lane, static_cast<unsigned>(source), static_cast<int>(width));
  out[3 * count + i] = __shfl_xor_sync(kAllLanes, lane, static_cast<int>(source), static_cast<int>(width));
}

/// Even lanes vote by themselves; lane 4 votes yes. out: ballot, any, all of the even lanes.
__global__ void vote_of_even_lanes(float* out) {
  constexpr unsigned kEven = 0x55555555u;
  if (threadIdx.x % 2 != 0) return;
  const unsigned ballot = __ballot_sync(kEven, threadIdx.x == 4);
  const int any = __any_sync(kEven, threadIdx.x == 4), all = __all_sync(kEven, threadIdx.x == 4);
  __syncwarp(kEven);
  if (threadIdx.x != 0) return;
  out[0] = static_cast<float>(ballot);
  out[1] = static_cast<float>(any);
  out[2] = static_cast<float>(all);
}

/// out: how many of the block's threads are below `limit`, whether any, whether all.
__global__ void vote_of_block(float* out, int64_t limit) {
  const int below = threadIdx.x < limit;
  const int count = __syncthreads_count(below), any = __syncthreads_or(below), all = __syncthreads_and(below);
  if (threadIdx.x != 0) return;
  out[0] = static_cast<float>(count);
  out[1] = static_cast<float>(any);
  out[2] = static_cast<float>(all);
}

/// Odd threads leave before the barrier that the others meet at.
__global__ void count_those_who_stay(float* out) {
  if (threadIdx.x % 2 != 0) return;
  const int count = __syncthreads_count(1);
  if (threadIdx.x == 0) out[0] = static_cast<float>(count);
}

/// A block writes its number, but what it gives is what it found.
__global__ void give_what_shared_memory_holds(float* out) {
  __shared__ float shared;
  out[blockIdx.x] = shared;
  shared = static_cast<float>(blockIdx.x);
}

/// Turns `count` values around by way of dynamic shared memory.
__global__ void reverse(const float* in, float* out, int64_t count) {
  float* shared = reinterpret_cast<float*>(dynamic_shared);
  const int64_t i = threadIdx.x;
  if (i < count) shared[i] = in[i];
  __syncthreads();
  if (i < count) out[i] = shared[count - 1 - i];
}

__global__ void meet_at_two_barriers() {
  if (threadIdx.x < 7)
    __syncthreads();
  else
    __syncthreads();
}

__global__ void shuffle_after_others_left(float* out) {
  if (threadIdx.x >= 7) return;
  out[threadIdx.x] = __shfl_xor_sync(kAllLanes, 1.0f, 1);
}

__global__ void shuffle_in_two_branches(float* out) {
  const float value = static_cast<float>(threadIdx.x);
  out[threadIdx.x] = threadIdx.x < 16 ? __shfl_xor_sync(kAllLanes, value, 1) : __shfl_xor_sync(kAllLanes, value, 2);
}

__global__ void copy_four(const float* in, float* out) {
  *reinterpret_cast<float4*>(out) = *reinterpret_cast<const float4*>(in);
}

/// out[ticket] = 1 + the value that the block with the ticket before, or with the one behind, has left there.
__global__ void follow(unsigned* next, float* out, int64_t step) {
  const unsigned ticket = atomicAdd(next, 1u);
  const int64_t other = ticket + step;
  const volatile float* before = out + other;
  const bool alone = other < 0 || other >= int64_t(gridDim.x);
  if (!alone)
    while (!(*before > 0)) __nanosleep(100);
  out[ticket] = alone ? 1 : *before + 1;
}

__global__ void do_nothing() {}

}  // namespace

extern "C" {

void widen_every(Dtype dtype, const void* narrow, float* wide, int64_t count) {
  if (dtype == Dtype::float16)
    launch(widen_all<__half>, 1, 256, nullptr, static_cast<const __half*>(narrow), wide, count);
  else
    launch(widen_all<__nv_bfloat16>, 1, 256, nullptr, static_cast<const __nv_bfloat16*>(narrow), wide, count);
}
void narrow_every(Dtype dtype, const float* wide, void* narrow, int64_t count) {
  if (dtype == Dtype::float16)
    launch(narrow_all<__half>, 1, 256, nullptr, wide, static_cast<__half*>(narrow), count);
  else
    launch(narrow_all<__nv_bfloat16>, 1, 256, nullptr, wide, static_cast<__nv_bfloat16*>(narrow), count);
}
void shuffles(Dtype, float* out, int64_t source, int64_t width) {
  launch(shuffle_all, 1, 64, nullptr, out, source, width);
}
void votes_of_even_lanes(Dtype, float* out) {
  launch(vote_of_even_lanes, 1, 32, nullptr, out);
}
void votes_of_block(Dtype, float* out, int64_t limit) {
  launch(vote_of_block, 1, dim3(10, 7), nullptr, out, limit);
}
void barrier_after_some_left(Dtype, float* out) {
  launch(count_those_who_stay, 1, 70, nullptr, out);
}
void shared_memory_of_blocks(Dtype, float* out, int64_t blocks) {
  launch(give_what_shared_memory_holds, static_cast<unsigned>(blocks), 1, nullptr, out);
}
void reversed(Dtype, const float* in, float* out, int64_t count, int64_t shared_bytes) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(1);
  config.blockDim = dim3(64);
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  cudaLaunchKernelEx(&config, reverse, in, out, count);
}
void two_barriers(Dtype) {
  launch(meet_at_two_barriers, 1, 64, nullptr);
}
void lanes_that_left(Dtype, float* out) {
  launch(shuffle_after_others_left, 1, 32, nullptr, out);
}
void two_shuffles(Dtype, float* out) {
  launch(shuffle_in_two_branches, 1, 32, nullptr, out);
}
void half_a_warp(Dtype, float* out, int64_t) {
  launch(shuffle_all, 1, 16, nullptr, out, int64_t(1), int64_t(32));
}
void aligned_copy(Dtype, const float* in, float* out) {
  launch(copy_four, 1, 1, nullptr, in, out);
}
void tickets(Dtype, unsigned* next, float* out, int64_t blocks, int64_t step) {
  cudaMemsetAsync(next, 0, sizeof(unsigned), nullptr);
  launch(follow, static_cast<unsigned>(blocks), 1, nullptr, next, out, step);
}
void empty_launch(Dtype, int64_t blocks, int64_t threads) {
  launch(do_nothing, static_cast<unsigned>(blocks), static_cast<unsigned>(threads), nullptr);
}
}
