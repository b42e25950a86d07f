// Loops over several threads, compiled for several instruction sets and chosen by what the processor has.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

namespace gan_ops::cpu {

enum class InstructionSet { baseline, avx2, avx512 };

/// What this processor has, or less if the environment variable GAN_OPS_CPU says so ("baseline", "avx2"; ValueError for
/// anything else).
InstructionSet instruction_set();
const char* instruction_set_name();

// A body that is always_inline takes on the target of the function that it is inlined into: one source, three versions.
// Reductions in bodies have a fixed order, so the versions differ by fused multiply-adds at most.
#define GAN_OPS_LAMBDA_INLINE __attribute__((always_inline))

#if defined(__x86_64__)
template <class Body>
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512"))) void run_avx512(
    const Body& body, int64_t begin, int64_t end) {
  body(begin, end);
}
template <class Body>
__attribute__((target("avx2,fma"))) void run_avx2(const Body& body, int64_t begin, int64_t end) {
  body(begin, end);
}
#endif

template <class Body>
void run_best(const Body& body, int64_t begin, int64_t end) {
#if defined(__x86_64__)
  switch (instruction_set()) {
    case InstructionSet::avx512:
      return run_avx512(body, begin, end);
    case InstructionSet::avx2:
      return run_avx2(body, begin, end);
    case InstructionSet::baseline:
      break;
  }
#endif
  body(begin, end);
}

/// Memory of the calling thread's own that kernels may write over: 64-byte aligned, kScratchBytes long.
constexpr int64_t kScratchBytes = 1 << 20;
void* thread_scratch();

/// body(begin, end) over parts of [0, tasks); `elements_per_task` tells how many tasks are worth a thread.
template <class Body>
void parallel_for(int64_t tasks, int64_t elements_per_task, const Body& body) {
  constexpr int64_t kElementsPerThread = 16384;  // about 5 µs of work, what waking a thread costs
  const int64_t grain = std::max<int64_t>(1, kElementsPerThread / std::max<int64_t>(1, elements_per_task));
  at::parallel_for(0, tasks, grain, [&](int64_t begin, int64_t end) { run_best(body, begin, end); });
}

}  // namespace gan_ops::cpu
