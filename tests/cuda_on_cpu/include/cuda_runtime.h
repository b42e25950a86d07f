// Stands in for CUDA's header of this name, so that g++ compiles a kernel file as it is and the CPU executes it.
//
// A launch runs its blocks one after another; each thread of a block is a fiber that runs until it must wait for others
// (emulator.cpp). What kernels may use is in this folder; what they use beyond it is added here. Two departures from
// CUDA, both on purpose: what it calls undefined (a lane that its mask does not name, threads of a block that wait at
// different barriers) ends the process with a message, and dynamic shared memory is declared at global scope under one
// name, `extern __shared__ unsigned char dynamic_shared[];`.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>

// ---- The language ----

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(bytes) alignas(bytes)
// One instance of each variable, which all fibers see, as they share an operating system's thread. The linker gathers
// such variables, and nothing else, into a segment of its own, which the emulator overwrites before each block.
#define __shared__ thread_local

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// Of the running thread; the emulator sets them when it switches fibers.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) {
  return {x, y};
}
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}
inline double2 make_double2(double x, double y) {
  return {x, y};
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}

// ---- The launch ----

using cudaStream_t = struct CUstream_st*;

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9 };

inline cudaError_t cudaGetLastError() {
  return cudaSuccess;
}
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : "invalid configuration argument";
}

// One GPU, of one multiprocessor.
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 };

inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int /*device*/) {
  *value = 1;
  return cudaSuccess;
}

inline cudaError_t cudaMemsetAsync(void* memory, int byte, size_t size, cudaStream_t) {
  std::memset(memory, byte, size);
  return cudaSuccess;
}

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

namespace cuda_on_cpu {

/// Runs `thread` for every thread of the grid, or refuses a grid that a GPU would refuse.
cudaError_t run_grid(const cudaLaunchConfig_t& config, const std::function<void()>& thread);

using Place = std::source_location;

/// Waits for all threads of the block that have not returned, and counts those whose `predicate` holds.
int meet_block(const char* name, bool predicate, const Place& place);

/// Waits for the lanes that `mask` names. What each gets is the value of the lane `source`, or with `kBallot` a bit for
/// each lane whose value is not zero.
constexpr int kBallot = -1;
uint64_t meet_lanes(const char* name, unsigned mask, uint64_t value, int source, const Place& place);

/// Ends the process: blocks run one after another, so that nobody will do what a thread still waits for.
[[noreturn]] void sleep_for_ever(const Place& place);

inline int lane() {
  return static_cast<int>((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % warpSize);
}

template <class T>
T shuffle(const char* name, unsigned mask, T value, int source, const Place& place) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves eight bytes at most");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = meet_lanes(name, mask, bits, source, place);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace cuda_on_cpu

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments... arguments) {
  return cuda_on_cpu::run_grid(*config, [&] { kernel(arguments...); });
}

// ---- Barriers ----
// `place` is where the call stands in the kernel.

inline void __syncthreads(cuda_on_cpu::Place place = cuda_on_cpu::Place::current()) {
  cuda_on_cpu::meet_block("__syncthreads", false, place);
}
inline int __syncthreads_count(int predicate, cuda_on_cpu::Place place = cuda_on_cpu::Place::current()) {
  return cuda_on_cpu::meet_block("__syncthreads_count", predicate, place);
}
inline int __syncthreads_or(int predicate, cuda_on_cpu::Place place = cuda_on_cpu::Place::current()) {
  return cuda_on_cpu::meet_block("__syncthreads_or", predicate, place) > 0;
}
inline int __syncthreads_and(int predicate, cuda_on_cpu::Place place = cuda_on_cpu::Place::current()) {
  return cuda_on_cpu::meet_block("__syncthreads_and", !predicate, place) == 0;
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __nanosleep(unsigned /*nanoseconds*/, cuda_on_cpu::Place place = cuda_on_cpu::Place::current()) {
  cuda_on_cpu::sleep_for_ever(place);
}

// ---- Warps ----

inline void __syncwarp(unsigned mask = 0xffffffffu, cuda_on_cpu::Place place = cuda_on_cpu::Place::current()) {
  cuda_on_cpu::meet_lanes("__syncwarp", mask, 0, cuda_on_cpu::kBallot, place);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, cuda_on_cpu::Place place = cuda_on_cpu::Place::current()) {
  return cuda_on_cpu::meet_lanes("__ballot_sync", mask, predicate != 0, cuda_on_cpu::kBallot, place);
}
inline int __any_sync(unsigned mask, int predicate, cuda_on_cpu::Place place = cuda_on_cpu::Place::current()) {
  return cuda_on_cpu::meet_lanes("__any_sync", mask, predicate != 0, cuda_on_cpu::kBallot, place) != 0;
}
inline int __all_sync(unsigned mask, int predicate, cuda_on_cpu::Place place = cuda_on_cpu::Place::current()) {
  return cuda_on_cpu::meet_lanes("__all_sync", mask, predicate == 0, cuda_on_cpu::kBallot, place) == 0;
}

// A shuffle stays within its segment of `width` lanes; where it would leave it, a lane gets its own value.

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize,
              cuda_on_cpu::Place place = cuda_on_cpu::Place::current()) {
  const int first = cuda_on_cpu::lane() & ~(width - 1);
  return cuda_on_cpu::shuffle("__shfl_sync", mask, value, first + (source & (width - 1)), place);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                 cuda_on_cpu::Place place = cuda_on_cpu::Place::current()) {
  const int lane = cuda_on_cpu::lane(), first = lane & ~(width - 1), source = lane - static_cast<int>(delta);
  return cuda_on_cpu::shuffle("__shfl_up_sync", mask, value, source < first ? lane : source, place);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                   cuda_on_cpu::Place place = cuda_on_cpu::Place::current()) {
  const int lane = cuda_on_cpu::lane(), last = lane | (width - 1), source = lane + static_cast<int>(delta);
  return cuda_on_cpu::shuffle("__shfl_down_sync", mask, value, source > last ? lane : source, place);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = warpSize,
                  cuda_on_cpu::Place place = cuda_on_cpu::Place::current()) {
  const int lane = cuda_on_cpu::lane(), last = lane | (width - 1), source = lane ^ bits;
  return cuda_on_cpu::shuffle("__shfl_xor_sync", mask, value, source > last ? lane : source, place);
}

// ---- Memory and arithmetic that C++ lacks ----

template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
void __stwb(T* address, T value) {
  *address = value;
}
inline unsigned atomicAdd(unsigned* address, unsigned value) {
  const unsigned before = *address;
  *address += value;
  return before;
}

inline float rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
inline double rsqrt(double x) {
  return 1.0 / std::sqrt(x);
}
inline float __expf(float x) {
  return std::exp(x);
}

template <class T>
constexpr T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
constexpr T max(T a, T b) {
  return a < b ? b : a;
}
