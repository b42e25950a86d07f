#include "parallel.h"

#include <c10/util/Exception.h>

#include <cstdlib>
#include <string_view>

namespace gan_ops::cpu {
namespace {

InstructionSet detect() {
#if defined(__x86_64__)
  const char* wanted = std::getenv("GAN_OPS_CPU");
  const std::string_view limit = wanted == nullptr ? "" : wanted;
  TORCH_CHECK_VALUE(limit == "" || limit == "baseline" || limit == "avx2" || limit == "avx512",
                    "GAN_OPS_CPU must be baseline, avx2 or avx512, but is ", limit);
  if (limit == "baseline") return InstructionSet::baseline;
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && limit != "avx2") return InstructionSet::avx512;
  if (avx2) return InstructionSet::avx2;
#endif
  return InstructionSet::baseline;
}

}  // namespace

InstructionSet instruction_set() {
  static const InstructionSet detected = detect();
  return detected;
}

const char* instruction_set_name() {
  switch (instruction_set()) {
    case InstructionSet::avx512:
      return "avx512";
    case InstructionSet::avx2:
      return "avx2";
    case InstructionSet::baseline:
      break;
  }
  return "baseline";
}

void* thread_scratch() {
  alignas(64) thread_local unsigned char scratch[kScratchBytes];
  return scratch;
}

}  // namespace gan_ops::cpu
