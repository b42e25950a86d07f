#include "streaming_stores.h"

#include <c10/util/Exception.h>

#include <charconv>
#include <cstdlib>
#include <fstream>
#include <string_view>

namespace gan_ops::cpu {
namespace {

/// Bytes of the last-level cache that one core sees, or what the environment variable GAN_OPS_CACHE says, in MB
/// (ValueError for what is no number).
int64_t last_level_cache() {
  if (const char* wanted = std::getenv("GAN_OPS_CACHE"); wanted != nullptr && *wanted != '\0') {
    const std::string_view text = wanted;
    int64_t megabytes = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), megabytes);
    TORCH_CHECK_VALUE(error == std::errc() && end == text.data() + text.size() && megabytes >= 0 && megabytes < 1 << 20,
                      "GAN_OPS_CACHE must be a number of megabytes, but is ", text);
    return megabytes << 20;
  }
  // Linux says it in kilobytes; sysconf(_SC_LEVEL3_CACHE_SIZE) would add up the caches of all core complexes.
  int64_t kilobytes = 0;
  std::ifstream("/sys/devices/system/cpu/cpu0/cache/index3/size") >> kilobytes;
  constexpr int64_t kUsual = 32 << 10;  // where the system does not say
  return (kilobytes > 0 ? kilobytes : kUsual) << 10;
}

}  // namespace

bool beyond_cache(int64_t bytes) {
  static const int64_t cache = last_level_cache();
  return 2 * bytes >= cache;
}

}  // namespace gan_ops::cpu
